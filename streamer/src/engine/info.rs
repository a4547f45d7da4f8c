//! What a store tells of streams, groups, consumers and pending entries.

use std::time::Duration;

use crate::entry::{Entry, EntryId, RangeBound};

/// What `XINFO STREAM` tells. `None` where the server is too old to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// How many entries it has.
    pub length: u64,
    /// The greatest ID it ever gave.
    pub last_id: EntryId,
    /// The greatest ID that was deleted; `0-0` when none was. Redis 7.0.
    pub max_deleted_id: Option<EntryId>,
    /// How many entries were ever appended. Redis 7.0.
    pub entries_added: Option<u64>,
    /// How many groups it has.
    pub groups: u64,
    /// The oldest entry.
    pub first_entry: Option<Entry>,
    /// The newest entry.
    pub last_entry: Option<Entry>,
}

/// What `XINFO STREAM … FULL` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullStreamInfo {
    /// How many entries it has.
    pub length: u64,
    /// The greatest ID it ever gave.
    pub last_id: EntryId,
    /// The oldest entries, as many as asked for.
    pub entries: Vec<Entry>,
    /// Its groups, each with its pending entries and consumers.
    pub groups: Vec<FullGroupInfo>,
}

/// A group with what is pending in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullGroupInfo {
    /// The group.
    pub group: GroupInfo,
    /// Its oldest pending entries, as many as asked for.
    pub pending: Vec<PendingEntry>,
    /// Its consumers.
    pub consumers: Vec<ConsumerInfo>,
}

/// What `XINFO GROUPS` tells of a group.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct GroupInfo {
    /// Its name.
    pub name: String,
    /// How many consumers it has.
    pub consumers: u64,
    /// How many entries are pending.
    pub pending: u64,
    /// The last ID it was delivered.
    pub last_delivered_id: EntryId,
    /// How many entries it was delivered, where that is known. Redis 7.0.
    pub entries_read: Option<u64>,
    /// How many entries it has yet to be delivered, where that is known. Redis 7.0.
    pub lag: Option<u64>,
}

/// What `XINFO CONSUMERS` tells of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// How many entries are pending with it.
    pub pending: u64,
    /// How long ago it last tried to read or claim.
    pub idle: Duration,
    /// How long ago it last got something; `None` when never, or the server cannot tell (Redis 7.2 can).
    pub inactive: Option<Duration>,
}

/// Which pending entries to list.
#[derive(Clone, Copy, Debug)]
pub struct PendingFilter<'a> {
    /// From this ID on.
    pub start: RangeBound,
    /// Up to this ID.
    pub end: RangeBound,
    /// At most so many.
    pub count: usize,
    /// Only this consumer's.
    pub consumer: Option<&'a str>,
    /// Only those idle at least this long.
    pub min_idle: Duration,
}

impl Default for PendingFilter<'_> {
    /// The first 100 of all.
    fn default() -> Self {
        Self {
            start: RangeBound::Unbounded,
            end: RangeBound::Unbounded,
            count: 100,
            consumer: None,
            min_idle: Duration::ZERO,
        }
    }
}

/// A pending entry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PendingEntry {
    /// Its ID.
    pub id: EntryId,
    /// The consumer that has it.
    pub consumer: String,
    /// How long ago it was delivered or renewed.
    pub idle: Duration,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// A pending entries list in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PendingSummary {
    /// Its length.
    pub count: u64,
    /// The smallest and the greatest pending ID.
    pub range: Option<(EntryId, EntryId)>,
    /// Each consumer that has some, and how many, sorted by name.
    pub consumers: Vec<(String, u64)>,
}
