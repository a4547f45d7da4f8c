//! How patient a subscription is with its store.

use std::time::Duration;

/// What to do when the store goes away, or a group vanishes: go on as soon as it is back.
///
/// The time between two attempts doubles from `first_delay` to `longest_delay`, each shortened by up to a half at
/// random, so that many listeners do not come back in the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepAlive {
    /// How many attempts in a row may fail. Default: no bound.
    pub max_attempts: Option<u32>,
    /// Time before the first new attempt. Default: 100 ms.
    pub first_delay: Duration,
    /// The longest time between two attempts. Default: 10 s.
    pub longest_delay: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            max_attempts: None,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(10),
        }
    }
}

impl KeepAlive {
    /// The time to wait before attempt `attempt` (the first is 1).
    pub(crate) fn delay(&self, attempt: u32) -> Duration {
        let doubled = self.first_delay.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        doubled.min(self.longest_delay).mul_f64(shortened())
    }
}

#[cfg(not(test))]
fn shortened() -> f64 {
    rand::random_range(0.5..=1.0)
}

/// A simulation has to replay exactly.
#[cfg(test)]
fn shortened() -> f64 {
    0.75
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_bound_and_never_vanish() {
        let keep_alive = KeepAlive::default();
        for attempt in 1..100 {
            let delay = keep_alive.delay(attempt);
            assert!(
                delay >= keep_alive.first_delay / 2 && delay <= keep_alive.longest_delay,
                "{attempt}: {delay:?}"
            );
        }
        assert!(keep_alive.delay(90) >= keep_alive.longest_delay / 2);
    }
}
