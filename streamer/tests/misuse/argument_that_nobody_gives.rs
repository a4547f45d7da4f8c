// says: `u64` cannot be an argument of a listener
// says: a listener takes `Payload<T>` (T: serde::Deserialize), `State<T>`, `ReceivedMessage`, `Streamer` or `StopHandle`
use streamer::{extract::FromMessage, Listeners};

fn given<S, T: FromMessage<S>>(_: T) {}

async fn count(number: u64) {
    given::<(), _>(number);
}

fn main() {
    let _ = Listeners::new().on("e", "count", count);
}
