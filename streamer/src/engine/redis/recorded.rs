//! Entries that are appended together with a record, and the lists that such records make.

use bytes::Bytes;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::{
    RedisEngine,
    address::Server,
    command::{eval, on, xadd_arguments},
    node_map::slot,
    operations::appended,
    reply, says, script, understood,
};
use crate::{
    engine::{Append, Appended, EngineError, EngineErrorKind, EngineResult, Record},
    entry::StreamName,
};

/// Whether the server has not run a script that it was sent the hash of: it does not know it, or this user may only
/// send texts. What is refused inside a script is another matter: then a part of it may be done.
fn was_not_begun(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        || error.code() == Some("NOPERM") && says(error, "'evalsha'")
}

impl RedisEngine {
    pub(super) async fn append_with_record(&self, append: &Append, record: &Record) -> EngineResult<Appended> {
        let (stream, key) = (&append.stream, record.key());
        let attempted = || format!("append to stream '{stream}'");
        if matches!(self.server, Server::Cluster(_)) && slot(stream.as_bytes()) != slot(key) {
            let reason = format!(
                "the stream and its record '{}' are in different slots of the cluster, which cannot write both in one \
                 step; give both names the same hash tag, such as {{order}}.placed",
                String::from_utf8_lossy(key)
            );
            return Err(EngineError::new(EngineErrorKind::Unsupported, attempted(), reason));
        }
        if stream.as_bytes() == key {
            let reason = "the record of an entry cannot have the name of its stream";
            return Err(EngineError::new(EngineErrorKind::WrongType, attempted(), reason));
        }
        let (kind, before, after) = match record {
            Record::Push { before, after, .. } => ("list", &before[..], &after[..]),
            Record::Once { field, .. } => ("hash", &field[..], &b""[..]),
        };
        let command = |name: &str, script: &str| {
            let mut command = Cmd::with_capacity(24 + 2 * append.fields.len(), 1024);
            command.arg(name).arg(script).arg(2).arg(stream.as_bytes()).arg(key);
            command.arg(kind).arg(before).arg(after);
            xadd_arguments(append, |argument| _ = command.arg(argument));
            command
        };
        let by_hash = command("EVALSHA", &script::APPEND_RECORDED_HASH);
        let answer = match self.run(stream.as_bytes(), &by_hash).await {
            Err(error) if was_not_begun(&error) => {
                let by_text = command("EVAL", script::APPEND_RECORDED);
                self.run(stream.as_bytes(), &by_text).await
            }
            answer => answer,
        };
        match answer {
            Ok(answer @ Value::Array(_)) => understood(reply::recorded(answer), attempted),
            refused => appended(stream, append.id, refused).map(|id| Appended { id, fresh: true }),
        }
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
