// says: a listener is an `async fn`: write `async fn count`
#[streamer::listener]
fn count() {}

fn main() {}
