//! Entries that are appended together with a record, and the lists that such records make.

use bytes::Bytes;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::{
    RedisEngine,
    address::Server,
    command::{eval, on, xadd, xadd_arguments},
    node_map::slot,
    operations::appended,
    reply, says, script, understood,
};
use crate::{
    engine::{Append, Appended, EngineError, EngineErrorKind, EngineResult, Idempotency, Record, keys},
    entry::StreamName,
};

/// Whether the server has not run a script that it was sent the hash of: it does not know it, or this user may only
/// send texts. What is refused inside a script is another matter: then a part of it may be done.
fn was_not_begun(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        || error.code() == Some("NOPERM") && says(error, "'evalsha'")
}

fn script_command(name: &str, script: &str, append: &Append, record: Option<&Record>, keys: &[Vec<u8>]) -> Cmd {
    let (kind, before, after) = match record {
        Some(Record::Push { before, after, .. }) => ("list", &before[..], &after[..]),
        Some(Record::Once { field, .. }) => ("hash", &field[..], &b""[..]),
        None => ("", &b""[..], &b""[..]),
    };
    let mut command = Cmd::with_capacity(24 + 2 * append.fields.len(), 1024);
    command
        .arg(name)
        .arg(script)
        .arg(1 + keys.len())
        .arg(append.stream.as_bytes());
    for key in keys {
        command.arg(&key[..]);
    }
    let window = append.options.idempotency.as_ref().map_or(0, Idempotency::window_ms);
    command.arg(kind).arg(before).arg(after).arg(window);
    xadd_arguments(append, |argument| _ = command.arg(argument));
    command
}

impl RedisEngine {
    /// Appends by a script: with a record, idempotently, or both.
    pub(super) async fn append_by_script(&self, append: &Append, record: Option<&Record>) -> EngineResult<Appended> {
        let stream = &append.stream;
        let attempted = || format!("append to stream '{stream}'");
        let keys = self.keys_of(append, record)?;
        let by_hash = script_command("EVALSHA", &script::APPEND_RECORDED_HASH, append, record, &keys);
        let answer = match self.run(stream.as_bytes(), &by_hash).await {
            Err(error) if was_not_begun(&error) => {
                let by_text = script_command("EVAL", script::APPEND_RECORDED, append, record, &keys);
                self.run(stream.as_bytes(), &by_text).await
            }
            answer => answer,
        };
        match answer {
            Ok(answer @ Value::Array(_)) => understood(reply::recorded(answer), attempted),
            refused => appended(stream, append.id, refused).map(|id| Appended { id, fresh: true }),
        }
    }

    /// The command that appends one of many: by a script only where that is needed.
    ///
    /// With the script's text, so that the order within a pipeline holds although the server may not know the script.
    pub(super) fn append_command(&self, append: &Append) -> EngineResult<Cmd> {
        match &append.options.idempotency {
            None => Ok(xadd(append)),
            Some(_) => {
                let keys = self.keys_of(append, None)?;
                Ok(script_command("EVAL", script::APPEND_RECORDED, append, None, &keys))
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
        let mut keys = Vec::new();
        if let Some(record) = record {
            if record.key() == stream.as_bytes() {
                let reason = "the record of an entry cannot have the name of its stream";
                return refused(EngineErrorKind::WrongType, reason.to_owned());
            }
            keys.push(record.key().to_vec());
        }
        if let Some(idempotency) = &append.options.idempotency {
            if idempotency.key.len() > Idempotency::LONGEST_KEY {
                let reason = format!(
                    "its idempotency key has {} bytes, and at most {} are allowed",
                    idempotency.key.len(),
                    Idempotency::LONGEST_KEY
                );
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

    pub(super) async fn range_of_list(&self, list: &StreamName, start: u64, count: usize) -> EngineResult<Vec<Bytes>> {
        // Counted from the tail: -1 is the oldest.
        let newest = i64::try_from(start).map_or(i64::MIN, |start| -1 - start);
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut command = on("LRANGE", list);
        command.arg(newest.saturating_sub(count - 1)).arg(newest);
        let attempted = || format!("read the elements of list '{list}'");
        let mut elements = self.ask(list.as_bytes(), &command, reply::all_bytes, attempted).await?;
        elements.reverse();
        Ok(elements)
    }

    pub(super) async fn remove_from_list(&self, list: &StreamName, elements: &[Bytes]) -> EngineResult<u64> {
        if elements.is_empty() {
            return Ok(0);
        }
        let mut command = eval(script::LIST_REMOVE, list);
        for element in elements {
            command.arg(&element[..]);
        }
        let attempted = || format!("remove elements of list '{list}'");
        self.ask(list.as_bytes(), &command, reply::number, attempted).await
    }
}
