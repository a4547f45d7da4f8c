//! Reads streams of a cluster: a blocking read takes streams of one slot only, so there is one reader for each slot,
//! in a task of its own.
//!
//! A task reads only when it was asked to, and hands what it read over through a channel with room for one answer of
//! each task. An answer that comes after the caller got those of another slot waits there for the next call: nothing
//! is lost, and at most one answer of each slot waits.

use std::{collections::VecDeque, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    cluster::Cluster,
    error::engine_error,
    reader::{LONGEST_WAIT, ServerReader, partition},
};
use crate::engine::{
    EngineError, EngineErrorKind, EngineResult, Interrupter, ReadMode, Reader, StreamEntries, names, slot::slot,
};

/// Reads streams of one slot.
struct SlotReader {
    reader: ServerReader,
    cluster: Arc<Cluster>,
}

impl SlotReader {
    async fn connect(cluster: &Arc<Cluster>, mode: ReadMode) -> EngineResult<Self> {
        let name = match &mode {
            ReadMode::Plain(positions) => positions.first().map(|(stream, _)| stream),
            ReadMode::Group { streams, .. } => streams.first(),
        };
        let key = name.map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let node = cluster.node_of(&key).await;
        let node = node.map_err(|error| engine_error(format!("connect a reader of {}", names(&mode)), error))?;
        let reader = ServerReader::connect(node, mode)
            .await
            .inspect_err(|_| cluster.suspect())?;
        Ok(Self {
            reader,
            cluster: cluster.clone(),
        })
    }
}

#[async_trait]
impl Reader for SlotReader {
    async fn next(&mut self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>> {
        let read = self.reader.next(count, wait).await;
        // Most likely the slot has moved, or its node is gone.
        read.inspect_err(|_| self.cluster.suspect())
    }

    fn read_ahead(&mut self, allowed: bool) {
        self.reader.read_ahead(allowed);
    }

    async fn rest(&mut self) -> EngineResult<Vec<StreamEntries>> {
        self.reader.rest().await.inspect_err(|_| self.cluster.suspect())
    }

    fn interrupter(&self) -> Interrupter {
        self.reader.interrupter()
    }
}

/// A reader of streams of one slot, or of several.
pub(super) async fn connect(cluster: &Arc<Cluster>, mode: ReadMode) -> EngineResult<Box<dyn Reader>> {
    let mut parts = partition(mode, |stream| slot(stream.as_bytes()));
    match parts.len() {
        1 => Ok(Box::new(SlotReader::connect(cluster, parts.swap_remove(0)).await?)),
        _ => Ok(Box::new(ClusterReader::connect(cluster, parts).await?)),
    }
}

/// Reads streams of any slots: for who reads by hand. Listening has a reader for each slot instead, since an answer of a
/// group's messages must not wait here, where nobody renews it.
struct ClusterReader {
    slots: Vec<Slot>,
    answers: mpsc::Receiver<(usize, EngineResult<Vec<StreamEntries>>)>,
    /// What was read and is still to be passed on.
    ready: VecDeque<StreamEntries>,
    end_wait: Arc<Notify>,
    /// Ends the tasks with the reader.
    _tasks: JoinSet<()>,
}

/// The task that reads the streams of one slot.
struct Slot {
    ask: mpsc::Sender<(usize, Option<Duration>)>,
    interrupter: Interrupter,
    busy: bool,
}

impl ClusterReader {
    async fn connect(cluster: &Arc<Cluster>, parts: Vec<ReadMode>) -> EngineResult<Self> {
        let (answer, answers) = mpsc::channel(parts.len().max(1));
        let mut tasks = JoinSet::new();
        let mut slots = Vec::with_capacity(parts.len());
        for (index, part) in parts.into_iter().enumerate() {
            let mut reader = SlotReader::connect(cluster, part).await?;
            let (ask, mut asked) = mpsc::channel(1);
            slots.push(Slot {
                ask,
                interrupter: reader.interrupter(),
                busy: false,
            });
            let answer = answer.clone();
            tasks.spawn(async move {
                while let Some((count, wait)) = asked.recv().await {
                    let read = reader.next(count, wait).await;
                    if answer.send((index, read)).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self {
            slots,
            answers,
            ready: VecDeque::new(),
            end_wait: Arc::default(),
            _tasks: tasks,
        })
    }

    fn take(&mut self, (index, read): (usize, EngineResult<Vec<StreamEntries>>)) -> EngineResult<()> {
        self.slots[index].busy = false;
        self.ready.extend(read?);
        Ok(())
    }

    /// Asks the slots that are not reading to read, and tells which those are.
    async fn ask(&mut self, count: usize, wait: Option<Duration>) -> Vec<usize> {
        let mut asked = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate().filter(|(_, slot)| !slot.busy) {
            // A task ends only with its reader.
            slot.busy = slot.ask.send((count, wait)).await.is_ok();
            asked.push(index);
        }
        asked
    }

    /// Up to `count` entries of each stream out of what is ready.
    fn pass_on(&mut self, count: usize) -> Vec<StreamEntries> {
        let mut passed: Vec<StreamEntries> = Vec::new();
        for mut read in std::mem::take(&mut self.ready) {
            let enough = passed.iter().any(|earlier| earlier.stream == read.stream);
            if enough {
                self.ready.push_back(read);
            } else {
                let rest = read.entries.split_off(count.max(1).min(read.entries.len()));
                if !rest.is_empty() {
                    self.ready.push_back(StreamEntries {
                        stream: read.stream.clone(),
                        entries: rest,
                    });
                }
                passed.push(read);
            }
        }
        passed
    }
}

#[async_trait]
impl Reader for ClusterReader {
    async fn next(&mut self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>> {
        let end_wait = self.end_wait.clone();
        // Made before anything is awaited: it hears an interruption from here on, and no earlier one.
        let mut interrupted = pin!(end_wait.notified());
        let deadline = wait.map(|wait| Instant::now() + wait.min(LONGEST_WAIT));
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer)?;
        }
        if deadline.is_none() && self.ready.is_empty() {
            // A slot that still waits has nothing; the others answer at once.
            let asked = self.ask(count, None).await;
            while asked.iter().any(|index| self.slots[*index].busy) {
                let answer = self.answers.recv().await.ok_or_else(closed)?;
                self.take(answer)?;
            }
        }
        while let Some(deadline) = deadline.filter(|_| self.ready.is_empty()) {
            let left = deadline.saturating_duration_since(Instant::now());
            self.ask(count, Some(left)).await;
            tokio::select! {
                answer = self.answers.recv() => self.take(answer.ok_or_else(closed)?)?,
                () = &mut interrupted => break,
                () = sleep_until(deadline) => break,
            }
        }
        Ok(self.pass_on(count))
    }

    fn interrupter(&self) -> Interrupter {
        let end_wait = self.end_wait.clone();
        let slots: Vec<Interrupter> = self.slots.iter().map(|slot| slot.interrupter.clone()).collect();
        Interrupter::new(move || {
            end_wait.notify_waiters();
            slots.iter().for_each(Interrupter::interrupt);
        })
    }
}

fn closed() -> EngineError {
    EngineError::new(
        EngineErrorKind::Closed,
        "read from the cluster",
        "the reader's tasks have ended",
    )
}
