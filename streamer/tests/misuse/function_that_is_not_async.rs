// says: is not a listener for state `()`
// says: a listener is an `async fn`
use streamer::{Listeners, ReceivedMessage};

fn receipt(_message: ReceivedMessage) {}

fn main() {
    let _ = Listeners::new().on("e", "receipt", receipt);
}
