//! What the drivers for database servers have in common.

use url::Url;

use super::{ArchiveError, ArchiveErrorKind, ArchiveResult, ArchivedMessage, Stored};
use crate::{
    entry::{EntryId, StreamName},
    shown_url::{encoding_hint, shown_url},
    sql_error::in_words,
};

/// A URL without its password.
pub(super) fn location(url: &str) -> ArchiveResult<String> {
    // The text itself is not shown: it may hold a password.
    let invalid = |reason: String| ArchiveError::new(ArchiveErrorKind::InvalidInput, "open the archive", reason);
    let parsed = Url::parse(url).map_err(|error| {
        invalid(format!(
            "archive_url is no URL such as scheme://user:password@host/database ({error}){}",
            encoding_hint(url)
        ))
    })?;
    if !parsed.has_host() {
        return Err(invalid(format!("archive_url names no host{}", encoding_hint(url))));
    }
    Ok(shown_url(url))
}

/// An error in words. `missing_table` is the code by which the server says that there is no such table.
pub(super) fn explain(location: &str, attempted: &str, missing_table: &str, error: sqlx::Error) -> ArchiveError {
    let attempted = format!("{attempted} the archive {location}");
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .unwrap_or_default();
    let kind = match &error {
        _ if !missing_table.is_empty() && code == missing_table => {
            let reason = "its table is missing: run `archive migrate`";
            return ArchiveError::new(ArchiveErrorKind::NotMigrated, attempted, reason).with_source(error);
        }
        // Of serialization, of resources, and by an operator: classes of SQLSTATE that pass.
        sqlx::Error::Database(_) if ["40", "53", "57", "08"].iter().any(|class| code.starts_with(class)) => {
            ArchiveErrorKind::Unavailable
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => ArchiveErrorKind::Unavailable,
        _ => ArchiveErrorKind::Other,
    };
    ArchiveError::new(kind, attempted, in_words(&error)).with_source(error)
}

/// What became of a message that was not inserted, because `there` was there.
pub(super) fn compare(message: &ArchivedMessage, there: Option<ArchivedMessage>) -> Stored {
    match there {
        Some(there) if there.fields == message.fields => Stored::AlreadyThere,
        // Also when it is gone again: it was restored meanwhile, and what is not in the archive must not be deleted.
        _ => Stored::Conflict,
    }
}

/// Where a page begins, as the columns have it.
pub(super) fn from(stream: Option<&StreamName>, after: Option<(&StreamName, EntryId)>) -> (Vec<u8>, Vec<u8>) {
    let name = stream.or(after.map(|(stream, _)| stream));
    let name = name.map(|name| name.as_bytes().to_vec());
    let id = after.map(|(_, id)| id.to_be_bytes().to_vec());
    (name.unwrap_or_default(), id.unwrap_or_default())
}
