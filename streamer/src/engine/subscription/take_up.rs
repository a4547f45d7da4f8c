//! Takes up pending entries: the consumer's own, after a start or a lost reply; those that others left idle; and those
//! whose next attempt is due.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    Core, Delivery, DeliveryRef, Earlier, Event,
    delayed_retries::{Arming, Deferred, Schedule, wall_clock},
    in_flight::Arrival,
    source::{Failure, Source},
    trouble::{is_missing, is_of_a_stream},
};
use crate::{
    engine::{
        Deferral, DueEntries, EngineError, EngineResult, EntryEnd, EntrySettlement, Scan, TakeRequest, Taken,
        TakenEntry,
    },
    entry::EntryId,
};

/// How many pending entries are taken at once.
const TAKEN_AT_ONCE: usize = 100;

/// Of how many streams at once.
const STREAMS_AT_ONCE: usize = 16;

/// When an entry that was due and did not come is tried again.
const DUE_AGAIN: Duration = Duration::from_secs(1);

/// From how many deliveries without an outcome on a message may be what ended its process.
const SUSPECT_CUT_OFFS: u64 = 2;

/// What is yet to be taken up.
#[derive(Debug, Default)]
pub(super) struct TakeUp {
    /// The consumer's own, by stream, from this ID on.
    own: VecDeque<(u32, EntryId)>,
    /// Of any consumer.
    idle: VecDeque<(u32, EntryId)>,
}

impl TakeUp {
    /// Takes up the consumer's own entries of these streams, from the first on.
    pub(super) fn own(&mut self, core: &Core, streams: &[u32]) {
        if core.spec.member.is_none() {
            return;
        }
        self.own.retain(|(stream, _)| !streams.contains(stream));
        for stream in streams {
            core.strangers.forget_own(*stream);
            self.own.push_back((*stream, EntryId::MIN));
        }
    }

    /// Takes up what is idle on these streams, from the first on.
    pub(super) fn idle(&mut self, streams: impl Iterator<Item = u32>) {
        self.idle = streams.map(|stream| (stream, EntryId::MIN)).collect();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.idle.is_empty()
    }

    /// Nothing more is taken of this stream.
    pub(super) fn leave_out(&mut self, left_out: u32) {
        self.own.retain(|(stream, _)| *stream != left_out);
        self.idle.retain(|(stream, _)| *stream != left_out);
    }
}

impl Source {
    /// Takes one page of several streams: the first pages are nearly all empty.
    pub(super) async fn take_page(&mut self) -> Result<Vec<Delivery>, Failure> {
        let core = self.core.clone();
        let (Some(member), reclaim) = (&core.spec.member, core.spec.reclaim) else {
            self.take_up = TakeUp::default();
            return Ok(Vec::new());
        };
        let (queue, scan) = match (self.take_up.own.is_empty(), reclaim) {
            (true, Some(reclaim)) => (&mut self.take_up.idle, Scan::Idle(reclaim)),
            (true, None) => {
                self.take_up.idle.clear();
                return Ok(Vec::new());
            }
            (false, _) => (&mut self.take_up.own, Scan::Own),
        };
        let some = queue.drain(..queue.len().min(STREAMS_AT_ONCE)).collect::<Vec<_>>();
        let requests = some.iter().map(|(stream, from)| TakeRequest {
            stream: core.name(*stream).clone(),
            from: *from,
        });
        let requests = requests.collect::<Vec<_>>();
        let count = core.limit().count().min(TAKEN_AT_ONCE / some.len().max(1)).max(1);
        let requested = Instant::now();
        let _taking = core.strangers.taking();
        let answers = core.store.take(member, scan, &requests, count).await;
        // What was found is ours by now, and has to be renewed: all of it is registered before an error ends this.
        let (mut deliveries, mut failures) = (Vec::new(), Vec::new());
        for ((stream, from), answer) in some.into_iter().zip(answers) {
            let taken = match answer {
                Ok(taken) => taken,
                Err(error) => {
                    failures.push((stream, from, error));
                    continue;
                }
            };
            let queue = match scan {
                Scan::Own => &mut self.take_up.own,
                Scan::Idle(_) => &mut self.take_up.idle,
            };
            match taken.next {
                Some(next) => queue.push_back((stream, next)),
                None if scan == Scan::Own => core.strangers.own_are_known(stream),
                None => {}
            }
            let before = deliveries.len();
            if let Err(error) = self
                .register_taken(stream, taken, requested, Some(scan), &mut deliveries)
                .await
            {
                failures.push((stream, from, error));
            }
            let is_kept = |delivery: &&Delivery| core.strangers.taken(stream, delivery.entry.id);
            let kept = deliveries[before..].iter().filter(is_kept).count();
            let (own, claimed) = match scan {
                Scan::Own => (deliveries.len() - before, 0),
                Scan::Idle(_) => (kept, deliveries.len() - before - kept),
            };
            super::log::taken(core.name(stream), &deliveries[before..], own, claimed);
            for (count, claimed) in [(own, false), (claimed, true)] {
                if count > 0 {
                    (core.events)(Event::Recovered { stream, count, claimed });
                }
            }
        }
        self.taking_failed(scan, failures, &mut deliveries)?;
        Ok(deliveries)
    }

    /// What could not be taken is left for later; trouble with one stream stays there.
    fn taking_failed(
        &mut self,
        scan: Scan,
        failures: Vec<(u32, EntryId, EngineError)>,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Failure> {
        let mut fatal = None;
        for (stream, from, error) in failures {
            if is_missing(error.kind()) {
                self.core.in_flight.set_vanished(stream, true);
                fatal = Some(error);
            } else if is_of_a_stream(error.kind()) && self.core.spec.keep_alive.is_some() {
                self.stream_failed(stream, error)?;
            } else {
                match scan {
                    Scan::Own => self.take_up.own.push_back((stream, from)),
                    Scan::Idle(_) => self.take_up.idle.push_back((stream, from)),
                }
                fatal = Some(error);
            }
        }
        let Some(error) = fatal else { return Ok(()) };
        if !deliveries.is_empty() {
            self.ready.push_back(std::mem::take(deliveries));
        }
        Err(error.into())
    }

    /// Registers what was taken before anybody gets it; with no scan, what was due. An error leaves nothing out of
    /// `deliveries`.
    async fn register_taken(
        &mut self,
        stream: u32,
        taken: Taken,
        requested: Instant,
        scan: Option<Scan>,
        deliveries: &mut Vec<Delivery>,
    ) -> EngineResult<()> {
        let core = self.core.clone();
        let early = scan.is_some();
        let delayed = core.delayed(stream);
        self.tell_gone(stream, taken.gone);
        let mut put_off = Vec::new();
        let mut arrivals = Vec::with_capacity(taken.entries.len());
        let mut entries = Vec::with_capacity(taken.entries.len());
        for found in taken.entries {
            let schedule = found.retry_state.as_deref().map(Schedule::of).unwrap_or_default();
            let deferred = delayed.remove(stream, found.entry.id);
            // What was deferred here waits by the monotonic clock.
            let left = match (&deferred, early) {
                (_, false) => Duration::ZERO,
                (Some(deferred), _) => deferred.at.saturating_duration_since(Instant::now()),
                (None, _) => schedule.left(wall_clock()),
            };
            let id = found.entry.id;
            let holds = core.spec.holds_retries && !left.is_zero();
            if !left.is_zero() && !holds && !core.in_flight.has(stream, id) {
                put_off.push(core.defer_again(stream, &found, left, requested));
                continue;
            }
            // A failure is listed because of which it stays pending: it comes less and less often. A start takes it at once.
            let kept = match scan {
                Some(Scan::Idle(_)) => schedule.kept(wall_clock()),
                _ => Duration::ZERO,
            };
            if !kept.is_zero() && !core.in_flight.has(stream, id) {
                core.strangers.known(stream, id);
                let idle = Arming::of(core.spec.reclaim, kept).idle;
                put_off.push(set_idle(id, kept, idle, found.count_before));
                continue;
            }
            if early && deferred.is_some() {
                // It waited here.
                core.strangers.known(stream, id);
            }
            let cut_off = found.count_before.saturating_sub(schedule.attempts);
            arrivals.push(Arrival {
                id: found.entry.id,
                count_before: u32::try_from(found.count_before).unwrap_or(u32::MAX),
                // From 2 on the store leaves the count alone.
                mark: holds || early && found.count_before >= SUSPECT_CUT_OFFS,
                has_retry_state: found.retry_state.is_some(),
            });
            if holds {
                // To take it counted a delivery, and no attempt begins yet.
                put_off.push(set_idle(id, left, Duration::ZERO, found.count_before));
            }
            entries.push((found, cut_off >= SUSPECT_CUT_OFFS, left));
        }
        let bytes = entries.iter().map(|(found, ..)| super::bytes_of(&found.entry)).sum();
        let confirmed = core.watch.confirmed(requested, core.lease());
        let inserted = core.in_flight.insert(stream, confirmed, bytes, arrivals.into_iter());
        let fresh = entries
            .into_iter()
            .filter(|(found, ..)| !inserted.duplicates.contains(&found.entry.id));
        for (slot, (found, suspect, left)) in fresh.enumerate() {
            let TakenEntry {
                entry,
                count_before,
                retry_state,
            } = found;
            deliveries.push(Delivery {
                at: DeliveryRef {
                    stream,
                    batch: inserted.batch,
                    slot: slot as u32,
                },
                entry,
                count_before: u32::try_from(count_before).unwrap_or(u32::MAX),
                earlier: Earlier {
                    retry_state,
                    suspect,
                    due_in: left,
                }
                .boxed(),
            });
        }
        // Taking counted a delivery that was none.
        for id in inserted.duplicates {
            if let Some(count) = core.in_flight.count(stream, id) {
                put_off.push(set_idle(id, Duration::ZERO, Duration::ZERO, count));
            }
        }
        core.set_idle_times(stream, put_off).await
    }

    /// Entries that were deleted from their stream. Those whose payloads are here are handled all the same.
    fn tell_gone(&self, stream: u32, gone: Vec<EntryId>) {
        let core = &self.core;
        let (detached, gone) = gone
            .into_iter()
            .partition::<Vec<_>, _>(|id| core.in_flight.detach(stream, *id));
        for id in &gone {
            core.delayed(stream).remove(stream, *id);
        }
        if !detached.is_empty() {
            (core.events)(Event::Detached { stream, ids: &detached });
        }
        if !gone.is_empty() {
            (core.events)(Event::Gone { stream, ids: &gone });
        }
    }

    /// Takes up what waited here for its next attempt, as far as that is due: one batch, so that new messages come in
    /// between.
    pub(super) async fn take_due(&mut self) -> Result<Vec<Delivery>, Failure> {
        let core = self.core.clone();
        let most = core.limit().count().clamp(1, TAKEN_AT_ONCE);
        let due = core.delayed[self.shard].due(most);
        let Some(member) = &core.spec.member else {
            return Ok(self.take_kept(&due));
        };
        let mut by_stream = Vec::<(u32, Vec<EntryId>)>::new();
        for (stream, id) in due {
            if core.in_flight.has(stream, id) {
                // The ordinary claim brought it back already.
                core.delayed(stream).remove(stream, id);
                continue;
            }
            match by_stream.iter_mut().find(|(known, _)| *known == stream) {
                Some((_, ids)) => ids.push(id),
                None => by_stream.push((stream, vec![id])),
            }
        }
        if by_stream.is_empty() {
            return Ok(Vec::new());
        }
        let requests = by_stream.iter_mut().map(|(stream, ids)| {
            ids.sort_unstable();
            DueEntries {
                stream: core.name(*stream).clone(),
                ids: ids.clone(),
            }
        });
        let requests = requests.collect::<Vec<_>>();
        let requested = Instant::now();
        let answers = core.store.take_due(member, &requests).await;
        let (mut deliveries, mut failure) = (Vec::new(), None);
        for ((stream, mut ids), answer) in by_stream.into_iter().zip(answers) {
            let outcome = match answer {
                Ok(mut taken) => {
                    taken.entries.sort_unstable_by_key(|taken| taken.entry.id);
                    ids.retain(|id| {
                        !taken.gone.contains(id)
                            && taken.entries.binary_search_by_key(id, |taken| taken.entry.id).is_err()
                    });
                    let registered = self
                        .register_taken(stream, taken, requested, None, &mut deliveries)
                        .await;
                    match ids.is_empty() {
                        true => registered,
                        // Another consumer has them, or nobody.
                        false => registered.and(core.renew_deferred(stream, &ids).await),
                    }
                }
                Err(error) => {
                    if is_missing(error.kind()) {
                        core.in_flight.set_vanished(stream, true);
                    }
                    Err(error)
                }
            };
            for id in &ids {
                core.delayed(stream).postpone(stream, *id, DUE_AGAIN);
            }
            if let Err(error) = outcome {
                failure = Some(error);
            }
        }
        let Some(error) = failure else { return Ok(deliveries) };
        if !deliveries.is_empty() {
            self.ready.push_back(deliveries);
        }
        Err(error.into())
    }

    /// Takes up messages that this process alone knows.
    fn take_kept(&mut self, due: &[(u32, EntryId)]) -> Vec<Delivery> {
        let core = self.core.clone();
        let mut deliveries = Vec::with_capacity(due.len());
        for (stream, id) in due {
            let Some(deferred) = core.delayed(*stream).remove(*stream, *id) else {
                continue;
            };
            let Some(kept) = deferred.kept else { continue };
            let arrival = Arrival {
                id: *id,
                count_before: deferred.count_before,
                mark: false,
                has_retry_state: false,
            };
            let bytes = super::bytes_of(&kept.entry);
            let inserted = core.in_flight.insert(*stream, None, bytes, std::iter::once(arrival));
            if inserted.duplicates.is_empty() {
                deliveries.push(Delivery {
                    at: DeliveryRef {
                        stream: *stream,
                        batch: inserted.batch,
                        slot: 0,
                    },
                    entry: kept.entry,
                    count_before: deferred.count_before,
                    earlier: Earlier {
                        retry_state: Some(kept.retry_state),
                        ..Earlier::default()
                    }
                    .boxed(),
                });
            }
        }
        deliveries
    }
}

impl Core {
    /// An entry came before its next attempt is due. It waits here, and the delivery does not count.
    fn defer_again(&self, stream: u32, found: &TakenEntry, left: Duration, requested: Instant) -> EntrySettlement {
        let arming = Arming::of(self.spec.reclaim, left);
        let id = found.entry.id;
        if self.may_defer() {
            let deferred = Deferred {
                at: Instant::now() + left,
                count_before: u32::try_from(found.count_before).unwrap_or(u32::MAX),
                valid_until: self.spec.reclaim.map(|reclaim| requested + reclaim),
                kept: None,
            };
            self.delayed(stream).add(stream, id, deferred);
        } else {
            self.strangers.known(stream, id);
        }
        set_idle(id, left, arming.idle, found.count_before)
    }

    /// Sets idle times and counts of entries of one stream.
    pub(super) async fn set_idle_times(&self, stream: u32, settlements: Vec<EntrySettlement>) -> EngineResult<()> {
        if settlements.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let request = [(self.name(stream).clone(), settlements)];
        let answer = self.store.settle(self.spec.member.as_ref(), &request).await;
        answer.into_iter().next().unwrap_or(Ok(0))?;
        let [(_, settlements)] = request;
        for settlement in settlements {
            let delayed = self.delayed(stream);
            if let Some((_, left, _)) = delayed.look(stream, settlement.id) {
                let arming = Arming::of(self.spec.reclaim, left);
                let valid_until = arming.valid_for.map(|valid| started + valid);
                delayed.set(stream, settlement.id, valid_until);
            }
        }
        Ok(())
    }
}

/// Sets the idle time and the count of a pending entry, and nothing else.
pub(super) fn set_idle(id: EntryId, delay: Duration, idle: Duration, count: u64) -> EntrySettlement {
    EntrySettlement {
        id,
        end: EntryEnd::Defer(Box::new(Deferral {
            retry_state: bytes::Bytes::new(),
            delay,
            idle,
            count,
        })),
        failures: None,
    }
}
