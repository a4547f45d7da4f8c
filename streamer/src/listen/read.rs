//! Asks the engine for messages: pending ones first, then what others left idle, then new ones.
//!
//! This is one task, and the only one that waits at the store, with a connection of its own. It is never dropped in
//! the midst of a read (that could take messages with it); it is told to stop and looks after each read.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::{join_all, try_join_all};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Ended, ListenError, Report, Start,
    appetite::Appetite,
    lease,
    queue::{HandOver, Job},
    run::{GroupMember, Shared},
    supervisor::Finished,
    waiting::{Due, Kept},
};
use crate::{
    engine::{
        EngineError, EngineErrorKind, EngineResult, GroupStart, Interrupter, ReadMode, Reader, Redelivery,
        StreamEntries,
    },
    entry::{Entry, EntryId},
    message::ReceivedMessage,
};

/// How many pending entries are claimed at once.
const CLAIMED_AT_ONCE: usize = 100;

/// Of how many streams messages that come again are asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// What is looked for among pending entries.
#[derive(Clone, Copy)]
enum Scan {
    /// What this consumer was delivered and has not settled.
    OwnPending,
    /// What nobody has renewed for so long.
    Idle(Duration),
}

impl Scan {
    /// What there is from an ID on, and where to go on, if there may be more.
    async fn page(
        self,
        shared: &Shared,
        GroupMember { group, consumer }: &GroupMember,
        stream: usize,
        from: EntryId,
        count: usize,
    ) -> EngineResult<(Redelivery, Option<EntryId>)> {
        let (engine, name) = (shared.engine(), &shared.streams[stream].name);
        match self {
            Self::OwnPending => {
                let found = engine.read_pending(name, group, consumer, from, count).await?;
                let ids = found.entries.iter().map(|found| found.entry.id);
                let last = ids.chain(found.deleted.iter().copied()).max();
                Ok((found, last))
            }
            Self::Idle(idle) => {
                let found = engine.auto_claim(name, group, consumer, idle, from, count).await?;
                let next = Some(found.next).filter(|next| *next != EntryId::MIN);
                Ok((found, next))
            }
        }
    }
}

/// The reading end of a listening.
pub(super) struct Reading {
    shared: Arc<Shared>,
    hand_over: HandOver,
    /// Per stream the ID up to which messages were seen; `None` before the first look at the stream. Every later read
    /// goes on from here, whatever happens in between.
    seen: Vec<Option<EntryId>>,
    appetite: Appetite,
    /// Whether the last read took all that it was asked for of a stream, which then may have more.
    is_behind: bool,
    /// When a message came last.
    last_message: Instant,
    /// Failures since something last went well.
    failures: u32,
}

/// Reads until told to stop, until it was quiet for long enough, or until the store cannot be read any more.
pub(super) async fn read(shared: Arc<Shared>, hand_over: HandOver) -> Result<Finished, ListenError> {
    let mut reading = Reading {
        seen: vec![None; shared.streams.len()],
        appetite: Appetite::of(&shared),
        is_behind: false,
        hand_over,
        last_message: Instant::now(),
        failures: 0,
        shared,
    };
    loop {
        let error = match reading.session().await {
            Ok(ended) => return Ok(Finished::Read(ended)),
            Err(error) => error,
        };
        let shared = &reading.shared;
        if shared.context.stop.is_stopped() {
            return Ok(Finished::Read(Ended::Stopped));
        }
        let passes =
            error.kind().is_transient() || matches!(error.kind(), EngineErrorKind::NoGroup | EngineErrorKind::NoStream);
        let Some(keep_alive) = shared.options.keep_alive.filter(|_| passes) else {
            return Err(ListenError::Engine(error));
        };
        if keep_alive.max_attempts.is_some_and(|most| reading.failures >= most) {
            return Err(ListenError::GaveUp {
                attempts: reading.failures,
                error,
            });
        }
        reading.failures += 1;
        let delay = keep_alive.delay(reading.failures);
        shared.reporter.tell(&Report::Interrupted {
            error: &error,
            attempt: reading.failures,
            delay,
        });
        if !shared.context.stop.sleep(delay).await {
            return Ok(Finished::Read(Ended::Stopped));
        }
        reading.appetite.begin_again(shared, error.is_timeout());
    }
}

impl Reading {
    /// Reads with one connection, for as long as it works.
    async fn session(&mut self) -> EngineResult<Ended> {
        let first = self.seen.iter().any(Option::is_none);
        self.see_to_positions().await?;
        let mut reader = self.shared.engine().reader(self.mode()).await?;
        let _interrupted = self.interrupt_when_stopped(reader.interrupter());
        let _due = self.interrupt_when_due(reader.interrupter());
        if first {
            let streams = self
                .shared
                .streams
                .iter()
                .map(|stream| stream.name.clone())
                .collect::<Vec<_>>();
            let group = self
                .shared
                .group
                .as_ref()
                .map(|member| (&*member.group, &*member.consumer));
            self.shared.reporter.tell(&Report::Started {
                streams: &streams,
                group,
            });
        }
        // Also after every failure: a reply that was lost on its way left its messages pending here.
        self.take_up_own_pending().await?;
        let mut next_claim = Instant::now();
        loop {
            let now = Instant::now();
            let claims = self.claim_interval().filter(|_| now >= next_claim);
            let is_stopped = self.shared.context.stop.is_stopped();
            if is_stopped || claims.is_some() || !self.shared.waiting.is_empty() {
                // What follows may take long.
                self.take_rest(reader.as_mut()).await?;
            }
            if is_stopped {
                return Ok(Ended::Stopped);
            }
            if let Some(interval) = claims {
                self.claim_idle().await?;
                next_claim = Instant::now() + interval;
            }
            self.take_up_due().await?;
            let mut wait = self.shared.options.read_wait;
            wait = wait.min(self.shared.waiting.next().unwrap_or(wait));
            if self.claim_interval().is_some() {
                wait = wait.min(next_claim.saturating_duration_since(now));
            }
            if let Some(quiet) = self.shared.options.listen_timeout.filter(|_| self.may_end()) {
                let left = quiet.saturating_sub(self.last_message.elapsed());
                if left.is_zero() && !self.take_rest(reader.as_mut()).await? {
                    return Ok(Ended::Quiet);
                }
                wait = wait.min(left);
            }
            self.read_new(reader.as_mut(), wait.max(Duration::from_millis(1)))
                .await?;
            if self.failures > 0 {
                self.failures = 0;
                self.shared.reporter.tell(&Report::Resumed);
            }
        }
    }

    /// Whether a quiet time may end the listening. What waits for its next attempt is kept by a group, and by nobody
    /// else when there is none.
    fn may_end(&self) -> bool {
        self.shared.group.is_some() || self.shared.waiting.is_empty()
    }

    fn mode(&self) -> ReadMode {
        let streams = self.shared.streams.iter().map(|stream| stream.name.clone());
        match &self.shared.group {
            Some(GroupMember { group, consumer }) => ReadMode::Group {
                group: group.clone(),
                consumer: consumer.clone(),
                streams: streams.collect(),
            },
            None => ReadMode::Plain(
                streams
                    .zip(self.seen.iter().map(|seen| seen.unwrap_or_default()))
                    .collect(),
            ),
        }
    }

    /// A reader waits at the store; once the end is asked for, that wait has to end.
    fn interrupt_when_stopped(&self, interrupter: Interrupter) -> AbortOnDropHandle<()> {
        let stop = self.shared.context.stop.clone();
        AbortOnDropHandle::new(tokio::spawn(async move {
            stop.stopped().await;
            // A wait that was about to begin is not affected by one call, so go on until the reader is done.
            loop {
                interrupter.interrupt();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }

    /// A message may begin to wait for its next attempt while the reader waits at the store, and be due first.
    fn interrupt_when_due(&self, interrupter: Interrupter) -> AbortOnDropHandle<()> {
        let shared = Arc::clone(&self.shared);
        AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                shared.waiting.due().await;
                interrupter.interrupt();
                // A wait that was about to begin is not affected by one call, so go on until it is taken up.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }))
    }

    /// Resolves where each stream is to be read from, once, and makes groups that are missing.
    async fn see_to_positions(&mut self) -> EngineResult<()> {
        let looks = (0..self.seen.len()).map(|stream| self.see_to_position(stream));
        let seen = try_join_all(looks).await?;
        self.seen = seen.into_iter().map(Some).collect();
        Ok(())
    }

    async fn see_to_position(&self, stream: usize) -> EngineResult<EntryId> {
        let (engine, name) = (self.shared.engine(), &self.shared.streams[stream].name);
        let start = self.shared.options.start;
        let Some(member) = &self.shared.group else {
            return match (self.seen[stream], start.unwrap_or(Start::Now)) {
                (Some(seen), _) => Ok(seen),
                (None, Start::Now) => engine.last_id(name).await,
                (None, Start::Beginning) => Ok(EntryId::MIN),
                (None, Start::After(id)) => Ok(id),
            };
        };
        let Some(seen) = self.seen[stream] else {
            let start = match start.unwrap_or(Start::Beginning) {
                Start::Now => GroupStart::Now,
                Start::Beginning => GroupStart::After(EntryId::MIN),
                Start::After(id) => GroupStart::After(id),
            };
            match engine.create_group(name, &member.group, start, true).await {
                Err(error) if error.kind() != EngineErrorKind::GroupExists => return Err(error),
                _ => {}
            }
            let groups = engine.groups(name).await?;
            let group = groups.iter().find(|group| group.name == member.group);
            return group.map(|group| group.last_delivered_id).ok_or_else(|| {
                EngineError::new(
                    EngineErrorKind::NoGroup,
                    format!("listen to '{name}' in group {}", member.group),
                    "the group vanished as soon as it was made",
                )
            });
        };
        self.remake_group(stream, member, seen).await
    }

    /// Makes a group again if it vanished, where it stood as far as is known here: after what was seen, but before
    /// what is in hand (whose pending entries vanished with the group), and from the beginning when the stream itself
    /// is another one than before. Some messages may come twice by this, and what this consumer saw is not missed. What
    /// was pending with other consumers when the group was destroyed is known to nobody but them.
    async fn remake_group(&self, stream: usize, member: &GroupMember, seen: EntryId) -> EngineResult<EntryId> {
        let (engine, name) = (self.shared.engine(), &self.shared.streams[stream].name);
        let (in_hand, waiting) = (self.shared.in_hand.oldest(stream), self.shared.waiting.oldest(stream));
        let in_hand = in_hand.into_iter().chain(waiting).min().and_then(EntryId::previous);
        let stood = if engine.last_id(name).await? < seen {
            EntryId::MIN
        } else {
            in_hand.map_or(seen, |before| before.min(seen))
        };
        match engine
            .create_group(name, &member.group, GroupStart::After(stood), true)
            .await
        {
            Ok(()) => {
                let report = Report::GroupRecreated {
                    stream: name,
                    group: &member.group,
                    after: stood,
                };
                self.shared.reporter.tell(&report);
                Ok(stood)
            }
            Err(error) if error.kind() == EngineErrorKind::GroupExists => Ok(seen),
            Err(error) => Err(error),
        }
    }

    /// Hands over what this consumer was delivered and has not settled.
    async fn take_up_own_pending(&mut self) -> EngineResult<()> {
        self.take_up(Scan::OwnPending).await
    }

    /// Claims what other consumers left idle for too long, and hands it over.
    async fn claim_idle(&mut self) -> EngineResult<()> {
        match self.shared.options.reclaim {
            Some(idle) => self.take_up(Scan::Idle(idle)).await,
            None => Ok(()),
        }
    }

    /// Hands over what a scan of each stream finds, page after page. The first pages of several streams are asked for
    /// at once: nearly all are empty.
    async fn take_up(&mut self, scan: Scan) -> EngineResult<()> {
        let shared = Arc::clone(&self.shared);
        let Some(member) = &shared.group else { return Ok(()) };
        let streams = shared.streams.len();
        for begin in (0..streams).step_by(ASKED_AT_ONCE) {
            if shared.context.stop.is_stopped() {
                break;
            }
            let some = begin..streams.min(begin + ASKED_AT_ONCE);
            let count = self.appetite.count().min(CLAIMED_AT_ONCE / some.len());
            let pages = some
                .clone()
                .map(|stream| scan.page(&shared, member, stream, EntryId::MIN, count));
            let pages = join_all(pages).await;
            // What was found is ours by now, and has to be renewed: all of it is taken in hand before any of it is
            // handed over, which may take long, and before an error ends this.
            let (mut jobs, mut more, mut failure) = (Vec::new(), Vec::new(), None);
            for (stream, page) in some.zip(pages) {
                let taken = match page {
                    Ok((found, next)) => {
                        more.extend(next.map(|next| (stream, next)));
                        self.take_again(stream, member, found, Some(scan), &mut jobs).await
                    }
                    Err(error) => Err(error),
                };
                failure = failure.or(taken.err());
            }
            self.hand_over.send(jobs).await;
            if let Some(error) = failure {
                return Err(error);
            }
            for (stream, mut from) in more {
                while !shared.context.stop.is_stopped() {
                    let count = self.appetite.count().min(CLAIMED_AT_ONCE);
                    let (found, next) = scan.page(&shared, member, stream, from, count).await?;
                    self.hand_over_again(stream, member, found, Some(scan)).await?;
                    let Some(next) = next else { break };
                    from = next;
                }
            }
        }
        Ok(())
    }

    /// Hands over what waited here for its next attempt, as far as that is due.
    async fn take_up_due(&mut self) -> EngineResult<()> {
        let shared = Arc::clone(&self.shared);
        // One batch at a time, so that new messages come in between.
        let due = shared.waiting.take_due(self.appetite.count().min(CLAIMED_AT_ONCE));
        let mut pending = BTreeMap::<usize, Vec<EntryId>>::new();
        let mut jobs = Vec::new();
        for (Due { stream, id, .. }, kept) in due {
            match kept {
                // One that the ordinary claim brought back already is in hand.
                Kept::AtStore { .. } if shared.in_hand.has(stream, id) => {}
                Kept::AtStore { .. } => pending.entry(stream).or_default().push(id),
                Kept::Here { message, progress, .. } => jobs.push(Job {
                    stream,
                    message: message.once_more(),
                    progress: Some(Box::new(progress)),
                }),
            }
        }
        if !jobs.is_empty() {
            self.last_message = Instant::now();
            self.hand_over.send(jobs).await;
        }
        let Some(member) = &shared.group else { return Ok(()) };
        for (stream, ids) in pending {
            // What another consumer claimed meanwhile is left to it; the rest nobody can claim now.
            let ours = lease::set_idle(&shared, stream, &ids, Duration::ZERO).await?;
            if ours.is_empty() {
                continue;
            }
            let (name, consumer) = (&shared.streams[stream].name, &member.consumer);
            let engine = shared.engine();
            let found = engine
                .claim(name, &member.group, consumer, Duration::ZERO, &ours)
                .await?;
            self.hand_over_again(stream, member, found, None).await?;
        }
        Ok(())
    }

    async fn hand_over_again(
        &mut self,
        stream: usize,
        member: &GroupMember,
        found: Redelivery,
        scan: Option<Scan>,
    ) -> EngineResult<()> {
        let mut jobs = Vec::new();
        let taken = self.take_again(stream, member, found, scan, &mut jobs).await;
        self.hand_over.send(jobs).await;
        taken
    }

    /// Takes in hand what comes again, as a scan found it or because it is due. An error leaves nothing out of `jobs`.
    async fn take_again(
        &mut self,
        stream: usize,
        member: &GroupMember,
        found: Redelivery,
        scan: Option<Scan>,
        jobs: &mut Vec<Job>,
    ) -> EngineResult<()> {
        let shared = Arc::clone(&self.shared);
        let name = &shared.streams[stream].name;
        let before = jobs.len();
        for redelivered in found.entries {
            self.take(stream, redelivered.entry, redelivered.deliveries, jobs);
        }
        let count = jobs.len() - before;
        if count > 0 {
            if let Some(scan) = scan {
                shared.reporter.tell(&Report::Recovered {
                    stream: name,
                    count,
                    claimed: matches!(scan, Scan::Idle(_)),
                });
            }
            self.last_message = Instant::now();
        }
        if !found.deleted.is_empty() {
            shared.reporter.tell(&Report::Gone {
                stream: name,
                ids: &found.deleted,
            });
            shared.engine().acknowledge(name, &member.group, &found.deleted).await?;
        }
        Ok(())
    }

    /// Reads new messages and hands them over. While there is a backlog and workers keep up, the store is asked ahead.
    async fn read_new(&mut self, reader: &mut dyn Reader, wait: Duration) -> EngineResult<()> {
        let count = self.appetite.count();
        reader.read_ahead(self.is_behind && self.appetite.keeps_up());
        let found = reader.next(count, Some(wait)).await?;
        self.is_behind = found.iter().any(|batch| batch.entries.len() >= count);
        self.appetite.found(&found);
        let jobs = self.take_new(found);
        if jobs.is_empty() {
            return Ok(());
        }
        let (messages, began) = (jobs.len(), Instant::now());
        // The hand-over may take long, and nobody would renew what was asked for ahead.
        let rest = match self.hand_over.is_full() {
            true => reader.rest().await.map(|rest| self.take_new(rest)),
            false => Ok(Vec::new()),
        };
        self.hand_over.send(jobs).await;
        self.appetite.handed_over(messages, began.elapsed());
        self.hand_over.send(rest?).await;
        if !self.is_behind && self.shared.options.workers.count() == 1 {
            // The next read would wait at the store. To write it takes as long as to handle a message, so the
            // worker comes first. (Several workers may keep one thread busy while another could read on.)
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Hands over what the store was asked for ahead, and tells whether there was any. After a stop it goes back with all
    /// that is in hand and was not begun.
    async fn take_rest(&mut self, reader: &mut dyn Reader) -> EngineResult<bool> {
        let rest = reader.rest().await?;
        let jobs = self.take_new(rest);
        let found = !jobs.is_empty();
        self.hand_over.send(jobs).await;
        Ok(found)
    }

    /// Takes new messages in hand.
    fn take_new(&mut self, found: Vec<StreamEntries>) -> Vec<Job> {
        let mut jobs = Vec::new();
        // They come in about the order in which they were asked for.
        let mut number = 0;
        let streams = self.shared.streams.len();
        for batch in found {
            let Some(stream) = (number..number + streams)
                .map(|number| number % streams)
                .find(|stream| self.shared.streams[*stream].name == batch.stream)
            else {
                continue;
            };
            number = stream + 1;
            self.seen[stream] = self.seen[stream].max(batch.entries.last().map(|entry| entry.id));
            for entry in batch.entries {
                self.take(stream, entry, 1, &mut jobs);
            }
        }
        if !jobs.is_empty() {
            self.last_message = Instant::now();
        }
        jobs
    }

    /// Makes a job of an entry, unless it is in hand already.
    fn take(&self, stream: usize, entry: Entry, deliveries: u64, jobs: &mut Vec<Job>) {
        if self.shared.group.is_none() || self.shared.in_hand.take(stream, entry.id) {
            let name = self.shared.streams[stream].name.clone();
            jobs.push(Job {
                stream,
                message: ReceivedMessage::new(name, entry, deliveries),
                progress: None,
            });
        }
    }

    /// How often to look for what others left idle.
    fn claim_interval(&self) -> Option<Duration> {
        let reclaim = self.shared.group.as_ref().and(self.shared.options.reclaim)?;
        Some((reclaim / 4).clamp(Duration::from_millis(20), Duration::from_secs(15)))
    }
}
