// says: a listener cannot return `u64`
// says: async fn count() -> u64 {
#[streamer::listener]
async fn count() -> u64 {
    1
}

fn main() {}
