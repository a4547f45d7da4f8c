//! Messages that wait behind a retry of their key, where their order is kept.
//!
//! They belong to one worker, which handles all messages of a key. They are in flight, and have not begun: leases are renewed, and
//! what is here when the listening ends is released.

use std::collections::{BTreeSet, HashMap, VecDeque};

use tokio::time::Instant;

use super::dispatch::Job;

/// What one worker holds.
#[derive(Debug)]
pub(super) struct Held {
    /// By key. The first of each waits until it is due, the others wait for the first.
    by_key: HashMap<u64, VecDeque<Job>>,
    /// When the first of each key is due. The key whose message is being handled is not in it.
    due: BTreeSet<(Instant, u64)>,
    len: usize,
    most: usize,
}

impl Held {
    /// At most about so many; those that come again because they failed are kept in any case.
    pub(super) fn new(most: usize) -> Self {
        Self {
            by_key: HashMap::new(),
            due: BTreeSet::new(),
            len: 0,
            most,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn has_room(&self) -> bool {
        self.len < self.most
    }

    /// A message that has come: it is given back if it may be handled now.
    pub(super) fn admit(&mut self, job: Job) -> Option<Job> {
        let (key, due_in) = (job.key, job.due_in());
        let is_first = !self.by_key.contains_key(&key);
        if is_first && due_in.is_zero() {
            return Some(job);
        }
        self.by_key.entry(key).or_default().push_back(job);
        self.len += 1;
        if is_first {
            self.due.insert((Instant::now() + due_in, key));
        }
        None
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// One that is due. [`Held::ended`] must be told what became of it.
    pub(super) fn take_due(&mut self) -> Option<Job> {
        let (at, key) = *self.due.first()?;
        if at > Instant::now() {
            return None;
        }
        self.due.remove(&(at, key));
        let job = self.by_key.get_mut(&key)?.pop_front()?;
        self.len -= 1;
        Some(job)
    }

    /// The message of this key that was handled last is done with, or is to be handled again.
    pub(super) fn ended(&mut self, key: u64, again: Option<Job>) {
        if let Some(job) = again {
            self.by_key.entry(key).or_default().push_front(job);
            self.len += 1;
        }
        let Some(jobs) = self.by_key.get(&key) else { return };
        match jobs.front() {
            Some(first) => _ = self.due.insert((Instant::now() + first.due_in(), key)),
            None => _ = self.by_key.remove(&key),
        }
    }

    /// Forgets all: they are released at the end.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.most);
    }
}
