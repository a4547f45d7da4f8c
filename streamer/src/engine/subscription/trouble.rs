//! What failed, and when to try again: each stream has trouble of its own.

use std::{sync::Mutex, time::Duration};

use super::{Core, Event, Scope, SubscribeError, in_flight::locked};
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
