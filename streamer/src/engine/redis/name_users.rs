//! Marks of processes that use a consumer's name: fields of a hash for each name, which expires with the last of them.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Value, cmd};

use super::{
    RedisEngine,
    command::millis,
    reply::{self, Decoded, Unexpected},
    script,
};
use crate::{
    engine::{EngineResult, Member, NameUse, NameUser, NameUsers, keys},
    entry::StreamName,
};

#[async_trait]
impl NameUsers for RedisEngine {
    async fn use_name(
        &self,
        member: &Member,
        user: &NameUser,
        streams: &[StreamName],
        lease: Duration,
    ) -> Vec<EngineResult<NameUse>> {
        let mark = |stream: &StreamName| {
            let mut command = cmd("EVAL");
            command.arg(&*script::USE_NAME).arg(1);
            command.arg(keys::name_users(stream, &member.group, &member.consumer));
            command.arg(&user.token).arg(user.since_ms).arg(millis(lease));
            Some((stream.clone(), command))
        };
        let Member { group, consumer } = member;
        let attempted =
            |stream: &StreamName| format!("mark consumer '{consumer}' of group '{group}' as used on stream '{stream}'");
        self.ask_each(streams.iter().map(mark), name_use, attempted).await
    }
}

/// What the script answers: since when, then for each other user its token, since when, and until when.
fn name_use(answer: Value) -> Decoded<NameUse> {
    let mut parts = reply::array(answer)?.into_iter();
    let since_ms = reply::number(parts.next().ok_or(Unexpected("since when a name is used"))?)?;
    let mut others = Vec::new();
    while let (Some(token), Some(since), Some(until)) = (parts.next(), parts.next(), parts.next()) {
        let other = NameUser {
            since_ms: reply::number(since)?,
            token: reply::text(token)?,
        };
        others.push((other, reply::number(until)?));
    }
    Ok(NameUse { since_ms, others })
}
