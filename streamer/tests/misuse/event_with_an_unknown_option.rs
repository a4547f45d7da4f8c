// says: stream
use streamer::Event;

#[derive(serde::Serialize, Event)]
#[event(name = "order.placed", stream = "orders")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
