//! What each operation on groups is in commands.

use std::time::Duration;

use async_trait::async_trait;
use redis::{RedisResult, Value, cmd};

use super::{
    RedisEngine,
    command::{self, at_least_one, eval, group_start, millis, on, with_ids},
    operations::is_void,
    reply, script,
};
use crate::{
    engine::{
        ConsumerInfo, EngineError, EngineErrorKind, EngineResult, GroupAdmin, GroupInfo, GroupStart, PendingEntry,
        PendingFilter, PendingSummary, RedeliveredEntry, Redelivery,
    },
    entry::{Entry, EntryId, StreamName},
};

#[async_trait]
impl GroupAdmin for RedisEngine {
    async fn groups(&self, stream: &StreamName) -> EngineResult<Vec<GroupInfo>> {
        let mut command = cmd("XINFO");
        command.arg("GROUPS").arg(stream.as_bytes());
        let groups = self.ask_if_there(stream, &command, reply::groups, || {
            format!("list the groups of stream '{stream}'")
        });
        Ok(groups.await?.unwrap_or_default())
    }

    async fn consumers(&self, stream: &StreamName, group: &str) -> EngineResult<Vec<ConsumerInfo>> {
        let attempted = || format!("list the consumers of group '{group}' on stream '{stream}'");
        let mut command = cmd("XINFO");
        command.arg("CONSUMERS").arg(stream.as_bytes()).arg(group);
        let consumers = self.ask_if_there(stream, &command, reply::consumers, attempted).await?;
        consumers.ok_or_else(|| EngineError::new(EngineErrorKind::NoGroup, attempted(), "there is no such stream"))
    }

    async fn pending_summary(&self, stream: &StreamName, group: &str) -> EngineResult<PendingSummary> {
        let mut command = on("XPENDING", stream);
        command.arg(group);
        let attempted = || format!("count what is pending on stream '{stream}' in group '{group}'");
        self.ask(stream.as_bytes(), &command, reply::pending_summary, attempted)
            .await
    }

    async fn pending(
        &self,
        stream: &StreamName,
        group: &str,
        filter: PendingFilter<'_>,
    ) -> EngineResult<Vec<PendingEntry>> {
        if is_void(filter.start, filter.end) {
            return Ok(Vec::new());
        }
        let command = command::xpending(stream, group, filter);
        let attempted = || format!("list what is pending on stream '{stream}' in group '{group}'");
        self.ask(stream.as_bytes(), &command, reply::pending, attempted).await
    }

    async fn create_group(
        &self,
        stream: &StreamName,
        group: &str,
        start: GroupStart,
        create_stream: bool,
    ) -> EngineResult<()> {
        let mut command = cmd("XGROUP");
        command
            .arg("CREATE")
            .arg(stream.as_bytes())
            .arg(group)
            .arg(group_start(start));
        if create_stream {
            command.arg("MKSTREAM");
        }
        let attempted = || format!("create group '{group}' on stream '{stream}'");
        self.ask(stream.as_bytes(), &command, |_| Ok(()), attempted).await
    }

    async fn set_group_position(&self, stream: &StreamName, group: &str, start: GroupStart) -> EngineResult<()> {
        let mut command = cmd("XGROUP");
        command
            .arg("SETID")
            .arg(stream.as_bytes())
            .arg(group)
            .arg(group_start(start));
        let attempted = || format!("move group '{group}' on stream '{stream}'");
        self.ask(stream.as_bytes(), &command, |_| Ok(()), attempted)
            .await
            .map_err(no_group)
    }

    async fn destroy_group(&self, stream: &StreamName, group: &str) -> EngineResult<bool> {
        let mut command = cmd("XGROUP");
        command.arg("DESTROY").arg(stream.as_bytes()).arg(group);
        let attempted = || format!("remove group '{group}' from stream '{stream}'");
        match self.ask(stream.as_bytes(), &command, reply::number, attempted).await {
            Err(error) if error.kind() == EngineErrorKind::NoStream => Ok(false),
            removed => Ok(removed? > 0),
        }
    }

    async fn read_pending(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        after: EntryId,
        count: usize,
    ) -> EngineResult<Redelivery> {
        let attempted = || format!("read what is pending with '{consumer}' on stream '{stream}' in group '{group}'");
        let mut command = cmd("XREADGROUP");
        command
            .arg("GROUP")
            .arg(group)
            .arg(consumer)
            .arg("COUNT")
            .arg(at_least_one(count));
        command.arg("STREAMS").arg(stream.as_bytes()).arg(after.to_string());
        let (entries, deleted) = self.ask(stream.as_bytes(), &command, reply::history, attempted).await?;

        // The answer does not tell the delivery counts, and no range of `XPENDING` is sure to hold just these IDs.
        let one = |entry: &Entry| (stream.clone(), command::xpending_one(stream, group, entry.id));
        let counts = self.run_all(entries.iter().map(one).collect()).await;
        let with_count = |(entry, count): (Entry, RedisResult<Value>)| {
            // The entries are delivered: not to know how often must not lose them.
            let known = count.ok().and_then(|count| reply::delivery_count(count).ok()).flatten();
            RedeliveredEntry {
                entry,
                deliveries: known.unwrap_or(2),
            }
        };
        Ok(Redelivery {
            entries: entries.into_iter().zip(counts).map(with_count).collect(),
            deleted,
            next: EntryId::MIN,
        })
    }

    async fn claim(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        min_idle: Duration,
        ids: &[EntryId],
    ) -> EngineResult<Redelivery> {
        let mut command = eval(script::CLAIM, stream);
        command.arg(group).arg(consumer).arg(millis(min_idle));
        let attempted = || format!("claim entries of stream '{stream}' in group '{group}' for '{consumer}'");
        let decode = |answer| reply::claimed(answer, EntryId::MIN);
        self.ask(stream.as_bytes(), &with_ids(command, ids), decode, attempted)
            .await
    }

    async fn auto_claim(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        min_idle: Duration,
        from: EntryId,
        count: usize,
    ) -> EngineResult<Redelivery> {
        let mut command = eval(&script::AUTO_CLAIM, stream);
        command
            .arg(group)
            .arg(consumer)
            .arg(millis(min_idle))
            .arg(from.to_string())
            .arg(at_least_one(count));
        let attempted = || format!("claim idle entries of stream '{stream}' in group '{group}' for '{consumer}'");
        self.ask(stream.as_bytes(), &command, reply::auto_claimed, attempted)
            .await
    }

    async fn acknowledge(&self, stream: &StreamName, group: &str, ids: &[EntryId]) -> EngineResult<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let attempted = || format!("acknowledge entries of stream '{stream}' in group '{group}'");
        let command = command::xack(stream, group, ids);
        self.ask(stream.as_bytes(), &command, reply::number, attempted).await
    }
}

/// Where the group was asked for, a missing stream is a missing group.
fn no_group(error: EngineError) -> EngineError {
    match error.kind() {
        EngineErrorKind::NoStream => error.with_kind(EngineErrorKind::NoGroup),
        _ => error,
    }
}
