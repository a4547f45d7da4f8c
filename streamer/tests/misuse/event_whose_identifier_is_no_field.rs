// says: no field `number`
use streamer::Event;

#[derive(serde::Serialize, Event)]
#[event(name = "order.placed", identifier = "number")]
struct OrderPlaced {
    id: u64,
}

fn main() {}
