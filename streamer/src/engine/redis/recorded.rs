//! Entries that are appended together with a record, idempotently, or later.

use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};

use super::{
    RedisEngine,
    address::Server,
    command::{xadd, xadd_arguments},
    operations::{appended, needs_script},
    reply, says,
    script::{self, Hashed},
    understood,
};
use crate::{
    engine::{
        Append, Appended, EngineError, EngineErrorKind, EngineResult, Idempotency, Record, keys, origins::ids_to_text,
        slot::slot,
    },
    entry::EntryId,
};

/// The most fields of an entry that a script appends: Lua passes at most 8,000 values to a command.
pub(super) const MOST_FIELDS: usize = 3900;

/// How often an idempotent append is repeated when its connection broke, and the pause before the first repetition.
const REPEATS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Whether the server has not run a script that it was sent the hash of: it does not know it, or this user may only
/// send texts. What is refused inside a script is another matter: then a part of it may be done.
fn was_not_begun(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        || error.code() == Some("NOPERM") && says(error, "'evalsha'")
}

/// The script that appends, with this record if there is one.
fn script_for(append: &Append, record: Option<&Record>) -> &'static Hashed {
    match record {
        Some(Record::Restored { .. }) => &script::APPEND_RESTORED,
        None if append.options.due_ms.is_some() => &script::SCHEDULE,
        Some(Record::Push { .. }) | None => &script::APPEND_RECORDED,
    }
}

fn script_command(name: &str, script: &str, append: &Append, record: Option<&Record>, keys: &[Vec<u8>]) -> Cmd {
    let mut command = Cmd::with_capacity(24 + 2 * append.fields.len(), 1024);
    command
        .arg(name)
        .arg(script)
        .arg(1 + keys.len())
        .arg(append.stream.as_bytes());
    for key in keys {
        command.arg(&key[..]);
    }
    match record {
        Some(Record::Push { before, after, .. }) => command.arg("list").arg(&before[..]).arg(&after[..]),
        Some(Record::Restored { ids }) => {
            let text = |id: Option<&EntryId>| id.map(EntryId::to_string).unwrap_or_default();
            let all = if ids.len() > 1 { ids_to_text(ids) } else { Bytes::new() };
            command.arg(text(ids.last())).arg(text(ids.first())).arg(&all[..])
        }
        None => {
            let due = append.options.due_ms.map(|due| due.to_string()).unwrap_or_default();
            command.arg(due).arg("").arg("")
        }
    };
    let window = append.options.idempotency.as_ref().map_or(0, Idempotency::window_ms);
    command.arg(window);
    xadd_arguments(append, |argument| _ = command.arg(argument));
    command
}

/// What a script's answer says.
pub(super) fn appended_by_script(append: &Append, answer: RedisResult<Value>) -> EngineResult<Appended> {
    let stream = &append.stream;
    match answer {
        Ok(answer @ Value::Array(_)) => understood(reply::recorded(answer), || format!("append to stream '{stream}'")),
        refused => appended(stream, append.id, refused).map(|id| Appended { id, fresh: true }),
    }
}

impl RedisEngine {
    /// Appends by a script: with a record, idempotently, or both. An idempotent append whose answer was lost with its
    /// connection is repeated.
    pub(super) async fn append_by_script(&self, append: &Append, record: Option<&Record>) -> EngineResult<Appended> {
        let mut repeats = 0;
        loop {
            match self.append_by_script_once(append, record).await {
                // After a time-out the caller has waited long enough.
                Err(error)
                    if error.kind() == EngineErrorKind::Connection
                        && !error.is_timeout()
                        && append.options.idempotency.is_some()
                        && repeats < REPEATS =>
                {
                    tokio::time::sleep(FIRST_PAUSE * (1 << repeats)).await;
                    repeats += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn append_by_script_once(&self, append: &Append, record: Option<&Record>) -> EngineResult<Appended> {
        let stream = &append.stream;
        let keys = self.keys_of(append, record)?;
        let script = script_for(append, record);
        let by_hash = script_command("EVALSHA", &script.hash, append, record, &keys);
        let answer = match self.run(stream.as_bytes(), &by_hash).await {
            Err(error) if was_not_begun(&error) => {
                let by_text = script_command("EVAL", &script.text, append, record, &keys);
                self.run(stream.as_bytes(), &by_text).await
            }
            answer => answer,
        };
        appended_by_script(append, answer)
    }

    /// The command that appends one of many: by a script only where that is needed.
    ///
    /// With the script's text, so that the order within a pipeline holds although the server may not know the script.
    pub(super) fn append_command(&self, append: &Append, record: Option<&Record>) -> EngineResult<Cmd> {
        match record.is_some() || needs_script(append) {
            false => Ok(xadd(append)),
            true => {
                let keys = self.keys_of(append, record)?;
                let script = script_for(append, record);
                Ok(script_command("EVAL", &script.text, append, record, &keys))
            }
        }
    }

    /// The keys that are written beside the stream. Refused where they cannot be written in one step.
    fn keys_of(&self, append: &Append, record: Option<&Record>) -> EngineResult<Vec<Vec<u8>>> {
        let stream = &append.stream;
        let refused = |kind, reason: String| {
            let attempted = format!("append to stream '{stream}'");
            Err(EngineError::new(kind, attempted, reason))
        };
        if append.fields.len() > MOST_FIELDS {
            let reason = format!(
                "it has {} fields, and the server can append at most {MOST_FIELDS} in one step with something else, such as \
                 where a restored message was, a snapshot, an idempotency key, or later",
                append.fields.len()
            );
            return refused(EngineErrorKind::Unsupported, reason);
        }
        let mut keys = Vec::new();
        match record {
            Some(Record::Push { list, .. }) if list == stream => {
                let reason = "the record of an entry cannot have the name of its stream";
                return refused(EngineErrorKind::WrongType, reason.to_owned());
            }
            Some(Record::Restored { ids }) if ids.is_empty() => {
                let reason = "a restored message has at least one earlier ID";
                return refused(EngineErrorKind::InvalidInput, reason.to_owned());
            }
            Some(Record::Push { list, .. }) => keys.push(list.as_bytes().to_vec()),
            Some(Record::Restored { .. }) => {
                keys.extend([keys::restored(stream), keys::original_ids(stream)].map(String::into_bytes));
            }
            None if append.options.due_ms.is_some() => {
                keys.extend([keys::scheduled(stream), keys::scheduled_entries(stream)].map(String::into_bytes));
            }
            None => {}
        }
        if let Some(idempotency) = &append.options.idempotency {
            if let Some(reason) = idempotency.fault() {
                return refused(EngineErrorKind::InvalidInput, reason);
            }
            keys.push(keys::appended_once(stream, &idempotency.key));
        }
        let elsewhere = keys.iter().find(|key| slot(stream.as_bytes()) != slot(key));
        if let (Server::Cluster(_), Some(key)) = (&self.server, elsewhere) {
            let reason = format!(
                "the stream and '{}', which is written with it, are in different slots of the cluster, which cannot write \
                 both in one step; give both names the same hash tag, such as {{order}}.placed",
                String::from_utf8_lossy(key)
            );
            return refused(EngineErrorKind::Unsupported, reason);
        }
        Ok(keys)
    }
}
