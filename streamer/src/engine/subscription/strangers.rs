//! Notices that another process uses this consumer's name: then entries are pending with it that nobody here was
//! delivered. Only where somebody chose the name: two generated ones are never the same.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

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
}

#[derive(Debug, Default)]
struct Known {
    /// Whether all of the consumer's own pending entries were taken up: before that, nobody here knows them all.
    is_complete: bool,
    /// Left pending here on purpose.
    kept: BTreeSet<EntryId>,
    /// Whether that became too many to be remembered.
    has_forgotten: bool,
    /// What the last renewal found.
    suspected: Vec<EntryId>,
}

impl Strangers {
    pub(super) fn new(streams: usize) -> Self {
        Self {
            streams: (0..streams).map(|_| Mutex::default()).collect(),
            last_told: Mutex::default(),
        }
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

    /// A renewal found these, which are not in flight. Returns those of which another process must know more, if it is time
    /// to tell: the last renewal found them too.
    pub(super) fn found(&self, stream: u32, pending: Vec<EntryId>) -> Vec<EntryId> {
        let mut known = locked(&self.streams[stream as usize]);
        let unknown = pending.into_iter().filter(|id| !known.kept.contains(id));
        let unknown = unknown.collect::<Vec<_>>();
        let before = std::mem::take(&mut known.suspected);
        if !known.is_complete || known.has_forgotten {
            return Vec::new();
        }
        let mut again = unknown.clone();
        again.retain(|id| before.contains(id));
        known.suspected = unknown;
        drop(known);
        if again.is_empty() {
            return again;
        }
        let mut last = locked(&self.last_told);
        if last.is_some_and(|last| last.elapsed() < TOLD_EVERY) {
            return Vec::new();
        }
        *last = Some(Instant::now());
        again
    }
}
