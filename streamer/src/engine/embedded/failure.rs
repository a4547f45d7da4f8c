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
    /// Whether the operation was refused before it changed anything, so that the rest of its transaction stands.
    refused: bool,
}

impl Failure {
    /// The operation breaks a rule. Only to be given before anything was changed.
    pub(super) fn refused(kind: EngineErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            source: None,
            refused: true,
        }
    }

    pub(super) fn corrupt(what: &str) -> Self {
        Self {
            kind: EngineErrorKind::Corrupt,
            reason: format!("the store is damaged: {what}; restore the file from a backup"),
            source: None,
            refused: false,
        }
    }

    pub(super) fn closed() -> Self {
        Self::refused(EngineErrorKind::Closed, "the engine was closed")
    }

    pub(super) fn is_refusal(&self) -> bool {
        self.refused
    }

    pub(super) fn is_busy(&self) -> bool {
        self.kind == EngineErrorKind::Unavailable
    }

    pub(super) fn is_no_group(&self) -> bool {
        self.kind == EngineErrorKind::NoGroup
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
        if let (Some(_), Some(path)) = (&self.source, path) {
            self.reason = format!("{}: {}", path.display(), self.reason);
        }
        self
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        use EngineErrorKind as Kind;
        let (kind, advice) = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => (Kind::Full, "free space on the device, trim streams, or raise max_size"),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
                Kind::Unavailable,
                "another process holds the file; try again, or raise busy_timeout",
            ),
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => (
                Kind::Permission,
                "this user must be able to write the file and its directory",
            ),
            Some(ErrorCode::CannotOpen) => (
                Kind::Permission,
                "its directory must exist, and this user must be able to write there",
            ),
            Some(ErrorCode::SystemIoFailure) => (Kind::Unavailable, "the device failed; look at the system's log"),
            Some(ErrorCode::NotADatabase) => (Kind::Corrupt, "it is not a SQLite database"),
            Some(ErrorCode::DatabaseCorrupt) => (Kind::Corrupt, "restore the file from a backup"),
            Some(ErrorCode::TooBig) => (Kind::InvalidInput, "an entry must be smaller than 1 GB"),
            _ => match error {
                // A column of another type or size than this engine ever writes.
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..) => (Kind::Corrupt, "restore the file from a backup"),
                _ => (Kind::Other, "this is not expected"),
            },
        };
        Self {
            kind,
            reason: format!("{error} ({advice})"),
            source: Some(Arc::new(error)),
            refused: false,
        }
    }
}
