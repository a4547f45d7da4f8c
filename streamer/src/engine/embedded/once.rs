//! Appends with an idempotency key: what was appended already.

use rusqlite::{OptionalExtension, params};

use super::{
    failure::{Failure, Step},
    transaction::{Stream, Transaction},
};
use crate::{
    engine::{EngineErrorKind, Idempotency},
    entry::EntryId,
};

/// How many rows whose window is over are removed with each one that is written.
const FORGOTTEN_AT_ONCE: i64 = 2;

/// Refuses keys that are none.
pub(super) fn check(idempotency: &Idempotency) -> Step<()> {
    let fault = idempotency.fault();
    fault.map_or(Ok(()), |reason| {
        Err(Failure::refused(EngineErrorKind::InvalidInput, reason))
    })
}

/// The entry that was appended with this key within its window.
pub(super) fn known(transaction: &Transaction<'_>, stream: Stream, idempotency: &Idempotency) -> Step<Option<EntryId>> {
    let known = transaction
        .sql("SELECT id FROM streamer_appended_once WHERE stream = ? AND key = ? AND expires_ms > ?")?
        .query_row(
            params![stream.key, &idempotency.key[..], transaction.now_ms as i64],
            |row| row.get(0),
        )
        .optional()?;
    Ok(known.map(EntryId::from_be_bytes))
}

/// Remembers the entry, and forgets some whose windows are over, of any stream: those first that have been over for longest.
pub(super) fn remember(
    transaction: &Transaction<'_>,
    stream: Stream,
    idempotency: &Idempotency,
    id: EntryId,
) -> Step<()> {
    let now = transaction.now_ms as i64;
    let expires = now.saturating_add(idempotency.window_ms() as i64);
    transaction
        .sql("INSERT OR REPLACE INTO streamer_appended_once (stream, key, id, expires_ms) VALUES (?, ?, ?, ?)")?
        .execute(params![stream.key, &idempotency.key[..], id.to_be_bytes(), expires])?;
    transaction
        .sql(
            "DELETE FROM streamer_appended_once WHERE (stream, key) IN \
             (SELECT stream, key FROM streamer_appended_once WHERE expires_ms <= ?1 ORDER BY expires_ms LIMIT ?2)",
        )?
        .execute(params![now, FORGOTTEN_AT_ONCE])?;
    Ok(())
}
