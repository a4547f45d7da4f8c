//! Reads new entries over a connection of its own, because a blocking read holds up everything behind it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use redis::{Cmd, Value, cmd};
use tokio::runtime::Handle;

use super::{
    command::{at_least_one, millis},
    error::engine_error,
    read_scheduler::{ReadScheduler, ScheduledRead},
    reader_connection::ReaderConnection,
    reconnecting::{Established, RESPONSE_TIMEOUT, Reconnecting},
    reply::Unexpected,
};
use crate::{
    engine::{EngineError, EngineErrorKind, EngineResult, Interrupter, ReadMode, Reader, StreamEntries, names},
    entry::{EntryId, StreamName},
};

/// Longer waits are cut to this: neither the server nor the clock takes any number.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// How soon `CLIENT UNBLOCK` is sent again when it came before the read it was meant for.
const UNBLOCK_AGAIN: Duration = Duration::from_millis(5);

/// Reads streams of one server (in a cluster: of one slot).
pub(super) struct ServerReader {
    connection: ReaderConnection,
    mode: ReadMode,
    scheduler: ReadScheduler,
    may_read_ahead: bool,
    /// A read that was sent, and whose answer is yet to be received.
    ahead: Option<ScheduledRead>,
    interrupter: Interrupter,
    /// Odd while a wait is under way. Each wait has a number of its own.
    waits: Arc<AtomicU64>,
}

impl ServerReader {
    pub(super) async fn connect(server: Arc<Reconnecting>, mode: ReadMode) -> EngineResult<Self> {
        let attempted = || format!("connect a reader of {}", names(&mode));
        let failed = |error| engine_error(attempted(), error);
        // First, so that it is no newer than the reader's own.
        let established = server.established().await.map_err(failed)?;
        let mut connection = server.reader_connection().await.map_err(failed)?;
        // A user who may not ask for it can still read; only waits then run to their end.
        let client_id = match connection.run(cmd("CLIENT").arg("ID")).await {
            Ok(Value::Int(id)) => Some(id),
            Err(error) if error.is_io_error() => return Err(failed(error)),
            _ => None,
        };
        let client_id = client_id.filter(|_| connection.peer() == established.peer());
        let waits = Arc::new(AtomicU64::new(0));
        Ok(Self {
            connection,
            scheduler: ReadScheduler::of(streams(&mode)),
            may_read_ahead: false,
            ahead: None,
            mode,
            interrupter: interrupter(server, established, client_id, waits.clone()),
            waits,
        })
    }

    /// Gives what a read brings: of `command`, or of what was sent ahead.
    async fn take(
        &mut self,
        read: &ScheduledRead,
        command: Option<Cmd>,
        first_byte: Duration,
        may_read_ahead: bool,
    ) -> EngineResult<Vec<StreamEntries>> {
        let Self {
            connection,
            mode,
            scheduler,
            ahead,
            ..
        } = self;
        // Where to go on without a group is known only when all has been received.
        let may_read_ahead = may_read_ahead && matches!(mode, ReadMode::Group { .. });
        let read_ahead = || {
            let read = may_read_ahead.then(|| scheduler.next(read.count))?;
            let command = command_of(mode, &read, None);
            *ahead = Some(read);
            Some(command)
        };
        if let Some(command) = &command {
            connection.send(command);
        }
        let answer = connection.entries(first_byte, read_ahead).await;
        let attempted = || format!("read from {}", names(mode));
        let answer = answer.map_err(|error| engine_error(attempted(), error))?;
        let found = answer.map_err(|Unexpected(what)| {
            let reason = format!("the server's answer makes no sense: expected {what}");
            EngineError::new(EngineErrorKind::Corrupt, attempted(), reason)
        })?;
        scheduler.learn(read, &found, |number| stream(mode, number));
        self.advance(&found);
        Ok(found)
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
        let _waiting = Waiting::begin(self.waits.clone());
        loop {
            let (read, command, first_byte) = match self.ahead.take() {
                Some(read) => (read, None, RESPONSE_TIMEOUT),
                None => {
                    let read = self.scheduler.next(count);
                    let wait = wait.filter(|_| read.is_whole);
                    let command = command_of(&self.mode, &read, wait);
                    (
                        read,
                        Some(command),
                        wait.unwrap_or_default().saturating_add(RESPONSE_TIMEOUT),
                    )
                }
            };
            let is_last = read.is_whole && command.is_some();
            let found = self.take(&read, command, first_byte, self.may_read_ahead).await?;
            if is_last || !found.is_empty() {
                return Ok(found);
            }
        }
    }

    fn read_ahead(&mut self, allowed: bool) {
        self.may_read_ahead = allowed;
    }

    async fn rest(&mut self) -> EngineResult<Vec<StreamEntries>> {
        match self.ahead.take() {
            Some(read) => self.take(&read, None, RESPONSE_TIMEOUT, false).await,
            None => Ok(Vec::new()),
        }
    }

    fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }
}

/// `XREAD` or `XREADGROUP` of a read's streams.
fn command_of(mode: &ReadMode, read: &ScheduledRead, wait: Option<Duration>) -> Cmd {
    let mut command = match mode {
        ReadMode::Plain(_) => cmd("XREAD"),
        ReadMode::Group { group, consumer, .. } => {
            let mut command = cmd("XREADGROUP");
            command.arg("GROUP").arg(group).arg(consumer);
            command
        }
    };
    command.arg("COUNT").arg(at_least_one(read.count));
    if let Some(wait) = wait {
        // BLOCK 0 would be "for ever".
        command.arg("BLOCK").arg(millis(wait).max(1));
    }
    command.arg("STREAMS");
    for number in &read.streams {
        command.arg(stream(mode, *number).as_bytes());
    }
    for number in &read.streams {
        match mode {
            ReadMode::Plain(positions) => command.arg(positions[*number].1.to_string()),
            ReadMode::Group { .. } => command.arg(">"),
        };
    }
    command
}

/// How many streams a mode reads.
fn streams(mode: &ReadMode) -> usize {
    match mode {
        ReadMode::Plain(positions) => positions.len(),
        ReadMode::Group { streams, .. } => streams.len(),
    }
}

/// One of them.
fn stream(mode: &ReadMode, number: usize) -> &StreamName {
    match mode {
        ReadMode::Plain(positions) => &positions[number].0,
        ReadMode::Group { streams, .. } => &streams[number],
    }
}

/// A wait that is under way, until dropped.
struct Waiting(Arc<AtomicU64>);

impl Waiting {
    fn begin(waits: Arc<AtomicU64>) -> Self {
        waits.fetch_add(1, Ordering::AcqRel);
        Self(waits)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Sends `CLIENT UNBLOCK` over the shared connection, again and again while the same wait is under way: the first may
/// reach the server before the read does.
///
/// Another server, or the same one after a restart, gives the number to another client. So it is sent only over the
/// connection that was there before the reader's was made, and that leads to the same address.
fn interrupter(
    server: Arc<Reconnecting>,
    established: Established,
    client_id: Option<i64>,
    waits: Arc<AtomicU64>,
) -> Interrupter {
    let Some(client_id) = client_id else {
        return Interrupter::new(|| ());
    };
    let runtime = Handle::current();
    Interrupter::new(move || {
        let this_wait = waits.load(Ordering::Acquire);
        if this_wait.is_multiple_of(2) {
            return;
        }
        let (server, established, waits) = (server.clone(), established.clone(), waits.clone());
        runtime.spawn(async move {
            while waits.load(Ordering::Acquire) == this_wait {
                // An error (no permission, no connection) leaves the wait to its own end.
                if !server
                    .run_over(&established, cmd("CLIENT").arg("UNBLOCK").arg(client_id))
                    .await
                {
                    return;
                }
                tokio::time::sleep(UNBLOCK_AGAIN).await;
            }
        });
    })
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
