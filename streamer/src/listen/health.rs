//! Whether a listening works, for whoever watches its process: a supervisor, an orchestrator, an application's own page.
//!
//! A task beside the stages takes a sample each second, so that nothing is measured on the way of a message. A sample that
//! does not come tells that the runtime is blocked.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Report, Scope};
use crate::{engine::Settler, entry::StreamName};

/// How often a sample is taken.
const SAMPLE: Duration = Duration::from_secs(1);

/// After so long without a sample the runtime counts as blocked.
const BLOCKED_AFTER: Duration = Duration::from_secs(10);

/// How long nothing may be read, or no message may end, before a listening counts as stalled.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Tells at any time whether a listening works ([`Listening::health`](super::Listening::health)). Cheap to clone; it may be asked
/// from any thread.
///
/// ```
/// # use streamer::{Listeners, Streamer};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let streamer = Streamer::connect("memory://").await?;
/// # let listeners = Listeners::new().on("order.placed", "receipt", async || ());
/// let listening = streamer.listen(listeners).group("billing");
/// let health = listening.health();
/// assert!(!health.condition().is_ready());
/// let running = listening.spawn();
/// assert!(running.ready().await);
/// assert!(health.condition().is_ready());
/// running.stop();
/// running.join().await?;
/// assert_eq!(health.condition().to_string(), "ended");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Health {
    record: Arc<Record>,
    stalled_after: Duration,
}

/// The health of a listening. The text ([`Display`](fmt::Display)) is one line for an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It has not begun to read: it was not run yet, or the store has not answered yet.
    Starting,
    /// It reads, and messages that it has come to an end.
    Working,
    /// Something does not go on because the store or the archive cannot be reached or refuses; it is tried again.
    Interrupted {
        /// What does not go on.
        scope: Scope,
        /// Why, at the last attempt.
        error: String,
    },
    /// No read was answered for so long.
    NotReading(Duration),
    /// Messages are in flight, and none has ended for so long: listeners take longer, or hang.
    NotHandling {
        /// How long.
        since: Duration,
        /// How many messages are in flight.
        in_flight: usize,
    },
    /// The end was asked for; what runs is being finished.
    Stopping,
    /// The runtime has run none of its tasks for so long: a listener blocks it, or the process stood still.
    Blocked(Duration),
    /// It has ended.
    Ended,
}

impl Condition {
    /// Whether the process should go on: it is not blocked, and the listening has not ended. A listening that waits for its
    /// store is alive: a restart would not help.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !matches!(self, Self::Blocked(_) | Self::Ended)
    }

    /// Whether it does its work: it is connected, it reads, and messages come to an end.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Working)
    }

    /// The condition as a word for machines: `starting`, `working`, `interrupted`, `not_reading`, `not_handling`, `stopping`,
    /// `blocked` or `ended`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Working => "working",
            Self::Interrupted { .. } => "interrupted",
            Self::NotReading(_) => "not_reading",
            Self::NotHandling { .. } => "not_handling",
            Self::Stopping => "stopping",
            Self::Blocked(_) => "blocked",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting: no stream was read yet"),
            Self::Working => f.write_str("working"),
            Self::Interrupted { scope, error } => write!(f, "{scope} was interrupted: {error}"),
            Self::NotReading(since) => write!(f, "no read was answered for {} s", since.as_secs()),
            Self::NotHandling { since, in_flight } => {
                write!(
                    f,
                    "no message has ended for {} s, with {in_flight} in flight",
                    since.as_secs()
                )
            }
            Self::Stopping => f.write_str("stopping: what runs is being finished"),
            Self::Blocked(since) => write!(f, "the runtime is blocked: it ran no task for {} s", since.as_secs()),
            Self::Ended => f.write_str("ended"),
        }
    }
}

struct Record {
    /// Whether anybody asked for a handle: else no samples are taken.
    is_watched: AtomicBool,
    /// Outcomes that were given to the store. Counted by the settle stage, once for each batch.
    settled: AtomicU64,
    state: Mutex<State>,
}

/// What is known. Reports and samples change it; whoever asks reads it.
struct State {
    phase: Phase,
    interruptions: Vec<(Interrupted, String)>,
    /// When the last sample was taken; `None` before the first.
    sampled: Option<Instant>,
    reads: u64,
    /// When a read was known last to have been answered, or to have no reason to be.
    has_read: Instant,
    settled: u64,
    /// When a message was known last to have ended, or none to be in flight.
    has_settled: Instant,
    in_flight: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Working,
    Stopping,
    Ended,
}

/// What is interrupted, one stream at a time: it is not always the same streams that resume together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Interrupted {
    Store,
    Stream(StreamName),
    Settling(StreamName),
    Retention,
}

impl Interrupted {
    fn all(scope: &Scope) -> Vec<Self> {
        match scope {
            Scope::Store => vec![Self::Store],
            Scope::Streams(streams) => streams.iter().cloned().map(Self::Stream).collect(),
            Scope::Settling(streams) => streams.iter().cloned().map(Self::Settling).collect(),
            Scope::Retention => vec![Self::Retention],
        }
    }

    fn scope(&self) -> Scope {
        match self {
            Self::Store => Scope::Store,
            Self::Stream(stream) => Scope::Streams(vec![stream.clone()]),
            Self::Settling(stream) => Scope::Settling(vec![stream.clone()]),
            Self::Retention => Scope::Retention,
        }
    }
}

impl Health {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            record: Arc::new(Record {
                is_watched: AtomicBool::new(false),
                settled: AtomicU64::new(0),
                state: Mutex::new(State {
                    phase: Phase::Starting,
                    interruptions: Vec::new(),
                    sampled: None,
                    reads: 0,
                    has_read: now,
                    settled: 0,
                    has_settled: now,
                    in_flight: 0,
                }),
            }),
            stalled_after: STALLED_AFTER,
        }
    }

    /// A handle for somebody outside.
    pub(super) fn watched(&self) -> Self {
        self.record.is_watched.store(true, Ordering::Release);
        self.clone()
    }

    pub(super) fn is_watched(&self) -> bool {
        self.record.is_watched.load(Ordering::Acquire)
    }

    /// How long no read may be answered, or no message may end while some are in flight, before the condition is
    /// [`NotReading`](Condition::NotReading) or [`NotHandling`](Condition::NotHandling). It should be longer than the slowest
    /// listener takes, and than one read waits. Default: 60 s.
    #[must_use]
    pub fn stalled_after(mut self, limit: Duration) -> Self {
        self.stalled_after = limit;
        self
    }

    /// The health of the listening now. It is read from the last sample, so it costs little and never waits for the store.
    #[must_use]
    pub fn condition(&self) -> Condition {
        let state = self.state();
        let now = Instant::now();
        match state.phase {
            Phase::Ended => return Condition::Ended,
            Phase::Starting if state.sampled.is_none() => return Condition::Starting,
            _ => {}
        }
        let since_sample = state.sampled.map_or(Duration::ZERO, |sampled| now - sampled);
        if since_sample > BLOCKED_AFTER {
            return Condition::Blocked(since_sample);
        }
        if state.phase == Phase::Stopping {
            return Condition::Stopping;
        }
        if let Some((interrupted, error)) = state.interruptions.first() {
            return Condition::Interrupted {
                scope: interrupted.scope(),
                error: error.clone(),
            };
        }
        if state.phase == Phase::Starting {
            return Condition::Starting;
        }
        // At the last sample: what has happened since then nobody has looked at.
        let sampled = state.sampled.unwrap_or(now);
        let since = |last| sampled.saturating_duration_since(last);
        let (unread, unsettled) = (since(state.has_read), since(state.has_settled));
        if unsettled > self.stalled_after {
            return Condition::NotHandling {
                since: unsettled,
                in_flight: state.in_flight,
            };
        }
        if unread > self.stalled_after {
            return Condition::NotReading(unread);
        }
        Condition::Working
    }

    /// Notes what a report tells.
    pub(super) fn observe(&self, report: &Report<'_>) {
        match report {
            Report::Started { .. } => {
                let mut state = self.state();
                let now = Instant::now();
                (state.has_read, state.has_settled) = (now, now);
                state.sampled.get_or_insert(now);
                if state.phase == Phase::Starting {
                    state.phase = Phase::Working;
                }
            }
            Report::Interrupted { scope, error, .. } => {
                let mut state = self.state();
                for interrupted in Interrupted::all(scope) {
                    let text = error.to_string();
                    match state.interruptions.iter_mut().find(|(one, _)| *one == interrupted) {
                        Some((_, known)) => *known = text,
                        None => state.interruptions.push((interrupted, text)),
                    }
                }
            }
            Report::Resumed { scope } => {
                let over = Interrupted::all(scope);
                let mut state = self.state();
                state.interruptions.retain(|(one, _)| !over.contains(one));
                // The time of the trouble is no stall.
                let now = Instant::now();
                (state.has_read, state.has_settled) = (now, now);
            }
            Report::Stopping => self.state().phase = Phase::Stopping,
            _ => {}
        }
    }

    /// Outcomes were given to the store.
    pub(super) fn settled(&self, outcomes: u64) {
        self.record.settled.fetch_add(outcomes, Ordering::Relaxed);
    }

    /// Takes samples, until the subscription is closed.
    pub(super) async fn sample(self, settler: Settler) {
        loop {
            self.sampled(settler.reads(), settler.load().0);
            tokio::select! {
                () = settler.closed() => return,
                () = tokio::time::sleep(SAMPLE) => {}
            }
        }
    }

    fn sampled(&self, reads: u64, in_flight: usize) {
        let settled = self.record.settled.load(Ordering::Relaxed);
        let mut state = self.state();
        let now = Instant::now();
        state.sampled = Some(now);
        if reads != state.reads || in_flight > 0 {
            // While all workers are busy nothing is read. If they are busy for too long, that is told.
            (state.reads, state.has_read) = (reads, now);
        }
        if settled != state.settled || in_flight == 0 {
            (state.settled, state.has_settled) = (settled, now);
        }
        state.in_flight = in_flight;
    }

    /// What notes the end when it is dropped, however the listening ends.
    pub(super) fn ends(&self) -> EndGuard {
        EndGuard(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.record.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Health({:?})", self.condition())
    }
}

/// See [`Health::ends`].
pub(super) struct EndGuard(Health);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.state().phase = Phase::Ended;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineError, EngineErrorKind};

    fn started() -> Health {
        let health = Health::new().stalled_after(Duration::from_secs(5));
        health.observe(&Report::Started {
            streams: &[],
            group: None,
        });
        health
    }

    fn later(health: &Health, by: Duration) {
        let mut state = health.state();
        state.has_read -= by;
        state.has_settled -= by;
    }

    #[test]
    fn a_listening_that_handles_nothing_or_reads_nothing_for_long_is_not_ready_and_is_live() {
        let health = started();
        health.sampled(1, 0);
        assert_eq!(health.condition(), Condition::Working);
        // Nothing new came, and reads are answered all the time.
        later(&health, Duration::from_secs(60));
        health.sampled(2, 0);
        assert_eq!(health.condition(), Condition::Working);
        // A message that came late is no stall yet, whatever was before.
        later(&health, Duration::from_secs(3));
        health.sampled(3, 1);
        assert_eq!(health.condition(), Condition::Working);
        later(&health, Duration::from_secs(3));
        health.sampled(4, 1);
        let condition = health.condition();
        assert!(
            matches!(condition, Condition::NotHandling { in_flight: 1, .. }),
            "{condition:?}"
        );
        assert!(condition.is_live() && !condition.is_ready());
        health.settled(1);
        health.sampled(4, 0);
        assert_eq!(health.condition(), Condition::Working);
        later(&health, Duration::from_secs(6));
        health.sampled(4, 0);
        let condition = health.condition();
        assert!(matches!(condition, Condition::NotReading(_)), "{condition:?}");
        assert!(condition.is_live() && !condition.is_ready());
    }

    #[test]
    fn what_no_sample_has_looked_at_is_no_stall() {
        let health = started();
        health.sampled(1, 0);
        // Six seconds pass without a sample.
        later(&health, Duration::from_secs(6));
        let sampled = health.state().sampled;
        health.state().sampled = sampled.and_then(|sampled| sampled.checked_sub(Duration::from_secs(6)));
        assert_eq!(health.condition(), Condition::Working);
    }

    #[test]
    fn each_stream_in_trouble_has_to_resume() {
        let health = started();
        let error = EngineError::new(EngineErrorKind::Connection, "reading", "no answer");
        let both = Scope::Streams(vec!["a".into(), "b".into()]);
        let interrupted = |scope| {
            health.observe(&Report::Interrupted {
                scope,
                error: &error,
                attempt: 1,
                delay: Duration::ZERO,
            });
        };
        interrupted(&both);
        interrupted(&both);
        interrupted(&Scope::Store);
        health.observe(&Report::Resumed {
            scope: &Scope::Streams(vec!["a".into()]),
        });
        health.observe(&Report::Resumed { scope: &Scope::Store });
        let condition = health.condition();
        assert_eq!(condition.name(), "interrupted");
        assert!(
            condition.to_string().contains("Listening to b was interrupted"),
            "{condition}"
        );
        assert!(condition.is_live() && !condition.is_ready());
        health.observe(&Report::Resumed {
            scope: &Scope::Streams(vec!["b".into()]),
        });
        assert_eq!(health.condition(), Condition::Working);
    }

    #[test]
    fn a_runtime_that_runs_no_task_is_not_live_and_an_end_is_an_end() {
        let health = started();
        health.sampled(1, 0);
        health.state().sampled = Instant::now().checked_sub(BLOCKED_AFTER + SAMPLE);
        let condition = health.condition();
        assert!(matches!(condition, Condition::Blocked(_)), "{condition:?}");
        assert!(!condition.is_live());
        health.sampled(2, 0);
        health.observe(&Report::Stopping);
        assert_eq!(health.condition(), Condition::Stopping);
        assert!(health.condition().is_live());
        drop(health.ends());
        assert_eq!(health.condition(), Condition::Ended);
    }
}
