// says: a listener takes at most 8 arguments
use streamer::ReceivedMessage as M;

#[streamer::listener]
async fn count(_: M, _: M, _: M, _: M, _: M, _: M, _: M, _: M, _: M) {}

fn main() {}
