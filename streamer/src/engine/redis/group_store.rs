//! The verbs of a delivery in commands and scripts, each one round trip to each server.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, RedisResult, Value, cmd};

use super::{
    RedisEngine,
    address::Server,
    cluster_reader,
    command::{at_least_one, group_start, millis, signed},
    error::engine_error,
    no_such_key,
    reader::ServerReader,
    reply::{self, Decoded, Unexpected, exactly, optional},
    script,
    settle_plan::StreamPlan,
    understood,
};
use crate::{
    engine::{
        DueEntries, EngineErrorKind, EngineResult, EntrySettlement, GroupStart, GroupStore, Joined, Member, Missing,
        ReadMode, Reader, Renewal, RetryStates, Scan, TakeRequest, Taken, TakenEntry, keys, slot::slot, some_stream,
    },
    entry::{EntryId, StreamName},
};

/// Reading the consumer's own pending entries after this ID finds none, and shows that the consumer is alive. Not the
/// greatest ID: to the server that one means "new entries".
const BEYOND_ALL: EntryId = EntryId::new(u64::MAX, u64::MAX - 1);

#[async_trait]
impl GroupStore for RedisEngine {
    fn shards(&self, streams: &[StreamName]) -> Vec<Vec<usize>> {
        let mut shards: Vec<(u16, Vec<usize>)> = Vec::new();
        for (index, stream) in streams.iter().enumerate() {
            let slot = match self.server {
                Server::Single(_) => 0,
                Server::Cluster(_) => slot(stream.as_bytes()),
            };
            match shards.iter_mut().find(|(known, _)| *known == slot) {
                Some((_, indexes)) => indexes.push(index),
                None => shards.push((slot, vec![index])),
            }
        }
        shards.into_iter().map(|(_, indexes)| indexes).collect()
    }

    async fn reader(&self, mode: ReadMode) -> EngineResult<Box<dyn Reader>> {
        some_stream(&mode)?;
        match &self.server {
            Server::Single(server) => Ok(Box::new(ServerReader::connect(server.clone(), mode).await?)),
            Server::Cluster(cluster) => cluster_reader::connect(cluster, mode).await,
        }
    }

    async fn last_ids(&self, streams: &[StreamName]) -> Vec<EngineResult<EntryId>> {
        let info = |stream: &StreamName| {
            let mut command = cmd("XINFO");
            command.arg("STREAM").arg(stream.as_bytes());
            Some((stream.clone(), command))
        };
        let attempted = |stream: &StreamName| format!("look at stream '{stream}'");
        let decode = |info| Ok(reply::stream_info(info)?.last_id);
        let found = self.ask_each(streams.iter().map(info), decode, attempted).await;
        let or_none = |found: EngineResult<EntryId>| match found {
            Err(error) if error.kind() == EngineErrorKind::NoGroup => Ok(EntryId::MIN),
            found => found,
        };
        found.into_iter().map(or_none).collect()
    }

    async fn join(&self, member: &Member, streams: &[(StreamName, GroupStart)]) -> Vec<EngineResult<Joined>> {
        let join = |(stream, start): &(StreamName, GroupStart)| {
            let mut command = verb(&script::JOIN, stream, None, member);
            command.arg(group_start(*start));
            Some((stream.clone(), command))
        };
        let decode = |answer| {
            let [created, last] = exactly(answer, "whether a group was created, and where it is")?;
            Ok(Joined {
                created: reply::number(created)? == 1,
                last_delivered_id: reply::id(last)?,
            })
        };
        let attempted = |stream: &StreamName| format!("join {}", of(member, stream));
        let joined = self.ask_each(streams.iter().map(join), decode, attempted).await;
        let there = streams.iter().zip(&joined).filter(|(_, joined)| joined.is_ok());
        let there = there.map(|((stream, _), _)| stream.clone()).collect::<Vec<_>>();
        // Without them listeners that have succeeded run again, which is better than not to join.
        if let Err(error) = self.move_old_retry_states(&member.group, &there).await {
            tracing::warn!("{error}");
        }
        joined
    }

    async fn consumer_idle(&self, member: &Member, streams: &[StreamName]) -> Vec<EngineResult<Option<Duration>>> {
        let consumers = |stream: &StreamName| {
            let mut command = cmd("XINFO");
            command.arg("CONSUMERS").arg(stream.as_bytes()).arg(&member.group);
            Some((stream.clone(), command))
        };
        let decode = |answer| {
            let consumers = reply::consumers(answer)?;
            let known = consumers.iter().find(|known| known.name == member.consumer);
            Ok(known.map(|known| known.idle))
        };
        let attempted = |stream: &StreamName| format!("list the consumers of {}", of(member, stream));
        self.ask_each(streams.iter().map(consumers), decode, attempted).await
    }

    async fn take(
        &self,
        member: &Member,
        scan: Scan,
        requests: &[TakeRequest],
        count: usize,
    ) -> Vec<EngineResult<Taken>> {
        let take = |TakeRequest { stream, from }: &TakeRequest| {
            let mut command = verb(&script::TAKE, stream, Some(member), member);
            match scan {
                Scan::Own => command.arg("own"),
                Scan::Idle(idle) => command.arg(millis(idle)),
            };
            command.arg(from.to_string()).arg(at_least_one(count));
            Some((stream.clone(), command))
        };
        let attempted = |stream: &StreamName| format!("take pending entries of {}", of(member, stream));
        self.ask_each(requests.iter().map(take), taken, attempted).await
    }

    async fn take_due(&self, member: &Member, due: &[DueEntries]) -> Vec<EngineResult<Taken>> {
        let take = |DueEntries { stream, ids }: &DueEntries| {
            let mut ids = ids.clone();
            ids.sort_unstable();
            let command = verb(&script::TAKE_DUE, stream, Some(member), member);
            unless_empty(stream, command, &ids)
        };
        let attempted = |stream: &StreamName| format!("take entries that are due of {}", of(member, stream));
        self.ask_each(due.iter().map(take), taken, attempted).await
    }

    async fn renew(&self, member: &Member, leases: &[(StreamName, Vec<EntryId>)]) -> Vec<EngineResult<Renewal>> {
        let renew = |(stream, ids): &(StreamName, Vec<EntryId>)| {
            unless_empty(stream, verb(&script::RENEW, stream, None, member), ids)
        };
        let attempted = |stream: &StreamName| format!("renew leases in {}", of(member, stream));
        self.ask_each(leases.iter().map(renew), renewal, attempted).await
    }

    async fn adopt(&self, member: &Member, entries: &[(StreamName, Vec<(EntryId, u64)>)]) -> Vec<EngineResult<()>> {
        let adopt = |(stream, entries): &(StreamName, Vec<(EntryId, u64)>)| {
            let mut command = verb(&script::ADOPT, stream, None, member);
            for (id, count) in entries {
                command.arg(id.to_string()).arg(signed(*count));
            }
            (!entries.is_empty()).then(|| (stream.clone(), command))
        };
        let attempted = |stream: &StreamName| format!("adopt entries in {}", of(member, stream));
        self.ask_each(entries.iter().map(adopt), |_| Ok(()), attempted).await
    }

    async fn begin(&self, member: &Member, stream: &StreamName, id: EntryId, count: u64) -> EngineResult<bool> {
        let mut command = verb(&script::BEGIN, stream, None, member);
        command.arg(id.to_string()).arg(signed(count));
        let attempted = || format!("begin to handle entry {id} of {}", of(member, stream));
        Ok(self.ask(stream.as_bytes(), &command, reply::number, attempted).await? == 1)
    }

    async fn settle(
        &self,
        member: Option<&Member>,
        settlements: &[(StreamName, Vec<EntrySettlement>)],
    ) -> Vec<EngineResult<usize>> {
        let on_cluster = matches!(self.server, Server::Cluster(_));
        let mut plans: Vec<StreamPlan> = settlements
            .iter()
            .map(|(stream, entries)| StreamPlan::new(member, stream, entries, on_cluster))
            .collect();
        let mut settled: Vec<EngineResult<usize>> = plans.iter().map(|_| Ok(0)).collect();
        loop {
            let (mut commands, mut whose) = (Vec::new(), Vec::new());
            for (index, plan) in plans.iter_mut().enumerate() {
                for (key, command, step) in plan.next_wave() {
                    commands.push((key, command));
                    whose.push((index, step));
                }
            }
            if commands.is_empty() {
                return settled;
            }
            for (answer, (index, step)) in self.run_all(commands).await.into_iter().zip(whose) {
                let error = match answer {
                    Ok(answer) => {
                        if let Ok(unowned) = &mut settled[index] {
                            let acknowledges = plans[index].acknowledges(step);
                            let acknowledged = reply::number(answer).map_or(acknowledges, |pending| pending as usize);
                            *unowned += acknowledges.saturating_sub(acknowledged);
                        }
                        continue;
                    }
                    Err(error) => error,
                };
                plans[index].failed(step);
                if settled[index].is_ok() {
                    let attempted = format!("settle messages of stream '{}' ({step})", settlements[index].0);
                    settled[index] = Err(engine_error(attempted, error));
                }
            }
        }
    }

    async fn sweep(&self, member: &Member, streams: &[StreamName], idle: Duration) -> Vec<EngineResult<Vec<String>>> {
        let sweep = |stream: &StreamName| {
            let mut command = verb(&script::SWEEP, stream, Some(member), member);
            command.arg(millis(idle));
            Some((stream.clone(), command))
        };
        let decode = |names| reply::array(names)?.into_iter().map(reply::text).collect();
        let attempted = |stream: &StreamName| format!("remove dead consumers of {}", of(member, stream));
        self.ask_each(streams.iter().map(sweep), decode, attempted).await
    }

    async fn heartbeat(&self, member: &Member, streams: &[StreamName], _max_idle: Duration) -> Vec<EngineResult<()>> {
        let read = |stream: &StreamName| {
            let mut command = cmd("XREADGROUP");
            command.arg("GROUP").arg(&member.group).arg(&member.consumer);
            command.arg("COUNT").arg(1).arg("STREAMS").arg(stream.as_bytes());
            command.arg(BEYOND_ALL.to_string());
            Some((stream.clone(), command))
        };
        let attempted = |stream: &StreamName| format!("show that the consumer is alive in {}", of(member, stream));
        self.ask_each(streams.iter().map(read), |_| Ok(()), attempted).await
    }

    async fn leave(&self, member: &Member, streams: &[StreamName]) -> Vec<EngineResult<bool>> {
        let leave = |stream: &StreamName| Some((stream.clone(), verb(&script::LEAVE, stream, None, member)));
        let decode = |answer| Ok(reply::number(answer)? == 1);
        let attempted = |stream: &StreamName| format!("leave {}", of(member, stream));
        self.ask_each(streams.iter().map(leave), decode, attempted).await
    }
}

impl RedisEngine {
    /// Runs one command for each stream, in one pipeline for each server, and decodes each answer by itself. A stream
    /// without a command has nothing to ask, and gets the answer that says nothing.
    pub(super) async fn ask_each<T: Default>(
        &self,
        commands: impl Iterator<Item = Option<(StreamName, Cmd)>>,
        decode: impl Fn(Value) -> Decoded<T>,
        attempted: impl Fn(&StreamName) -> String,
    ) -> Vec<EngineResult<T>> {
        let (mut asked, mut sent) = (Vec::new(), Vec::new());
        for command in commands {
            asked.push(command.as_ref().map(|(stream, _)| stream.clone()));
            sent.extend(command);
        }
        let mut answers = self.run_all(sent).await.into_iter();
        let lost = || Err((redis::ErrorKind::Client, "a command of a pipeline was not answered").into());
        let answer = |stream: Option<StreamName>| {
            let Some(stream) = stream else { return Ok(T::default()) };
            let answer: RedisResult<Value> = answers.next().unwrap_or_else(lost);
            match answer {
                Ok(answer) => understood(decode(answer), || attempted(&stream)),
                Err(error) if no_such_key(&error) => {
                    Err(engine_error(attempted(&stream), error).with_kind(EngineErrorKind::NoGroup))
                }
                Err(error) => Err(engine_error(attempted(&stream), error)),
            }
        };
        asked.into_iter().map(answer).collect()
    }
}

/// `EVAL` of a script that knows a group's stream, a consumer, and, for whom they are given, their retry states.
fn verb(script: &str, stream: &StreamName, retry_states: Option<&Member>, member: &Member) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(script);
    match retry_states {
        Some(member) => {
            let states = keys::retry_states(stream, &member.group);
            command.arg(2).arg(stream.as_bytes()).arg(states)
        }
        None => command.arg(1).arg(stream.as_bytes()),
    };
    command.arg(&member.group).arg(&member.consumer);
    command
}

fn unless_empty(stream: &StreamName, command: Cmd, ids: &[EntryId]) -> Option<(StreamName, Cmd)> {
    (!ids.is_empty()).then(|| (stream.clone(), super::command::with_ids(command, ids)))
}

fn of(member: &Member, stream: &StreamName) -> String {
    let Member { group, consumer } = member;
    format!("group '{group}' on stream '{stream}' as '{consumer}'")
}

/// What the scripts that take entries answer.
fn taken(answer: Value) -> Decoded<Taken> {
    let [next, entries, counts, states, gone] = exactly(answer, "entries that were taken")?;
    let counts = reply::array(counts)?.into_iter().map(reply::number);
    let states = reply::optional_bytes(states)?.into_iter();
    let entries = reply::entries(entries)?.into_iter().zip(counts.zip(states));
    let one = |(entry, (count, retry_state))| {
        Ok(TakenEntry {
            entry,
            count_before: count?,
            retry_state,
        })
    };
    Ok(Taken {
        entries: entries.map(one).collect::<Decoded<_>>()?,
        gone: reply::ids(gone)?,
        next: optional(next, reply::id)?,
    })
}

/// What the script that renews answers.
fn renewal(answer: Value) -> Decoded<Renewal> {
    let mut parts = reply::array(answer)?.into_iter();
    let mut next = || {
        parts
            .next()
            .ok_or(Unexpected("leases that were not renewed, strangers, and counts"))
    };
    let (missing, why, strangers) = (reply::ids(next()?)?, reply::all_bytes(next()?)?, reply::ids(next()?)?);
    let counts = reply::array(next()?)?;
    let reason = |(id, why): (EntryId, bytes::Bytes)| {
        let why = match &why[..] {
            b"claimed" => Missing::Claimed,
            b"gone" => Missing::Gone,
            b"unowned" => Missing::Unowned,
            _ => return Err(Unexpected("why a lease was not renewed")),
        };
        Ok((id, why))
    };
    let mut renewal = Renewal {
        strangers,
        counts: pairs(counts)?,
        ..Renewal::default()
    };
    if !missing.is_empty() {
        renewal.last_delivered_id = reply::id(next()?)?;
        renewal.consumer_was_missing = reply::number(next()?)? == 1;
    }
    renewal.missing = missing.into_iter().zip(why).map(reason).collect::<Decoded<_>>()?;
    Ok(renewal)
}

/// IDs, each followed by its delivery count.
fn pairs(flat: Vec<Value>) -> Decoded<Vec<(EntryId, u64)>> {
    let mut flat = flat.into_iter();
    let mut pairs = Vec::with_capacity(flat.len() / 2);
    while let (Some(id), Some(count)) = (flat.next(), flat.next()) {
        pairs.push((reply::id(id)?, reply::number(count)?));
    }
    Ok(pairs)
}
