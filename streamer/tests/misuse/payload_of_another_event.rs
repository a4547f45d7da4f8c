// says: expected `OrderPaid`, found `OrderPlaced`
use serde::{Deserialize, Serialize};
use streamer::{Event, Listeners, Payload};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed")]
struct OrderPlaced;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.paid")]
struct OrderPaid;

async fn receipt(_order: Payload<OrderPlaced>) {}

fn main() {
    let _ = Listeners::new().on_event::<OrderPaid, _>("receipt", receipt);
}
