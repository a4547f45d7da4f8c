//! What each operation of the contract is in commands.

use std::time::Duration;

use async_trait::async_trait;
use redis::{Cmd, RedisResult, Value, cmd};

use super::{
    RedisEngine,
    address::Server,
    command::{self, at_least_one, eval, group_start, millis, on, with_ids},
    error::engine_error,
    no_such_key,
    recorded::MOST_FIELDS,
    reply::{self, Unexpected},
    says, script, understood,
};
use crate::{
    engine::{
        Append, AppendManyError, Appended, ConsumerInfo, Engine, EngineError, EngineErrorKind, EngineResult,
        FullStreamInfo, GroupInfo, GroupStart, PendingEntry, PendingFilter, PendingSummary, Record, RedeliveredEntry,
        Redelivery, StreamInfo, keys,
    },
    entry::{Entry, EntryId, NewId, RangeBound, StreamName, Trim},
};

#[async_trait]
impl Engine for RedisEngine {
    fn location(&self) -> &str {
        &self.location
    }

    async fn warnings(&self) -> EngineResult<Vec<String>> {
        let mut warnings = Vec::new();
        // Not by the version: Valkey counts its own, and proxies lie.
        let known = self
            .ask_if_allowed(cmd("COMMAND").arg("INFO").arg("XAUTOCLAIM"))
            .await?;
        if known.first() == Some(&Value::Nil) {
            let danger = "the server is older than Redis 6.2: pending entries of dead consumers cannot be claimed";
            warnings.push(danger.to_owned());
        }
        let policy = self
            .ask_if_allowed(cmd("CONFIG").arg("GET").arg("maxmemory-policy"))
            .await?
            .pop();
        let policy = policy.and_then(|policy| reply::text(policy).ok());
        if let Some(policy) = policy.filter(|policy| policy.starts_with("allkeys")) {
            warnings.push(format!(
                "maxmemory-policy is {policy}: when memory runs out the server may drop whole streams with their \
                 groups; set it to noeviction or a volatile policy"
            ));
        }
        Ok(warnings)
    }

    async fn append(&self, append: Append) -> EngineResult<EntryId> {
        checked(&append)?;
        if append.options.idempotency.is_some() {
            return Ok(self.append_by_script(&append, None).await?.id);
        }
        let answer = match &self.server {
            Server::Single(server) => server.append(&append).await,
            Server::Cluster(cluster) => cluster.run(append.stream.as_bytes(), &command::xadd(&append)).await,
        };
        appended(&append.stream, append.id, answer)
    }

    async fn append_many(&self, appends: Vec<Append>) -> Result<Vec<EntryId>, AppendManyError> {
        let mut checks: Vec<EngineResult<()>> = appends.iter().map(checked).collect();
        let by_script = appends.iter().any(|append| append.options.idempotency.is_some());
        let answers = match &self.server {
            Server::Single(server) if !by_script => {
                let sound = appends.iter().zip(&checks).filter(|(_, check)| check.is_ok());
                let sound = sound.map(|(append, _)| append).collect::<Vec<_>>();
                let answers = server.append_all(&sound).await;
                answers.unwrap_or_else(|error| vec![Err(error); sound.len()])
            }
            _ => {
                let mut commands = Vec::with_capacity(appends.len());
                for (append, check) in appends.iter().zip(&mut checks).filter(|(_, check)| check.is_ok()) {
                    match self.append_command(append) {
                        Ok(command) => commands.push((append.stream.clone(), command)),
                        Err(error) => *check = Err(error),
                    }
                }
                self.run_all(commands).await
            }
        };
        let mut answers = answers.into_iter();
        let lot = |(append, check): (&Append, EngineResult<()>)| {
            check?;
            let lost = || Err((redis::ErrorKind::Client, "not answered").into());
            appended(&append.stream, append.id, answers.next().unwrap_or_else(lost))
        };
        let results: Vec<EngineResult<EntryId>> = appends.iter().zip(checks).map(lot).collect();
        if results.iter().any(Result::is_err) {
            return Err(AppendManyError { results });
        }
        Ok(results.into_iter().filter_map(Result::ok).collect())
    }

    fn overlapping_appends_keep_order(&self) -> bool {
        matches!(self.server, Server::Single(_))
    }

    fn most_recorded_fields(&self) -> Option<usize> {
        Some(MOST_FIELDS)
    }

    async fn append_recorded(&self, append: Append, record: Record) -> EngineResult<Appended> {
        checked(&append)?;
        self.append_by_script(&append, Some(&record)).await
    }

    async fn delete(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let command = with_ids(on("XDEL", stream), ids);
        self.ask(stream.as_bytes(), &command, reply::number, || {
            format!("delete entries of stream '{stream}'")
        })
        .await
    }

    async fn trim(&self, stream: &StreamName, trim: Trim) -> EngineResult<u64> {
        let command = command::xtrim(stream, trim);
        self.ask(stream.as_bytes(), &command, reply::number, || {
            format!("trim stream '{stream}'")
        })
        .await
    }

    async fn remove_stream(&self, stream: &StreamName) -> EngineResult<bool> {
        let groups = Engine::groups(self, stream).await?;
        let mut command = cmd("EVAL");
        command.arg(&script::REMOVE_STREAM[..]).arg(2 + 2 * groups.len());
        command.arg(stream.as_bytes()).arg(keys::handled(stream, None));
        for GroupInfo { name, .. } in &groups {
            command.arg(keys::retry_states(stream, name));
            command.arg(keys::handled(stream, Some(name)));
        }
        let attempted = || format!("remove stream '{stream}'");
        Ok(self.ask(stream.as_bytes(), &command, reply::number, attempted).await? == 1)
    }

    async fn len(&self, stream: &StreamName) -> EngineResult<u64> {
        let command = on("XLEN", stream);
        self.ask(stream.as_bytes(), &command, reply::number, || {
            format!("ask for the length of stream '{stream}'")
        })
        .await
    }

    async fn range(
        &self,
        stream: &StreamName,
        start: RangeBound,
        end: RangeBound,
        count: Option<usize>,
        reverse: bool,
    ) -> EngineResult<Vec<Entry>> {
        if is_void(start, end) {
            return Ok(Vec::new());
        }
        let command = command::xrange(stream, start, end, count, reverse);
        self.ask(stream.as_bytes(), &command, reply::entries, || {
            format!("read a range of stream '{stream}'")
        })
        .await
    }

    async fn get_many(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<Entry>>> {
        let one = |id: &EntryId| {
            let exactly = RangeBound::Inclusive(*id);
            (
                stream.clone(),
                command::xrange(stream, exactly, exactly, Some(1), false),
            )
        };
        let attempted = || format!("read entries of stream '{stream}'");
        let entry = |answer: RedisResult<Value>| {
            let answer = answer.map_err(|error| engine_error(attempted(), error))?;
            Ok(understood(reply::entries(answer), attempted)?.pop())
        };
        let answers = self.run_all(ids.iter().map(one).collect()).await;
        answers.into_iter().map(entry).collect()
    }

    async fn last_id(&self, stream: &StreamName) -> EngineResult<EntryId> {
        Ok(self.info(stream).await?.map_or(EntryId::MIN, |info| info.last_id))
    }

    async fn info(&self, stream: &StreamName) -> EngineResult<Option<StreamInfo>> {
        let mut command = cmd("XINFO");
        command.arg("STREAM").arg(stream.as_bytes());
        self.ask_if_there(stream, &command, reply::stream_info, || {
            format!("look at stream '{stream}'")
        })
        .await
    }

    async fn full_info(&self, stream: &StreamName, count: usize) -> EngineResult<Option<FullStreamInfo>> {
        let attempted = || format!("look at stream '{stream}' in full");
        let mut command = cmd("XINFO");
        command
            .arg("STREAM")
            .arg(stream.as_bytes())
            .arg("FULL")
            .arg("COUNT")
            .arg(at_least_one(count));
        let mut answers = self
            .run_all(vec![(stream.clone(), cmd("TIME")), (stream.clone(), command)])
            .await
            .into_iter();
        let (Some(time), Some(info)) = (answers.next(), answers.next()) else {
            return understood(Err(Unexpected("two answers")), attempted);
        };
        let info = match info {
            Err(error) if no_such_key(&error) => return Ok(None),
            info => info.map_err(|error| engine_error(attempted(), error))?,
        };
        // A user who may not ask for the time gets idle times by this machine's clock.
        let now_ms = time
            .ok()
            .and_then(|time| reply::time_ms(time).ok())
            .unwrap_or_else(crate::entry::unix_ms);
        let mut info = understood(reply::full_info(info, now_ms), attempted)?;
        info.entries.truncate(count);
        info.groups.iter_mut().for_each(|group| group.pending.truncate(count));
        Ok(Some(info))
    }

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

    async fn acknowledge(&self, stream: &StreamName, group: &str, ids: &[EntryId]) -> EngineResult<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let attempted = || format!("acknowledge entries of stream '{stream}' in group '{group}'");
        let command = command::xack(stream, group, ids);
        self.ask(stream.as_bytes(), &command, reply::number, attempted).await
    }

    async fn acknowledge_all(&self, group: &str, settled: &[(StreamName, Vec<EntryId>)]) -> EngineResult<u64> {
        let settled = settled.iter().filter(|(_, ids)| !ids.is_empty());
        let commands = settled
            .clone()
            .map(|(stream, ids)| (stream.clone(), command::xack(stream, group, ids)));
        let answers = self.run_all(commands.collect()).await;
        let number = |(answer, (stream, _)): (RedisResult<Value>, &(StreamName, _))| {
            let attempted = || format!("acknowledge entries of stream '{stream}' in group '{group}'");
            let answer = answer.map_err(|error| engine_error(attempted(), error))?;
            understood(reply::number(answer), attempted)
        };
        answers.into_iter().zip(settled).map(number).sum()
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
        let mut command = eval(script::AUTO_CLAIM, stream);
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

    async fn set_idle(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        ids: &[EntryId],
        idle: Duration,
    ) -> EngineResult<Vec<EntryId>> {
        let mut command = eval(script::SET_IDLE, stream);
        command.arg(group).arg(consumer).arg(command::idle(idle));
        let attempted = || format!("renew entries of stream '{stream}' in group '{group}' for '{consumer}'");
        self.ask(stream.as_bytes(), &with_ids(command, ids), reply::ids, attempted)
            .await
    }

    async fn remove_consumer_if_done(&self, stream: &StreamName, group: &str, consumer: &str) -> EngineResult<bool> {
        let mut command = eval(&script::LEAVE, stream);
        command.arg(group).arg(consumer);
        let attempted = || format!("remove consumer '{consumer}' of group '{group}' on stream '{stream}'");
        Ok(self.ask(stream.as_bytes(), &command, reply::number, attempted).await? == 1)
    }

    async fn delete_consumer(&self, stream: &StreamName, group: &str, consumer: &str) -> EngineResult<u64> {
        let mut command = cmd("XGROUP");
        command
            .arg("DELCONSUMER")
            .arg(stream.as_bytes())
            .arg(group)
            .arg(consumer);
        let attempted = || format!("delete consumer '{consumer}' of group '{group}' on stream '{stream}'");
        self.ask(stream.as_bytes(), &command, reply::number, attempted)
            .await
            .map_err(no_group)
    }
}

impl RedisEngine {
    /// A question about the server; nothing where it may not be asked, or where the server does not know it.
    async fn ask_if_allowed(&self, question: &Cmd) -> EngineResult<Vec<Value>> {
        let attempted = || format!("ask {} how it is set up", self.location);
        match self.run_anywhere(question).await {
            Ok(answer) => Ok(reply::array(answer).unwrap_or_default()),
            Err(error) => {
                let error = engine_error(attempted(), error);
                if error.kind().is_transient() {
                    Err(error)
                } else {
                    Ok(Vec::new())
                }
            }
        }
    }
}

fn checked(append: &Append) -> EngineResult<()> {
    if append.fields.is_empty() {
        let attempted = format!("append to stream '{}'", append.stream);
        return Err(EngineError::new(
            EngineErrorKind::InvalidInput,
            attempted,
            "an entry needs at least one field",
        ));
    }
    Ok(())
}

pub(super) fn appended(stream: &StreamName, id: NewId, answer: RedisResult<Value>) -> EngineResult<EntryId> {
    let attempted = || format!("append to stream '{stream}'");
    match answer {
        Ok(Value::Nil) => Err(EngineError::new(
            EngineErrorKind::NoStream,
            attempted(),
            "there is no such stream",
        )),
        // Of the script that appends idempotently.
        Ok(answer @ Value::Array(_)) => understood(reply::recorded(answer), attempted).map(|appended| appended.id),
        Ok(answer) => understood(reply::id(answer), attempted),
        Err(error) if matches!(id, NewId::AutoSequence(_)) && says(&error, "Invalid stream ID") => {
            let reason = "the server cannot number entries within a given millisecond; Redis 7.0 can";
            Err(EngineError::new(EngineErrorKind::Unsupported, attempted(), reason).with_source(error))
        }
        Err(error) => Err(engine_error(attempted(), error)),
    }
}

/// Where the group was asked for, a missing stream is a missing group.
fn no_group(error: EngineError) -> EngineError {
    match error.kind() {
        EngineErrorKind::NoStream => error.with_kind(EngineErrorKind::NoGroup),
        _ => error,
    }
}

/// Whether a range holds no ID at all; the server would call its bounds invalid.
fn is_void(start: RangeBound, end: RangeBound) -> bool {
    start == RangeBound::Exclusive(EntryId::MAX) || end == RangeBound::Exclusive(EntryId::MIN)
}
