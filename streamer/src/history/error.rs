//! What can go wrong with a history.

use crate::{archive::ArchiveError, engine::EngineError, entry::StreamName};

/// A replay, or a trim, that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The store of the streams failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Snapshots were removed while they were read, so others may have been skipped.
    #[error("could not replay the history in list '{list}': it was trimmed during the replay; replay it once more")]
    TrimmedMeanwhile {
        /// The list.
        list: StreamName,
    },
}
