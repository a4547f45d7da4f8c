//! Notices by what it does that another program uses this consumer's name. Only where somebody chose the name: two generated
//! ones are never the same. Processes that show by a mark that they use it are noticed by that: `users`.
//!
//! | sign | seen by | told |
//! | --- | --- | --- |
//! | the delivery count of an entry in flight is higher than this process made it: the other one took it up | each renewal | yes |
//! | entries are pending with this name that nobody here was delivered | two renewals, with no reply on its way since the first | yes |
//! | what is acknowledged under a valid lease is pending with nobody | each settlement | in the log, with both causes: an operator's acknowledgement looks the same |
//!
//! Where the name was chosen, renewals are at least as frequent as heartbeats.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::in_flight::locked;
use crate::entry::EntryId;

/// How often it is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// How many pending entries of a stream that are not in flight are remembered.
const REMEMBERED: usize = 10_000;

/// What is known of pending entries that are not in flight, stream by stream.
#[derive(Debug)]
pub(super) struct Strangers {
    streams: Vec<Mutex<Known>>,
    last_told: Mutex<Option<Instant>>,
    /// When it was written to the log last that somebody else acknowledged.
    last_doubt: Mutex<Option<Instant>>,
    /// How many requests are under way that take pending entries: they raise counts of what is in flight here, too.
    taking: AtomicUsize,
    /// For each shard, when the oldest read was requested whose reply is on its way.
    reading: Vec<Mutex<Option<Instant>>>,
}

/// A request that takes pending entries.
pub(super) struct Taking<'a>(&'a AtomicUsize);

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug, Default)]
struct Known {
    /// Whether all of the consumer's own pending entries were taken up: before that, nobody here knows them all.
    is_complete: bool,
    /// Left pending here on purpose.
    kept: BTreeSet<EntryId>,
    /// Whether that became too many to be remembered.
    has_forgotten: bool,
    /// What the last renewal found, and when it was found first.
    suspected: Vec<(EntryId, Instant)>,
}

impl Strangers {
    pub(super) fn new(streams: usize, shards: usize) -> Self {
        Self {
            streams: (0..streams).map(|_| Mutex::default()).collect(),
            last_told: Mutex::default(),
            last_doubt: Mutex::default(),
            taking: AtomicUsize::new(0),
            reading: (0..shards).map(|_| Mutex::default()).collect(),
        }
    }

    /// When the oldest read of a shard was requested whose reply is on its way, if any is. On a slow network it may be on its
    /// way for long, and what it brings is pending already.
    pub(super) fn reads(&self, shard: usize, since: Option<Instant>) {
        *locked(&self.reading[shard]) = since;
    }

    /// A request that takes pending entries begins. To be kept until what came is registered.
    pub(super) fn taking(&self) -> Taking<'_> {
        self.taking.fetch_add(1, Ordering::AcqRel);
        Taking(&self.taking)
    }

    /// Whether counts of what is in flight may be those of a request that is under way.
    pub(super) fn are_taking(&self) -> bool {
        self.taking.load(Ordering::Acquire) > 0
    }

    /// Whether it is time to tell; if so it is told.
    pub(super) fn may_tell(&self) -> bool {
        is_time(&self.last_told)
    }

    /// Whether it is time to write a doubt to the log.
    pub(super) fn is_doubt_due(&self) -> bool {
        locked(&self.last_doubt).is_none_or(|last| last.elapsed() >= TOLD_EVERY)
    }

    /// The same; if so it is written.
    pub(super) fn may_doubt(&self) -> bool {
        is_time(&self.last_doubt)
    }

    /// All own pending entries of a stream were taken up.
    pub(super) fn own_are_known(&self, stream: u32) {
        locked(&self.streams[stream as usize]).is_complete = true;
    }

    /// A reply may have been lost.
    pub(super) fn forget_own(&self, stream: u32) {
        locked(&self.streams[stream as usize]).is_complete = false;
    }

    /// An entry stays pending with this consumer without being in flight.
    pub(super) fn known(&self, stream: u32, id: EntryId) {
        let mut known = locked(&self.streams[stream as usize]);
        if known.kept.len() < REMEMBERED {
            known.kept.insert(id);
        } else {
            known.has_forgotten = true;
        }
    }

    /// An entry is handled here again. Tells whether it stayed pending here before.
    pub(super) fn taken(&self, stream: u32, id: EntryId) -> bool {
        locked(&self.streams[stream as usize]).kept.remove(&id)
    }

    /// A renewal found these, which are not in flight. Returns those of which another process must know more: the last
    /// renewal found them too.
    pub(super) fn found(&self, stream: u32, shard: usize, pending: Vec<EntryId>) -> Vec<EntryId> {
        let (now, reading) = (Instant::now(), *locked(&self.reading[shard]));
        let mut known = locked(&self.streams[stream as usize]);
        let unknown = pending.into_iter().filter(|id| !known.kept.contains(id));
        let unknown = unknown.collect::<Vec<_>>();
        let before = std::mem::take(&mut known.suspected);
        if !known.is_complete || known.has_forgotten || self.are_taking() {
            return Vec::new();
        }
        let mut again = Vec::new();
        for id in unknown {
            let first = before.iter().find(|(known, _)| *known == id).map(|(_, first)| *first);
            if first.is_some_and(|first| reading.is_none_or(|since| since > first)) {
                again.push(id);
            }
            known.suspected.push((id, first.unwrap_or(now)));
        }
        again
    }
}

/// Whether enough time has passed since the last time; if so, it is now.
fn is_time(last: &Mutex<Option<Instant>>) -> bool {
    let mut last = locked(last);
    if last.is_some_and(|last| last.elapsed() < TOLD_EVERY) {
        return false;
    }
    *last = Some(Instant::now());
    true
}
