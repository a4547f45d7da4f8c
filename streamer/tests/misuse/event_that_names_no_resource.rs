// says: `OrderPlaced` does not say which resource it is about
use streamer::{Event, Streamer};

#[derive(serde::Serialize, Event)]
#[event(name = "order.placed")]
struct OrderPlaced {
    id: u64,
}

async fn emit(streamer: Streamer) {
    let _ = streamer.emit_replayable(&OrderPlaced { id: 7 }).await;
}

fn main() {}
