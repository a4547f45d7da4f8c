// says: is not a listener for state `()`
use streamer::{Listeners, extract::State};

#[derive(Clone)]
struct Shop;

async fn receipt(_shop: State<Shop>) {}

fn main() {
    let _ = Listeners::new().on("e", "receipt", receipt);
}
