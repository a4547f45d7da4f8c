//! Subscriptions against a store in memory, on a clock that the test turns: what each rule is for (`rules`), and long runs
//! of random misfortune (`chance`).

mod chance;
mod process;
mod rules;
mod store;

use std::cell::Cell;

use tokio::time::Instant;

thread_local! {
    static EPOCH: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The wall clock of a simulation, which begins with it.
pub(super) fn wall_clock() -> u64 {
    let epoch = EPOCH.get().unwrap_or_else(Instant::now);
    EPOCH.set(Some(epoch));
    1_000_000 + epoch.elapsed().as_millis() as u64
}

/// Another simulation begins in this thread.
fn begin() {
    EPOCH.set(Some(Instant::now()));
}
