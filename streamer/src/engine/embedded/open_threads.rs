//! How many threads of this process have connections: a process that ends waits until they have closed them.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

static COUNT: Mutex<usize> = Mutex::new(0);
static FEWER: Condvar = Condvar::new();

/// A thread that has a connection, or will have one. Dropped when it is closed.
pub(super) struct OpenThread(());

impl OpenThread {
    pub(super) fn new() -> Self {
        *count() += 1;
        Self(())
    }
}

impl Drop for OpenThread {
    fn drop(&mut self) {
        *count() -= 1;
        FEWER.notify_all();
    }
}

/// Waits until there is none, at most so long; tells whether there is none.
pub(super) fn wait_for_none(timeout: Duration) -> bool {
    let waited = FEWER.wait_timeout_while(count(), timeout, |count| *count > 0);
    *waited.unwrap_or_else(PoisonError::into_inner).0 == 0
}

fn count() -> MutexGuard<'static, usize> {
    COUNT.lock().unwrap_or_else(PoisonError::into_inner)
}
