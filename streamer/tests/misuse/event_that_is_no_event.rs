// says: `OrderPlaced` is not an event
// says: #[derive(Event)]
#[derive(serde::Serialize)]
struct OrderPlaced {
    id: u64,
}

async fn emit(streamer: streamer::Streamer) {
    let _ = streamer.emit(&OrderPlaced { id: 1 }).await;
}

fn main() {
    let _ = emit;
}
