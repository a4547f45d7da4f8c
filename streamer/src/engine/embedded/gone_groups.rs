//! What groups that are gone have left beside their stream. Redis lets such keys expire.

use rusqlite::params;

use super::{
    failure::Step,
    transaction::{Stream, Transaction},
};
use crate::{engine::keys, entry::StreamName};

/// The keys of groups that the stream does not have.
pub(super) fn keys_of_gone_groups(transaction: &mut Transaction<'_>, name: &StreamName) -> Step<Vec<i64>> {
    let Some(Stream { key: stream, .. }) = transaction.stream(name)? else {
        return Ok(Vec::new());
    };
    let mut gone = Vec::new();
    for prefix in [keys::retry_states(name, ""), keys::handled(name, Some(""))] {
        // The prefix ends with a colon: all that begins with it lies before what ends with a semicolon instead.
        let mut end = prefix.clone().into_bytes();
        end.pop();
        end.push(b';');
        let found = transaction
            .sql("SELECT id, name FROM streamer_keys WHERE name >= ? AND name < ?")?
            .query_map(params![prefix.as_bytes(), end], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            })?
            .collect::<Result<Vec<_>, _>>()?;
        let mut is_there = transaction.sql("SELECT 1 FROM streamer_groups WHERE stream = ? AND name = ?")?;
        for (key, name) in found {
            let group = std::str::from_utf8(&name[prefix.len()..]);
            if let Ok(group) = group
                && !is_there.exists(params![stream, group])?
            {
                gone.push(key);
            }
        }
    }
    Ok(gone)
}

/// Removes them.
pub(super) fn remove_keys_of_gone_groups(transaction: &mut Transaction<'_>, name: &StreamName) -> Step<()> {
    for key in keys_of_gone_groups(transaction, name)? {
        for sql in [
            "DELETE FROM streamer_hash_fields WHERE key = ?",
            "DELETE FROM streamer_members WHERE key = ?",
            "DELETE FROM streamer_keys WHERE id = ?",
        ] {
            transaction.sql(sql)?.execute([key])?;
        }
    }
    Ok(())
}
