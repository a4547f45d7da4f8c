//! What a store looks like at one moment: how far each group is behind, what is pending, with whom and since when, what
//! failed, and what endangers messages. Commands, metrics and dashboards all show what is found here.
//!
//! # Layout
//!
//! - [`Inspect`], here: the handle. `overview`: all streams and groups at one moment. `lag`: how far a group is behind.
//! - `message`: the life of one message. `failures`: the failed list in numbers, within a bound.
//! - `collector`: overviews of the last hour, and the rates between them.
//! - `doctor`: what is wrong, what it means and which command fixes it.
//!
//! # What it costs the store
//!
//! Nothing here changes anything, and nothing grows with the length of a stream, a pending entries list or the failed list:
//!
//! | what | round trips for each server | commands |
//! | --- | --- | --- |
//! | find the streams | 2 for 1,000 keys of any kind, at most 2,000: for streams, and for events that wait until they are due | `SCAN` |
//! | overview | 1 for 100 streams, 1 more for 100 streams whose groups are behind, and 1 more where events wait until they are due; at most 2 at once | for each stream `XINFO STREAM … FULL COUNT 1`, `MEMORY USAGE`, `ZCARD`; `TIME`; for each stream with events for later `ZRANGE` of one and `ZLEXCOUNT`; for each position of a group that is behind one script around `XRANGE` that reads one entry, or at most 257 where the server does not know the lag |
//! | doctor, besides an overview and failures | 2 for 1,000 keys of any kind, at most 2,000; 1 for each of 100 streams, 4 for each of 100 groups | `SCAN`, `XREVRANGE`, `XPENDING` and `XRANGE` of 20 entries, `HLEN`, `HMGET`, `INFO`, `CONFIG GET`, `COMMAND INFO`, `ACL DRYRUN` |
//! | archive and outbox, where they are named | 1 query for each, of at most 100,000 rows | `COUNT` |
//! | failures | 1 for the count; 1 for 500 members of the summary, at most 200 | `SCARD`, `SSCAN` |
//! | life of a message | 3, 1 or 2 more where it is not on the stream, and 1 for 500 members of the failed list, at most 2,000 | `XINFO STREAM … FULL COUNT 1`, `XPENDING`, `XRANGE`, `ZRANGEBYLEX`, `HMGET`, `SSCAN` |
//!
//! The embedded engine reads the same in one transaction for 100 streams; counting what is pending there goes through the
//! index of pending entries (about 50 ns for each), and at most 10,000 events for later are counted for each stream.

mod collector;
mod doctor;
mod failures;
mod lag;
mod message;
mod overview;

use std::{sync::Arc, time::Duration};

pub use self::{
    collector::{Collector, Point, Rates, Series},
    doctor::{Diagnosis, Finding, Importance, Known, LookedAt},
    failures::FailureSample,
    lag::Lag,
    message::{Caused, GroupView, Life, MessageFailure, MessageState},
    overview::{
        ArchiveOverview, ConsumerOverview, GroupOverview, OldestPending, OutboxOverview, Overview, Refused,
        ScheduledOverview, StreamOverview, Totals,
    },
};
use crate::{archive::ArchiveStorage, client::Streamer, entry::StreamName};

/// How long a consumer may do nothing and still counts as alive, unless said otherwise.
///
/// A listener shows itself three times in a reclaim time (default 60 s), also when its stream is quiet.
const STALE_AFTER: Duration = Duration::from_secs(120);
/// How many streams an overview has at most, unless said otherwise.
const MOST_STREAMS: usize = 10_000;

/// Looks at a store. Cheap to clone.
///
/// ```
/// use serde_json::json;
/// use streamer::{DynamicEvent, Streamer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let streamer = Streamer::connect("memory:").await?;
/// streamer.emit(&DynamicEvent::new("order.placed", json!({"id": 7}))).await?;
/// let overview = streamer.inspect().overview().await?;
/// assert_eq!(overview.streams[0].name, "order.placed");
/// assert_eq!(overview.streams[0].length, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Inspect {
    streamer: Streamer,
    /// Only these streams; `None`: those that are found.
    streams: Option<Vec<StreamName>>,
    /// These, too, whether they are found or not.
    also: Vec<StreamName>,
    most_streams: usize,
    stale_after: Duration,
    archive: Option<Arc<dyn ArchiveStorage>>,
    #[cfg(feature = "outbox-relay")]
    outbox: Option<crate::outbox::Outbox>,
}

impl Streamer {
    /// Looks at the store: streams, groups, pending entries, failures.
    #[must_use]
    pub fn inspect(&self) -> Inspect {
        Inspect {
            streamer: self.clone(),
            streams: None,
            also: Vec::new(),
            most_streams: MOST_STREAMS,
            stale_after: STALE_AFTER,
            archive: None,
            #[cfg(feature = "outbox-relay")]
            outbox: None,
        }
    }
}

impl Inspect {
    /// Only these streams. Default: all that are found. To find them the store looks at all of its keys, so name the streams
    /// where a Redis holds millions of other keys.
    #[must_use]
    pub fn streams(self, streams: impl IntoIterator<Item = impl Into<StreamName>>) -> Self {
        Self {
            streams: Some(streams.into_iter().map(Into::into).collect()),
            ..self
        }
    }

    /// These streams besides those that are found: one that is not there is in [`Overview::missing`]. Where the user may not
    /// look for streams (`SCAN`), only these are looked at.
    #[must_use]
    pub fn also(self, streams: impl IntoIterator<Item = impl Into<StreamName>>) -> Self {
        Self {
            also: streams.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// How many streams are looked at, at most. Default: 10,000.
    #[must_use]
    pub fn most_streams(self, most_streams: usize) -> Self {
        Self { most_streams, ..self }
    }

    /// How long a consumer may do nothing and still counts as alive. Default: 120 seconds, twice the default reclaim time: a
    /// listener shows itself three times in a reclaim time. Use twice your reclaim time where that is longer.
    #[must_use]
    pub fn stale_after(self, stale_after: Duration) -> Self {
        Self { stale_after, ..self }
    }

    /// With how many messages this archive has ([`Overview::archive`]): one more query, which counts up to 100,000.
    #[must_use]
    pub fn archive(self, archive: Arc<dyn ArchiveStorage>) -> Self {
        Self {
            archive: Some(archive),
            ..self
        }
    }

    /// With how many rows wait in this outbox ([`Overview::outbox`]): one more query, which looks at up to 100,000.
    #[cfg(feature = "outbox-relay")]
    #[must_use]
    pub fn outbox(self, outbox: crate::outbox::Outbox) -> Self {
        Self {
            outbox: Some(outbox),
            ..self
        }
    }
}

/// What an application runs in a task of its own must be `Send`; this does not compile otherwise.
#[cfg(test)]
#[allow(dead_code, reason = "only its types matter")]
fn each_look_can_be_spawned(inspect: &Inspect, stream: &StreamName) {
    fn spawned(_: impl Send) {}
    spawned(inspect.overview());
    spawned(inspect.diagnose(&Known::default()));
    spawned(inspect.failures(1));
    spawned(inspect.message(stream, crate::entry::EntryId::MIN, None));
}

/// Whole milliseconds.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How old an entry is by its ID; `None` where the ID is no time: somebody gave it, such as `5-1`.
fn age_ms(id: crate::entry::EntryId, now_ms: u64) -> Option<u64> {
    /// 2001-09-09.
    const EARLIEST: u64 = 1_000_000_000_000;
    /// Clocks differ.
    const AHEAD: u64 = 3_600_000;
    (id.ms >= EARLIEST && id.ms <= now_ms.saturating_add(AHEAD)).then(|| now_ms.saturating_sub(id.ms))
}
