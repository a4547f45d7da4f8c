// says: is not a listener for state `()`
// says: a listener is an `async fn`
use streamer::Listeners;

async fn count(_number: u64) {}

fn main() {
    let _ = Listeners::new().on("e", "count", count);
}
