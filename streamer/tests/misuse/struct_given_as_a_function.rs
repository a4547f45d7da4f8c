// says: is not a listener for state `()`
// says: a struct that implements `Listener` is registered with `Listeners::add_listener`
use streamer::{ListenerContext, Listener, ListenerError, Listeners, ReceivedMessage, async_trait};

struct Audit;

#[async_trait]
impl Listener for Audit {
    async fn handle(&self, _: &ReceivedMessage, _: &ListenerContext) -> Result<(), ListenerError> {
        Ok(())
    }
}

fn main() {
    let _ = Listeners::new().on("e", "audit", Audit);
}
