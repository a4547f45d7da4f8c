//! Where deliveries come from: the reading end of one shard.
//!
//! A source does one thing at a time: find out where streams stand, take up pending entries, take up what is due, or
//! read. Whatever comes is registered in the table before anybody gets it. It is never dropped in the midst of a read
//! (that could take entries with it); waits at the store are interrupted instead.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Core, Delivery, DeliveryRef, Event, SubscribeError,
    in_flight::Arrival,
    positions::Standing,
    take_up::TakeUp,
    trouble::{is_missing, is_of_a_stream},
};
use crate::{
    engine::{EngineError, EngineErrorKind, EngineResult, Interrupter, Reader, StreamEntries},
    entry::EntryId,
};

/// How soon a wait at the store is interrupted again: one call does not affect a wait that is about to begin.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(20);

/// The reading end of one shard.
pub(super) struct Source {
    pub(super) core: Arc<Core>,
    pub(super) shard: usize,
    /// The streams of this shard.
    pub(super) standings: Vec<Standing>,
    reader: Option<OpenReader>,
    pub(super) take_up: TakeUp,
    next_claim: Instant,
    /// What was registered while something else was to be done, or before an error.
    pub(super) ready: VecDeque<Vec<Delivery>>,
    /// Whether the last read took all that it was asked for of a stream, which then may have more.
    is_behind: bool,
    /// Attempts that failed in a row, of reading any stream of the shard.
    failures: u32,
    pub(super) search: Search,
    is_parked: bool,
    /// What failed while something else was to be done.
    postponed: Option<EngineError>,
}

/// Whether a joint read failed because of one stream, which it did not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    No,
    /// If looking at each stream does not find it, reading each will.
    Begun,
    /// Nothing was found.
    InVain,
}

/// A reader of those streams that can be read.
struct OpenReader {
    reader: Box<dyn Reader>,
    interrupter: Interrupter,
    /// Its streams, in the order in which answers name them.
    streams: Vec<u32>,
    /// When a request was sent whose reply may be outstanding.
    ahead_since: Option<Instant>,
}

/// What a source did.
pub(super) enum Step {
    Batch(Vec<Delivery>),
    /// Nothing came.
    Idle,
    /// The end was asked for, and nothing is outstanding.
    Stopped,
}

/// Why a source could not do something.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store failed: perhaps it works again later.
    Store(EngineError),
    Ends(SubscribeError),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Store(error)
    }
}

impl From<SubscribeError> for Failure {
    fn from(error: SubscribeError) -> Self {
        Self::Ends(error)
    }
}

impl Source {
    pub(super) fn new(core: Arc<Core>, shard: usize) -> Self {
        let standings = core.shards[shard].iter().map(|stream| Standing::new(*stream));
        Self {
            standings: standings.collect(),
            shard,
            reader: None,
            take_up: TakeUp::default(),
            next_claim: Instant::now(),
            ready: VecDeque::new(),
            is_behind: false,
            failures: 0,
            search: Search::No,
            is_parked: false,
            postponed: None,
            core,
        }
    }

    /// Whether the store may have more than the last read took.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// Does the next thing. Not cancel safe.
    pub(super) async fn step(&mut self) -> Result<Step, SubscribeError> {
        if self.core.halt.is_cancelled() {
            self.park().await;
            return Ok(Step::Stopped);
        }
        if let Some(batch) = self.ready.pop_front() {
            return Ok(Step::Batch(batch));
        }
        let attempt = match self.postponed.take() {
            Some(error) => Err(Failure::Store(error)),
            None => self.attempt().await,
        };
        if attempt.is_ok() {
            self.core.reads.fetch_add(1, Ordering::Relaxed);
        }
        match attempt {
            Ok(deliveries) if deliveries.is_empty() => Ok(Step::Idle),
            Ok(deliveries) => Ok(Step::Batch(deliveries)),
            Err(Failure::Ends(error)) => Err(error),
            Err(Failure::Store(error)) => {
                self.failed(error).await?;
                Ok(Step::Idle)
            }
        }
    }

    /// Receives what is outstanding and registers it, so that it is released with the rest.
    pub(super) async fn park(&mut self) {
        if std::mem::replace(&mut self.is_parked, true) {
            return;
        }
        // The reply of a connection that is gone is pending with this consumer; nobody else can know of it.
        if self.drain().await.is_err() {
            self.core.lost_reply.store(true, Ordering::Release);
        }
        self.core.parked.fetch_add(1, Ordering::AcqRel);
    }

    async fn attempt(&mut self) -> Result<Vec<Delivery>, Failure> {
        self.resolve().await?;
        if !self.ready.is_empty() {
            return Ok(Vec::new());
        }
        if !self.standings.iter().any(|standing| standing.is_resolved) {
            self.core.quiet.is_not(self.shard);
            self.core.looked(self.shard, false);
            let next = self.next_attempt();
            self.core
                .sleep(next.map_or(Duration::from_secs(1), |at| {
                    at.saturating_duration_since(Instant::now())
                }))
                .await;
            return Ok(Vec::new());
        }
        self.open_reader().await?;
        if self.search == Search::Begun {
            return self.search().await;
        }
        self.wait_for_room().await?;
        if self.core.halt.is_cancelled() {
            return Ok(Vec::new());
        }
        if let Some(interval) = self.core.claim_interval()
            && self.next_claim <= Instant::now()
        {
            let streams = self.standings.iter().filter(|standing| standing.is_resolved);
            self.take_up.idle(streams.map(|standing| standing.stream));
            self.next_claim = Instant::now() + interval;
        }
        if takes_what_others_left(&self.core, self.shard) {
            let streams = self.standings.iter().filter(|standing| standing.is_resolved);
            let streams = streams.map(|standing| standing.stream).collect::<Vec<_>>();
            self.take_up.own(&self.core, &streams);
        }
        if !self.take_up.is_empty() {
            // Taking may take long, and nobody would renew a reply that nobody receives.
            self.drain().await?;
            return self.take_page().await;
        }
        let due = self.core.delayed[self.shard].next();
        if due.is_some_and(|due| due <= Instant::now()) {
            self.drain().await?;
            let deliveries = self.take_due().await?;
            if !deliveries.is_empty() {
                return Ok(deliveries);
            }
        }
        if self.core.defers_too_much() {
            self.drain().await?;
            if self.ready.is_empty() {
                self.wait_for_due().await;
            }
            return Ok(Vec::new());
        }
        self.read().await
    }

    // ----- reading ------------------------------------------------------------------------------------------------

    /// Reads new entries, and waits for them. While there is a backlog and workers keep up, the store is asked ahead.
    async fn read(&mut self) -> Result<Vec<Delivery>, Failure> {
        let core = self.core.clone();
        let wait = self.wait();
        let (count, keeps_up) = {
            let limit = core.limit();
            (limit.count(), limit.keeps_up())
        };
        let Some(open) = &mut self.reader else {
            return Ok(Vec::new());
        };
        let reads_ahead = self.is_behind && keeps_up;
        open.reader.read_ahead(reads_ahead);
        let begun = Instant::now();
        let requested = open.ahead_since.take().unwrap_or(begun);
        core.strangers.reads(self.shard, Some(requested));
        let found = next(&core, self.shard, open, count, wait).await?;
        if reads_ahead {
            open.ahead_since = Some(begun);
        }
        let ahead_since = open.ahead_since;
        self.is_behind = found.iter().any(|batch| batch.entries.len() >= count);
        if found.is_empty() && self.standings.iter().all(|standing| standing.is_resolved) {
            core.quiet.is_since(self.shard, requested);
        } else {
            core.quiet.is_not(self.shard);
        }
        self.succeeded();
        let deliveries = self.register(found, requested);
        core.strangers.reads(self.shard, ahead_since);
        Ok(deliveries)
    }

    /// Registers new entries.
    fn register(&mut self, found: Vec<StreamEntries>, requested: Instant) -> Vec<Delivery> {
        let core = self.core.clone();
        let confirmed = core.watch.confirmed(requested, core.lease());
        let messages = found.iter().map(|batch| batch.entries.len()).sum();
        let mut deliveries = Vec::with_capacity(messages);
        let (mut streams_with_some, mut all_bytes) = (0, 0);
        // They come in about the order in which they were asked for.
        let mut number = 0;
        let streams = self.standings.len();
        for batch in found {
            let Some(local) = (number..number + streams)
                .map(|number| number % streams)
                .find(|local| *core.name(self.standings[*local].stream) == batch.stream)
            else {
                continue;
            };
            number = local + 1;
            let standing = &mut self.standings[local];
            let Some(last) = batch.entries.last().map(|entry| entry.id) else {
                continue;
            };
            let stream = standing.stream;
            super::log::read(core.name(stream), &batch.entries);
            if standing.seen.is_some_and(|seen| batch.entries[0].id <= seen) {
                // The group was created again further back: what waits for a retry comes now, and not once more when it is due.
                for entry in &batch.entries {
                    core.delayed(stream).remove(stream, entry.id);
                }
            }
            standing.seen = standing.seen.max(Some(last));
            let bytes = batch.entries.iter().map(super::bytes_of).sum();
            streams_with_some += 1;
            all_bytes += bytes;
            let arrivals = batch.entries.iter().map(|entry| Arrival {
                id: entry.id,
                count_before: 0,
                mark: false,
                has_retry_state: false,
            });
            let inserted = core.in_flight.insert(stream, confirmed, bytes, arrivals);
            let mut slot = 0;
            for entry in batch.entries {
                if !inserted.duplicates.is_empty() && inserted.duplicates.contains(&entry.id) {
                    continue;
                }
                deliveries.push(Delivery {
                    at: DeliveryRef {
                        stream,
                        batch: inserted.batch,
                        slot,
                    },
                    entry,
                    count_before: 0,
                    earlier: None,
                });
                slot += 1;
            }
        }
        core.limit()
            .observe_read(self.shard, streams_with_some, messages, all_bytes);
        deliveries
    }

    /// Receives the reply to a read that was sent ahead, and registers it.
    pub(super) async fn drain(&mut self) -> EngineResult<()> {
        let Some(open) = &mut self.reader else { return Ok(()) };
        let requested = open.ahead_since.take().unwrap_or_else(Instant::now);
        let rest = open.reader.rest().await?;
        if !rest.is_empty() {
            let deliveries = self.register(rest, requested);
            if !deliveries.is_empty() {
                self.ready.push_back(deliveries);
            }
        }
        self.core.strangers.reads(self.shard, None);
        Ok(())
    }

    /// A connection of its own to read those streams that can be read.
    async fn open_reader(&mut self) -> Result<(), Failure> {
        if self.reader.is_some() {
            return Ok(());
        }
        let resolved = self.standings.iter().filter(|standing| standing.is_resolved);
        let streams = resolved.map(|standing| (standing.stream, standing.seen.unwrap_or_default()));
        let streams = streams.collect::<Vec<_>>();
        let reader = self.core.store.reader(self.core.mode(&streams)).await?;
        self.reader = Some(OpenReader {
            interrupter: reader.interrupter(),
            reader,
            streams: streams.into_iter().map(|(stream, _)| stream).collect(),
            ahead_since: None,
        });
        self.core.looked(self.shard, true);
        Ok(())
    }

    /// The next step fails with this.
    pub(super) fn postpone(&mut self, error: EngineError) {
        self.postponed = Some(error);
    }

    /// To be called when nothing is outstanding.
    pub(super) fn close_reader(&mut self) {
        self.reader = None;
    }

    /// How long the next read may wait at the store.
    fn wait(&self) -> Duration {
        let core = &self.core;
        let now = Instant::now();
        let mut wait = core.spec.read_wait;
        if let Some(due) = core.delayed[self.shard].next() {
            wait = wait.min(due.saturating_duration_since(now));
        }
        if core.claim_interval().is_some() {
            wait = wait.min(self.next_claim.saturating_duration_since(now));
        }
        if let Some(next) = self.next_attempt() {
            wait = wait.min(next.saturating_duration_since(now));
        }
        if let Some(quiet) = core.spec.quiet_after {
            let left = match core.in_flight.len() {
                0 => (core.in_flight.last_settled() + quiet).saturating_duration_since(now),
                _ => quiet,
            };
            wait = wait.min(left);
        }
        wait.max(Duration::from_millis(1))
    }

    /// When a stream that was set aside is tried again.
    fn next_attempt(&self) -> Option<Instant> {
        let aside = self.standings.iter().filter(|standing| !standing.is_resolved);
        aside.filter_map(|standing| standing.aside?.until).min()
    }

    /// On a Cluster, where each shard reads by itself: waits while too much has not begun.
    async fn wait_for_room(&mut self) -> Result<(), Failure> {
        let core = self.core.clone();
        if core.shards.len() == 1 {
            return Ok(());
        }
        let (most, most_bytes) = core.most_waiting();
        let mut room = pin!(core.in_flight.room(most, most_bytes));
        let has_room = std::future::poll_fn(|context| std::task::Poll::Ready(room.as_mut().poll(context).is_ready()));
        if has_room.await {
            return Ok(());
        }
        self.drain().await?;
        let room_or_halt = async {
            tokio::select! {
                biased;
                () = &mut room => {}
                () = core.halt.cancelled() => {}
            }
        };
        Ok(self.wait_for_workers(room_or_halt).await?)
    }

    /// Waits for something that workers do, and rejoins missing consumer groups meanwhile: a worker may need the group to
    /// settle its message, and only the source joins it. Not cancel safe.
    pub(super) async fn wait_for_workers<T>(&mut self, workers: impl Future<Output = T>) -> Result<T, SubscribeError> {
        let core = self.core.clone();
        let mut workers = pin!(workers);
        loop {
            tokio::select! {
                biased;
                done = &mut workers => return Ok(done),
                () = core.missing[self.shard].notified() => self.rejoin().await?,
            }
        }
    }

    /// Joins the consumer groups again, and creates those that are missing. An error of the store is left to the next step.
    async fn rejoin(&mut self) -> Result<(), SubscribeError> {
        if self.core.halt.is_cancelled() {
            return Ok(());
        }
        self.unresolve();
        match self.resolve().await {
            Ok(()) => Ok(()),
            Err(Failure::Ends(error)) => Err(error),
            Err(Failure::Store(error)) => {
                self.postpone(error);
                Ok(())
            }
        }
    }

    /// Too much waits for a retry: nothing is read until one is due.
    async fn wait_for_due(&mut self) {
        let core = &self.core;
        let delayed = &core.delayed[self.shard];
        let due = delayed.next().unwrap_or_else(|| Instant::now() + core.spec.read_wait);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(due) => {}
            () = delayed.added() => {}
            () = core.halt.cancelled() => {}
        }
    }

    // ----- trouble ------------------------------------------------------------------------------------------------

    /// Reading works.
    fn succeeded(&mut self) {
        let core = self.core.clone();
        self.search = Search::No;
        if self.failures > 0 {
            self.failures = 0;
            let streams = self.streams();
            core.trouble.over(streams.iter().copied());
            (core.events)(Event::Resumed {
                scope: &core.scope(&streams),
            });
        }
        for standing in &mut self.standings {
            if standing.is_resolved && standing.aside.take().is_some() {
                core.trouble.over([standing.stream]);
                (core.events)(Event::Resumed {
                    scope: &core.scope(&[standing.stream]),
                });
            }
        }
    }

    fn streams(&self) -> Vec<u32> {
        self.standings.iter().map(|standing| standing.stream).collect()
    }

    /// The store failed: waits until there may be another attempt.
    async fn failed(&mut self, error: EngineError) -> Result<(), SubscribeError> {
        let core = self.core.clone();
        let was_open = self.reader.take();
        core.strangers.reads(self.shard, None);
        // A reply that was lost on its way left its entries pending here.
        let readable = self.standings.iter().filter(|standing| standing.is_resolved);
        let readable = readable.map(|standing| standing.stream).collect::<Vec<_>>();
        if was_open.is_some() {
            self.take_up.own(&core, &readable);
        }
        core.quiet.is_not(self.shard);
        core.looked(self.shard, false);
        if core.halt.is_cancelled() {
            core.lost_reply.store(true, Ordering::Release);
            return Ok(());
        }
        if was_open.is_some() && error.kind() == EngineErrorKind::Connection {
            core.limit().observe_failure(self.shard, self.standings.len());
        }
        self.is_behind = false;
        let is_joint = was_open.is_some_and(|open| open.streams.len() > 1);
        if is_of_a_stream(error.kind()) && is_joint && core.spec.keep_alive.is_some() && self.search == Search::No {
            self.unresolve();
            self.search = Search::Begun;
            return Ok(());
        }
        if is_missing(error.kind()) || is_of_a_stream(error.kind()) {
            self.unresolve();
        }
        self.search = Search::No;
        let again = core.again(&self.streams(), self.failures, error)?;
        self.failures = again.attempt;
        core.sleep(again.delay).await;
        Ok(())
    }

    /// Every stream is looked at again before the next read.
    fn unresolve(&mut self) {
        for standing in self.standings.iter_mut().filter(|standing| standing.is_resolved) {
            standing.is_resolved = false;
        }
    }

    /// One stream failed, and the others are read without it.
    pub(super) fn stream_failed(&mut self, stream: u32, error: EngineError) -> Result<(), SubscribeError> {
        self.take_up.leave_out(stream);
        let local = self.standings.iter().position(|standing| standing.stream == stream);
        let Some(local) = local else { return Ok(()) };
        self.set_aside(local, error)
    }

    /// A joint read failed because of one stream, though each could be resolved: reads each by itself, without waiting.
    async fn search(&mut self) -> Result<Vec<Delivery>, Failure> {
        let core = self.core.clone();
        self.search = Search::InVain;
        self.drain().await?;
        let resolved = self.standings.iter().filter(|standing| standing.is_resolved);
        let streams = resolved.map(|standing| (standing.stream, standing.seen.unwrap_or_default()));
        let mut deliveries = Vec::new();
        for (stream, seen) in streams.collect::<Vec<(u32, EntryId)>>() {
            let requested = Instant::now();
            let count = core.limit().count();
            let _taking = core.strangers.taking();
            let read = async {
                let mut reader = core.store.reader(core.mode(&[(stream, seen)])).await?;
                reader.next(count, None).await
            };
            match read.await {
                Ok(found) => deliveries.extend(self.register(found, requested)),
                Err(error) if is_of_a_stream(error.kind()) => {
                    self.stream_failed(stream, error)?;
                }
                Err(error) => {
                    if !deliveries.is_empty() {
                        self.ready.push_back(deliveries);
                    }
                    return Err(error.into());
                }
            }
        }
        if self.search == Search::No || core.spec.member.is_none() {
            // Another reader, without it; without a group also because positions moved on.
            self.reader = None;
        }
        Ok(deliveries)
    }
}

/// Whether another process that used the consumer's name has gone, and nobody claims what it left pending under the name.
fn takes_what_others_left(core: &Core, shard: usize) -> bool {
    core.spec.reclaim.is_none() && core.users.has_gone(shard)
}

/// Reads, and ends the wait when the end is asked for, or when something is due earlier than was known.
async fn next(
    core: &Core,
    shard: usize,
    open: &mut OpenReader,
    count: usize,
    wait: Duration,
) -> EngineResult<Vec<StreamEntries>> {
    let OpenReader {
        reader, interrupter, ..
    } = open;
    let until = Instant::now() + wait;
    let delayed = &core.delayed[shard];
    let mut read = pin!(reader.next(count, Some(wait)));
    loop {
        tokio::select! {
           biased;
            found = &mut read => return found,
            () = core.halt.cancelled() => break,
            () = delayed.added() => {}
        }
        if delayed.next().is_some_and(|due| due < until) {
            break;
        }
    }
    // From here on it is interrupted as soon as something is due.
    loop {
        let due = match core.halt.is_cancelled() {
            true => None,
            false => delayed.next(),
        };
        tokio::select! {
           biased;
            found = &mut read => return found,
            () = core.halt.cancelled(), if due.is_some() => {}
            () = delayed.added(), if due.is_some() => continue,
            () = sleep_until(due) => {}
        }
        interrupter.interrupt();
        tokio::select! {
           biased;
            found = &mut read => return found,
            () = tokio::time::sleep(INTERRUPT_AGAIN) => {}
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
