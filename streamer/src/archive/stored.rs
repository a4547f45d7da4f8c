//! What an archive has already, beside what it is given.

use super::{ArchiveError, ArchiveErrorKind, ArchiveResult, ArchivedMessage, Stored};

impl ArchivedMessage {
    /// What is to be said when the archive has `there` under this message's stream and ID already.
    pub(super) fn compare_with(&self, there: &[u8]) -> Stored {
        match Self::from_json(there) {
            Some(there) if there.fields == self.fields => Stored::AlreadyThere,
            _ => Stored::Conflict,
        }
    }
}

/// A message that an archive has, from its JSON.
pub(super) fn stored_message(location: &str, text: &[u8]) -> ArchiveResult<ArchivedMessage> {
    ArchivedMessage::from_json(text).ok_or_else(|| {
        ArchiveError::new(
            ArchiveErrorKind::Corrupt,
            format!("read a message of the archive {location}"),
            "it is not what Streamer stores there",
        )
    })
}
