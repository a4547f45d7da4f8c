//! An event, and the message that it becomes.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use serde::Serialize;
use serde_json::json;
use streamer::{DynamicEvent, EmitOptions, Event, ReceivedMessage, Trim, stream::Range};

/// Its name is the stream that it goes to; its fields are the payload.
#[derive(Serialize, Event)]
#[event(name = "order.placed")]
struct OrderPlaced {
    id: u64,
    total: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let streamer = tour::connect().await?.with_domain("shop");

    // The ID says that it is stored.
    streamer.emit(&OrderPlaced { id: 1, total: 9.99 }).await?;

    // An event whose name is known only at run time, of another type.
    let receipt = DynamicEvent::new("receipt.wanted", json!({"order": 1})).with_kind("command");
    streamer.emit(&receipt).await?;

    // Options for one emit: here the stream is kept short.
    let options = EmitOptions::new().trim(Trim::max_len(1000)).domain("web");
    streamer.emit_with(&OrderPlaced { id: 2, total: 5.0 }, options).await?;

    // Many, in few round trips.
    streamer
        .emit_all((3..=5).map(|id| OrderPlaced { id, total: 1.5 }))
        .await?;

    for name in ["order.placed", "receipt.wanted"] {
        let stream = streamer.stream(name);
        for entry in stream.range(Range::all()).next_page().await? {
            let message = ReceivedMessage::new(stream.name().clone(), entry, 1);
            println!(
                "{} ({}, {}): {}",
                message.name(),
                message.kind(),
                message.domain(),
                message.data()?
            );
        }
    }
    Ok(())
}
