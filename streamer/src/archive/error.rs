//! What can go wrong with an archive.

use std::{error::Error as StdError, fmt};

use crate::engine::{EngineError, EngineErrorKind};

/// The result of an operation on an archive.
pub type ArchiveResult<T> = Result<T, ArchiveError>;

/// An operation on an archive that did not succeed. It never holds a password.
#[derive(Debug)]
pub struct ArchiveError {
    kind: ArchiveErrorKind,
    attempted: String,
    reason: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Why an [`ArchiveError`] happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ArchiveErrorKind {
    /// The driver's name, or its URL, makes no sense.
    InvalidInput,
    /// The archive cannot be reached or is busy; the same may succeed later.
    Unavailable,
    /// The tables are missing: run `archive migrate`.
    NotMigrated,
    /// What is stored makes no sense.
    Corrupt,
    /// Anything else; the text says what.
    Other,
}

impl ArchiveError {
    /// An error of `kind`. `attempted` completes "could not …"; `reason` says why, and what to do where that is known.
    pub fn new(kind: ArchiveErrorKind, attempted: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            kind,
            attempted: attempted.into(),
            reason: reason.into(),
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
    #[cfg(any(feature = "archive-postgres", feature = "archive-mysql"))]
    #[must_use]
    pub(super) fn with_kind(self, kind: ArchiveErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Why it happened, for programs.
    #[must_use]
    pub fn kind(&self) -> ArchiveErrorKind {
        self.kind
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.attempted, self.reason)
    }
}

impl StdError for ArchiveError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<ArchiveError> for EngineError {
    /// For listening, to which a failing archive is a store that fails.
    fn from(error: ArchiveError) -> Self {
        let kind = match error.kind {
            ArchiveErrorKind::InvalidInput => EngineErrorKind::InvalidInput,
            ArchiveErrorKind::Unavailable => EngineErrorKind::Unavailable,
            ArchiveErrorKind::Corrupt => EngineErrorKind::Corrupt,
            ArchiveErrorKind::NotMigrated | ArchiveErrorKind::Other => EngineErrorKind::Other,
        };
        let (attempted, reason) = (error.attempted.clone(), error.reason.clone());
        Self::new(kind, attempted, reason).with_source(error)
    }
}

/// Archiving, purging or restoring that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The store of the streams failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl TransferError {
    /// Whether the same may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Engine(error) => error.kind().is_transient(),
            Self::Archive(error) => error.kind() == ArchiveErrorKind::Unavailable,
        }
    }
}

impl From<TransferError> for EngineError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Engine(error) => error,
            TransferError::Archive(error) => error.into(),
        }
    }
}
