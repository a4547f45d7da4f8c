// says: the listeners' state `Shop` has no part `Clock`
// says: async fn count(_clock: State<Clock>) {}
use streamer::extract::State;

#[derive(Clone)]
struct Shop;
struct Clock;

#[streamer::listener(state = Shop)]
async fn count(_clock: State<Clock>) {}

fn main() {}
