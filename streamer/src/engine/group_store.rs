//! What a subscription asks of a store: the verbs of a delivery, all plural.
//!
//! [`GroupStore`] is the lower half of the engine seam. A subscription (`engine/subscription/`) owns every delivery and
//! decides; a store carries out. Each verb takes many streams and answers for each stream by itself, so that trouble
//! with one stream stays there. Each is one round trip to each server, or one transaction.
//!
//! # The delivery count
//!
//! The pending entries list counts deliveries. Here the count of a pending entry is the number of attempts that began,
//! as far as that is known:
//!
//! - A new entry is delivered with a count of 1, which stands for the attempt that is expected to begin.
//! - [`GroupStore::take`] raises a count of 0 or 1 by one, for the same reason. It leaves higher counts alone: the caller
//!   marks such an attempt with [`GroupStore::begin`] right before it begins, so that a crash counts for the message that
//!   ran and not for those that were prefetched with it.
//! - A release sets the count back to what it was before the delivery.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{EngineResult, GroupStart, NameUsers, ReadMode, Reader};
use crate::entry::{Entry, EntryId, StreamName};

/// What a subscription asks of a store.
///
/// # The contract
///
/// - Every answer has one element for each stream that was named, in that order.
/// - For one stream a verb is atomic against all processes that share the store, except that [`GroupStore::settle`] on a
///   Redis Cluster is a fixed order of steps, see there.
/// - [`EngineErrorKind::NoGroup`](super::EngineErrorKind::NoGroup) says that the group or its stream is gone.
/// - Repeating a verb after an error does no harm.
/// - A verb that changes an entry does so only while the entry is pending with `member`'s consumer; what another
///   consumer has claimed is left to it. The exceptions are [`GroupStore::take`], which claims what is idle for long
///   enough, and the acknowledgements of [`GroupStore::settle`], as `XACK` does not look at the owner.
///
/// Not to be implemented outside this crate: it grows as the stores do.
#[async_trait]
pub trait GroupStore: NameUsers + Send + Sync + fmt::Debug + 'static {
    /// Divides streams into shards: each inner list holds indexes of streams that one blocking read can take together.
    /// One shard for one server or one file; on a Redis Cluster one for each slot.
    fn shards(&self, streams: &[StreamName]) -> Vec<Vec<usize>>;

    /// A reader of one shard, with a connection of its own, so that its waiting holds up nobody else.
    async fn reader(&self, mode: ReadMode) -> EngineResult<Box<dyn Reader>>;

    /// The greatest ID that each stream ever gave; `0-0` where there is no such stream.
    async fn last_ids(&self, streams: &[StreamName]) -> Vec<EngineResult<EntryId>>;

    /// Looks each group up and creates it only where it is missing (with its stream, if need be), then makes the
    /// consumer. A group that exists can be joined when the store is full: that the consumer cannot be created then is no
    /// error, delivery creates it.
    async fn join(&self, member: &Member, streams: &[(StreamName, GroupStart)]) -> Vec<EngineResult<Joined>>;

    /// For how long the consumer did not read or claim on each stream; `None` where there is no such consumer.
    async fn consumer_idle(&self, member: &Member, streams: &[StreamName]) -> Vec<EngineResult<Option<Duration>>>;

    /// Makes pending entries this consumer's own and gives them with their payloads and retry states. Their idle time
    /// begins again. At most `count` for each stream.
    ///
    /// Entries that were deleted from the stream are acknowledged and named in [`Taken::gone`].
    async fn take(
        &self,
        member: &Member,
        scan: Scan,
        requests: &[TakeRequest],
        count: usize,
    ) -> Vec<EngineResult<Taken>>;

    /// Gives those of the consumer's own pending entries whose next attempt is due, raises their counts by one, and
    /// begins their idle time again. What another consumer claimed is left out; what was deleted is acknowledged and named.
    async fn take_due(&self, member: &Member, due: &[DueEntries]) -> Vec<EngineResult<Taken>>;

    /// Renews the leases of the consumer's pending entries: sets their idle time to zero without counting a delivery.
    /// IDs are sorted. Tells what became of those that could not be renewed.
    async fn renew(&self, member: &Member, leases: &[(StreamName, Vec<EntryId>)]) -> Vec<EngineResult<Renewal>>;

    /// Makes entries pending with this consumer that are pending with nobody, or with it already, with these counts and an
    /// idle time of zero.
    /// An entry that is not on the stream, or pending with another consumer, is left alone. Does not move the group's last
    /// delivered ID.
    async fn adopt(&self, member: &Member, entries: &[(StreamName, Vec<(EntryId, u64)>)]) -> Vec<EngineResult<()>>;

    /// An attempt begins: sets the delivery count and begins the idle time again. Tells whether the entry is still pending
    /// with this consumer; if not, nothing was changed, nor if the entry was deleted from the stream. Works when the store
    /// is full.
    async fn begin(&self, member: &Member, stream: &StreamName, id: EntryId, count: u64) -> EngineResult<bool>;

    /// Ends deliveries, in one round trip (single server) or one transaction (embedded).
    ///
    /// For each message the order is: failure details, failure records, obsolete records, retry state, then
    /// acknowledgement, idle time or release, and last the deletion of the entry. An error ends the steps of its stream
    /// before the acknowledgement, so that no message is acknowledged whose failure is not recorded. Messages without
    /// failures do not wait for the records of others: where the store is full, they are still acknowledged and deleted.
    /// After an error any of the messages of its stream may be settled; repeating it does no harm.
    ///
    /// Acknowledging in a group that is gone is no error, as `XACK`; to defer or release there is one
    /// ([`EngineErrorKind::NoGroup`](super::EngineErrorKind::NoGroup)).
    ///
    /// On a Redis Cluster, where the failed list lies in another slot, the same steps are a few waves: the next wave
    /// is sent only for streams whose earlier steps all succeeded.
    ///
    /// Without a `member` (listening without a group) only records and deletions have an effect.
    ///
    /// Gives how many of the entries that were to be acknowledged were pending with nobody any more.
    async fn settle(
        &self,
        member: Option<&Member>,
        settlements: &[(StreamName, Vec<EntrySettlement>)],
    ) -> Vec<EngineResult<usize>>;

    /// Removes consumers of the group that have a generated name (`GROUP-` and 16 letters or digits), nothing pending, and
    /// were idle for at least `idle`, each in one step that cannot drop an entry; never `member` itself. Also removes retry
    /// state of entries that are not pending any more. Gives the names of the removed consumers.
    async fn sweep(&self, member: &Member, streams: &[StreamName], idle: Duration) -> Vec<EngineResult<Vec<String>>>;

    /// Shows that the consumer is alive, where an empty read does not (Redis before 7.2, and the embedded engine, leave its
    /// idle time alone). Needed only where the consumer was idle for `max_idle`; a store for which asking costs as much as
    /// showing shows it always. `max_idle` must be well below the idle time of others' [`GroupStore::sweep`].
    async fn heartbeat(&self, member: &Member, streams: &[StreamName], max_idle: Duration) -> Vec<EngineResult<()>>;

    /// Removes the consumer where it has nothing pending, in one step; tells whether it is gone.
    async fn leave(&self, member: &Member, streams: &[StreamName]) -> Vec<EngineResult<bool>>;
}

/// Who listens in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The group.
    pub group: String,
    /// The consumer.
    pub consumer: String,
}

/// What [`GroupStore::join`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Whether the group was created by this call.
    pub created: bool,
    /// The last ID that the group was delivered.
    pub last_delivered_id: EntryId,
}

/// Which pending entries [`GroupStore::take`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The consumer's own, whatever their idle time.
    Own,
    /// Those of any consumer that are idle for at least this long.
    Idle(Duration),
}

/// Where [`GroupStore::take`] looks on one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeRequest {
    /// The stream.
    pub stream: StreamName,
    /// From this ID on, inclusive.
    pub from: EntryId,
}

/// What was taken of one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The entries, by ID.
    pub entries: Vec<TakenEntry>,
    /// Pending IDs whose entries were deleted from the stream. They are acknowledged.
    pub gone: Vec<EntryId>,
    /// Where to go on; `None` when the list was gone through.
    pub next: Option<EntryId>,
}

/// A pending entry that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenEntry {
    /// The entry.
    pub entry: Entry,
    /// How many attempts begun before, as far as is known: the delivery count before it was raised.
    pub count_before: u64,
    /// The retry state, where there is one.
    pub retry_state: Option<Bytes>,
}

/// Own pending entries of one stream whose next attempt is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueEntries {
    /// The stream.
    pub stream: StreamName,
    /// Their IDs.
    pub ids: Vec<EntryId>,
}

/// What [`GroupStore::renew`] found on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Those that were not renewed, and why; nearly always empty.
    pub missing: Vec<(EntryId, Missing)>,
    /// IDs within the range that was renewed that are pending with this consumer and were not named: another process may
    /// be using the consumer's name.
    pub strangers: Vec<EntryId>,
    /// IDs that were renewed and have a delivery count of 2 or more, with that count; at most 100. A count that this
    /// process did not set says that another one took the entry under the consumer's name.
    pub counts: Vec<(EntryId, u64)>,
    /// The last ID that the group was delivered. Only where `missing` is not empty.
    pub last_delivered_id: EntryId,
    /// Whether the consumer was missing, and was made by this call. Only where `missing` is not empty.
    pub consumer_was_missing: bool,
}

/// Why a lease was not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The entry is pending with another consumer.
    Claimed,
    /// The entry is not on the stream any more.
    Gone,
    /// The entry is on the stream and pending with nobody.
    Unowned,
}

/// How one delivery ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntrySettlement {
    /// The entry.
    pub id: EntryId,
    /// What becomes of it.
    pub end: EntryEnd,
    /// What changes in the failed list before that. `None` for nearly all.
    pub failures: Option<Box<FailureChange>>,
}

/// What becomes of a delivery. An entry that is deferred or released although it was deleted from the stream stays pending
/// as it is: whoever takes it next is told that it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryEnd {
    /// `XACK`, then, with `delete`, `XDEL`.
    Acknowledge {
        /// Whether the entry is deleted from the stream.
        delete: bool,
        /// Whether the store may hold a retry state, which is removed.
        had_retry_state: bool,
    },
    /// Stays pending with this consumer for a later attempt: stores the retry state, sets the idle time and the count.
    Defer(Box<Deferral>),
    /// Is not deleted and not acknowledged here; given back to whoever claims next: sets the count, and an idle time past
    /// everybody's claim time.
    Release {
        /// The count to set.
        count: u64,
    },
    /// Nothing is changed at the store, except records of failures: the entry is not pending here (any more).
    Forget,
}

/// A delivery that stays pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// The retry state to store; empty to store none and leave what there is.
    pub retry_state: Bytes,
    /// How long until the next attempt, as far as that is known. A store that lets retry states expire keeps this one for
    /// at least twice as long.
    pub delay: Duration,
    /// The idle time to set.
    pub idle: Duration,
    /// The count to set.
    pub count: u64,
}

/// What changes in the failed list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureChange {
    /// Records to add.
    pub add: Vec<FailureRecord>,
    /// Members to remove, with their details, after the new ones were added.
    pub remove: Vec<Bytes>,
}

/// A member of the failed list, with what is kept beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureRecord {
    /// The member, byte for byte.
    pub member: Bytes,
    /// The details, a JSON object; most records need none. Its `groups`, a list of names, is united with that of details
    /// which are there already: two groups may record the same failure in the same second.
    pub details: Option<Bytes>,
}
