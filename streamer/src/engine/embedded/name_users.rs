//! Marks of processes that use a consumer's name: fields of one hash, which hold when they expire and since when they are
//! there.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::params;

use super::{
    EmbeddedEngine,
    failure::Step,
    group_store::each,
    records,
    transaction::{Kind, Transaction},
};
use crate::{
    engine::{EngineResult, Member, NameUse, NameUser, NameUsers, keys},
    entry::StreamName,
};

/// A mark that expires later than in so many milliseconds was made before the clock was set back.
const LONGEST_LEASE_MS: u64 = 3_600_000;

#[async_trait]
impl NameUsers for EmbeddedEngine {
    async fn use_name(
        &self,
        member: &Member,
        user: &NameUser,
        streams: &[StreamName],
        lease: Duration,
    ) -> Vec<EngineResult<NameUse>> {
        let (who, user) = (member.clone(), user.clone());
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(LONGEST_LEASE_MS);
        each(
            &self.0.write,
            &format!(
                "mark consumer '{}' of group '{}' as used on",
                member.consumer, member.group
            ),
            streams.to_vec(),
            |stream| stream,
            move |transaction, stream| mark(transaction, &who, &user, stream, lease_ms.min(LONGEST_LEASE_MS)),
        )
        .await
    }
}

fn mark(
    transaction: &mut Transaction<'_>,
    member: &Member,
    user: &NameUser,
    stream: &StreamName,
    lease_ms: u64,
) -> Step<NameUse> {
    // No token has a space.
    let name = keys::name_users(stream, &member.group, &member.consumer);
    let field = Bytes::from(format!("{name} {}", user.token));
    if lease_ms == 0 {
        records::hash_remove(transaction, keys::NAME_USERS, &[field])?;
        return Ok(NameUse::default());
    }
    let others = others(transaction, &name, &field)?;
    let since_ms = match user.since_ms {
        0 => transaction.now_ms,
        since_ms => since_ms,
    };
    let until_ms = transaction.now_ms.saturating_add(lease_ms);
    let value = Bytes::from(format!("{until_ms:020} {since_ms}"));
    records::hash_put(transaction, keys::NAME_USERS, &[(field, value)])?;
    Ok(NameUse { since_ms, others })
}

/// Whose marks are there, once those that have expired are removed.
fn others(transaction: &Transaction<'_>, name: &str, own: &[u8]) -> Step<Vec<(NameUser, u64)>> {
    let Some(key) = transaction.key(keys::NAME_USERS.as_bytes(), Kind::Hash)? else {
        return Ok(Vec::new());
    };
    // The time comes first and has a fixed length, so bytes sort as times do.
    let text = |ms: u64| format!("{ms:020}").into_bytes();
    let (now, latest) = (
        transaction.now_ms,
        transaction.now_ms.saturating_add(LONGEST_LEASE_MS + 1),
    );
    transaction
        .sql("DELETE FROM streamer_hash_fields WHERE key = ? AND (value < ? OR value > ?)")?
        .execute(params![key, text(now), text(latest)])?;
    let mut statement =
        transaction.sql("SELECT name, value FROM streamer_hash_fields WHERE key = ? AND name > ? AND name < ?")?;
    // What follows a space in the order of bytes is an exclamation mark.
    let (first, last) = (format!("{name} "), format!("{name}!"));
    let mut rows = statement.query(params![key, first.as_bytes(), last.as_bytes()])?;
    let mut others = Vec::new();
    while let Some(row) = rows.next()? {
        let (field, value) = (row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?);
        let token = &field[first.len()..];
        // With a space in it, it belongs to a name that begins as this one and goes on.
        if field == own || token.contains(&b' ') {
            continue;
        }
        let token = String::from_utf8_lossy(token).into_owned();
        let value = String::from_utf8_lossy(&value);
        let Some((Ok(until_ms), Ok(since_ms))) = value
            .split_once(' ')
            .map(|(until, since)| (until.parse(), since.parse()))
        else {
            continue;
        };
        others.push((NameUser { since_ms, token }, until_ms));
    }
    Ok(others)
}
