//! Whether nothing comes any more: every stream answered a read with nothing since the last settlement.

use std::sync::Mutex;

use tokio::{sync::Notify, time::Instant};

use super::{Core, in_flight::locked};

/// For each shard the instant before its last read was sent, if that brought nothing and no stream was left out.
#[derive(Debug)]
pub(super) struct Quiet {
    shards: Vec<Mutex<Option<Instant>>>,
    changed: Notify,
}

impl Quiet {
    pub(super) fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            changed: Notify::new(),
        }
    }

    /// A read of every stream of a shard that was requested then brought nothing.
    pub(super) fn is_since(&self, shard: usize, requested: Instant) {
        *locked(&self.shards[shard]) = Some(requested);
        self.changed.notify_one();
    }

    /// Something came, or not all streams of a shard can be read.
    pub(super) fn is_not(&self, shard: usize) {
        *locked(&self.shards[shard]) = None;
    }

    /// Ends when a shard became quiet since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Core {
    /// Whether it was quiet for long enough to end.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(quiet_after) = self.spec.quiet_after else {
            return false;
        };
        if self.in_flight.len() > 0 || self.delayed.iter().any(|delayed| delayed.len() > 0) {
            return false;
        }
        let last = self.in_flight.last_settled();
        let mut shards = self.quiet.shards.iter();
        last.elapsed() >= quiet_after && shards.all(|since| locked(since).is_some_and(|since| since >= last))
    }
}
