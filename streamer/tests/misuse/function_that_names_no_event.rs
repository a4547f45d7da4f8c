// says: this function does not say which event it is for
use streamer::{Listeners, ReceivedMessage};

async fn count(_message: ReceivedMessage) {}

fn main() {
    let _ = Listeners::new().on_event("count", count);
}
