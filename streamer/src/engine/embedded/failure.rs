//! Why an operation on the store did not succeed, before it is known what was attempted.

use std::{path::Path, sync::Arc};

use rusqlite::ErrorCode;

use crate::engine::{EngineError, EngineErrorKind};

/// The result of one step inside the store.
pub(super) type Step<T> = Result<T, Failure>;

/// Why a step failed. It can be copied, because one failed commit fails every operation of its batch.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    kind: EngineErrorKind,
    reason: String,
    source: Option<Arc<rusqlite::Error>>,
    cause: Cause,
}

/// What a failure says of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Nothing: the operation was refused before it changed anything, so that the rest of its transaction stands.
    Refusal,
    /// Another process is in the way. The same step may succeed at once.
    Busy,
    /// The file cannot be opened.
    Unreachable,
    /// The device or the file system failed, perhaps only for this connection.
    Device,
    /// What was read makes no sense. Whether the file or only this connection is damaged shows a second look.
    Damage,
    /// The log of a file that may only be read has appeared or gone: what was read without it, or with another, may be old.
    LogChanged,
    /// The tables of the streams are not in the file any more.
    TablesGone,
    /// Something else that ended the transaction.
    Transaction,
}

impl Failure {
    fn new(kind: EngineErrorKind, cause: Cause, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            source: None,
            cause,
        }
    }

    /// The operation breaks a rule. Only to be given before anything was changed.
    pub(super) fn refused(kind: EngineErrorKind, reason: impl Into<String>) -> Self {
        Self::new(kind, Cause::Refusal, reason)
    }

    pub(super) fn corrupt(what: &str) -> Self {
        Self::new(UNCERTAIN, Cause::Damage, format!("the store makes no sense: {what}"))
    }

    pub(super) fn closed() -> Self {
        Self::refused(EngineErrorKind::Closed, "the engine was closed")
    }

    /// The path leads to no file where one can be made, at least now.
    pub(super) fn unreachable(reason: impl Into<String>) -> Self {
        Self::new(EngineErrorKind::InvalidInput, Cause::Unreachable, reason)
    }

    /// This user may not open the file, at least now.
    pub(super) fn not_allowed(reason: impl Into<String>) -> Self {
        Self::new(EngineErrorKind::Permission, Cause::Unreachable, reason)
    }

    /// What was done was done to a file that nobody else finds.
    pub(super) fn replaced(path: &Path) -> Self {
        let reason = format!(
            "{} was deleted or replaced while it was open: the file that is there now has none of this; try again, which \
             uses that file, or makes it where there is none",
            path.display()
        );
        Self::new(EngineErrorKind::Moved, Cause::Transaction, reason)
    }

    /// What was read of a file that may only be read may not be what it holds now.
    pub(super) fn log_changed(path: &Path) -> Self {
        let reason = format!(
            "the log of {} appears and goes again and again: other processes open and close the file all the time; try again",
            path.display()
        );
        Self::new(EngineErrorKind::Unavailable, Cause::LogChanged, reason)
    }

    pub(super) fn is_log_changed(&self) -> bool {
        self.cause == Cause::LogChanged
    }

    /// Whether somebody has removed the tables of the streams from the file.
    pub(super) fn are_tables_gone(&self) -> bool {
        self.cause == Cause::TablesGone
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.cause == Cause::Refusal
    }

    /// Whether this user may not do it.
    pub(super) fn is_permission(&self) -> bool {
        self.kind == EngineErrorKind::Permission
    }

    pub(super) fn is_busy(&self) -> bool {
        self.cause == Cause::Busy
    }

    /// Whether SQLite found no room, in the file or on the device.
    pub(super) fn is_full(&self) -> bool {
        self.kind == EngineErrorKind::Full && self.cause == Cause::Transaction
    }

    pub(super) fn is_no_group(&self) -> bool {
        self.kind == EngineErrorKind::NoGroup
    }

    /// Whether the same may succeed with another connection.
    pub(super) fn needs_another_look(&self) -> bool {
        matches!(self.cause, Cause::Unreachable | Cause::Device | Cause::Damage)
    }

    /// The failure after a new connection has failed in the same way.
    #[must_use]
    pub(super) fn for_certain(mut self) -> Self {
        if self.cause == Cause::Damage {
            self.kind = EngineErrorKind::Corrupt;
            self.reason.push_str(" (the file is damaged: restore it from a backup)");
        }
        self
    }

    /// The failure of a store that was open before: what it cannot do now it may do later.
    #[must_use]
    pub(super) fn of_an_open_store(mut self) -> Self {
        if self.cause == Cause::Unreachable {
            self.kind = EngineErrorKind::Unavailable;
        }
        self
    }

    /// The failure as the caller sees it. `attempted` completes "could not …".
    pub(super) fn attempted(self, attempted: impl Into<String>) -> EngineError {
        let error = EngineError::new(self.kind, attempted, self.reason);
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }

    /// The same failure, naming the file where the store itself is the reason.
    #[must_use]
    pub(super) fn at(mut self, path: Option<&Path>) -> Self {
        let is_of_the_store = self.source.is_some() || self.cause == Cause::Damage;
        if let (true, Some(path)) = (is_of_the_store, path) {
            self.reason = format!("{}: {}", path.display(), self.reason);
        }
        self
    }
}

/// The kind of what a second look has not confirmed.
const UNCERTAIN: EngineErrorKind = EngineErrorKind::Unavailable;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        use EngineErrorKind as Kind;
        let (kind, cause, advice) = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => (
                Kind::Full,
                Cause::Transaction,
                "free space on the device, trim streams, or raise max_size",
            ),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => (
                Kind::Unavailable,
                Cause::Busy,
                "another process holds the file; try again, or raise busy_timeout",
            ),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
                Kind::Permission,
                Cause::Transaction,
                "this user must be able to write the file and its directory",
            ),
            Some(ErrorCode::CannotOpen) => (
                Kind::Permission,
                Cause::Unreachable,
                "its directory must exist, and this user must be able to write there",
            ),
            Some(ErrorCode::SystemIoFailure) => (
                Kind::Unavailable,
                Cause::Device,
                "the device failed; look at the system's log",
            ),
            Some(ErrorCode::OutOfMemory) => (Kind::Unavailable, Cause::Transaction, "there is no memory left"),
            Some(ErrorCode::NotADatabase) => (UNCERTAIN, Cause::Damage, "it is not a SQLite database"),
            Some(ErrorCode::DatabaseCorrupt) => (UNCERTAIN, Cause::Damage, "it could not be read"),
            Some(ErrorCode::TooBig) => (
                Kind::InvalidInput,
                Cause::Transaction,
                "an entry must be smaller than 1 GB",
            ),
            _ => match error {
                // A column of another type or size than this engine ever writes.
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => (UNCERTAIN, Cause::Damage, "it could not be read"),
                _ if lacks_a_table(&error) => (
                    Kind::Moved,
                    Cause::TablesGone,
                    "somebody removed the tables of the streams from this file, with all that was in them; try again, which \
                     makes them, or uses the layout that a newer version of Streamer has made",
                ),
                _ => (Kind::Other, Cause::Transaction, "this is not expected"),
            },
        };
        Self {
            kind,
            reason: format!("{error} ({advice})"),
            source: Some(Arc::new(error)),
            cause,
        }
    }
}

fn lacks_a_table(error: &rusqlite::Error) -> bool {
    let (rusqlite::Error::SqliteFailure(_, Some(text)) | rusqlite::Error::SqlInputError { msg: text, .. }) = error
    else {
        return false;
    };
    text.starts_with("no such table: streamer_") || text.starts_with("no such column: last_ms")
}
