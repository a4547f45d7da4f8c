// says: future cannot be sent between threads safely
// says: has type `Rc<i32>` which is not `Send`
use std::rc::Rc;

#[streamer::listener]
async fn count() {
    let shared = Rc::new(1);
    std::future::ready(()).await;
    drop(shared);
}

fn main() {}
