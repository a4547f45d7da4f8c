//! Reads new entries over a connection of its own, because a blocking read holds up everything behind it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use redis::{Cmd, RedisResult, Value, cmd};
use tokio::runtime::Handle;

use super::{
    command::{at_least_one, millis},
    error::engine_error,
    link::{Dedicated, Link},
    reply::Unexpected,
    wire::too_late,
};
use crate::{
    engine::{EngineError, EngineErrorKind, EngineResult, Interrupter, ReadMode, Reader, StreamEntries, names},
    entry::{EntryId, StreamName},
};

/// How much longer than its wait a read may take before the server counts as dead.
const GRACE: Duration = Duration::from_secs(10);
/// Longer waits are cut to this: neither the server nor the clock takes any number.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// How soon `CLIENT UNBLOCK` is sent again when it came before the read it was meant for.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(5);

/// Reads streams of one server (in a cluster: of one slot).
pub(super) struct ServerReader {
    connection: Dedicated,
    mode: ReadMode,
    interrupter: Interrupter,
    /// Odd while a wait is under way. Each wait has a number of its own.
    waits: Arc<AtomicU64>,
}

impl ServerReader {
    pub(super) async fn connect(link: Arc<Link>, mode: ReadMode) -> EngineResult<Self> {
        let attempted = || format!("connect a reader of {}", names(&mode));
        let mut connection = link
            .dedicated()
            .await
            .map_err(|error| engine_error(attempted(), error))?;
        // A user who may not ask for it can still read; only waits then run to their end.
        let client_id = in_time(GRACE, connection.run(cmd("CLIENT").arg("ID"))).await;
        let client_id = match client_id {
            Ok(Value::Int(id)) => Some(id),
            Err(error) if error.is_io_error() => return Err(engine_error(attempted(), error)),
            _ => None,
        };
        let waits = Arc::new(AtomicU64::new(0));
        Ok(Self {
            connection,
            mode,
            interrupter: interrupter(link, client_id, waits.clone()),
            waits,
        })
    }

    fn command(&self, count: usize, wait: Option<Duration>) -> Cmd {
        let mut command = match &self.mode {
            ReadMode::Plain(_) => cmd("XREAD"),
            ReadMode::Group { group, consumer, .. } => {
                let mut command = cmd("XREADGROUP");
                command.arg("GROUP").arg(group).arg(consumer);
                command
            }
        };
        command.arg("COUNT").arg(at_least_one(count));
        if let Some(wait) = wait {
            // BLOCK 0 would be "for ever".
            command.arg("BLOCK").arg(millis(wait).max(1));
        }
        command.arg("STREAMS");
        match &self.mode {
            ReadMode::Plain(positions) => {
                positions
                    .iter()
                    .for_each(|(stream, _)| _ = command.arg(stream.as_bytes()));
                positions
                    .iter()
                    .for_each(|(_, after)| _ = command.arg(after.to_string()));
            }
            ReadMode::Group { streams, .. } => {
                streams.iter().for_each(|stream| _ = command.arg(stream.as_bytes()));
                streams.iter().for_each(|_| _ = command.arg(">"));
            }
        }
        command
    }

    fn advance(&mut self, read: &[StreamEntries]) {
        let ReadMode::Plain(positions) = &mut self.mode else {
            return;
        };
        for StreamEntries { stream, entries } in read {
            let Some(last) = entries.last() else { continue };
            for (_, position) in positions.iter_mut().filter(|(name, _)| name == stream) {
                *position = last.id;
            }
        }
    }
}

#[async_trait]
impl Reader for ServerReader {
    async fn next(&mut self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>> {
        let wait = wait.map(|wait| wait.min(LONGEST_WAIT));
        let command = self.command(count, wait);
        let patience = wait.unwrap_or_default().saturating_add(GRACE);
        let waiting = Waiting::begin(&self.waits);
        let answer = in_time(patience, self.connection.read(&command)).await;
        drop(waiting);
        let attempted = || format!("read from {}", names(&self.mode));
        let answer = answer.map_err(|error| engine_error(attempted(), error))?;
        let read = answer.map_err(|Unexpected(what)| {
            let reason = format!("the server's answer makes no sense: expected {what}");
            EngineError::new(EngineErrorKind::Corrupt, attempted(), reason)
        })?;
        self.advance(&read);
        Ok(read)
    }

    fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }
}

/// A wait that is under way, until dropped.
struct Waiting<'a>(&'a AtomicU64);

impl<'a> Waiting<'a> {
    fn begin(waits: &'a AtomicU64) -> Self {
        waits.fetch_add(1, Ordering::AcqRel);
        Self(waits)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Sends `CLIENT UNBLOCK` over the shared connection, again and again while the same wait is under way: the first may
/// reach the server before the read does.
fn interrupter(link: Arc<Link>, client_id: Option<i64>, waits: Arc<AtomicU64>) -> Interrupter {
    let Some(client_id) = client_id else {
        return Interrupter::new(|| ());
    };
    let runtime = Handle::current();
    Interrupter::new(move || {
        let this_wait = waits.load(Ordering::Acquire);
        if this_wait.is_multiple_of(2) {
            return;
        }
        let (link, waits) = (link.clone(), waits.clone());
        runtime.spawn(async move {
            while waits.load(Ordering::Acquire) == this_wait {
                // An error (no permission, no connection) leaves the wait to its own end.
                let Ok(_) = link.run(cmd("CLIENT").arg("UNBLOCK").arg(client_id)).await else {
                    return;
                };
                tokio::time::sleep(UNBLOCK_AGAIN).await;
            }
        });
    })
}

async fn in_time<T>(patience: Duration, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    tokio::time::timeout(patience, answer)
        .await
        .unwrap_or_else(|_| Err(too_late()))
}

/// Streams in a mode, as parts that one blocking read each can take: those for which `part` gives the same.
pub(super) fn partition<P: PartialEq>(mode: ReadMode, part: impl Fn(&StreamName) -> P) -> Vec<ReadMode> {
    fn gather<T, P: PartialEq>(items: Vec<T>, part: impl Fn(&T) -> P) -> Vec<Vec<T>> {
        let mut parts: Vec<(P, Vec<T>)> = Vec::new();
        for item in items {
            let key = part(&item);
            match parts.iter_mut().find(|(known, _)| *known == key) {
                Some((_, items)) => items.push(item),
                None => parts.push((key, vec![item])),
            }
        }
        parts.into_iter().map(|(_, items)| items).collect()
    }
    match mode {
        ReadMode::Plain(positions) => {
            let parts = gather(positions, |(stream, _): &(StreamName, EntryId)| part(stream));
            parts.into_iter().map(ReadMode::Plain).collect()
        }
        ReadMode::Group {
            group,
            consumer,
            streams,
        } => gather(streams, part)
            .into_iter()
            .map(|streams| ReadMode::Group {
                group: group.clone(),
                consumer: consumer.clone(),
                streams,
            })
            .collect(),
    }
}
