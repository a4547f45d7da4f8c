// says: is not a listener for state `()`
// says: returns `()` or `Result<(), E>`
use streamer::Listeners;

async fn receipt() -> u64 {
    7
}

fn main() {
    let _ = Listeners::new().on("e", "receipt", receipt);
}
