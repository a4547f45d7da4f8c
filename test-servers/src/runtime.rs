//! A runtime beside those of the tests.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

/// All tests of a process share it, as the parts of an application may. It never ends.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Connects to a store: in the runtime of the test, or, where `STREAMER_TEST_TOPOLOGY` is `runtimes`, in another one, so that
/// what the connecting spawned runs there while the test uses it from its own.
pub async fn connected<T: Send + 'static>(connecting: impl Future<Output = T> + Send + 'static) -> T {
    match std::env::var(super::store::VARIABLE).as_deref() {
        Ok(super::store::RUNTIMES) => RUNTIME.spawn(connecting).await.unwrap(),
        _ => connecting.await,
    }
}
