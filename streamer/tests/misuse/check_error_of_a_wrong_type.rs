// says: the trait bound `Broken: std::error::Error` is not satisfied
// says: async fn count() -> Result<(), Broken> {
struct Broken;

#[streamer::listener]
async fn count() -> Result<(), Broken> {
    Err(Broken)
}

fn main() {}
