//! What can go wrong below the seam.

use std::{error::Error as StdError, fmt};

/// An operation on an engine that did not succeed.
///
/// [`EngineError::kind`] is for programs, the text is for people: it names what was attempted, on what, why it failed
/// and, where that is known, what to do next. It never holds a password.
#[derive(Debug)]
pub struct EngineError {
    kind: EngineErrorKind,
    attempted: String,
    reason: String,
    timed_out: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Why an [`EngineError`] happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EngineErrorKind {
    /// The URL, or an option, makes no sense. Nothing was attempted.
    InvalidInput,
    /// The server or file could not be reached, or the connection broke. A write that was under way may or may not have
    /// happened.
    Connection,
    /// The server is there and cannot serve now: loading, failing over, a read-only replica, a cluster without quorum, a
    /// busy file. The operation did not happen; it may succeed later.
    Unavailable,
    /// The file of an embedded store was deleted or replaced while it was open. What was asked for is not in the file that
    /// is there now; the same operation, asked for again, uses that file, and makes it where there is none.
    Moved,
    /// Authentication failed, or the user may not do this.
    Permission,
    /// The key holds something else than a stream (or set, or hash, or list).
    WrongType,
    /// An explicit ID is not greater than the last ID of the stream, or is `0-0`.
    IdTooSmall,
    /// There is no such stream.
    NoStream,
    /// There is no such group, or the stream it belonged to is gone (`NOGROUP`).
    NoGroup,
    /// The stream or its group vanished while a read was waiting (`UNBLOCKED`).
    Unblocked,
    /// A group of that name exists already (`BUSYGROUP`).
    GroupExists,
    /// The entry is written, and not as safe as was asked ([`Durability`](super::Durability)), or nobody can tell.
    NotDurable,
    /// The store is full: `maxmemory` reached, or no space left on the device. The write did not happen.
    Full,
    /// The engine cannot do this (an old server, for example).
    Unsupported,
    /// What was stored, or what the server answered, makes no sense.
    Corrupt,
    /// The engine was closed.
    Closed,
    /// Anything else; the text says what.
    Other,
}

impl EngineErrorKind {
    /// Whether the same operation may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::Unavailable | Self::Unblocked | Self::Moved
        )
    }
}

impl EngineError {
    /// An error of `kind`. `attempted` completes "could not …", such as `append to stream 'order.placed'`; `reason`
    /// says why, and what to do where that is known.
    pub fn new(kind: EngineErrorKind, attempted: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            attempted: attempted.into(),
            reason: reason.into(),
            timed_out: false,
            source: None,
        }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error as another kind, for a caller who knows better what it means.
    #[cfg(feature = "redis")]
    #[must_use]
    pub(crate) fn with_kind(mut self, kind: EngineErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// The same error, as one of a time-out or not.
    #[must_use]
    pub(crate) fn timed_out(self, timed_out: bool) -> Self {
        Self { timed_out, ..self }
    }

    /// Whether the store was given up because no byte came from it, or went to it, for too long. A read that ended like
    /// this may succeed when it asks for less.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.timed_out
    }

    /// The same error for another one that it concerns too; without its source.
    pub(crate) fn without_source(&self) -> Self {
        Self::new(self.kind, self.attempted.clone(), self.reason.clone()).timed_out(self.timed_out)
    }

    /// Why it happened, for programs.
    #[must_use]
    pub fn kind(&self) -> EngineErrorKind {
        self.kind
    }

    /// Why it happened, for people, without what was attempted.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.attempted, self.reason)
    }
}

impl StdError for EngineError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
