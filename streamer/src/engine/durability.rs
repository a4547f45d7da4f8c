//! Durability on request: how safe an entry must be before its append returns.

use std::time::Duration;

use super::{EngineError, EngineErrorKind, EngineResult};
use crate::entry::{EntryId, StreamName};

/// What must have an entry before [`Engine::append_durably`](super::Engine::append_durably) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durability {
    /// So many replicas have received it (`WAIT`); with [`Durability::flushed`] they have flushed it to their logs.
    /// Default: none.
    pub replicas: u32,
    /// The store has flushed it to its device: Redis its append-only file (`WAITAOF`), the embedded engine its log, as
    /// with `synchronous=full`. Default: no.
    pub flushed: bool,
    /// How long to wait for that, from 1 ms to [`Durability::LONGEST_TIMEOUT`]. Default: 5 s. The embedded engine waits
    /// for its device as long as that takes.
    pub timeout: Duration,
}

impl Default for Durability {
    fn default() -> Self {
        Self {
            replicas: 0,
            flushed: false,
            timeout: Duration::from_secs(5),
        }
    }
}

/// An entry that is appended, and whether it is as safe as was asked.
#[derive(Debug)]
pub struct DurableAppend {
    /// The entry's ID.
    pub id: EntryId,
    /// [`EngineErrorKind::NotDurable`] when it is not as safe as was asked, or when nobody can tell.
    pub reached: EngineResult<()>,
}

impl Durability {
    /// The longest time to wait: below the time after which a server that sends nothing counts as gone.
    pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(8);

    /// Whether anything is asked for.
    pub(crate) fn is_asked(&self) -> bool {
        self.replicas > 0 || self.flushed
    }

    /// Refuses a time-out that cannot be kept.
    pub(crate) fn check(&self, stream: &StreamName) -> EngineResult<()> {
        if (Duration::from_millis(1)..=Self::LONGEST_TIMEOUT).contains(&self.timeout) {
            return Ok(());
        }
        Err(EngineError::new(
            EngineErrorKind::InvalidInput,
            format!("append to stream '{stream}'"),
            format!(
                "its durability is to be waited for {} ms, and 1 ms to {} ms are possible",
                self.timeout.as_millis(),
                Self::LONGEST_TIMEOUT.as_millis()
            ),
        ))
    }
}

/// The entry is written, and not as safe as was asked.
pub(crate) fn not_durable(stream: &StreamName, id: EntryId, reason: impl Into<String>) -> EngineError {
    EngineError::new(
        EngineErrorKind::NotDurable,
        format!("make entry {id} of stream '{stream}' as safe as was asked"),
        reason,
    )
}
