//! What failed, and when to try again: each stream has trouble of its own.

use std::{sync::Mutex, time::Duration};

use tokio::time::Instant;

use super::{Core, Event, EventSink, KeepAlive, Scope, SubscribeError, in_flight::locked};
use crate::engine::{EngineError, EngineErrorKind};

/// How each stream fares.
#[derive(Debug)]
pub(super) struct Trouble(Mutex<Vec<Fares>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fares {
    Well,
    /// It is tried again.
    Trying,
    /// More attempts failed than keep-alive allows, or no attempt helps. It is tried again for as long as others fare well.
    GivenUp,
}

/// The next attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) attempt: u32,
    pub(super) delay: Duration,
}

impl Trouble {
    pub(super) fn new(streams: usize) -> Self {
        Self(Mutex::new(vec![Fares::Well; streams]))
    }

    /// These can be read.
    pub(super) fn over(&self, streams: impl IntoIterator<Item = u32>) {
        let mut fares = locked(&self.0);
        for stream in streams {
            fares[stream as usize] = Fares::Well;
        }
    }

    /// Whether none can be read, and trying again is over.
    fn given_up(&self, streams: &[u32], now: Fares) -> bool {
        let mut fares = locked(&self.0);
        for stream in streams {
            fares[*stream as usize] = now;
        }
        fares.iter().all(|one| *one == Fares::GivenUp)
    }
}

/// Streams whose outcomes cannot be stored. Many calls settle at once, and meet the same trouble: they share its attempts,
/// and it is told once.
#[derive(Debug)]
pub(super) struct SettlingTrouble(Mutex<Vec<Option<Trial>>>);

#[derive(Clone, Copy, Debug)]
struct Trial {
    /// How many attempts failed, each of which may be that of several calls.
    attempts: u32,
    next: Instant,
    /// How many calls wait.
    waiting: u32,
}

impl SettlingTrouble {
    pub(super) fn new(streams: usize) -> Self {
        Self(Mutex::new(vec![None; streams]))
    }

    /// When the next attempt is.
    pub(super) fn next(&self, stream: u32) -> Option<Instant> {
        locked(&self.0)[stream as usize].map(|trial| trial.next)
    }

    /// A call that waited does not wait any more.
    pub(super) fn gave_up(&self, stream: u32) {
        self.left(stream, false);
    }

    /// A call could not store its outcomes and waits, for the first time or again. Gives the delay where that is new trouble.
    fn failed(&self, stream: u32, is_first: bool, keep_alive: &KeepAlive) -> Option<Duration> {
        let now = Instant::now();
        let trial = &mut locked(&self.0)[stream as usize];
        let Some(trial) = trial else {
            let delay = keep_alive.delay(1);
            *trial = Some(Trial {
                attempts: 1,
                next: now + delay,
                waiting: 1,
            });
            return Some(delay);
        };
        trial.waiting += u32::from(is_first);
        // Of several calls whose attempt fails in the same moment the first one counts.
        if now >= trial.next {
            trial.attempts = trial.attempts.saturating_add(1);
            trial.next = now + keep_alive.delay(trial.attempts);
        }
        None
    }

    /// A call that waited is done. Tells whether the trouble is over: an outcome was stored, or nobody waits.
    fn left(&self, stream: u32, is_stored: bool) -> bool {
        let trial = &mut locked(&self.0)[stream as usize];
        let Some(known) = trial else { return false };
        known.waiting = known.waiting.saturating_sub(1);
        let is_over = is_stored || known.waiting == 0;
        if is_over {
            *trial = None;
        }
        is_over
    }
}

/// What one attempt of a call changed.
#[derive(Debug, Default)]
pub(super) struct Told {
    interrupted: Vec<u32>,
    error: Option<(EngineError, Duration)>,
    resumed: Vec<u32>,
}

impl Told {
    pub(super) fn failed(
        &mut self,
        trouble: &SettlingTrouble,
        stream: u32,
        error: EngineError,
        is_first: bool,
        keep_alive: &KeepAlive,
    ) {
        match trouble.failed(stream, is_first, keep_alive) {
            Some(delay) => {
                self.interrupted.push(stream);
                self.error = Some((error, delay));
            }
            None => tracing::debug!("outcomes still cannot be stored: {error}"),
        }
    }

    /// An attempt after the first succeeded. Where nothing was sent, that says nothing about the store.
    pub(super) fn succeeded(&mut self, trouble: &SettlingTrouble, stream: u32, was_sent: bool) {
        if trouble.left(stream, was_sent) {
            self.resumed.push(stream);
        }
    }

    pub(super) fn tell(self, events: &EventSink) {
        if !self.resumed.is_empty() {
            let scope = &Scope::Settling(self.resumed);
            events(Event::Resumed { scope });
        }
        if let Some((error, delay)) = self.error {
            events(Event::Interrupted {
                scope: &Scope::Settling(self.interrupted),
                error: &error,
                attempt: 1,
                delay,
            });
        }
    }
}

/// Whether an error may pass without this program doing anything else than waiting: also when it takes somebody who
/// makes room, or gives a permission or a password back.
pub(super) fn may_pass(kind: EngineErrorKind) -> bool {
    kind.is_transient() || is_missing(kind) || matches!(kind, EngineErrorKind::Full | EngineErrorKind::Permission)
}

/// Whether a stream or its group is not there (any more).
pub(super) fn is_missing(kind: EngineErrorKind) -> bool {
    matches!(
        kind,
        EngineErrorKind::NoGroup | EngineErrorKind::NoStream | EngineErrorKind::Unblocked
    )
}

/// Whether an error says something about one stream rather than about the way to the store.
pub(super) fn is_of_a_stream(kind: EngineErrorKind) -> bool {
    matches!(kind, EngineErrorKind::WrongType | EngineErrorKind::Permission)
}

impl Core {
    /// Streams could not be read after so many failed attempts in a row: when to try again, which is told, or the end.
    pub(super) fn again(&self, streams: &[u32], attempts: u32, error: EngineError) -> Result<Again, SubscribeError> {
        let Some(keep_alive) = self.spec.keep_alive else {
            return Err(SubscribeError::Engine(error));
        };
        let passes = may_pass(error.kind());
        let exhausted = keep_alive.max_attempts.is_some_and(|most| attempts >= most);
        let fares = match passes && !exhausted {
            true => Fares::Trying,
            false => Fares::GivenUp,
        };
        if self.trouble.given_up(streams, fares) {
            return Err(match passes {
                true => SubscribeError::GaveUp { attempts, error },
                false => SubscribeError::Engine(error),
            });
        }
        let attempt = attempts.saturating_add(1);
        let delay = keep_alive.delay(attempt);
        (self.events)(Event::Interrupted {
            scope: &self.scope(streams),
            error: &error,
            attempt,
            delay,
        });
        Ok(Again { attempt, delay })
    }

    /// The scope of trouble with these streams.
    pub(super) fn scope(&self, streams: &[u32]) -> Scope {
        match streams.len() == self.names.len() && self.shards.len() == 1 && streams.len() > 1 || self.names.len() == 1
        {
            true => Scope::Store,
            false => Scope::Streams(streams.to_vec()),
        }
    }
}
