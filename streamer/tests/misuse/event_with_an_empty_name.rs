// says: name
// says: empty
use streamer::Event;

#[derive(serde::Serialize, Event)]
#[event(name = "")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
