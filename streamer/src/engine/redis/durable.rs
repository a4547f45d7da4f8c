//! Appends that wait for replicas or for the append-only file.
//!
//! `WAIT` and `WAITAOF` speak of what was written over the same connection before them, and hold up everything that follows
//! them there. So such appends have a shared connection of their own, and each goes in one pipeline with its wait: no answer
//! can be about another connection, or another server, than the one that appended.

use std::time::Duration;

use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use tokio::time::Instant;

use super::{
    RedisEngine,
    address::Server,
    command::millis,
    error::engine_error,
    operations::{appended, needs_script},
    recorded::appended_by_script,
    says,
};
use crate::{
    engine::{Append, Durability, DurableAppend, EngineResult, Record, durability::not_durable},
    entry::EntryId,
};

/// How long an append looks for the node that serves its stream while a cluster changes.
const REDIRECTED: Duration = Duration::from_secs(5);
/// How long after each attempt.
const PAUSE: Duration = Duration::from_millis(50);

impl RedisEngine {
    pub(super) async fn append_and_wait(
        &self,
        append: &Append,
        record: Option<&Record>,
        durability: Durability,
    ) -> EngineResult<DurableAppend> {
        durability.check(&append.stream)?;
        let attempted = || format!("append to stream '{}'", append.stream);
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(self.append_command(append, record)?);
        pipeline.add_command(wait(durability));
        let until = Instant::now() + REDIRECTED;
        loop {
            let node = match &self.server {
                Server::Single(server) => Ok(server.clone()),
                Server::Cluster(cluster) => cluster.node_of(append.stream.as_bytes()).await,
            };
            let node = node.map_err(|error| engine_error(attempted(), error))?;
            let answers = node.for_waits().run_all(&pipeline).await;
            let mut answers = answers.map_err(|error| engine_error(attempted(), error))?.into_iter();
            let lost = || Err((ErrorKind::Client, "not answered").into());
            let written = answers.next().unwrap_or_else(lost);
            let waited = answers.next().unwrap_or_else(lost);
            if let (Server::Cluster(cluster), Err(error)) = (&self.server, &written) {
                // Redirected means not executed.
                let _ = cluster.check_outdated(error);
                if is_elsewhere(error) && Instant::now() < until {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            let id = written_as(append, record, written)?;
            let reached = judge(&waited, durability).map_err(|reason| not_durable(&append.stream, id, reason));
            return Ok(DurableAppend { id, reached });
        }
    }
}

/// Whether another node serves the stream, or will.
fn is_elsewhere(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved, TryAgain};
    matches!(error.kind(), ErrorKind::Server(Ask | Moved | TryAgain))
}

fn wait(durability: Durability) -> Cmd {
    let mut command = match durability.flushed {
        true => cmd("WAITAOF"),
        false => cmd("WAIT"),
    };
    if durability.flushed {
        command.arg(1);
    }
    command.arg(durability.replicas).arg(millis(durability.timeout));
    command
}

/// Why what was asked is not reached.
fn judge(waited: &RedisResult<Value>, durability: Durability) -> Result<(), String> {
    let Durability {
        replicas,
        flushed,
        timeout,
    } = durability;
    let (local, had) = match waited {
        Ok(Value::Int(had)) if !flushed => (1, *had),
        Ok(Value::Array(both)) if flushed => match both[..] {
            [Value::Int(local), Value::Int(had)] => (local, had),
            _ => return Err("the server's answer to WAITAOF makes no sense".to_owned()),
        },
        Ok(_) => return Err("the server's answer to WAIT makes no sense".to_owned()),
        Err(error) if flushed && says(error, "unknown command") => {
            return Err(
                "the server has no WAITAOF, which Redis 7.2 and Valkey have; `appendfsync always` flushes \
                        each write before it is answered"
                    .to_owned(),
            );
        }
        Err(error) => return Err(format!("it cannot be waited for: {}", reason(error))),
    };
    let mut lacks = Vec::new();
    if local < 1 {
        lacks.push("the server has not flushed it to its append-only file".to_owned());
    }
    if had < i64::from(replicas) {
        let what = if flushed { "had flushed it" } else { "had it" };
        lacks.push(format!("{had} of {replicas} replicas {what}"));
    }
    match lacks.is_empty() {
        true => Ok(()),
        false => Err(format!("{} after {} ms", lacks.join(", and "), timeout.as_millis())),
    }
}

fn reason(error: &RedisError) -> String {
    engine_error("wait", error.clone()).reason().to_owned()
}

/// What the append's answer says.
fn written_as(append: &Append, record: Option<&Record>, answer: RedisResult<Value>) -> EngineResult<EntryId> {
    match record.is_some() || needs_script(append) {
        true => appended_by_script(append, answer).map(|appended| appended.id),
        false => appended(&append.stream, append.id, answer),
    }
}
