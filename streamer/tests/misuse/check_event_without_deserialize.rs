// says: the trait bound `Order: serde::Deserialize<'de>` is not satisfied
// says: for local types consider adding `#[derive(serde::Deserialize)]`
// says: async fn receipt(_order: Payload<Order>) {}
use streamer::Payload;

struct Order;

#[streamer::listener]
async fn receipt(_order: Payload<Order>) {}

fn main() {}
