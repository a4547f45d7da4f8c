// says: name
// says: #[event(name = "
use streamer::Event;

#[derive(serde::Serialize, Event)]
struct OrderPlaced {
    id: u64,
}

fn main() {}
