//! A circuit breaker: what fails again and again is left alone for a while, and nothing is read for it in that time.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::Instant};

use super::{Layer, ListenerContext, ListenerError, Next};
use crate::message::ReceivedMessage;

/// A probe that was let through and has not begun after so long lost its message to another consumer.
const PROBE_BEGINS_WITHIN: Duration = Duration::from_secs(1);

/// Pauses after failures: attempts wait until the pause is over, then one attempt, the *probe*, finds out whether the cause is
/// gone. It succeeds: everything goes on. It fails: the next pause begins.
///
/// A message that waits has not begun: it counts no attempt, its lease is renewed, and it goes back to the group when the listening
/// ends. Workers wait with it, so that reading stops once about four batches are in memory ([`Listening::batch`](crate::Listening::batch)). A
/// worker waits for all listeners of a message: put listeners that must not wait for the breaker into a listening of their own.
///
/// Attempts fail as without a breaker: with a [`RetryPolicy`](crate::RetryPolicy) they are tried again, else they go to the
/// failed list. A time-out and a panic are failures. A clone shares the state, so that listeners that call the same service may share
/// one. The breaker is for this process; it does nothing in `testing`, nor for [`failed retry`](crate::failed).
///
/// ```
/// use std::time::Duration;
/// use streamer::{CircuitBreaker, Listeners};
///
/// async fn charge() -> Result<(), std::io::Error> {
///     Ok(())
/// }
///
/// let provider = CircuitBreaker::after_failures(5, Duration::from_secs(30));
/// let listeners = Listeners::new().on("order.placed", "charge", charge).layer(provider.clone());
/// assert!(!provider.is_open());
/// ```
///
/// Keep the pause shorter than what a [health check](crate::Health::stalled_after) takes for a listening that does not work (60 s).
#[derive(Clone)]
pub struct CircuitBreaker {
    trips: Trips,
    pause: Duration,
    counts: Option<Arc<Counts>>,
    shared: Arc<Shared>,
}

/// Whether an error speaks against the service.
type Counts = dyn Fn(&ListenerError) -> bool + Send + Sync;

/// When the pause begins.
#[derive(Clone, Copy, Debug)]
enum Trips {
    /// After so many failures in a row.
    InARow(u32),
    /// When of so many attempts at least so many failed.
    Of { attempts: usize, failures: usize },
}

struct Shared {
    state: Mutex<State>,
    /// The state is another one.
    changed: Notify,
}

#[derive(Debug)]
enum State {
    /// Attempts run. What came of the last ones: whether each failed.
    Closed { last: VecDeque<bool>, in_a_row: u32 },
    /// Nothing begins until then.
    Open { until: Instant },
    /// The pause is over, and one attempt was let through, or runs.
    Probing { begins_until: Instant, runs: bool },
}

impl State {
    fn closed() -> Self {
        Self::Closed {
            last: VecDeque::new(),
            in_a_row: 0,
        }
    }
}

/// Whether an attempt may begin.
enum May {
    Begin,
    /// Ask again then, or when the state changes.
    WaitUntil(Instant),
}

impl CircuitBreaker {
    /// Pauses for so long after so many failures (at least one) in a row.
    #[must_use]
    pub fn after_failures(failures: u32, pause: Duration) -> Self {
        Self::new(Trips::InARow(failures.max(1)), pause)
    }

    /// Pauses for so long when of the last `attempts` attempts (at least one) this share or more failed, from 0 to 1. Nothing pauses
    /// before there were so many.
    #[must_use]
    pub fn after_share(share: f64, attempts: usize, pause: Duration) -> Self {
        let attempts = attempts.clamp(1, 1_000_000);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "between 0 and 1,000,000"
        )]
        let failures = (share.clamp(0.0, 1.0) * attempts as f64).ceil() as usize;
        let failures = failures.max(1);
        Self::new(Trips::Of { attempts, failures }, pause)
    }

    fn new(trips: Trips, pause: Duration) -> Self {
        Self {
            trips,
            pause,
            counts: None,
            shared: Arc::new(Shared {
                state: Mutex::new(State::closed()),
                changed: Notify::new(),
            }),
        }
    }

    /// Which errors speak against the service. Others, such as those about the message itself, count as successes. Default: all but
    /// [permanent](ListenerError::permanent) ones. Time-outs and panics always count.
    #[must_use]
    pub fn counts(mut self, counts: impl Fn(&ListenerError) -> bool + Send + Sync + 'static) -> Self {
        self.counts = Some(Arc::new(counts));
        self
    }

    /// Whether attempts wait now: in the pause, and while the probe runs.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(*self.state(), State::Closed { .. })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_begin(&self, now: Instant) -> May {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => return May::Begin,
            State::Open { until } if until > now => return May::WaitUntil(until),
            State::Probing { runs: true, .. } => return May::WaitUntil(now + self.pause.max(PROBE_BEGINS_WITHIN)),
            State::Probing { begins_until, .. } if begins_until > now => return May::WaitUntil(begins_until),
            State::Open { .. } | State::Probing { .. } => {}
        }
        *state = State::Probing {
            begins_until: now + PROBE_BEGINS_WITHIN,
            runs: false,
        };
        May::Begin
    }

    /// An attempt begins. Whether it is the probe.
    fn begun(&self) -> bool {
        let mut state = self.state();
        match &mut *state {
            State::Probing { runs, .. } if !*runs => {
                *runs = true;
                true
            }
            _ => false,
        }
    }

    /// What came of an attempt.
    fn ended(&self, is_probe: bool, failed: bool, now: Instant) {
        let mut state = self.state();
        let trips = match (&mut *state, is_probe) {
            (_, true) => failed,
            (State::Closed { last, in_a_row }, false) => {
                *in_a_row = if failed { in_a_row.saturating_add(1) } else { 0 };
                match self.trips {
                    Trips::InARow(most) => *in_a_row >= most,
                    Trips::Of { attempts, failures } => {
                        last.push_back(failed);
                        if last.len() > attempts {
                            last.pop_front();
                        }
                        last.len() == attempts && last.iter().filter(|failed| **failed).count() >= failures
                    }
                }
            }
            // It began before the pause.
            (State::Open { .. } | State::Probing { .. }, false) => return,
        };
        if trips {
            let until = now.checked_add(self.pause).unwrap_or(now);
            *state = State::Open { until };
        } else if is_probe {
            *state = State::closed();
        } else {
            return;
        }
        drop(state);
        match (trips, is_probe) {
            (true, false) => tracing::warn!(
                "a circuit breaker pauses its listeners for {:?} after failures",
                self.pause
            ),
            (true, true) => tracing::warn!(
                "a circuit breaker pauses its listeners for {:?}: the probe failed",
                self.pause
            ),
            (false, _) => tracing::info!("a circuit breaker lets its listeners go on: the probe succeeded"),
        }
        self.shared.changed.notify_waiters();
    }
}

/// An attempt that runs. One that is dropped without an outcome was cut off, by its time-out or a panic.
struct Running<'a> {
    breaker: &'a CircuitBreaker,
    is_probe: bool,
    failed: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.breaker.ended(self.is_probe, self.failed, Instant::now());
    }
}

#[async_trait]
impl Layer for CircuitBreaker {
    fn is_ready(&self) -> bool {
        !self.is_open()
    }

    async fn ready(&self) {
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // Before the look, so that no change in between is missed.
            changed.as_mut().enable();
            let May::WaitUntil(until) = self.may_begin(Instant::now()) else {
                return;
            };
            tokio::select! {
                () = &mut changed => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    async fn handle(
        &self,
        message: &ReceivedMessage,
        context: &ListenerContext,
        next: Next<'_>,
    ) -> Result<(), ListenerError> {
        let mut running = Running {
            breaker: self,
            is_probe: self.begun(),
            failed: true,
        };
        let outcome = next.run(message, context).await;
        running.failed = match (&outcome, &self.counts) {
            (Ok(()), _) => false,
            (Err(error), Some(counts)) => counts(error),
            (Err(error), None) => !error.is_permanent(),
        };
        outcome
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreaker")
            .field("trips", &self.trips)
            .field("pause", &self.pause)
            .field("state", &*self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(10);

    fn attempt(breaker: &CircuitBreaker, failed: bool, now: Instant) {
        let is_probe = breaker.begun();
        breaker.ended(is_probe, failed, now);
    }

    fn may_begin(breaker: &CircuitBreaker, now: Instant) -> bool {
        matches!(breaker.may_begin(now), May::Begin)
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_decides() {
        let breaker = CircuitBreaker::after_failures(3, PAUSE);
        let now = Instant::now();
        for failed in [true, true, false, true, true] {
            assert!(may_begin(&breaker, now));
            attempt(&breaker, failed, now);
        }
        assert!(!breaker.is_open());
        attempt(&breaker, true, now);
        assert!(breaker.is_open());
        assert!(!may_begin(&breaker, now + PAUSE / 2));
        // The probe, and nobody else.
        let later = now + PAUSE;
        assert!(may_begin(&breaker, later));
        assert!(!may_begin(&breaker, later));
        assert!(breaker.begun());
        assert!(!may_begin(&breaker, later + PROBE_BEGINS_WITHIN * 2));
        breaker.ended(true, true, later);
        assert!(!may_begin(&breaker, later + PAUSE / 2));
        assert!(may_begin(&breaker, later + PAUSE));
        attempt(&breaker, false, later + PAUSE);
        assert!(!breaker.is_open());
        // It counts from the beginning again.
        attempt(&breaker, true, later + PAUSE);
        assert!(!breaker.is_open());
    }

    #[test]
    fn a_probe_that_never_begins_is_replaced() {
        let breaker = CircuitBreaker::after_failures(1, PAUSE);
        let now = Instant::now();
        attempt(&breaker, true, now);
        assert!(may_begin(&breaker, now + PAUSE));
        assert!(!may_begin(&breaker, now + PAUSE));
        assert!(may_begin(&breaker, now + PAUSE + PROBE_BEGINS_WITHIN));
    }

    #[test]
    fn a_share_of_the_last_attempts_opens_it() {
        let breaker = CircuitBreaker::after_share(0.5, 4, PAUSE);
        let now = Instant::now();
        for failed in [true, true, false] {
            attempt(&breaker, failed, now);
        }
        assert!(!breaker.is_open(), "there were only three");
        attempt(&breaker, false, now);
        assert!(breaker.is_open());
        let breaker = CircuitBreaker::after_share(0.5, 4, PAUSE);
        for failed in [false, true, false, false, false, true, false, false] {
            attempt(&breaker, failed, now);
        }
        assert!(!breaker.is_open());
        attempt(&breaker, true, now);
        assert!(breaker.is_open());
    }

    #[test]
    fn what_began_before_the_pause_changes_nothing() {
        let breaker = CircuitBreaker::after_failures(1, PAUSE);
        let now = Instant::now();
        attempt(&breaker, true, now);
        breaker.ended(false, false, now);
        breaker.ended(false, true, now + PAUSE / 2);
        assert!(may_begin(&breaker, now + PAUSE));
    }
}
