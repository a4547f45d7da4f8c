//! What an append says, and what comes back.

use std::time::Duration;

use bytes::Bytes;

use super::{EngineError, EngineErrorKind, EngineResult};
use crate::entry::{EntryId, Fields, NewId, StreamName, Trim};

/// An entry to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// To this stream.
    pub stream: StreamName,
    /// With this ID.
    pub id: NewId,
    /// These fields, at least one.
    pub fields: Fields,
    /// How.
    pub options: AppendOptions,
}

impl Append {
    /// The latest moment at which an entry may be due, in milliseconds since the Unix epoch: in the year 37648.
    pub const LATEST_DUE_MS: u64 = 1 << 50;

    /// Refuses what cannot be had together with a moment at which the entry is due.
    pub(crate) fn check_due(&self, record: Option<&Record>) -> EngineResult<()> {
        let Some(due_ms) = self.options.due_ms else {
            return Ok(());
        };
        if self.id != NewId::Auto {
            let reason = "an entry that is due later gets its ID when it is appended: give it no ID";
            return Err(Self::refused_later(&self.stream, reason));
        }
        Self::check_moment(&self.stream, due_ms, record.is_some())
    }

    /// Refuses a moment that lies too far ahead, or one for an entry with a snapshot.
    pub(crate) fn check_moment(stream: &StreamName, due_ms: u64, has_record: bool) -> EngineResult<()> {
        let reason = if due_ms > Self::LATEST_DUE_MS {
            "it is due later than an entry may be, which is 2^50 ms after the Unix epoch"
        } else if has_record {
            "an entry that is due later has no ID yet that a snapshot could hold: emit it without an identifier, or at once"
        } else {
            return Ok(());
        };
        Err(Self::refused_later(stream, reason))
    }

    fn refused_later(stream: &StreamName, reason: &'static str) -> EngineError {
        let attempted = format!("append to stream '{stream}' later");
        EngineError::new(EngineErrorKind::InvalidInput, attempted, reason)
    }
}

/// How an entry is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendOptions {
    /// Cut the stream's old end in the same step. Default: no.
    pub trim: Option<Trim>,
    /// Make the stream if it is missing. Default: yes. `false` is `NOMKSTREAM`.
    pub create_stream: bool,
    /// Append the entry once, however often the append is repeated. Default: no.
    pub idempotency: Option<Idempotency>,
    /// Keep the entry beside the stream until this moment, in milliseconds since the Unix epoch, and append it then
    /// ([`Scheduled`](super::Scheduled)). The append gives the ID under which the entry waits. A moment that has passed, by the
    /// store's clock, appends the entry at once, as without it. Default: at once.
    pub due_ms: Option<u64>,
}

impl Default for AppendOptions {
    fn default() -> Self {
        Self {
            trim: None,
            create_stream: true,
            idempotency: None,
            due_ms: None,
        }
    }
}

/// What makes an append idempotent: appends to one stream with the same key within the window give the ID of the first
/// entry, and only the first writes anything. What they hold is not compared.
///
/// On Redis the key is remembered in a key of its own beside the stream, in the same slot of a Redis Cluster (about 200 bytes
/// for the time of the window).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// What the repetitions have in common: 1 to 256 bytes. Others are refused
    /// ([`InvalidInput`](super::EngineErrorKind::InvalidInput)); an empty key is nearly always a variable that was not set, and would
    /// make all events one.
    pub key: Bytes,
    /// For how long a repetition is recognised, from the first append on. At least a millisecond.
    pub window: Duration,
}

impl Idempotency {
    /// The longest key in bytes.
    pub const LONGEST_KEY: usize = 256;

    /// Why the key is refused.
    pub(crate) fn fault(&self) -> Option<String> {
        let (length, most) = (self.key.len(), Self::LONGEST_KEY);
        match length {
            0 => Some("its idempotency key is empty".to_owned()),
            _ if length > most => Some(format!(
                "its idempotency key has {length} bytes, and at most {most} are allowed"
            )),
            _ => None,
        }
    }

    /// Whole milliseconds of the window.
    pub(crate) fn window_ms(&self) -> u64 {
        u64::try_from(self.window.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(1, 1 << 50)
    }
}

/// What [`Engine::append_recorded`](super::Engine::append_recorded) writes beside the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// `LPUSH`: a new head of a list, made of the ID's text between two others.
    Push {
        /// The list.
        list: StreamName,
        /// What comes before the ID.
        before: Bytes,
        /// What comes after it.
        after: Bytes,
    },
    /// Which message comes back from the archive ([`Origins`](super::Origins)). If it has come back already, nothing is written.
    Restored {
        /// The IDs that the message had, oldest first. The last one is the ID that it has in the archive.
        ids: Vec<EntryId>,
    },
}

impl Record {
    /// The list that it is pushed to.
    #[must_use]
    pub fn list(&self) -> Option<&StreamName> {
        match self {
            Self::Push { list, .. } => Some(list),
            Self::Restored { .. } => None,
        }
    }
}

/// What [`Engine::append_recorded`](super::Engine::append_recorded) did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The ID of the entry.
    pub id: EntryId,
    /// Whether it was appended now. `false`: the message of a [`Record::Restored`] is back already, under this ID or a
    /// later one.
    pub fresh: bool,
}

/// A batch of appends of which not all succeeded.
#[derive(Debug, thiserror::Error)]
#[error("{} of {} entries were not appended; the first: {}", self.failures().count(), self.results.len(), self.first())]
pub struct AppendManyError {
    /// The result of each append, in order.
    pub results: Vec<EngineResult<EntryId>>,
}

impl AppendManyError {
    fn failures(&self) -> impl Iterator<Item = &EngineError> {
        self.results.iter().filter_map(|result| result.as_ref().err())
    }

    fn first(&self) -> String {
        self.failures().next().map(ToString::to_string).unwrap_or_default()
    }
}
