//! Claims of retriers: a field of a hash for each, which holds when it ends and whose it is.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::params;

use super::{
    EmbeddedEngine,
    failure::Step,
    records,
    transaction::{Kind, Transaction},
};
use crate::{
    engine::{EngineResult, keys, retry_claims::RetryClaims},
    entry::{EntryId, StreamName},
};

#[async_trait]
impl RetryClaims for EmbeddedEngine {
    async fn claim_retry(&self, stream: &StreamName, id: EntryId, owner: &str, lease: Duration) -> EngineResult<bool> {
        let (field, wanted) = (Bytes::from(keys::retry_claim(stream, id)), owner.to_owned());
        let lease = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        self.write(
            || format!("claim message {id} of '{stream}' for a retry"),
            move |transaction| {
                remove_ended(transaction)?;
                let there = records::hash_get(transaction, keys::RETRY_CLAIMS, std::slice::from_ref(&field))?;
                if there.iter().flatten().any(|claim| owner_of(claim) != wanted.as_bytes()) {
                    return Ok(false);
                }
                let until = transaction.now_ms.saturating_add(lease);
                let claim = Bytes::from(format!("{until:020} {wanted}"));
                records::hash_put(transaction, keys::RETRY_CLAIMS, &[(field.clone(), claim)])?;
                Ok(true)
            },
        )
        .await
    }

    async fn release_retry(&self, stream: &StreamName, id: EntryId, owner: &str) -> EngineResult<()> {
        let (field, wanted) = (Bytes::from(keys::retry_claim(stream, id)), owner.to_owned());
        self.write(
            || format!("release message {id} of '{stream}' after a retry"),
            move |transaction| {
                let there = records::hash_get(transaction, keys::RETRY_CLAIMS, std::slice::from_ref(&field))?;
                if there.iter().flatten().any(|claim| owner_of(claim) == wanted.as_bytes()) {
                    records::hash_remove(transaction, keys::RETRY_CLAIMS, std::slice::from_ref(&field))?;
                }
                Ok(())
            },
        )
        .await
    }

    async fn is_listed(&self, member: &Bytes) -> EngineResult<bool> {
        let member = member.clone();
        self.look(
            || "look for a failure in the failed list".to_owned(),
            move |transaction| {
                let Some(key) = transaction.key(keys::FAILED.as_bytes(), Kind::Set)? else {
                    return Ok(false);
                };
                let mut there = transaction.sql("SELECT 1 FROM streamer_members WHERE key = ? AND member = ?")?;
                Ok(there.exists(params![key, &member[..]])?)
            },
        )
        .await
    }
}

/// A claim is 20 digits, a space, and the owner.
fn owner_of(claim: &[u8]) -> &[u8] {
    claim.get(21..).unwrap_or_default()
}

/// Removes claims whose lease is over, so that none is left by a retrier that died.
fn remove_ended(transaction: &Transaction<'_>) -> Step<()> {
    let Some(key) = transaction.key(keys::RETRY_CLAIMS.as_bytes(), Kind::Hash)? else {
        return Ok(());
    };
    // The time comes first and has a fixed length, so bytes sort as times do.
    let now = format!("{:020}", transaction.now_ms).into_bytes();
    transaction
        .sql("DELETE FROM streamer_hash_fields WHERE key = ? AND value < ?")?
        .execute(params![key, now])?;
    Ok(())
}
