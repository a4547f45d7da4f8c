//! How much to read: what listeners can handle, what memory can hold, and what the network can carry.

use std::time::Duration;

use tokio::time::Instant;

/// How much work to prefetch: small enough to be shared with other consumers and to be given back.
const PREFETCHED_WORK: Duration = Duration::from_millis(250);

/// A dispatch that waited for less than this found the workers idle.
const HARDLY_WAITED: Duration = Duration::from_millis(2);

/// How many messages of each stream are read at once, however many streams share a batch: fewer are not worth looking
/// the stream up for, neither here nor at the store.
const WORTH_READING: usize = 10;

/// How many batches one read may bring when all streams have a backlog, though only some had one before.
const BURST_FACTOR: usize = 8;

/// How many messages to ask for, so that neither many streams nor large messages nor slow listeners nor a slow network make
/// a batch of more than can be held, handled or transferred at once. The shards of a Cluster share one batch.
#[derive(Debug)]
pub(super) struct PrefetchLimit {
    most: usize,
    most_bytes: usize,
    /// The most to ask of each stream, though only one may have any.
    most_of_each: usize,
    /// How many messages are worth [`PREFETCHED_WORK`], as far as is known.
    pace: usize,
    /// How many the network carries before a request times out, as far as is known.
    carried: usize,
    /// How many streams of each shard had some in its last read that brought any.
    shares: Vec<usize>,
    /// Bytes of a message, as far as is known.
    message_bytes: usize,
    /// When the last batch was dispatched, and how large it was.
    dispatched: (Instant, usize),
    /// Whether workers were idle then.
    keeps_up: bool,
}

impl PrefetchLimit {
    /// Begins small: how large messages are, and how long they take, is not known yet.
    pub(super) fn new(batch: usize, most_bytes: usize, streams: usize, shards: usize) -> Self {
        let (batch, streams) = (batch.max(1), streams.max(1));
        let most = batch.max(streams.saturating_mul(batch.min(WORTH_READING)));
        let shards = shards.max(1);
        Self {
            most,
            most_bytes,
            most_of_each: (most.saturating_mul(BURST_FACTOR) / streams).clamp(1, batch),
            pace: 16,
            carried: usize::MAX,
            // Every stream may have a backlog.
            shares: vec![streams.div_ceil(shards); shards],
            message_bytes: 1,
            dispatched: (Instant::now(), 0),
            keeps_up: false,
        }
    }

    /// Whether workers waited for the last batch, rather than it for them.
    pub(super) fn keeps_up(&self) -> bool {
        self.keeps_up
    }

    /// How many to ask of each stream.
    pub(super) fn count(&self) -> usize {
        let fits = (self.most_bytes / self.message_bytes).min(self.most).min(self.pace);
        let streams = self.shares.iter().sum::<usize>().max(1);
        (fits / streams).clamp(1, self.most_of_each).min(self.carried)
    }

    /// A read of a shard brought so many messages of so many streams.
    pub(super) fn observe_read(&mut self, shard: usize, streams: usize, messages: usize, bytes: usize) {
        if let Some(message_bytes) = bytes.checked_div(messages) {
            self.shares[shard] = streams;
            self.message_bytes = message_bytes.max(1);
            self.carried = self.carried.saturating_mul(2);
        } else if self.shares.len() > 1 {
            // Other shards may have its share.
            self.shares[shard] = 0;
        }
    }

    /// A read of so many of each stream broke off: perhaps so many take longer than anybody waits.
    pub(super) fn observe_failure(&mut self, shard: usize, streams: usize) {
        self.carried = (self.count() / 2).max(1);
        // Every stream may have a backlog by the time when reading goes on.
        self.shares[shard] = streams;
    }

    /// A batch was dispatched, after waiting so long for room: updates the estimate of how fast messages are handled.
    pub(super) fn observe_dispatch(&mut self, messages: usize, waited: Duration) {
        let (before, earlier) = std::mem::replace(&mut self.dispatched, (Instant::now(), messages));
        self.keeps_up = waited < HARDLY_WAITED;
        self.pace = if self.keeps_up {
            self.pace.saturating_mul(2).min(self.most)
        } else {
            let per_second = earlier as f64 / before.elapsed().as_secs_f64().max(1e-6);
            ((per_second * PREFETCHED_WORK.as_secs_f64()) as usize).clamp(1, self.most)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn batches_grow_while_listeners_are_quick_and_shrink_when_they_are_slow() {
        let mut limit = PrefetchLimit::new(512, 8 << 20, 1, 1);
        for _ in 0..10 {
            limit.observe_dispatch(limit.count(), Duration::ZERO);
            limit.observe_read(0, 1, 10, 2000);
        }
        assert_eq!(limit.count(), 512);
        limit.dispatched = (Instant::now(), 500);
        tokio::time::advance(Duration::from_secs(5)).await;
        limit.observe_dispatch(512, Duration::from_secs(5));
        limit.observe_read(0, 1, 10, 2000);
        assert!((20..=26).contains(&limit.count()), "100 a second: {}", limit.count());
    }

    #[test]
    fn large_messages_make_batches_small() {
        let mut limit = PrefetchLimit::new(512, 8 << 20, 1, 1);
        limit.pace = 512;
        limit.observe_read(0, 1, 1, 4 + (1 << 20));
        assert_eq!(limit.count(), 7);
        limit.observe_read(0, 1, 1, 100 << 20);
        assert_eq!(limit.count(), 1);
    }

    #[test]
    fn streams_share_a_batch() {
        let count = |batch, streams, with_some| {
            let mut limit = PrefetchLimit::new(batch, 8 << 20, streams, 1);
            limit.pace = limit.most;
            limit.observe_read(0, with_some, with_some, 200 * with_some);
            limit.count()
        };
        assert_eq!(count(512, 4, 4), 128);
        assert_eq!(count(512, 4, 1), 512);
        // A few of each are worth a look; of a hundred, one may not ask so much that all of them together are too many.
        assert_eq!(count(512, 100, 100), 10);
        assert_eq!(count(512, 100, 1), 80);
        assert_eq!(count(4, 100, 100), 4);
        assert_eq!(count(1, 100, 1), 1);
    }

    #[test]
    fn shards_share_a_batch_and_quiet_ones_leave_theirs() {
        let mut limit = PrefetchLimit::new(512, 8 << 20, 4, 4);
        limit.pace = 512;
        assert_eq!(limit.count(), 128);
        for quiet in 1..4 {
            limit.observe_read(quiet, 0, 0, 0);
        }
        assert_eq!(limit.count(), 512);
    }

    #[test]
    fn after_a_failure_fewer_are_asked_for_down_to_one_and_more_again_when_some_came() {
        let mut limit = PrefetchLimit::new(512, 8 << 20, 1, 1);
        limit.pace = 512;
        for half in [256, 128, 64] {
            limit.observe_failure(0, 1);
            assert_eq!(limit.count(), half);
        }
        for _ in 0..10 {
            limit.observe_failure(0, 1);
        }
        assert_eq!(limit.count(), 1);
        limit.observe_read(0, 1, 1, 200);
        assert_eq!(limit.count(), 2);
    }
}
