//! One clock for all processes: the machine's monotonic one, which a clock that is set does not change.

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since some moment before all processes started.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}

/// As seconds since `begin`, for people.
pub(crate) fn seconds(begin: u64, at: u64) -> f64 {
    at.saturating_sub(begin) as f64 / 1e6
}
