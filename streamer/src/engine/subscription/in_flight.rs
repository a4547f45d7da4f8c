//! The table of everything in flight: delivered to this process, and not settled.
//!
//! Deliveries are kept in the batches they came in, each in a slot of its batch, so that one that comes and goes costs
//! no memory of its own: a batch is one allocation, and leaves when its last slot is done. Each stream has a lock, which
//! is held for a few instructions and never while anything is awaited.

#[cfg(not(test))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize},
};
use std::{
    collections::VecDeque,
    sync::{self, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::DeliveryRef;
#[cfg(test)]
use crate::schedules::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize},
};
use crate::{
    engine::{Missing, Renewal},
    entry::EntryId,
};

/// Every delivery in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    /// How long a lease is valid; `None` where nobody claims, or there is no group.
    lease: Option<Duration>,
    streams: Vec<Mutex<StreamTable>>,
    /// How many deliveries are in the table.
    open: AtomicUsize,
    /// How many of them have not begun. Sources on a Cluster stop reading when these are too many.
    waiting: AtomicUsize,
    /// About how many bytes they have: a batch counts until its last delivery is done.
    bytes: AtomicUsize,
    /// Whether a source waits for room, so that workers need to tell. The source sets this and then looks at the numbers; workers
    /// change a number and then look at this. Hence both are sequentially consistent: with less, each may miss the other.
    room_is_wanted: AtomicBool,
    room: Notify,
    /// When something was settled last, or reading began.
    last_settled: sync::Mutex<Instant>,
}

/// The deliveries of one stream.
#[derive(Debug, Default)]
struct StreamTable {
    /// By number, the oldest first.
    batches: VecDeque<Batch>,
    /// The number of the next batch.
    next: u32,
    /// The greatest ID that was ever inserted: a later one cannot be in the table.
    greatest: EntryId,
    /// Whether the group, or the stream, was found to be missing since the last renewal.
    vanished: bool,
}

#[derive(Debug)]
struct Batch {
    number: u32,
    /// When the request was sent that last set the idle times of all its entries; `None` when nobody can tell.
    confirmed: Option<Instant>,
    bytes: usize,
    /// How many slots are not done.
    open: usize,
    /// By ID.
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    id: EntryId,
    count_before: u32,
    state: State,
    place: Place,
    /// Whether the store has to be told before an attempt begins.
    mark: bool,
    /// Whether the store holds a retry state.
    has_retry_state: bool,
    /// Whether it was delivered to this process again, which raises the count at the store.
    again: bool,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Prefetched or queued; no attempt has begun.
    Waiting,
    /// Its listeners run, or its outcome is gathered with others.
    Running,
    /// Its end is being stored.
    Settling {
        /// Whether that is an acknowledgement, after which nobody has the entry.
        acknowledges: bool,
    },
    /// Its outcome could not be stored.
    Refused,
    /// Settled, or let go.
    Done,
}

/// What the store said last about the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Pending with this consumer.
    Ours,
    /// Pending with another consumer, or settled by it.
    Lost,
    /// Pending with nobody after the lease had expired, while its acknowledgement was under way: that one's doing, or another
    /// consumer's.
    Acknowledged,
    /// Not on the stream any more, or not delivered as far as the group knows. Nobody can claim it, so there is no lease.
    Detached,
}

/// An entry that comes into the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub(super) id: EntryId,
    pub(super) count_before: u32,
    pub(super) mark: bool,
    pub(super) has_retry_state: bool,
}

/// Where arrivals are.
#[derive(Debug)]
pub(super) struct Inserted {
    pub(super) batch: u32,
    /// These were in the table already.
    pub(super) duplicates: Vec<EntryId>,
}

/// Whether an attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MayBegin {
    /// It has begun.
    Yes,
    /// Not in the table (any more).
    No,
    /// The lease has expired: renew it and ask again.
    Expired,
    /// The store must be told that attempt `count` begins.
    Mark { id: EntryId, count: u64 },
}

/// A delivery whose end is about to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) id: EntryId,
    pub(super) count_before: u32,
    pub(super) begun: bool,
    pub(super) is_lost: bool,
    pub(super) has_retry_state: bool,
}

/// What a renewal asked for.
#[derive(Debug)]
pub(super) struct Asked {
    /// Sorted.
    pub(super) ids: Vec<EntryId>,
    /// Batches from this number on are not part of it.
    before: u32,
}

/// What became of entries that were not renewed.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Another consumer has, or may have handled, these.
    pub(super) lost: Vec<EntryId>,
    /// These were deleted from the stream.
    pub(super) detached: Vec<EntryId>,
    /// These are pending with nobody and have to be made pending with this consumer again, with these counts.
    pub(super) orphans: Vec<(EntryId, u64)>,
}

/// A delivery that is left at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) id: EntryId,
    pub(super) count_before: u32,
    pub(super) begun: bool,
    /// Whether its listeners may still run.
    pub(super) runs: bool,
}

impl InFlight {
    pub(super) fn new(streams: usize, lease: Option<Duration>) -> Self {
        Self {
            lease,
            streams: (0..streams).map(|_| Mutex::default()).collect(),
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            room_is_wanted: AtomicBool::new(false),
            room: Notify::new(),
            last_settled: sync::Mutex::new(Instant::now()),
        }
    }

    fn stream(&self, stream: u32) -> MutexGuard<'_, StreamTable> {
        self.streams[stream as usize]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    // ----- arrivals -----------------------------------------------------------------------------------------------

    /// Inserts what came from one stream, sorted by ID. What is in the table already is not inserted again, but known to
    /// be ours; those that are inserted have the slots from 0 on of the batch that is returned.
    pub(super) fn insert(
        &self,
        stream: u32,
        confirmed: Option<Instant>,
        bytes: usize,
        arrivals: impl ExactSizeIterator<Item = Arrival>,
    ) -> Inserted {
        let mut slots = Vec::with_capacity(arrivals.len());
        let mut duplicates = Vec::new();
        let mut table = self.stream(stream);
        let number = table.next;
        table.next = number.wrapping_add(1);
        let mut greatest = table.greatest;
        for arrival in arrivals {
            if arrival.id <= greatest && table.is_ours_again(arrival.id) {
                duplicates.push(arrival.id);
                continue;
            }
            greatest = greatest.max(arrival.id);
            slots.push(Slot {
                id: arrival.id,
                count_before: arrival.count_before,
                state: State::Waiting,
                place: Place::Ours,
                mark: arrival.mark,
                has_retry_state: arrival.has_retry_state,
                again: false,
            });
        }
        table.greatest = greatest;
        if !slots.is_empty() {
            let open = slots.len();
            self.open.fetch_add(open, Ordering::AcqRel);
            self.waiting.fetch_add(open, Ordering::AcqRel);
            self.bytes.fetch_add(bytes, Ordering::AcqRel);
            table.batches.push_back(Batch {
                number,
                confirmed,
                bytes,
                open,
                slots,
            });
        }
        Inserted {
            batch: number,
            duplicates,
        }
    }

    /// How many deliveries are in flight.
    pub(super) fn len(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Waits until fewer than `most` deliveries, of less than `most_bytes`, have not begun.
    pub(super) async fn room(&self, most: usize, most_bytes: usize) {
        let has_room = || {
            let waiting = self.waiting.load(Ordering::SeqCst);
            waiting == 0 || waiting < most && self.bytes.load(Ordering::SeqCst) < most_bytes
        };
        loop {
            let mut freed = std::pin::pin!(self.room.notified());
            // Before the look, so that nothing that is freed in between is missed.
            freed.as_mut().enable();
            self.room_is_wanted.store(true, Ordering::SeqCst);
            if has_room() {
                return;
            }
            freed.await;
        }
    }

    fn freed(&self) {
        if self.room_is_wanted.load(Ordering::SeqCst) && self.room_is_wanted.swap(false, Ordering::SeqCst) {
            self.room.notify_waiters();
        }
    }

    // ----- attempts -----------------------------------------------------------------------------------------------

    /// Whether an attempt may begin; if so it has.
    pub(super) fn begin(&self, at: DeliveryRef) -> MayBegin {
        let mut table = self.stream(at.stream);
        let Some(batch) = table.batch_mut(at.batch) else {
            return MayBegin::No;
        };
        let confirmed = batch.confirmed;
        let Some(slot) = batch.slots.get_mut(at.slot as usize) else {
            return MayBegin::No;
        };
        if slot.state != State::Waiting {
            return MayBegin::No;
        }
        if slot.place == Place::Ours {
            if self.is_expired(confirmed) {
                return MayBegin::Expired;
            }
            if slot.mark {
                return MayBegin::Mark {
                    id: slot.id,
                    count: u64::from(slot.count_before) + 1,
                };
            }
        }
        slot.state = State::Running;
        drop(table);
        self.begun();
        MayBegin::Yes
    }

    /// The store was told that an attempt begins.
    pub(super) fn marked(&self, at: DeliveryRef) {
        if let Some(slot) = self.stream(at.stream).slot_mut(at) {
            slot.mark = false;
        }
    }

    /// Whether it is still here, ours, and the store has to be told before it begins.
    pub(super) fn must_mark(&self, at: DeliveryRef) -> bool {
        let mut table = self.stream(at.stream);
        table
            .slot_mut(at)
            .is_some_and(|slot| slot.mark && slot.place == Place::Ours)
    }

    fn begun(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.freed();
    }

    /// So many deliveries left the table, of which some had not begun.
    fn closed(&self, count: usize, waiting: usize) {
        self.open.fetch_sub(count, Ordering::AcqRel);
        if waiting > 0 {
            self.waiting.fetch_sub(waiting, Ordering::SeqCst);
        }
        self.freed();
    }

    fn is_expired(&self, confirmed: Option<Instant>) -> bool {
        let Some(lease) = self.lease else { return false };
        confirmed.is_none_or(|confirmed| confirmed.elapsed() > lease)
    }

    // ----- ends ---------------------------------------------------------------------------------------------------

    /// Whether any of these has an expired lease.
    pub(super) fn any_expired(&self, stream: u32, some: impl IntoIterator<Item = DeliveryRef>) -> bool {
        if self.lease.is_none() {
            return false;
        }
        let mut table = self.stream(stream);
        let mut last = None;
        some.into_iter().any(|at| {
            // Nearly all of a call are of the same batch.
            if last == Some(at.batch) {
                return false;
            }
            last = Some(at.batch);
            let confirmed = table.batch_mut(at.batch).map(|batch| batch.confirmed);
            confirmed.is_some_and(|confirmed| self.is_expired(confirmed))
        })
    }

    /// Takes deliveries of one stream for being settled, in order, and calls `taken` with each; `None` for those that are
    /// not in the table. `at` tells where one is, and whether it is acknowledged.
    pub(super) fn settling<T>(
        &self,
        stream: u32,
        some: impl Iterator<Item = T>,
        at: impl Fn(&T) -> (DeliveryRef, bool),
        mut taken: impl FnMut(T, Option<Ending>),
    ) {
        let mut table = self.stream(stream);
        let mut waited = 0;
        for one in some {
            let (at, acknowledges) = at(&one);
            let ending = table.slot_mut(at).and_then(|slot| {
                let begun = match slot.state {
                    State::Waiting => false,
                    State::Running | State::Refused => true,
                    State::Settling { .. } | State::Done => return None,
                };
                slot.state = State::Settling { acknowledges };
                waited += usize::from(!begun);
                Some(Ending {
                    id: slot.id,
                    count_before: slot.count_before,
                    begun,
                    is_lost: slot.place == Place::Lost,
                    has_retry_state: slot.has_retry_state,
                })
            });
            taken(one, ending);
        }
        drop(table);
        if waited > 0 {
            // Told now: where the store does not take the outcome, these stay, and nobody else would tell.
            self.waiting.fetch_sub(waited, Ordering::SeqCst);
            self.freed();
        }
    }

    /// Whether another consumer has this delivery by now.
    pub(super) fn is_lost(&self, at: DeliveryRef) -> bool {
        let mut table = self.stream(at.stream);
        table.slot_mut(at).is_some_and(|slot| slot.place == Place::Lost)
    }

    /// Whether another consumer acknowledged this delivery, which this one has not tried to acknowledge yet: then it is lost.
    pub(super) fn was_acknowledged(&self, at: DeliveryRef) -> Option<EntryId> {
        let mut table = self.stream(at.stream);
        let slot = table.slot_mut(at).filter(|slot| slot.place == Place::Acknowledged)?;
        slot.place = Place::Lost;
        Some(slot.id)
    }

    /// These have their outcome stored. `counts`: the quiet time begins again.
    pub(super) fn settled(&self, stream: u32, some: impl IntoIterator<Item = DeliveryRef>, counts: bool) {
        let mut count = 0;
        {
            let mut table = self.stream(stream);
            for at in some {
                table.done(at.batch, at.slot as usize, self);
                count += 1;
            }
        }
        if counts {
            *locked(&self.last_settled) = Instant::now();
        }
        self.closed(count, 0);
    }

    /// One whose outcome is stored stays, as one that has not begun, after so many attempts: the store is told before the next
    /// one begins.
    pub(super) fn hold(&self, at: DeliveryRef, count: u64) {
        let mut table = self.stream(at.stream);
        let Some(slot) = table.slot_mut(at) else { return };
        slot.state = State::Waiting;
        slot.count_before = u32::try_from(count).unwrap_or(u32::MAX);
        slot.mark = true;
        slot.has_retry_state = true;
        drop(table);
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// The outcomes of these could not be stored: they stay.
    pub(super) fn refused(&self, stream: u32, some: impl IntoIterator<Item = DeliveryRef>) {
        let mut table = self.stream(stream);
        for at in some {
            if let Some(slot) = table.slot_mut(at) {
                slot.state = State::Refused;
            }
        }
    }

    /// When something was settled last, or reading began.
    pub(super) fn last_settled(&self) -> Instant {
        *locked(&self.last_settled)
    }

    /// Reading begins: the quiet time starts.
    pub(super) fn start_clock(&self) {
        *locked(&self.last_settled) = Instant::now();
    }

    // ----- leases -------------------------------------------------------------------------------------------------

    /// What has to be renewed of a stream.
    pub(super) fn leased(&self, stream: u32) -> Asked {
        let table = self.stream(stream);
        let mut ids = Vec::with_capacity(table.batches.iter().map(|batch| batch.open).sum());
        for slot in table.batches.iter().flat_map(|batch| &batch.slots) {
            if slot.state != State::Done && slot.place == Place::Ours {
                ids.push(slot.id);
            }
        }
        let before = table.next;
        drop(table);
        ids.sort_unstable();
        ids.dedup();
        Asked { ids, before }
    }

    /// Whether an ID is in the table.
    pub(super) fn has(&self, stream: u32, id: EntryId) -> bool {
        self.stream(stream).find(id).is_some()
    }

    /// An entry that is in the table was deleted from its stream; `false` when it is not in the table.
    pub(super) fn detach(&self, stream: u32, id: EntryId) -> bool {
        let mut table = self.stream(stream);
        let Some((batch, slot)) = table.find(id) else {
            return false;
        };
        table.batches[batch].slots[slot].place = Place::Detached;
        true
    }

    /// The count that the store should hold of an entry in the table.
    pub(super) fn count(&self, stream: u32, id: EntryId) -> Option<u64> {
        let table = self.stream(stream);
        let (batch, slot) = table.find(id)?;
        let slot = &table.batches[batch].slots[slot];
        // What has to be marked first counts only from then on.
        Some(u64::from(slot.count_before) + u64::from(!slot.mark))
    }

    /// Of entries with these counts at the store, those that have a higher one than this process can have made: another one
    /// took them under the consumer's name.
    pub(super) fn raised(&self, stream: u32, counts: &[(EntryId, u64)]) -> Vec<EntryId> {
        let table = self.stream(stream);
        let is_raised = |(id, count): &&(EntryId, u64)| {
            table.find(*id).is_some_and(|(batch, slot)| {
                let slot = &table.batches[batch].slots[slot];
                matches!(slot.state, State::Waiting | State::Running)
                    && slot.place == Place::Ours
                    && !slot.again
                    && *count > u64::from(slot.count_before) + 1
            })
        };
        counts.iter().filter(is_raised).map(|(id, _)| *id).collect()
    }

    /// How many of these are, as far as is known, pending with this consumer.
    pub(super) fn ours(&self, stream: u32, some: impl IntoIterator<Item = DeliveryRef>) -> usize {
        let mut table = self.stream(stream);
        let ours = some
            .into_iter()
            .filter(|at| table.slot_mut(*at).is_some_and(|slot| slot.place == Place::Ours));
        ours.count()
    }

    /// The group, the stream or this consumer was found missing, or what became of its entries is known now.
    pub(super) fn set_vanished(&self, stream: u32, vanished: bool) {
        self.stream(stream).vanished = vanished;
    }

    /// Whether it was missing since the last renewal.
    pub(super) fn has_vanished(&self, stream: u32) -> bool {
        self.stream(stream).vanished
    }

    /// Decides about entries that were asked for and not renewed. `vanished`: the group, or this consumer, was missing.
    pub(super) fn judge(&self, stream: u32, asked: &Asked, renewal: &Renewal, vanished: bool) -> Judged {
        let mut judged = Judged::default();
        let (mut let_go, mut waited) = (0, 0);
        let mut table = self.stream(stream);
        let vanished = vanished || renewal.consumer_was_missing;
        for (id, missing) in &renewal.missing {
            let Some((batch, slot)) = table.find_before(*id, asked.before) else {
                continue;
            };
            let is_expired = self.is_expired(table.batches[batch].confirmed);
            let number = table.batches[batch].number;
            let it = &mut table.batches[batch].slots[slot];
            // Another renewal was under way at the same time, and found it first. What it has confirmed since says nothing
            // about this one: whoever claimed it may have settled it by now.
            if it.place == Place::Lost {
                continue;
            }
            let lets_go = match missing {
                Missing::Claimed => {
                    it.place = Place::Lost;
                    judged.lost.push(*id);
                    true
                }
                Missing::Gone => {
                    if it.state != (State::Settling { acknowledges: true }) && it.place != Place::Detached {
                        judged.detached.push(*id);
                    }
                    it.place = Place::Detached;
                    false
                }
                Missing::Unowned if it.state == (State::Settling { acknowledges: true }) => {
                    if is_expired && !vanished {
                        it.place = Place::Acknowledged;
                    }
                    false
                }
                // The group will deliver it (again).
                Missing::Unowned if *id > renewal.last_delivered_id => {
                    it.place = Place::Detached;
                    true
                }
                Missing::Unowned if vanished || !is_expired => {
                    // What has to be marked first counts only from then on.
                    judged
                        .orphans
                        .push((*id, u64::from(it.count_before) + u64::from(!it.mark)));
                    false
                }
                Missing::Unowned => {
                    it.place = Place::Lost;
                    judged.lost.push(*id);
                    true
                }
            };
            if lets_go && it.state == State::Waiting {
                let_go += 1;
                waited += usize::from(table.done(number, slot, self));
            }
        }
        drop(table);
        if let_go > 0 {
            self.closed(let_go, waited);
        }
        judged
    }

    /// What was asked for is renewed, as of the instant before the request.
    pub(super) fn confirm(&self, stream: u32, asked: &Asked, started: Instant) {
        let mut table = self.stream(stream);
        for batch in &mut table.batches {
            if is_before(batch.number, asked.before) {
                batch.confirmed = Some(batch.confirmed.map_or(started, |earlier| earlier.max(started)));
            }
        }
    }

    // ----- the end ------------------------------------------------------------------------------------------------

    /// Takes everything out of a stream's table.
    pub(super) fn take_all(&self, stream: u32) -> Vec<Left> {
        let mut table = self.stream(stream);
        let mut left = Vec::new();
        for batch in std::mem::take(&mut table.batches) {
            self.bytes.fetch_sub(batch.bytes, Ordering::SeqCst);
            for slot in batch.slots {
                if slot.state == State::Done {
                    continue;
                }
                let waited = slot.state == State::Waiting;
                self.closed(1, usize::from(waited));
                if slot.place != Place::Lost {
                    left.push(Left {
                        id: slot.id,
                        count_before: slot.count_before,
                        begun: !waited,
                        runs: !waited && slot.state != State::Refused,
                    });
                }
            }
        }
        left
    }
}

impl StreamTable {
    fn position(&self, number: u32) -> Option<usize> {
        let first = self.batches.front()?.number;
        // Relative to the first, because numbers begin again after the greatest.
        let at = number.wrapping_sub(first);
        match self.batches.get(at as usize) {
            // None in between has gone: nearly always.
            Some(batch) if batch.number == number => Some(at as usize),
            _ => self
                .batches
                .binary_search_by_key(&at, |batch| batch.number.wrapping_sub(first))
                .ok(),
        }
    }

    fn batch_mut(&mut self, number: u32) -> Option<&mut Batch> {
        let position = self.position(number)?;
        self.batches.get_mut(position)
    }

    fn slot_mut(&mut self, at: DeliveryRef) -> Option<&mut Slot> {
        let slot = self.batch_mut(at.batch)?.slots.get_mut(at.slot as usize)?;
        (slot.state != State::Done).then_some(slot)
    }

    /// The slot of an ID that is not done.
    fn find(&self, id: EntryId) -> Option<(usize, usize)> {
        self.find_where(id, |_| true)
    }

    fn find_before(&self, id: EntryId, before: u32) -> Option<(usize, usize)> {
        self.find_where(id, |number| is_before(number, before))
    }

    fn find_where(&self, id: EntryId, among: impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        self.batches
            .iter()
            .enumerate()
            .filter(|(_, batch)| among(batch.number))
            .find_map(|(position, batch)| {
                let slot = batch.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
                (batch.slots[slot].state != State::Done).then_some((position, slot))
            })
    }

    /// Whether an ID is in the table; if so, the store has just given it to this consumer.
    fn is_ours_again(&mut self, id: EntryId) -> bool {
        let Some((batch, slot)) = self.find(id) else {
            return false;
        };
        let slot = &mut self.batches[batch].slots[slot];
        slot.place = Place::Ours;
        slot.again = true;
        true
    }

    /// A slot is done; tells whether it had not begun.
    fn done(&mut self, number: u32, slot: usize, all: &InFlight) -> bool {
        let Some(position) = self.position(number) else {
            return false;
        };
        let batch = &mut self.batches[position];
        let before = std::mem::replace(&mut batch.slots[slot].state, State::Done);
        batch.open -= usize::from(before != State::Done);
        if batch.open == 0 {
            all.bytes.fetch_sub(batch.bytes, Ordering::SeqCst);
            self.batches.remove(position);
        }
        before == State::Waiting
    }
}

/// Whether a batch number is older than another; they begin again after the greatest.
fn is_before(number: u32, other: u32) -> bool {
    number != other && other.wrapping_sub(number) < u32::MAX / 2
}

pub(super) fn locked<T>(mutex: &sync::Mutex<T>) -> sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "in_flight_schedules.rs"]
mod in_many_schedules;

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(id: EntryId) -> std::iter::Once<Arrival> {
        std::iter::once(Arrival {
            id,
            count_before: 0,
            mark: false,
            has_retry_state: false,
        })
    }

    fn missing(id: EntryId, missing: Missing) -> Renewal {
        Renewal {
            missing: vec![(id, missing)],
            last_delivered_id: id,
            ..Renewal::default()
        }
    }

    /// A process stood still; then its lease task and a task that is about to acknowledge renew at the same time.
    #[tokio::test]
    async fn what_one_renewal_found_lost_is_not_made_pending_again_by_another_that_was_under_way() {
        let id = EntryId::new(7, 0);
        let answers = [
            (Missing::Claimed, Missing::Unowned),
            (Missing::Unowned, Missing::Unowned),
            (Missing::Claimed, Missing::Gone),
        ];
        for (first, second) in answers {
            let table = InFlight::new(1, Some(Duration::from_secs(2)));
            // Nobody can tell when it was confirmed: the lease has expired.
            let batch = table.insert(0, None, 10, arrival(id)).batch;
            let at = DeliveryRef {
                stream: 0,
                batch,
                slot: 0,
            };
            let (one, other) = (table.leased(0), table.leased(0));
            let now = Instant::now();
            table.confirm(0, &one, now);
            assert_eq!(table.begin(at), MayBegin::Yes);
            table.stream(0).batches[0].confirmed = None;
            let judged = table.judge(0, &one, &missing(id, first), false);
            assert_eq!(judged.lost, [id]);
            table.confirm(0, &one, now);
            let judged = table.judge(0, &other, &missing(id, second), false);
            assert!(judged.orphans.is_empty() && judged.detached.is_empty(), "{judged:?}");
            assert_eq!(table.ours(0, std::iter::once(at)), 0);
        }
    }

    #[tokio::test]
    async fn what_was_deleted_is_told_once() {
        let id = EntryId::new(7, 0);
        let table = InFlight::new(1, Some(Duration::from_secs(2)));
        table.insert(0, Some(Instant::now()), 10, arrival(id));
        let (one, other) = (table.leased(0), table.leased(0));
        let gone = missing(id, Missing::Gone);
        assert_eq!(table.judge(0, &one, &gone, false).detached, [id]);
        assert!(table.judge(0, &other, &gone, false).detached.is_empty());
    }
}
