//! Claims of retriers: a key for each, which expires with its lease.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, cmd};

use super::{RedisEngine, reply};
use crate::{
    engine::{EngineResult, keys, retry_claims::RetryClaims},
    entry::{EntryId, StreamName},
};

/// `KEYS`: claim. `ARGV`: owner, milliseconds.
const CLAIM: &str = "
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

/// `KEYS`: claim. `ARGV`: owner.
const RELEASE: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

fn eval(script: &str, key: &str) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script).arg(1).arg(key);
    command
}

#[async_trait]
impl RetryClaims for RedisEngine {
    async fn claim_retry(&self, stream: &StreamName, id: EntryId, owner: &str, lease: Duration) -> EngineResult<bool> {
        let key = keys::retry_claim(stream, id);
        let mut command = eval(CLAIM, &key);
        command
            .arg(owner)
            .arg(u64::try_from(lease.as_millis().max(1)).unwrap_or(u64::MAX));
        let attempted = || format!("claim message {id} of '{stream}' for a retry");
        Ok(self.ask(key.as_bytes(), &command, reply::number, attempted).await? == 1)
    }

    async fn release_retry(&self, stream: &StreamName, id: EntryId, owner: &str) -> EngineResult<()> {
        let key = keys::retry_claim(stream, id);
        let mut command = eval(RELEASE, &key);
        command.arg(owner);
        let attempted = || format!("release message {id} of '{stream}' after a retry");
        self.ask(key.as_bytes(), &command, reply::number, attempted).await?;
        Ok(())
    }

    async fn is_listed(&self, member: &Bytes) -> EngineResult<bool> {
        let mut command = cmd("SISMEMBER");
        command.arg(keys::FAILED).arg(&member[..]);
        let attempted = || "look for a failure in the failed list".to_owned();
        let found = self
            .ask(keys::FAILED.as_bytes(), &command, reply::number, attempted)
            .await?;
        Ok(found == 1)
    }
}
