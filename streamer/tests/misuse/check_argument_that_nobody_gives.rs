// says: `u64` cannot be an argument of a listener
// says: async fn count(_number: u64) {}
#[streamer::listener]
async fn count(_number: u64) {}

fn main() {}
