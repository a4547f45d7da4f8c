//! Listening plainly, from an ID on, and as a consumer of a group.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::time::Duration;

use serde::{Deserialize, Serialize};
use streamer::{Event, Listeners, NamedEvent as _, Payload, StartAt, StopHandle};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed")]
struct OrderPlaced {
    id: u64,
}

/// A listener asks for what it needs. An error goes to the failed list, for this listener alone.
async fn receipt(Payload(order): Payload<OrderPlaced>) -> Result<(), String> {
    if order.id == 2 {
        return Err("the printer has no paper".to_owned());
    }
    println!("receipt for order {}", order.id);
    Ok(())
}

/// A listener can end the listening.
async fn until_the_third(Payload(order): Payload<OrderPlaced>, stop: StopHandle) {
    if order.id == 3 {
        stop.stop();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let streamer = tour::connect().await?;
    let receipts = Listeners::new().on(OrderPlaced::NAME, "receipt", receipt);

    // A listening that begins now gets what comes after it has started.
    let listening = streamer.listen(receipts.clone()).listen_timeout(Duration::from_secs(5));
    let (started, ready) = tokio::sync::oneshot::channel();
    let started = std::sync::Mutex::new(Some(started));
    let stop = listening.stop_handle();
    let listening = listening.on_report(move |report| match report {
        streamer::Report::Started { .. } => {
            // It is told once, at the start.
            if let Some(started) = started.lock().ok().and_then(|mut started| started.take()) {
                let _ = started.send(());
            }
        }
        streamer::Report::Processed { .. } => stop.stop(),
        _ => {}
    });
    println!("plainly, from now on:");
    let listening = tokio::spawn(listening.run());
    ready.await?;
    let first = streamer.emit(&OrderPlaced { id: 1 }).await?;
    listening.await??;
    streamer
        .emit_all([OrderPlaced { id: 2 }, OrderPlaced { id: 3 }])
        .await?;

    // Everything after an ID. The failure of one message holds up no other.
    println!("plainly, after the first order:");
    let both = receipts
        .clone()
        .on(OrderPlaced::NAME, "until_the_third", until_the_third);
    let summary = streamer.listen(both).start(StartAt::After(first)).run().await?;
    println!("{} messages, {} failures", summary.messages, summary.failed);

    // In a group each message goes to one consumer, and is pending until it is acknowledged.
    println!("in a group, from the beginning:");
    let both = receipts.on(OrderPlaced::NAME, "until_the_third", until_the_third);
    let listening = streamer.listen(both).group("billing").consumer("billing-1");
    // In a long-running program: listening.stop_handle().on_signals()?
    let summary = listening.run().await?;
    println!("{} messages, {} failures", summary.messages, summary.failed);
    let pending = streamer.stream(OrderPlaced::NAME).pending_summary("billing").await?;
    println!("{} pending", pending.count);
    Ok(())
}
