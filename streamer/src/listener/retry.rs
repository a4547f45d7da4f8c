//! Trying a listener again before its message lands in the failed list.

use std::{fmt, sync::Arc, time::Duration};

use super::ListenerError;

/// How often and when a listener that failed is tried again before the failure is recorded.
///
/// While a message waits for its next attempt it blocks no other message. In a group it stays pending, so that it
/// survives a crash of this process: its delivery count is the count of its attempts (a delivery that was cut off by a
/// crash is one, too), and another consumer may make the next one. Without a group the wait is in memory.
/// Listeners that succeeded do not run again. When several listeners of a message wait, all are tried after the longest
/// of their waits.
///
/// Consumers of a group should have the same policies.
///
/// ```
/// use std::time::Duration;
/// use streamer::RetryPolicy;
///
/// // Tried up to five times, at most 1 s, 2 s, 4 s and 8 s apart, and at least half of that.
/// let policy = RetryPolicy::exponential(5, Duration::from_secs(1), Duration::from_secs(60))
///     .permanent_if(|error| error.to_string().contains("card declined"));
/// ```
#[derive(Clone)]
pub struct RetryPolicy {
    attempts: u64,
    first: Duration,
    longest: Duration,
    jitter: bool,
    permanent: Option<Arc<IsPermanent>>,
}

type IsPermanent = dyn Fn(&ListenerError) -> bool + Send + Sync;

impl RetryPolicy {
    /// The longest time for which [`ListenerError::retry_after`] can put off an attempt: an hour.
    pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

    /// No retries: the first failure is recorded. The default, and what laravel-streamer does.
    #[must_use]
    pub const fn none() -> Self {
        Self::fixed(1, Duration::ZERO)
    }

    /// Up to `attempts` attempts in all, so long apart.
    #[must_use]
    pub const fn fixed(attempts: u64, delay: Duration) -> Self {
        Self {
            attempts,
            first: delay,
            longest: delay,
            jitter: false,
            permanent: None,
        }
    }

    /// Up to `attempts` attempts in all. The time between them doubles from `first` to `longest`, each shortened by up
    /// to a half at random ([`jitter`](RetryPolicy::jitter)).
    #[must_use]
    pub const fn exponential(attempts: u64, first: Duration, longest: Duration) -> Self {
        Self {
            attempts,
            first,
            longest,
            jitter: true,
            permanent: None,
        }
    }

    /// Whether each time is shortened by up to a half at random, so that what failed together is not tried again
    /// together.
    #[must_use]
    pub const fn jitter(mut self, jitter: bool) -> Self {
        self.jitter = jitter;
        self
    }

    /// Which errors another attempt would not fix, beside those made with [`ListenerError::permanent`] and payloads
    /// that do not parse: they are recorded at once.
    #[must_use]
    pub fn permanent_if(mut self, permanent: impl Fn(&ListenerError) -> bool + Send + Sync + 'static) -> Self {
        self.permanent = Some(Arc::new(permanent));
        self
    }

    /// How many attempts there are in all.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Whether there are any retries.
    pub(crate) fn retries(&self) -> bool {
        self.attempts > 1
    }

    /// How long to wait after attempt `attempt` (the first is 1) failed; `None` when it was the last.
    pub(crate) fn delay_after(&self, attempt: u64, error: &ListenerError) -> Option<Duration> {
        let permanent = || error.is_permanent() || self.permanent.as_ref().is_some_and(|permanent| permanent(error));
        if attempt >= self.attempts || permanent() {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(30) as u32;
        let delay = self.first.saturating_mul(1 << doublings).min(self.longest);
        let delay = match self.jitter {
            true => delay.mul_f64(rand::random_range(0.5..=1.0)),
            false => delay,
        };
        let asked = error.retry_after.unwrap_or_default().min(Self::LONGEST_RETRY_AFTER);
        Some(delay.max(asked))
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::none()
    }
}

impl fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("attempts", &self.attempts)
            .field("first", &self.first)
            .field("longest", &self.longest)
            .field("jitter", &self.jitter)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_attempts_doubles_to_its_bound_and_is_shortened_by_a_half_at_most() {
        let policy = RetryPolicy::exponential(100, Duration::from_millis(10), Duration::from_millis(500));
        let error = ListenerError::new("e");
        for (attempt, longest) in [(1, 10), (2, 20), (3, 40), (7, 500), (99, 500)] {
            let delay = policy.delay_after(attempt, &error).expect("an attempt is left");
            let longest = Duration::from_millis(longest);
            assert!(delay >= longest / 2 && delay <= longest, "{attempt}: {delay:?}");
            let exact = policy.clone().jitter(false).delay_after(attempt, &error);
            assert_eq!(exact, Some(longest));
        }
        assert_eq!(policy.delay_after(100, &error), None);
    }

    #[test]
    fn a_time_that_the_error_asks_for_is_waited_within_a_limit() {
        let policy = RetryPolicy::fixed(3, Duration::from_secs(5));
        let asks = |seconds| ListenerError::new("busy").retry_after(Duration::from_secs(seconds));
        assert_eq!(policy.delay_after(1, &asks(9)), Some(Duration::from_secs(9)));
        assert_eq!(policy.delay_after(1, &asks(1)), Some(Duration::from_secs(5)));
        assert_eq!(
            policy.delay_after(1, &asks(u64::MAX)),
            Some(RetryPolicy::LONGEST_RETRY_AFTER)
        );
        assert_eq!(policy.delay_after(3, &asks(9)), None);
    }

    #[test]
    fn permanent_errors_are_not_tried_again() {
        let policy = RetryPolicy::fixed(3, Duration::from_secs(1));
        assert_eq!(
            policy.delay_after(1, &ListenerError::new("e")),
            Some(Duration::from_secs(1))
        );
        assert_eq!(policy.delay_after(1, &ListenerError::permanent("e")), None);
        let policy = policy.permanent_if(|error| error.to_string().contains("declined"));
        assert_eq!(policy.delay_after(1, &ListenerError::new("card declined")), None);
        assert_eq!(RetryPolicy::none().delay_after(1, &ListenerError::new("e")), None);
    }
}
