//! Entries that are appended later.

use async_trait::async_trait;
use bytes::Bytes;
use redis::{RedisResult, Value, cmd};

use super::{
    super::{
        RedisEngine,
        command::at_least_one,
        error::engine_error,
        reply::{self, Decoded, Unexpected},
        resp::entry_id,
        script, understood,
    },
    eval, with_items,
};
use crate::{
    engine::{
        AppendedDue, EngineError, EngineErrorKind, EngineResult, FirstScheduled, FoundStreams, Scheduled,
        ScheduledEntry, keys,
    },
    entry::{EntryId, Fields, StreamName, unix_ms},
};

#[async_trait]
impl Scheduled for RedisEngine {
    async fn first_scheduled(&self, streams: &[StreamName]) -> Vec<EngineResult<FirstScheduled>> {
        let Some(first) = streams.first() else {
            return Vec::new();
        };
        // One clock for all: those of the nodes of a cluster agree well enough for a look.
        let mut commands = vec![(first.clone(), cmd("TIME"))];
        commands.extend(streams.iter().map(|stream| {
            let mut first = cmd("ZRANGE");
            first.arg(keys::scheduled(stream)).arg(0).arg(0);
            (stream.clone(), first)
        }));
        let mut answers = self.run_all(commands).await.into_iter();
        let now = answers.next().and_then(Result::ok).map(reply::time_ms);
        // A user who may not ask for the time gets this machine's.
        let now_ms = now.and_then(Result::ok).unwrap_or_else(unix_ms);
        let first = |(stream, answer): (&StreamName, RedisResult<Value>)| {
            let attempted = || format!("look at what is scheduled for stream '{stream}'");
            let answer = answer.map_err(|error| engine_error(attempted(), error))?;
            let id = understood(reply::ids(answer), attempted)?.pop();
            Ok(FirstScheduled { id, now_ms })
        };
        streams.iter().zip(answers).map(first).collect()
    }

    async fn count_scheduled(&self, streams: &[StreamName]) -> Vec<EngineResult<u64>> {
        let commands = streams.iter().map(|stream| {
            let mut count = cmd("ZCARD");
            count.arg(keys::scheduled(stream));
            (stream.clone(), count)
        });
        let answers = self.run_all(commands.collect()).await;
        let count = |(stream, answer): (&StreamName, RedisResult<Value>)| {
            let attempted = || format!("count what is scheduled for stream '{stream}'");
            let answer = answer.map_err(|error| engine_error(attempted(), error))?;
            understood(reply::number(answer), attempted)
        };
        streams.iter().zip(answers).map(count).collect()
    }

    async fn find_scheduled(&self, most: usize) -> EngineResult<FoundStreams> {
        let options = ["MATCH", keys::SCHEDULED_PATTERN, "TYPE", "zset"];
        self.find(most, "look for what is scheduled", &options, keys::scheduled_for)
            .await
    }

    async fn append_due(&self, stream: &StreamName, most: usize) -> EngineResult<AppendedDue> {
        let (ids, entries) = (keys::scheduled(stream), keys::scheduled_entries(stream));
        let keys = [stream.as_bytes(), ids.as_bytes(), entries.as_bytes()];
        let mut command = eval(&script::APPEND_DUE, &keys);
        command.arg(at_least_one(most));
        let attempted = || format!("append what is due on stream '{stream}'");
        self.ask(stream.as_bytes(), &command, appended_due, attempted).await
    }

    async fn page_of_scheduled(
        &self,
        stream: &StreamName,
        after: Option<EntryId>,
        count: usize,
    ) -> EngineResult<Vec<ScheduledEntry>> {
        let attempted = || format!("list what is scheduled for stream '{stream}'");
        let mut from = after;
        loop {
            let key = keys::scheduled(stream);
            let mut command = cmd("ZRANGEBYLEX");
            command
                .arg(&key)
                .arg(from.map_or_else(|| "-".to_owned(), |after| format!("({}", member(after))))
                .arg("+")
                .arg("LIMIT")
                .arg(0)
                .arg(at_least_one(count));
            let members = self.ask(key.as_bytes(), &command, reply::all_bytes, attempted).await?;
            let Some(last) = members.last().and_then(|last| entry_id(last)) else {
                return Ok(Vec::new());
            };
            let key = keys::scheduled_entries(stream);
            let command = with_items("HMGET", &key, &members);
            let entries = self
                .ask(key.as_bytes(), &command, reply::optional_bytes, attempted)
                .await?;
            let mut page = Vec::with_capacity(members.len());
            for (member, entry) in members.iter().zip(entries) {
                // Appended or cancelled between the two looks.
                let (Some(id), Some(entry)) = (entry_id(member), entry) else {
                    continue;
                };
                let fields = fields(&entry).ok_or_else(|| {
                    let reason = format!("what is scheduled as {id} cannot be read; cancel it");
                    EngineError::new(EngineErrorKind::Corrupt, attempted(), reason)
                })?;
                page.push(ScheduledEntry { id, fields });
            }
            // An empty page would be the last one.
            if !page.is_empty() {
                return Ok(page);
            }
            from = Some(last);
        }
    }

    async fn cancel_scheduled(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let (set, hash) = (keys::scheduled(stream), keys::scheduled_entries(stream));
        let mut command = eval(script::CANCEL_SCHEDULED, &[set.as_bytes(), hash.as_bytes()]);
        for id in ids {
            command.arg(member(*id));
        }
        let attempted = || format!("cancel what is scheduled for stream '{stream}'");
        self.ask(stream.as_bytes(), &command, reply::number, attempted).await
    }
}

/// An ID as it is kept: both parts with 16 digits, so that the order of the bytes is that of the IDs.
pub(in super::super) fn member(id: EntryId) -> String {
    format!("{:016}-{:016}", id.ms, id.seq)
}

fn appended_due(answer: Value) -> Decoded<AppendedDue> {
    let [appended, next, now_ms] = reply::exactly(answer, "a number, an ID and the time")?;
    let next = reply::bytes(next)?;
    let id = match next.is_empty() {
        true => None,
        false => Some(entry_id(&next).ok_or(Unexpected("an ID that is due"))?),
    };
    Ok(AppendedDue {
        appended: reply::number(appended)?,
        next: FirstScheduled {
            id,
            now_ms: reply::number(now_ms)?,
        },
    })
}

/// The fields among the arguments of an `XADD` that the script has kept. `None` for damaged bytes.
fn fields(mut kept: &[u8]) -> Option<Fields> {
    let mut arguments = Vec::new();
    while !kept.is_empty() {
        let colon = kept.iter().position(|byte| *byte == b':')?;
        let length: usize = std::str::from_utf8(&kept[..colon]).ok()?.parse().ok()?;
        let rest = &kept[colon + 1..];
        if length > rest.len() {
            return None;
        }
        let (argument, rest) = rest.split_at(length);
        arguments.push(Bytes::copy_from_slice(argument));
        kept = rest;
    }
    // Before them: how to trim, in three words if at all, and which ID to give.
    let id = match arguments.first()?.as_ref() {
        b"*" => 0,
        _ => 3,
    };
    let (pairs, rest) = arguments.get(id + 1..)?.as_chunks::<2>();
    let pairs = pairs.iter().map(|[name, value]| (name.clone(), value.clone()));
    rest.is_empty().then(|| pairs.collect())
}
