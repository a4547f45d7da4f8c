//! What each operation of the contract is in commands.

use async_trait::async_trait;
use redis::{Cmd, RedisResult, Value, cmd};

use super::{
    RedisEngine,
    address::Server,
    command::{self, at_least_one, on, with_ids},
    error::engine_error,
    no_such_key,
    recorded::MOST_FIELDS,
    reply::{self, Unexpected},
    says, script, understood,
};
use crate::{
    engine::{
        Append, AppendManyError, Appended, Durability, DurableAppend, Engine, EngineError, EngineErrorKind,
        EngineResult, FullStreamInfo, GroupAdmin, GroupInfo, Record, StreamInfo, keys,
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
        if needs_script(&append) {
            return Ok(self.append_by_script(&append, None).await?.id);
        }
        let answer = match &self.server {
            Server::Single(server) => match server.append(&append).await {
                Ok(Ok(id)) => return Ok(id),
                Ok(Err(answer)) => Ok(answer),
                Err(error) => Err(error),
            },
            Server::Cluster(cluster) => cluster.run(append.stream.as_bytes(), &command::xadd(&append)).await,
        };
        appended(&append.stream, append.id, answer)
    }

    async fn append_many(&self, appends: Vec<Append>) -> Result<Vec<EntryId>, AppendManyError> {
        let mut checks: Vec<EngineResult<()>> = appends.iter().map(checked).collect();
        let by_script = appends.iter().any(needs_script);
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
                    match self.append_command(append, None) {
                        Ok(command) => commands.push((append.stream.clone(), command)),
                        Err(error) => *check = Err(error),
                    }
                }
                self.run_in_order(commands).await
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
        append.check_due(Some(&record))?;
        self.append_by_script(&append, Some(&record)).await
    }

    async fn append_durably(
        &self,
        append: Append,
        record: Option<Record>,
        durability: Durability,
    ) -> EngineResult<DurableAppend> {
        checked(&append)?;
        append.check_due(record.as_ref())?;
        self.append_and_wait(&append, record.as_ref(), durability).await
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
        let groups = GroupAdmin::groups(self, stream).await?;
        let mut command = cmd("EVAL");
        command.arg(&script::REMOVE_STREAM[..]).arg(4 + 2 * groups.len());
        command.arg(stream.as_bytes()).arg(keys::handled(stream, None));
        command
            .arg(keys::scheduled(stream))
            .arg(keys::scheduled_entries(stream));
        for GroupInfo { name, .. } in &groups {
            command.arg(keys::retry_states(stream, name));
            command.arg(keys::handled(stream, Some(name)));
        }
        let attempted = || format!("remove stream '{stream}'");
        Ok(self.ask(stream.as_bytes(), &command, reply::number, attempted).await? == 1)
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

/// The longest name or value in bytes (`proto-max-bulk-len`). Of a longer one the server ends the connection, on which
/// others wait for their answers.
const LONGEST_VALUE: usize = 512 << 20;

/// Whether it is more than one command.
pub(super) fn needs_script(append: &Append) -> bool {
    append.options.idempotency.is_some() || append.options.due_ms.is_some()
}

fn checked(append: &Append) -> EngineResult<()> {
    append.check_due(None)?;
    let wrong = |reason: String| {
        let attempted = format!("append to stream '{}'", append.stream);
        Err(EngineError::new(EngineErrorKind::InvalidInput, attempted, reason))
    };
    if append.fields.is_empty() {
        return wrong("an entry needs at least one field".to_owned());
    }
    let all = append.fields.iter().flat_map(|(name, value)| [name.len(), value.len()]);
    match all.chain([append.stream.as_bytes().len()]).max() {
        Some(longest) if longest > LONGEST_VALUE => wrong(format!(
            "a value has {longest} bytes, and Redis takes at most 512 MiB; keep it elsewhere and send where it is"
        )),
        _ => Ok(()),
    }
}

pub(super) fn appended(stream: &StreamName, id: NewId, answer: RedisResult<Value>) -> EngineResult<EntryId> {
    let attempted = || format!("append to stream '{stream}'");
    match answer {
        Ok(Value::Nil) => Err(EngineError::new(
            EngineErrorKind::NoStream,
            attempted(),
            "there is no such stream",
        )),
        // Of a script.
        Ok(answer @ Value::Array(_)) => understood(reply::recorded(answer), attempted).map(|appended| appended.id),
        Ok(answer) => understood(reply::id(answer), attempted),
        Err(error) if matches!(id, NewId::AutoSequence(_)) && says(&error, "Invalid stream ID") => {
            let reason = "the server cannot number entries within a given millisecond; Redis 7.0 can";
            Err(EngineError::new(EngineErrorKind::Unsupported, attempted(), reason).with_source(error))
        }
        Err(error) => Err(engine_error(attempted(), error)),
    }
}

/// Whether a range holds no ID at all; the server would call its bounds invalid.
pub(super) fn is_void(start: RangeBound, end: RangeBound) -> bool {
    start == RangeBound::Exclusive(EntryId::MAX) || end == RangeBound::Exclusive(EntryId::MIN)
}
