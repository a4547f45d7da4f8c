// says: the trait bound `Shop: Clone` is not satisfied
use streamer::{Listeners, extract::State};

struct Shop;

async fn count(_shop: State<Shop>) {}

fn main() {
    let _ = Listeners::with_state(Shop).on("e", "count", count);
}
