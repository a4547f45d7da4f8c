//! What can go wrong with a history.

use std::error::Error as StdError;

use crate::{
    engine::EngineError,
    entry::{EntryId, StreamName},
};

/// A replay, or a trim, that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The store of the streams failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The archive failed.
    #[error("could not look for message {id} of stream '{stream}' in the archive: {source}")]
    Archive {
        /// The message's stream.
        stream: StreamName,
        /// Its ID.
        id: EntryId,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Snapshots were removed while they were read, so that others may have been passed over.
    #[error("could not replay the history in list '{list}': it was trimmed meanwhile; replay it once more")]
    TrimmedMeanwhile {
        /// The list.
        list: StreamName,
    },
}
