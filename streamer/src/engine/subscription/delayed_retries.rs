//! Messages that wait for their next attempt.
//!
//! In a group such a message stays pending: its idle time at the store is set so that the ordinary claim of any consumer
//! brings it back soon after it is due, as this process may die before. It is renewed like what is in flight, for as long
//! as this process lives, which takes it up by itself when it is due.
//!
//! Without a group the message is here alone, with its payload.
//!
//! Waits are measured by the monotonic clock. The wall clock is used for what another process deferred, and then only
//! to wait less than was asked for: nobody's clock can delay a retry.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::Deserialize;
use tokio::{sync::Notify, time::Instant};

use super::{Kept, in_flight::locked};
use crate::{
    engine::FailureChange,
    entry::{Entry, EntryId},
};

/// What waits on the streams of one shard.
#[derive(Debug, Default)]
pub(super) struct DelayedRetries {
    waiting: Mutex<Waiting>,
    /// How many wait, and the bytes of those whose payload is here.
    len: AtomicUsize,
    bytes: AtomicUsize,
    /// Something was added that may be due earlier than what waited before.
    added: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: BTreeMap<(u32, EntryId), Deferred>,
    due: BTreeSet<(Instant, u32, EntryId)>,
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Deferred {
    /// When the next attempt is due.
    pub(super) at: Instant,
    /// How many attempts begun.
    pub(super) count_before: u32,
    /// Until when nobody else can claim it.
    pub(super) valid_until: Option<Instant>,
    /// Without a group: the message itself.
    pub(super) kept: Option<Box<KeptRetry>>,
}

/// A message that this process alone knows.
#[derive(Debug)]
pub(super) struct KeptRetry {
    pub(super) entry: Entry,
    pub(super) retry_state: Bytes,
    pub(super) failures: FailureChange,
    bytes: usize,
}

impl KeptRetry {
    /// Copies the entry: its fields are parts of the buffer of a whole read, which would stay for as long as it waits.
    pub(super) fn new(kept: Kept, retry_state: Bytes) -> Self {
        let bytes = super::bytes_of(&kept.entry) + retry_state.len();
        let copied = kept.entry.fields.iter();
        let fields = copied.map(|(name, value)| (Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
        Self {
            entry: Entry {
                id: kept.entry.id,
                fields: fields.collect(),
            },
            retry_state,
            failures: kept.failures,
            bytes,
        }
    }
}

/// How the idle time of a message is set that waits for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arming {
    pub(super) idle: Duration,
    /// For how long nobody else can claim it then.
    pub(super) valid_for: Option<Duration>,
}

impl Arming {
    /// Others may claim it half a reclaim time after it is due: the process that deferred it comes first, and renews it
    /// once more before if it could not.
    pub(super) fn of(reclaim: Option<Duration>, left: Duration) -> Self {
        let Some(reclaim) = reclaim else {
            return Self {
                idle: Duration::ZERO,
                valid_for: None,
            };
        };
        let claimable = left.saturating_add(reclaim / 2);
        Self {
            idle: reclaim.saturating_sub(claimable),
            valid_for: Some(claimable.min(reclaim)),
        }
    }
}

/// What a retry state says about time and attempts. The rest is the listening's affair.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Schedule {
    /// How many attempts ended with an outcome.
    #[serde(default)]
    pub(super) attempts: u64,
    /// When the next attempt is due, in milliseconds since the Unix epoch.
    #[serde(default)]
    retry_at: Option<u64>,
    /// How long it was to wait when it was deferred.
    #[serde(default)]
    delay_ms: Option<u64>,
    /// Until when who claims a message that stays pending leaves it alone, in milliseconds since the Unix epoch.
    #[serde(default)]
    kept_until: Option<u64>,
    /// How long that was when it was written.
    #[serde(default)]
    kept_ms: Option<u64>,
}

impl Schedule {
    /// One that makes no sense says nothing: the listening will tell.
    pub(super) fn of(retry_state: &[u8]) -> Self {
        serde_json::from_slice(retry_state).unwrap_or_default()
    }

    /// How long to wait yet, seen at `now` by the wall clock.
    pub(super) fn left(&self, now: u64) -> Duration {
        time_left(self.retry_at, self.delay_ms, now)
    }

    /// For how long a message that stays pending is left alone yet by who claims it.
    pub(super) fn kept(&self, now: u64) -> Duration {
        time_left(self.kept_until, self.kept_ms, now)
    }
}

/// Nobody's clock makes it longer than it was meant.
fn time_left(until: Option<u64>, at_most: Option<u64>, now: u64) -> Duration {
    let left = until.map_or(0, |until| until.saturating_sub(now));
    Duration::from_millis(at_most.map_or(left, |most| left.min(most)))
}

impl DelayedRetries {
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    pub(super) fn add(&self, stream: u32, id: EntryId, deferred: Deferred) {
        let mut waiting = locked(&self.waiting);
        let bytes = deferred.bytes();
        waiting.due.insert((deferred.at, stream, id));
        match waiting.messages.insert((stream, id), deferred) {
            Some(earlier) => {
                waiting.due.remove(&(earlier.at, stream, id));
                self.bytes.fetch_sub(earlier.bytes(), Ordering::AcqRel);
            }
            None => _ = self.len.fetch_add(1, Ordering::AcqRel),
        }
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        drop(waiting);
        self.added.notify_one();
    }

    /// Takes one out.
    pub(super) fn remove(&self, stream: u32, id: EntryId) -> Option<Deferred> {
        if self.len() == 0 {
            return None;
        }
        let mut waiting = locked(&self.waiting);
        let deferred = waiting.messages.remove(&(stream, id))?;
        waiting.due.remove(&(deferred.at, stream, id));
        self.len.fetch_sub(1, Ordering::AcqRel);
        self.bytes.fetch_sub(deferred.bytes(), Ordering::AcqRel);
        Some(deferred)
    }

    pub(super) fn has(&self, stream: u32, id: EntryId) -> bool {
        self.len() > 0 && locked(&self.waiting).messages.contains_key(&(stream, id))
    }

    /// When the first is due.
    pub(super) fn next(&self) -> Option<Instant> {
        if self.len() == 0 {
            return None;
        }
        locked(&self.waiting).due.first().map(|(at, _, _)| *at)
    }

    /// Ends when one was added since the last time.
    pub(super) async fn added(&self) {
        self.added.notified().await;
    }

    /// Those that are due, at most so many, without taking them out.
    pub(super) fn due(&self, most: usize) -> Vec<(u32, EntryId)> {
        let now = Instant::now();
        let waiting = locked(&self.waiting);
        let due = waiting.due.iter().take_while(|(at, _, _)| *at <= now);
        due.take(most).map(|(_, stream, id)| (*stream, *id)).collect()
    }

    /// Those of a stream.
    pub(super) fn leased(&self, stream: u32) -> Vec<EntryId> {
        if self.len() == 0 {
            return Vec::new();
        }
        let waiting = locked(&self.waiting);
        let of_stream = waiting.messages.range((stream, EntryId::MIN)..=(stream, EntryId::MAX));
        of_stream.map(|((_, id), _)| *id).collect()
    }

    /// How many attempts of one begun, how long it waits yet, and until when nobody else can claim it.
    pub(super) fn look(&self, stream: u32, id: EntryId) -> Option<(u32, Duration, Option<Instant>)> {
        let waiting = locked(&self.waiting);
        let deferred = waiting.messages.get(&(stream, id))?;
        let left = deferred.at.saturating_duration_since(Instant::now());
        Some((deferred.count_before, left, deferred.valid_until))
    }

    /// The idle time of one was set.
    pub(super) fn set(&self, stream: u32, id: EntryId, valid_until: Option<Instant>) {
        if let Some(deferred) = locked(&self.waiting).messages.get_mut(&(stream, id)) {
            deferred.valid_until = valid_until;
        }
    }

    /// One that is due did not come: it is tried again in so long.
    pub(super) fn postpone(&self, stream: u32, id: EntryId, by: Duration) {
        let mut waiting = locked(&self.waiting);
        let at = Instant::now() + by;
        let Some(deferred) = waiting.messages.get_mut(&(stream, id)) else {
            return;
        };
        let before = std::mem::replace(&mut deferred.at, at);
        waiting.due.remove(&(before, stream, id));
        waiting.due.insert((at, stream, id));
    }

    /// Takes out everything.
    pub(super) fn take_all(&self) -> Vec<((u32, EntryId), Deferred)> {
        let waiting = std::mem::take(&mut *locked(&self.waiting));
        self.len.store(0, Ordering::Release);
        self.bytes.store(0, Ordering::Release);
        waiting.messages.into_iter().collect()
    }
}

impl Deferred {
    fn bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.bytes)
    }
}

/// Milliseconds since the Unix epoch.
#[cfg(not(test))]
pub(super) fn wall_clock() -> u64 {
    crate::entry::unix_ms()
}

/// The clock of a simulation is the test's.
#[cfg(test)]
pub(super) fn wall_clock() -> u64 {
    super::simulation::wall_clock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wall_clock_makes_a_retry_later_than_it_was_asked_for() {
        let schedule = Schedule::of(br#"{"attempts":2,"retry_at":10000,"delay_ms":500,"succeeded":["a"]}"#);
        assert_eq!(schedule.attempts, 2);
        assert_eq!(schedule.left(9_800), Duration::from_millis(200));
        assert_eq!(schedule.left(10_001), Duration::ZERO);
        let set_back_an_hour = 10_000 - 3_600_000_i64;
        assert_eq!(
            schedule.left(set_back_an_hour.max(0) as u64),
            Duration::from_millis(500)
        );
        assert_eq!(Schedule::of(b"[]").left(0), Duration::ZERO);
    }

    #[test]
    fn others_claim_a_retry_only_after_it_is_due() {
        let second = Duration::from_secs(1);
        for left in [0, 1, 10, 44, 45, 46, 59, 60, 61, 3600].map(|seconds| second * seconds) {
            let arming = Arming::of(Some(60 * second), left);
            let claimed_after = 60 * second - arming.idle;
            assert!(claimed_after >= left.min(60 * second), "{left:?}: {arming:?}");
            assert_eq!(arming.valid_for, Some(claimed_after));
            assert_eq!(arming.idle.is_zero(), left >= 30 * second, "{left:?}: {arming:?}");
        }
    }

    #[test]
    fn what_waits_without_a_group_keeps_no_read_buffer_alive() {
        let buffer = Bytes::from(vec![7; 1 << 20]);
        let kept = Kept {
            entry: Entry {
                id: EntryId::new(1, 1),
                fields: vec![(buffer.slice(0..4), buffer.slice(4..10))],
            },
            failures: FailureChange::default(),
        };
        let delayed = DelayedRetries::default();
        let deferred = Deferred {
            at: Instant::now(),
            count_before: 1,
            valid_until: None,
            kept: Some(Box::new(KeptRetry::new(kept, Bytes::from_static(b"{}")))),
        };
        delayed.add(0, EntryId::new(1, 1), deferred);
        assert!(buffer.is_unique(), "the payload still refers to the buffer");
        assert_eq!(delayed.bytes(), 12);
        assert!(delayed.remove(0, EntryId::new(1, 1)).is_some());
        assert_eq!((delayed.bytes(), delayed.len()), (0, 0));
    }
}
