//! What views of a store look at.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::join_all;
use redis::{Cmd, Pipeline, RedisResult, Value, cmd};

use super::{
    RedisEngine,
    address::Server,
    command::{self, at_least_one, eval},
    error::engine_error,
    no_such_key,
    reconnecting::Reconnecting,
    reply::{self, Attributes, Decoded, Unexpected},
    script,
    stores::scheduled_member,
    understood,
};
use crate::{
    engine::{
        CLUSTER_COMMANDS, COMMANDS, Engine, EngineErrorKind, EngineResult, EntriesAfter, FoundStreams, Inspection,
        NodeHealth, PendingEntry, ScheduledState, StoreHealth, StreamState, keys,
    },
    entry::{EntryId, RangeBound, StreamName, unix_ms},
};

/// How many keys a step of the search looks at.
const SCAN_STEP: usize = 1_000;
/// How many steps the search takes at most on each server: with a million keys it ends.
const SCAN_STEPS: usize = 1_000;
/// The settings that say what happens to messages.
const SETTINGS: &[&str] = &["maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save"];

#[async_trait]
impl Inspection for RedisEngine {
    async fn find_streams(&self, most: usize) -> EngineResult<FoundStreams> {
        let every = |key: &[u8]| Some(StreamName::from(key.to_vec()));
        self.find(most, "look for streams", &["TYPE", "stream"], every).await
    }

    async fn stream_states(&self, streams: &[StreamName]) -> Vec<EngineResult<Option<StreamState>>> {
        let is_cluster = matches!(self.server, Server::Cluster(_));
        let commands = streams.iter().enumerate().flat_map(|(at, stream)| {
            // The clock of the server that has the stream: one server has all, where it is no cluster.
            let time = (at == 0 || is_cluster).then(|| cmd("TIME"));
            let mut info = cmd("XINFO");
            info.arg("STREAM")
                .arg(stream.as_bytes())
                .arg("FULL")
                .arg("COUNT")
                .arg(1);
            let mut memory = cmd("MEMORY");
            memory.arg("USAGE").arg(stream.as_bytes());
            let mut scheduled = cmd("ZCARD");
            scheduled.arg(keys::scheduled(stream));
            let all = time.into_iter().chain([info, memory, scheduled]);
            all.map(|command| (stream.clone(), command))
        });
        let mut answers = self.run_all(commands.collect()).await.into_iter();
        let mut next = || answers.next().unwrap_or_else(unanswered);
        let mut clock = unix_ms();
        let mut state = |at: usize, stream: &StreamName| {
            let attempted = || format!("look at stream '{stream}'");
            if at == 0 || is_cluster {
                let time = next().ok().and_then(|time| reply::time_ms(time).ok());
                clock = time.unwrap_or_else(unix_ms);
            }
            let (info, memory, scheduled) = (next(), next(), next());
            let scheduled = scheduled.ok().and_then(|waiting| reply::number(waiting).ok());
            let scheduled = scheduled.map(|waiting| ScheduledState {
                waiting,
                ..ScheduledState::default()
            });
            let mut state = match info {
                Err(error) if no_such_key(&error) => match scheduled {
                    Some(ScheduledState { waiting: 1.., .. }) => StreamState::empty(clock),
                    _ => return Ok(None),
                },
                info => {
                    let info = info.map_err(|error| engine_error(attempted(), error))?;
                    understood(stream_state(info, clock), attempted)?
                }
            };
            state.bytes = memory.ok().and_then(|bytes| reply::number(bytes).ok());
            state.scheduled = scheduled;
            Ok(Some(state))
        };
        let mut states = streams
            .iter()
            .enumerate()
            .map(|(at, stream)| state(at, stream))
            .collect::<Vec<_>>();
        self.look_at_scheduled(streams, &mut states).await;
        states
    }

    async fn entries_after(&self, positions: &[(StreamName, EntryId)], most: usize) -> Vec<EngineResult<EntriesAfter>> {
        let most = at_least_one(most);
        let count = |(stream, after): &(StreamName, EntryId)| {
            let mut command = eval(script::ENTRIES_AFTER, stream);
            command.arg(format!("({after}")).arg(most.saturating_add(1));
            (stream.clone(), command)
        };
        let answers = self.run_all(positions.iter().map(count).collect()).await;
        let mut results = Vec::with_capacity(positions.len());
        for ((stream, after), answer) in positions.iter().zip(answers) {
            let attempted = || format!("look at the entries of stream '{stream}'");
            let decoded = match answer {
                Ok(answer) => understood(entries_after(answer, most as u64), attempted),
                Err(error) => Err(engine_error(attempted(), error)),
            };
            results.push(match decoded {
                // A user who only looks may have no scripts: the first entry is one command.
                Err(error) if error.kind() == EngineErrorKind::Permission => {
                    let from = RangeBound::Exclusive(*after);
                    let first = Engine::range(self, stream, from, RangeBound::Unbounded, Some(1), false);
                    first.await.map(|first| EntriesAfter {
                        first: first.first().map(|entry| entry.id),
                        count: first.is_empty().then_some(0),
                        looked_at: first.len() as u64,
                    })
                }
                decoded => decoded,
            });
        }
        results
    }

    async fn pending_in(
        &self,
        stream: &StreamName,
        groups: &[String],
        id: EntryId,
    ) -> Vec<EngineResult<Option<PendingEntry>>> {
        let one = |group: &String| (stream.clone(), command::xpending_one(stream, group, id));
        let answers = self.run_all(groups.iter().map(one).collect()).await;
        let pending = |(answer, group): (RedisResult<Value>, &String)| {
            let attempted = || format!("look at what is pending in group '{group}' on stream '{stream}'");
            match answer {
                Err(error) if error.code() == Some("NOGROUP") => Ok(None),
                Err(error) => Err(engine_error(attempted(), error)),
                Ok(answer) => Ok(understood(reply::pending(answer), attempted)?.pop()),
            }
        };
        answers.into_iter().zip(groups).map(pending).collect()
    }

    async fn keys_beside(&self, most: usize) -> EngineResult<Vec<Bytes>> {
        let attempted = || "look for keys beside streams".to_owned();
        let nodes = self.nodes().await.map_err(|error| engine_error(attempted(), error))?;
        let mut keys = BTreeSet::new();
        for pattern in keys::KEPT_PATTERNS {
            let options = ["MATCH", pattern];
            let scans = nodes
                .iter()
                .map(|(_, node)| scan(node, most, &options, keys::may_be_kept));
            for found in join_all(scans).await {
                keys.extend(found.map_err(|error| engine_error(attempted(), error))?.0);
            }
        }
        Ok(keys.into_iter().take(most).collect())
    }

    async fn count_retry_states(&self, groups: &[(StreamName, String)]) -> Vec<EngineResult<u64>> {
        let count = |(stream, group): &(StreamName, String)| {
            let mut command = cmd("HLEN");
            command.arg(keys::retry_states(stream, group));
            (stream.clone(), command)
        };
        let answers = self.run_all(groups.iter().map(count).collect()).await;
        let counted = |(answer, (stream, group)): (RedisResult<Value>, &(StreamName, String))| {
            let attempted = || format!("count the retry states of group '{group}' on stream '{stream}'");
            understood(
                reply::number(answer.map_err(|error| engine_error(attempted(), error))?),
                attempted,
            )
        };
        answers.into_iter().zip(groups).map(counted).collect()
    }

    async fn store_health(&self) -> EngineResult<StoreHealth> {
        let attempted = || format!("ask how {} is", self.location);
        let nodes = self.nodes().await.map_err(|error| engine_error(attempted(), error))?;
        let is_cluster = matches!(self.server, Server::Cluster(_));
        let health = nodes.iter().map(|(address, node)| async move {
            let mut health = node_health(address, node).await;
            if is_cluster && health.error.is_none() {
                health.forbidden_cluster_commands = forbidden_in_cluster(node).await;
            }
            health
        });
        let mut nodes = join_all(health).await;
        nodes.sort_by(|one, other| one.address.cmp(&other.address));
        Ok(StoreHealth { nodes, file: None })
    }
}

impl RedisEngine {
    /// Adds which entry is due first, and how many are due, where any waits.
    async fn look_at_scheduled(&self, streams: &[StreamName], states: &mut [EngineResult<Option<StreamState>>]) {
        let mut commands = Vec::new();
        let waiting = streams.iter().zip(states).filter_map(|(stream, state)| {
            let state = state.as_mut().ok()?.as_mut()?;
            let scheduled = state.scheduled.as_mut().filter(|scheduled| scheduled.waiting > 0)?;
            let key = keys::scheduled(stream);
            let mut first = cmd("ZRANGE");
            first.arg(&key).arg(0).arg(0);
            let mut due = cmd("ZLEXCOUNT");
            let later = EntryId::new(state.now_ms.saturating_add(1), 0);
            due.arg(&key).arg("-").arg(format!("({}", scheduled_member(later)));
            commands.extend([first, due].map(|command| (stream.clone(), command)));
            Some(scheduled)
        });
        let waiting = waiting.collect::<Vec<_>>();
        if waiting.is_empty() {
            return;
        }
        let mut answers = self.run_all(commands).await.into_iter();
        for scheduled in waiting {
            let mut next = || answers.next().unwrap_or_else(unanswered).ok();
            let first = next().and_then(|first| reply::ids(first).ok());
            scheduled.first = first.and_then(|mut first| first.pop());
            let due = next().and_then(|due| reply::number(due).ok());
            // Some may have been appended since they were counted.
            scheduled.overdue = due.unwrap_or(0).min(scheduled.waiting);
        }
    }

    /// The streams that the keys of every server tell of for which the options of `SCAN` hold, at most `most`.
    pub(super) async fn find(
        &self,
        most: usize,
        attempted: &str,
        options: &[&str],
        stream: impl Fn(&[u8]) -> Option<StreamName>,
    ) -> EngineResult<FoundStreams> {
        let attempted = || attempted.to_owned();
        let nodes = self.nodes().await.map_err(|error| engine_error(attempted(), error))?;
        let scans = nodes
            .iter()
            .map(|(_, node)| scan(node, most, options, |key| stream(key).is_some()));
        let (mut names, mut complete) = (BTreeSet::new(), true);
        for found in join_all(scans).await {
            let (keys, all) = found.map_err(|error| engine_error(attempted(), error))?;
            names.extend(keys.iter().filter_map(|key| stream(key)));
            complete &= all;
        }
        complete &= names.len() <= most;
        Ok(FoundStreams {
            names: names.into_iter().take(most).collect(),
            complete,
        })
    }

    /// The servers, each with its address for people.
    async fn nodes(&self) -> RedisResult<Vec<(String, Arc<Reconnecting>)>> {
        match &self.server {
            Server::Single(server) => Ok(vec![(self.location.clone(), Arc::clone(server))]),
            Server::Cluster(cluster) => cluster.masters().await,
        }
    }
}

fn unanswered() -> RedisResult<Value> {
    Err((redis::ErrorKind::Client, "a command of a pipeline was not answered").into())
}

/// The keys of one server for which options of `SCAN` and `wanted` hold, and whether these are all.
async fn scan(
    node: &Reconnecting,
    most: usize,
    options: &[&str],
    wanted: impl Fn(&[u8]) -> bool,
) -> RedisResult<(BTreeSet<Bytes>, bool)> {
    let (mut names, mut cursor) = (BTreeSet::new(), 0);
    for _ in 0..SCAN_STEPS {
        let mut command = cmd("SCAN");
        command.arg(cursor).arg("COUNT").arg(SCAN_STEP).arg(options);
        let page = reply::scan_page(node.run(&command).await?);
        let (next, page) = page.map_err(|Unexpected(what)| {
            redis::RedisError::from((
                redis::ErrorKind::UnexpectedReturnType,
                "SCAN",
                format!("expected {what}"),
            ))
        })?;
        names.extend(page.into_iter().filter(|key| wanted(key)));
        cursor = next;
        if cursor == 0 {
            return Ok((names, true));
        }
        if names.len() > most {
            break;
        }
    }
    Ok((names, false))
}

/// `XINFO STREAM … FULL COUNT 1`.
fn stream_state(value: Value, now_ms: u64) -> Decoded<StreamState> {
    let mut stream = Attributes::of(value)?;
    let first_id = |entries| Ok(reply::entries(entries)?.first().map(|entry| entry.id));
    let groups = stream.take("groups", reply::array)?.into_iter();
    let groups = groups.map(|group| {
        let mut group = reply::full_group(group, now_ms)?;
        group.pending.truncate(1);
        Ok(group)
    });
    Ok(StreamState {
        groups: groups.collect::<Decoded<_>>()?,
        length: stream.take("length", reply::number)?,
        first_id: stream.take("entries", first_id)?,
        last_id: stream.take("last-generated-id", reply::id)?,
        entries_added: stream.take_if_there("entries-added", reply::number)?,
        bytes: None,
        scheduled: None,
        now_ms,
    })
}

/// What the script answers: the first ID, and how many entries it saw, of which one more than `most` were asked for.
fn entries_after(value: Value, most: u64) -> Decoded<EntriesAfter> {
    let [count, first] = reply::exactly(value, "a number and an entry ID")?;
    let seen = reply::number(count)?;
    Ok(EntriesAfter {
        first: if seen == 0 { None } else { Some(reply::id(first)?) },
        count: (seen <= most).then_some(seen),
        looked_at: seen.min(most),
    })
}

async fn node_health(address: &str, node: &Reconnecting) -> NodeHealth {
    let mut health = NodeHealth {
        address: address.to_owned(),
        ..NodeHealth::default()
    };
    // The first command may have to connect.
    if let Err(error) = node.run(&cmd("PING")).await
        && error.code() != Some("NOPERM")
    {
        health.error = Some(engine_error("ask the server", error).reason().to_owned());
        return health;
    }
    let begin = Instant::now();
    let time = node.run(&cmd("TIME")).await;
    health.round_trip = begin.elapsed();
    if let Some(clock) = time.ok().and_then(|time| reply::time_ms(time).ok()) {
        // The server looked at its clock about halfway.
        let here = i64::try_from(unix_ms()).unwrap_or(i64::MAX) - (health.round_trip.as_millis() / 2) as i64;
        health.clock_ahead_ms = Some(i64::try_from(clock).unwrap_or(i64::MAX) - here);
    }
    for section in ["server", "clients", "memory", "persistence", "replication"] {
        let info = ask(node, cmd("INFO").arg(section))
            .await
            .and_then(|info| reply::text(info).ok());
        let info = info.unwrap_or_default();
        let lines = info.lines().filter_map(|line| line.split_once(':'));
        health
            .info
            .extend(lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())));
    }
    for setting in SETTINGS {
        let answer = ask(node, cmd("CONFIG").arg("GET").arg(*setting)).await;
        let pair = answer
            .and_then(|answer| reply::all_bytes(answer).ok())
            .unwrap_or_default();
        if let [_, value] = &pair[..] {
            let value = String::from_utf8_lossy(value).into_owned();
            health.settings.insert((*setting).to_owned(), value);
        }
    }
    let names: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
    if let Some(Value::Array(known)) = ask(node, cmd("COMMAND").arg("INFO").arg(&names[..])).await {
        let missing = names.iter().zip(&known).filter(|(_, known)| **known == Value::Nil);
        health.missing_commands = Some(missing.map(|(name, _)| (*name).to_owned()).collect());
    }
    health.forbidden_commands = forbidden(node, &names, health.missing_commands.as_deref().unwrap_or_default()).await;
    health
}

/// What the user may not do, by `ACL DRYRUN` (Redis 7.0).
async fn forbidden(node: &Reconnecting, names: &[&str], missing: &[String]) -> Option<Vec<String>> {
    let user = reply::text(ask(node, cmd("ACL").arg("WHOAMI")).await?).ok()?;
    let there = names
        .iter()
        .filter(|name| !missing.iter().any(|missing| missing == *name));
    let there = there.copied().collect::<Vec<_>>();
    let mut dry_runs = Pipeline::with_capacity(there.len());
    for name in &there {
        let mut dry_run = cmd("ACL");
        dry_run.arg("DRYRUN").arg(&user).arg(*name).arg(example(name));
        dry_runs.add_command(dry_run);
    }
    let mut forbidden = Vec::new();
    for (name, answer) in there.iter().zip(node.run_all(&dry_runs).await.ok()?) {
        let answer = answer.ok()?;
        // Permission for a command is not permission for this key, which is only an example.
        let text = reply::text(answer).unwrap_or_default();
        if text != "OK" && text.contains(" command") {
            forbidden.push((*name).to_owned());
        }
    }
    Some(forbidden)
}

/// What the user may not do of [`CLUSTER_COMMANDS`]. It is tried, so that it is known on any server and without the right to
/// ask for rights.
async fn forbidden_in_cluster(node: &Reconnecting) -> Vec<String> {
    let mut attempt = Pipeline::with_capacity(4);
    for (name, _) in CLUSTER_COMMANDS {
        attempt.add_command(cmd(name));
    }
    // `ASKING` holds for the next command, which must not be one that somebody else sends on this connection.
    attempt.add_command(cmd("PING"));
    let answers = node.run_all(&attempt).await.unwrap_or_default();
    let refused = CLUSTER_COMMANDS.iter().zip(answers).filter(|(_, answer)| {
        let error = answer.as_ref().err();
        // `EXECABORT`: an `EXEC` that is refused discards its transaction.
        error.is_some_and(|error| ["NOPERM", "EXECABORT"].contains(&error.code().unwrap_or_default()))
    });
    refused.map(|((name, _), _)| (*name).to_owned()).collect()
}

/// Arguments that the server accepts as those of a command.
fn example(name: &str) -> &'static [&'static str] {
    match name {
        "SCAN" => &["0"],
        "EVAL" => &["return 1", "0"],
        // A subcommand that is used: a user with `+@read` may `XINFO STREAM`, and not `XINFO HELP`.
        "XGROUP" => &["CREATE", "failed_stream", "g", "$"],
        "XINFO" => &["STREAM", "failed_stream"],
        "XADD" => &["failed_stream", "*", "a", "b"],
        "XREAD" => &["STREAMS", "failed_stream", "0"],
        "XREADGROUP" => &["GROUP", "g", "c", "STREAMS", "failed_stream", ">"],
        "XACK" | "XPENDING" => &["failed_stream", "g", "0-1"],
        "XAUTOCLAIM" => &["failed_stream", "g", "c", "0", "0"],
        "XCLAIM" => &["failed_stream", "g", "c", "0", "0-1"],
        "XRANGE" => &["failed_stream", "-", "+"],
        "XREVRANGE" => &["failed_stream", "+", "-"],
        "XLEN" => &["failed_stream"],
        "XTRIM" => &["failed_stream", "MAXLEN", "1"],
        "SSCAN" => &["failed_stream", "0"],
        "HSET" => &["failed_stream", "a", "b"],
        "ZADD" => &["failed_stream", "0", "a"],
        "ZRANGE" => &["failed_stream", "0", "0"],
        "ZRANGEBYLEX" | "ZLEXCOUNT" => &["failed_stream", "-", "+"],
        _ => &["failed_stream", "0-1"],
    }
}

/// The answer to what may be refused.
async fn ask(node: &Reconnecting, command: &Cmd) -> Option<Value> {
    node.run(command).await.ok()
}
