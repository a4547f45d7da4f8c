//! What views of a store look at: states of streams and groups, and the health of the store itself.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{EngineResult, FullGroupInfo, PendingEntry};
use crate::entry::{EntryId, StreamName};

/// Reads only; nothing here changes what a listener sees. Every method is plural, so that a view of 1,000 streams costs a few
/// round trips. [`Inspect`](crate::inspect::Inspect) is built on it.
#[async_trait]
pub trait Inspection {
    /// The names of streams, sorted, at most `most`. A store that other programs use too may have so many other keys that not
    /// all are looked at: [`FoundStreams::complete`] is `false` then.
    async fn find_streams(&self, most: usize) -> EngineResult<FoundStreams>;

    /// The state of each of these streams, in order; `None` for one that is not there and for which nothing is scheduled. One
    /// round trip for each server, and one more where something is scheduled. The caller bounds the number.
    async fn stream_states(&self, streams: &[StreamName]) -> Vec<EngineResult<Option<StreamState>>>;

    /// What lies after each of these positions, in order. One round trip for each server. The caller bounds the number.
    async fn entries_after(&self, positions: &[(StreamName, EntryId)], most: usize) -> Vec<EngineResult<EntriesAfter>>;

    /// Whether an entry is pending in each of these groups of its stream, in order. One round trip. A group that is not there
    /// has nothing pending.
    async fn pending_in(
        &self,
        stream: &StreamName,
        groups: &[String],
        id: EntryId,
    ) -> Vec<EngineResult<Option<PendingEntry>>>;

    /// At most `most` keys that retry states and marks of handled entries are kept in (`docs/keys.md`), whether their streams and
    /// groups are there or not. Keys of streams whose names are not UTF-8 are left out. Looks at all keys of the store, within
    /// the bound of [`Inspection::find_streams`].
    async fn keys_beside(&self, most: usize) -> EngineResult<Vec<Bytes>>;

    /// How many retry states each of these groups has, in order. One round trip for each server. The caller bounds the number.
    async fn count_retry_states(&self, groups: &[(StreamName, String)]) -> Vec<EngineResult<u64>>;

    /// How the store itself is. For a SQLite file this reads the whole file (`PRAGMA quick_check`).
    async fn store_health(&self) -> EngineResult<StoreHealth>;
}

/// What [`Inspection::find_streams`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundStreams {
    /// The names, sorted.
    pub names: Vec<StreamName>,
    /// Whether these are all.
    pub complete: bool,
}

/// A stream at one moment, with its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// How many entries it has.
    pub length: u64,
    /// The ID of the oldest entry.
    pub first_id: Option<EntryId>,
    /// The greatest ID it ever gave.
    pub last_id: EntryId,
    /// How many entries were ever appended. Redis 7.0.
    pub entries_added: Option<u64>,
    /// How many bytes of memory it takes, where the server tells.
    pub bytes: Option<u64>,
    /// The store's clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// Its groups, each with its consumers and the pending entry with the smallest ID.
    pub groups: Vec<FullGroupInfo>,
    /// What waits for it until it is due; `None` where the user may not look.
    pub scheduled: Option<ScheduledState>,
}

impl StreamState {
    /// That of a stream that is not there, for which something is scheduled.
    #[cfg(feature = "redis")]
    pub(crate) fn empty(now_ms: u64) -> Self {
        Self {
            length: 0,
            first_id: None,
            last_id: EntryId::MIN,
            entries_added: Some(0),
            bytes: None,
            now_ms,
            groups: Vec::new(),
            scheduled: None,
        }
    }
}

/// The entries that are scheduled for a stream ([`Scheduled`](super::Scheduled)), at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScheduledState {
    /// How many wait. A file counts up to 10,000.
    pub waiting: u64,
    /// How many of them are due and not appended yet. A file counts up to 10,000.
    pub overdue: u64,
    /// Whether fewer were counted than there may be.
    pub is_part: bool,
    /// Which one is due first: its ID begins with the millisecond in which it is due.
    pub first: Option<EntryId>,
}

/// What [`Inspection::entries_after`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntriesAfter {
    /// The ID of the first entry after the position.
    pub first: Option<EntryId>,
    /// How many entries come after it; `None` where there are more than were looked at.
    pub count: Option<u64>,
    /// How many were looked at.
    pub looked_at: u64,
}

/// How a store is, apart from what is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoreHealth {
    /// The servers; none for a file.
    pub nodes: Vec<NodeHealth>,
    /// The file; `None` for servers, and for a store in memory.
    pub file: Option<FileHealth>,
}

/// How one server is. What the server did not tell is missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeHealth {
    /// Where it is, without a password.
    pub address: String,
    /// Why it could not be asked; everything else is empty then.
    pub error: Option<String>,
    /// How long an answer took.
    pub round_trip: Duration,
    /// How far its clock is ahead of this machine's, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// Lines of `INFO` (sections server, clients, memory, persistence and replication).
    pub info: BTreeMap<String, String>,
    /// Settings (`CONFIG GET`), as far as the user may ask.
    pub settings: BTreeMap<String, String>,
    /// Commands of those in [`COMMANDS`] that the server does not know; `None` where it does not tell.
    pub missing_commands: Option<Vec<String>>,
    /// Commands of those in [`COMMANDS`] that the user may not run; `None` where the server does not tell.
    pub forbidden_commands: Option<Vec<String>>,
    /// Commands of those in [`CLUSTER_COMMANDS`] that the user may not run; empty for a server outside of a Cluster.
    pub forbidden_cluster_commands: Vec<String>,
}

/// The commands of Redis that Streamer runs, each with what does not work without it.
pub const COMMANDS: &[(&str, &str)] = &[
    ("XADD", "events cannot be emitted"),
    ("XREAD", "nothing can listen without a group"),
    ("XREADGROUP", "nothing can listen in a group"),
    ("XGROUP", "groups cannot be created"),
    ("XACK", "messages stay pending for ever"),
    ("XAUTOCLAIM", "messages of consumers that died are not taken over"),
    ("XCLAIM", "leases are not renewed, and retries do not wait in the store"),
    ("XPENDING", "pending messages cannot be inspected"),
    ("XINFO", "streams and groups cannot be inspected"),
    ("XRANGE", "messages cannot be archived, replayed or retried"),
    ("XREVRANGE", "the newest messages cannot be shown"),
    ("XLEN", "streams cannot be inspected"),
    ("XDEL", "messages cannot be purged or archived"),
    ("XTRIM", "streams cannot be trimmed"),
    (
        "EVAL",
        "failures, retries and archived messages cannot be recorded in one step",
    ),
    ("SADD", "failures cannot be recorded"),
    ("SSCAN", "failures cannot be listed"),
    ("SREM", "failures cannot be removed"),
    ("HSET", "retry states and details of failures cannot be kept"),
    ("LPUSH", "replayable events cannot be emitted"),
    ("ZADD", "events cannot be emitted for later"),
    ("ZRANGE", "events that are due later are not moved to their streams"),
    (
        "ZRANGEBYLEX",
        "events that are due later are not moved to their streams",
    ),
    ("ZLEXCOUNT", "events that are overdue are not counted"),
    (
        "ZREM",
        "events that are due later are not moved to their streams, and cannot be cancelled",
    ),
    ("SCAN", "streams must be named, because they cannot be found"),
];

/// The commands of Redis that Streamer runs only on a Cluster, each with what does not work without it.
pub const CLUSTER_COMMANDS: &[(&str, &str)] = &[
    (
        "MULTI",
        "events that are emitted together may change their order while their slot moves to another node",
    ),
    (
        "EXEC",
        "events that are emitted together are refused where the user may run MULTI",
    ),
    (
        "ASKING",
        "while a slot moves to another node, commands for its streams that have moved already fail",
    ),
];

/// How the file of an embedded store is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileHealth {
    /// Where it is.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The size of the write-ahead log in bytes.
    pub log_bytes: u64,
    /// Whether every commit is flushed to the device.
    pub full_sync: bool,
    /// What `PRAGMA quick_check` complains about, at most five; empty when the file is sound.
    pub problems: Vec<String>,
    /// The type of the file system, where the operating system tells.
    pub file_system: Option<String>,
}
