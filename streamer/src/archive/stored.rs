//! What an archive has stored.

use super::{ArchiveError, ArchiveErrorKind, ArchiveResult, ArchivedMessage};

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
