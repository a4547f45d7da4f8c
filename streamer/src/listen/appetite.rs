//! How many messages to ask for: what listeners can handle, and memory can hold.

use std::time::{Duration, Instant};

use super::run::Shared;
use crate::engine::StreamEntries;

/// How much work to take in hand at once: small enough to be shared with other consumers and to be given back.
const WORK_AT_ONCE: Duration = Duration::from_millis(250);

/// A hand-over that waited for less than this found the workers idle.
const HARDLY_WAITED: Duration = Duration::from_millis(2);

/// How many messages of each stream are read at once, however many streams share a batch: fewer are not worth looking
/// the stream up for, neither here nor at the store.
const WORTH_READING: usize = 10;

/// How many batches a read may bring when all streams have a backlog, though only some had one before.
const SURPRISE: usize = 8;

/// How many messages to ask for, so that neither many streams nor large messages nor slow listeners make a batch of
/// more than can be held, or handled, at once.
pub(super) struct Appetite {
    most: usize,
    most_bytes: usize,
    /// The most to ask of each stream, though only one may have any.
    most_of_each: usize,
    /// How many messages are worth [`WORK_AT_ONCE`], as far as is known.
    pace: usize,
    count: usize,
    /// How many the network could bring in time; no bound as long as nothing timed out.
    limit: usize,
    /// When the last batch was taken over, and how large it was.
    handed: (Instant, usize),
    /// Whether workers were idle then.
    keeps_up: bool,
}

impl Appetite {
    pub(super) fn of(shared: &Shared) -> Self {
        let options = &shared.options;
        Self::new(options.batch, options.batch_bytes, shared.streams.len())
    }

    /// Begins small: how large messages are, and how long they take, is not known yet.
    fn new(batch: usize, most_bytes: usize, streams: usize) -> Self {
        let (batch, streams) = (batch.max(1), streams.max(1));
        let most = batch.max(streams.saturating_mul(batch.min(WORTH_READING)));
        Self {
            most,
            most_bytes,
            most_of_each: (most.saturating_mul(SURPRISE) / streams).clamp(1, batch),
            pace: 16,
            count: (most / streams).clamp(1, 16),
            limit: usize::MAX,
            handed: (Instant::now(), 0),
            keeps_up: false,
        }
    }

    /// Whether workers waited for the last batch, rather than it for them.
    pub(super) fn keeps_up(&self) -> bool {
        self.keeps_up
    }

    /// How many to ask of each stream.
    pub(super) fn count(&self) -> usize {
        self.count.min(self.limit)
    }

    /// Begins small again after a failure: every stream may have a backlog by now. After a time-out half as many are
    /// asked for, down to one, until reads succeed.
    pub(super) fn begin_again(&mut self, shared: &Shared, timed_out: bool) {
        let limit = if timed_out {
            (self.count() / 2).max(1)
        } else {
            self.limit
        };
        *self = Self {
            limit,
            ..Self::of(shared)
        };
    }

    /// Learns how large messages are, and how many streams have some.
    pub(super) fn found(&mut self, found: &[StreamEntries]) {
        let entries = found.iter().map(|batch| batch.entries.len()).sum::<usize>();
        if entries == 0 {
            return;
        }
        self.limit = self.limit.saturating_mul(2);
        let fields = found
            .iter()
            .flat_map(|batch| &batch.entries)
            .flat_map(|entry| &entry.fields);
        let bytes = fields
            .map(|(name, value)| name.len() + value.len())
            .sum::<usize>()
            .max(1);
        let fits = (self.most_bytes / (bytes / entries).max(1)).min(self.most);
        self.count = (fits.min(self.pace) / found.len()).clamp(1, self.most_of_each);
    }

    /// Learns how fast messages are handled: a batch was handed over, after waiting for the one before to be begun.
    pub(super) fn handed_over(&mut self, messages: usize, waited: Duration) {
        let (before, earlier) = std::mem::replace(&mut self.handed, (Instant::now(), messages));
        self.keeps_up = waited < HARDLY_WAITED;
        self.pace = if self.keeps_up {
            self.pace.saturating_mul(2).min(self.most)
        } else {
            let per_second = earlier as f64 / before.elapsed().as_secs_f64();
            ((per_second * WORK_AT_ONCE.as_secs_f64()) as usize).clamp(1, self.most)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, EntryId};

    fn found(streams: usize, entries: usize, bytes: usize) -> Vec<StreamEntries> {
        let entry = Entry {
            id: EntryId::MIN,
            fields: vec![("data".into(), vec![0; bytes].into())],
        };
        vec![
            StreamEntries {
                stream: "e".into(),
                entries: vec![entry; entries]
            };
            streams
        ]
    }

    #[test]
    fn batches_grow_while_listeners_are_quick_and_shrink_when_they_are_slow() {
        let mut appetite = Appetite::new(512, 8 << 20, 1);
        for _ in 0..10 {
            appetite.handed_over(appetite.count(), Duration::ZERO);
            appetite.found(&found(1, 10, 200));
        }
        assert_eq!(appetite.count(), 512);
        appetite.handed = (Instant::now() - Duration::from_secs(5), 500);
        appetite.handed_over(512, Duration::from_secs(5));
        appetite.found(&found(1, 10, 200));
        assert!(
            (20..=26).contains(&appetite.count()),
            "100 a second: {}",
            appetite.count()
        );
    }

    #[test]
    fn large_messages_make_batches_small() {
        let mut appetite = Appetite {
            pace: 512,
            ..Appetite::new(512, 8 << 20, 1)
        };
        appetite.found(&found(1, 1, 1 << 20));
        assert_eq!(appetite.count(), 7);
        appetite.found(&found(1, 1, 100 << 20));
        assert_eq!(appetite.count(), 1);
    }

    #[test]
    fn streams_share_a_batch() {
        let count = |batch, streams, with_some| {
            let mut appetite = Appetite::new(batch, 8 << 20, streams);
            appetite.pace = appetite.most;
            appetite.found(&found(with_some, 1, 200));
            appetite.count()
        };
        assert_eq!(count(512, 4, 4), 128);
        assert_eq!(count(512, 4, 1), 512);
        // A few of each are worth a look; of a hundred, one may not ask so much that all of them together are too many.
        assert_eq!(count(512, 100, 100), 10);
        assert_eq!(count(512, 100, 1), 80);
        assert_eq!(count(4, 100, 100), 4);
        assert_eq!(count(1, 100, 1), 1);
    }
}
