//! The seam between Streamer and what stores its streams: one trait, [`Engine`].
//!
//! # Layout
//!
//! - [`Engine`] and [`Reader`], here: the contract. Every method says what it promises, also after a crash.
//! - `error`: what can go wrong, as kinds that a program can match.
//! - `failures`, `retry_states`, `handled`, `origins`, `snapshots`: what is kept beside the streams, each a small trait.
//!   `keys`: the names of all keys that are written.
//! - `open`: from a URL to an engine.
//! - `redis/`: the distributed engine, on a Redis or Valkey server, Sentinel or Cluster.
//! - `embedded/`: the engine without a server, on one SQLite file (or in memory).
//!
//! Nothing above this module knows which engine it runs on; nothing below it knows what an event or a listener is.
//! One conformance suite (`tests/conformance/`) runs unchanged on every engine.
//!
//! The words and the rules are those of Redis Streams: what a method does is what the command in its first line does.

mod embedded;
mod error;
mod failures;
mod group_store;
mod handled;
pub(crate) mod keys;
mod open;
mod origins;
mod redis;
mod retry_claims;
mod retry_states;
mod snapshots;
pub(crate) mod subscription;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use self::embedded::{decode_fields, encode_fields};
pub(crate) use self::subscription::{
    Begin, Close, DeferredBound, Deliveries, Delivery, DeliveryRef, End, Event, EventSink, Kept, Next, Retry, Scope,
    Settled, Settlement, Settler, Spec, StreamSpec, SubscribeError, Subscription, WhyEnded, subscribe,
};
pub use self::{
    embedded::EmbeddedEngine,
    error::{EngineError, EngineErrorKind},
    failures::{DetailsField, Failures},
    group_store::{
        Deferral, DueEntries, EntryEnd, EntrySettlement, FailureChange, FailureRecord, GroupStore, Joined, Member,
        Missing, Renewal, Scan, TakeRequest, Taken, TakenEntry,
    },
    handled::Handled,
    open::open,
    origins::{Origin, Origins},
    redis::RedisEngine,
    retry_claims::RetryClaims,
    retry_states::RetryStates,
    snapshots::Snapshots,
    subscription::{KeepAlive, OnNameInUse},
};
use crate::entry::{Entry, EntryId, Fields, NewId, RangeBound, StreamName, Trim};

/// The result of an operation on an engine.
pub type EngineResult<T> = Result<T, EngineError>;

mod sealed {
    /// Keeps other crates from implementing [`Engine`](super::Engine).
    pub trait Sealed {}

    impl Sealed for super::RedisEngine {}
    impl Sealed for super::EmbeddedEngine {}
}

/// A place that keeps streams.
///
/// What is kept beside the streams has traits of its own: [`Failures`], [`RetryStates`], [`Handled`], [`Origins`] and
/// [`Snapshots`]. This trait cannot be implemented outside of this crate, so that it can grow.
///
/// # The contract
///
/// - **Answered means done.** When a method returns `Ok`, what it wrote survives the death of this process. It survives
///   the death of the *machine* as far as the store is set to (Redis: `appendfsync`; embedded: `synchronous`).
/// - **An error leaves nothing half done**, except [`EngineErrorKind::Connection`]: then a write may or may not have
///   happened, as a whole. [`Engine::append_many`] says what was written before it broke.
/// - **Atomic.** Every other method is one atomic step against all processes that share the store.
/// - **Futures may be dropped** at any await, except those of a [`Reader`]; a dropped write may or may not happen.
/// - **No unbounded queue.** A method that cannot pass its work on waits.
/// - **Any key, any bytes.** Stream names, field names and values are bytes and come back as they went in. Group and
///   consumer names are text.
#[async_trait]
pub trait Engine:
    sealed::Sealed
    + GroupStore
    + Failures
    + RetryStates
    + Handled
    + Origins
    + Snapshots
    + RetryClaims
    + Send
    + Sync
    + fmt::Debug
    + 'static
{
    /// Which store this is, for people: the URL without its password.
    fn location(&self) -> &str;

    /// What about the store endangers messages, in sentences for an operator; empty when nothing does. For example an
    /// eviction policy under which Redis may drop whole streams. What may not be asked is passed over.
    async fn warnings(&self) -> EngineResult<Vec<String>>;

    // ----- writing ------------------------------------------------------------------------------------------------

    /// `XADD`: appends an entry and gives its ID. Appends awaited by many tasks at once share round trips and commits.
    ///
    /// With [`AppendOptions::create_stream`] off and no such stream: [`EngineErrorKind::NoStream`].
    async fn append(&self, append: Append) -> EngineResult<EntryId>;

    /// Many `XADD`s, in order, in one round trip (Redis: one pipeline; embedded: one commit). The IDs come in the order
    /// of the appends. If some were refused, the others may still have been written: the error tells each one's lot.
    /// The caller bounds the size of a batch.
    ///
    /// Several may be under way. Whether their order is kept, [`Engine::overlapping_appends_keep_order`] tells.
    async fn append_many(&self, appends: Vec<Append>) -> Result<Vec<EntryId>, AppendManyError>;

    /// Whether several [`Engine::append_many`] that are under way at once append to one stream in the order in which their
    /// futures were first polled. Not on a Redis Cluster: a node that does not serve the stream's slot any more refuses
    /// what was sent to it, and what was sent later may find the right node first.
    fn overlapping_appends_keep_order(&self) -> bool;

    /// Appends an entry and writes a record of it beside the stream, in one atomic step: there is never one without the
    /// other, whoever dies. Nothing is written when either key holds another kind of value
    /// ([`EngineErrorKind::WrongType`]), nor when [`Engine::append`] would refuse the entry.
    ///
    /// On a Redis Cluster both keys must be in one slot, else [`EngineErrorKind::Unsupported`]: give them the same hash
    /// tag, `{…}`.
    async fn append_recorded(&self, append: Append, record: Record) -> EngineResult<Appended>;

    /// The most fields of an entry that [`Engine::append_recorded`] takes, and that an idempotent append may have; `None`
    /// without a limit. More are refused with [`EngineErrorKind::Unsupported`].
    fn most_recorded_fields(&self) -> Option<usize> {
        None
    }

    /// `XDEL`: deletes entries, and tells how many were there.
    async fn delete(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64>;

    /// `XTRIM`: cuts the old end, and tells how many entries went.
    async fn trim(&self, stream: &StreamName, trim: Trim) -> EngineResult<u64>;

    /// `DEL`: removes a stream with its entries, its groups and what is pending in them; tells whether it was there. A
    /// key that holds something else stays: [`EngineErrorKind::WrongType`].
    async fn remove_stream(&self, stream: &StreamName) -> EngineResult<bool>;

    // ----- looking ------------------------------------------------------------------------------------------------

    /// `XLEN`: how many entries a stream has; 0 when there is no such stream.
    async fn len(&self, stream: &StreamName) -> EngineResult<u64>;

    /// `XRANGE`, or `XREVRANGE` when `reverse`: entries between two IDs, at most `count` of them. `reverse` gives the
    /// newest first; `start` is the smaller ID all the same.
    async fn range(
        &self,
        stream: &StreamName,
        start: RangeBound,
        end: RangeBound,
        count: Option<usize>,
        reverse: bool,
    ) -> EngineResult<Vec<Entry>>;

    /// The entries with these IDs, in the order of the IDs, in one round trip; `None` for one that is not there. The
    /// caller bounds their number.
    async fn get_many(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<Entry>>>;

    /// The greatest ID that the stream ever gave (`last-generated-id`), even if that entry is gone; `0-0` when there is
    /// no such stream. This is what "now" means.
    async fn last_id(&self, stream: &StreamName) -> EngineResult<EntryId>;

    /// `XINFO STREAM`; `None` when there is no such stream.
    async fn info(&self, stream: &StreamName) -> EngineResult<Option<StreamInfo>>;

    /// `XINFO STREAM … FULL COUNT count`; `None` when there is no such stream.
    async fn full_info(&self, stream: &StreamName, count: usize) -> EngineResult<Option<FullStreamInfo>>;

    /// `XINFO GROUPS`; empty when there is no such stream.
    async fn groups(&self, stream: &StreamName) -> EngineResult<Vec<GroupInfo>>;

    /// `XINFO CONSUMERS`; [`EngineErrorKind::NoGroup`] when there is no such stream or group.
    async fn consumers(&self, stream: &StreamName, group: &str) -> EngineResult<Vec<ConsumerInfo>>;

    // ----- groups -------------------------------------------------------------------------------------------------

    /// `XGROUP CREATE`: a group that begins after `start`. With `create_stream` (`MKSTREAM`) the stream is made if it
    /// is missing, else [`EngineErrorKind::NoStream`]. [`EngineErrorKind::GroupExists`] when the group is there; it is
    /// then left as it is.
    async fn create_group(
        &self,
        stream: &StreamName,
        group: &str,
        start: GroupStart,
        create_stream: bool,
    ) -> EngineResult<()>;

    /// `XGROUP SETID`: moves what the group was delivered last. Pending entries stay pending.
    async fn set_group_position(&self, stream: &StreamName, group: &str, start: GroupStart) -> EngineResult<()>;

    /// `XGROUP DESTROY`: removes the group with its pending entries list; tells whether it was there.
    async fn destroy_group(&self, stream: &StreamName, group: &str) -> EngineResult<bool>;

    /// `XACK`: these are settled and leave the pending entries list. Tells how many were pending; an ID that is not is
    /// passed over, also when the group or the stream is gone.
    async fn acknowledge(&self, stream: &StreamName, group: &str, ids: &[EntryId]) -> EngineResult<u64>;

    /// [`Engine::acknowledge`] of several streams at once. Each stream's is a step of its own, and all are tried: after
    /// an error, which is the first of them, others may be done. Repeating it does no harm.
    async fn acknowledge_all(&self, group: &str, settled: &[(StreamName, Vec<EntryId>)]) -> EngineResult<u64>;

    /// `XREADGROUP … STREAMS stream after`: this consumer's own pending entries with IDs after `after`, oldest first,
    /// at most `count`. Each counts as one more delivery and its idle time begins anew.
    ///
    /// Entries that were deleted from the stream come in [`Redelivery::deleted`] and stay in the pending entries list.
    async fn read_pending(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        after: EntryId,
        count: usize,
    ) -> EngineResult<Redelivery>;

    /// `XPENDING stream group`: the pending entries list in numbers.
    async fn pending_summary(&self, stream: &StreamName, group: &str) -> EngineResult<PendingSummary>;

    /// `XPENDING … IDLE … start end count [consumer]`: pending entries, by ID.
    async fn pending(
        &self,
        stream: &StreamName,
        group: &str,
        filter: PendingFilter<'_>,
    ) -> EngineResult<Vec<PendingEntry>>;

    /// `XCLAIM`: makes those of `ids` that are pending and idle for at least `min_idle` this consumer's own, counts
    /// one more delivery, begins their idle time anew, and returns them. Entries that were deleted from the stream
    /// leave the pending entries list and come in [`Redelivery::deleted`].
    async fn claim(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        min_idle: Duration,
        ids: &[EntryId],
    ) -> EngineResult<Redelivery>;

    /// `XAUTOCLAIM`: the same for up to `count` pending entries of any consumer (the caller's own too) that are idle
    /// for at least `min_idle`, from `from` on. [`Redelivery::next`] is where to go on; `0-0` when the list was gone
    /// through. Deleted entries leave the pending entries list and are named, on every server.
    async fn auto_claim(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        min_idle: Duration,
        from: EntryId,
        count: usize,
    ) -> EngineResult<Redelivery>;

    /// Sets the idle time of those of `ids` that are pending *and still this consumer's*, without counting a delivery,
    /// and returns them. `0` renews a lease; a time past everybody's claim time hands the entries over at once. An
    /// entry that another consumer has claimed meanwhile is left to it.
    async fn set_idle(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        ids: &[EntryId],
        idle: Duration,
    ) -> EngineResult<Vec<EntryId>>;

    /// Removes a consumer if it has nothing pending, in one step; tells whether it is gone (also when there was none).
    async fn remove_consumer_if_done(&self, stream: &StreamName, group: &str, consumer: &str) -> EngineResult<bool>;

    /// `XGROUP DELCONSUMER`: removes a consumer **with its pending entries**, which nobody will handle then; tells how
    /// many those were. Claim them first.
    async fn delete_consumer(&self, stream: &StreamName, group: &str, consumer: &str) -> EngineResult<u64>;
}

/// Reads new entries, waiting for them if asked to. It remembers how far it came.
///
/// A reader that returned an error is spent: drop it and ask the engine for another. In a group, what it was delivered
/// and did not pass on is then in the consumer's own pending entries ([`Engine::read_pending`]).
#[async_trait]
pub trait Reader: Send {
    /// The next entries, at most `count` of each stream, in the order of their IDs within a stream. When there are
    /// none it waits up to `wait` (not at all when `None`) and may then return nothing.
    ///
    /// In a group the entries are delivered to the consumer: pending until acknowledged, with a delivery count of 1.
    ///
    /// **Not cancel safe.** A future of this method that is dropped may take entries with it. To end a wait, use
    /// [`Reader::interrupter`].
    ///
    /// While many streams have more than `count`, a call may leave some of these out. Each has its turn, and streams that
    /// have no more are left out of none.
    async fn next(&mut self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>>;

    /// Whether [`Reader::next`] may ask the store for the following entries, as many, before it returns those that it was
    /// called for. The next call begins with them, whatever its own `count` is. In a group they are delivered to the
    /// consumer although nobody has them yet: **before it pauses or is dropped, take [`Reader::rest`]**. Default: no; not
    /// every engine does it.
    fn read_ahead(&mut self, allowed: bool) {
        _ = allowed;
    }

    /// What was asked for ahead; it never waits for entries that are not there. Not cancel safe, as [`Reader::next`].
    async fn rest(&mut self) -> EngineResult<Vec<StreamEntries>> {
        Ok(Vec::new())
    }

    /// A handle that ends waits, from anywhere.
    fn interrupter(&self) -> Interrupter;
}

/// Ends the wait of a [`Reader`].
#[derive(Clone)]
pub struct Interrupter(Arc<dyn Fn() + Send + Sync>);

impl Interrupter {
    /// An interrupter that does `end_wait`, which must not block.
    pub fn new(end_wait: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(end_wait))
    }

    /// Ends the reader's wait that is under way, soon, with what there is. A wait that begins later is not affected. An engine
    /// that cannot be told (no permission, for example) lets the wait run to its end.
    pub fn interrupt(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interrupter")
    }
}

/// What a [`Reader`] reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// `XREAD`: every entry of these streams after the given ID. The reader moves the IDs on as it reads, each stream's
    /// apart.
    Plain(Vec<(StreamName, EntryId)>),
    /// `XREADGROUP … >`: entries that nobody in the group was delivered yet.
    Group {
        /// The group. It must exist on every stream.
        group: String,
        /// The consumer; it is made when it is missing.
        consumer: String,
        /// The streams.
        streams: Vec<StreamName>,
    },
}

/// There is nothing to read where no stream was named.
fn some_stream(mode: &ReadMode) -> EngineResult<()> {
    let none = match mode {
        ReadMode::Plain(positions) => positions.is_empty(),
        ReadMode::Group { streams, .. } => streams.is_empty(),
    };
    if none {
        let reason = "no stream was named";
        return Err(EngineError::new(EngineErrorKind::InvalidInput, "read", reason));
    }
    Ok(())
}

/// The streams of a mode, for error texts.
fn names(mode: &ReadMode) -> String {
    let list = |names: &mut dyn Iterator<Item = &StreamName>| {
        let quoted: Vec<String> = names.map(|name| format!("'{name}'")).collect();
        quoted.join(", ")
    };
    match mode {
        ReadMode::Plain(positions) => format!("stream {}", list(&mut positions.iter().map(|(stream, _)| stream))),
        ReadMode::Group { group, streams, .. } => {
            format!("stream {} in group '{group}'", list(&mut streams.iter()))
        }
    }
}

/// Entries of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntries {
    /// The stream.
    pub stream: StreamName,
    /// Its entries, oldest first.
    pub entries: Vec<Entry>,
}

/// An entry to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// To this stream.
    pub stream: StreamName,
    /// With this ID.
    pub id: NewId,
    /// These fields, at least one.
    pub fields: Fields,
    /// How.
    pub options: AppendOptions,
}

/// How an entry is appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendOptions {
    /// Cut the stream's old end in the same step. Default: no.
    pub trim: Option<Trim>,
    /// Make the stream if it is missing. Default: yes. `false` is `NOMKSTREAM`.
    pub create_stream: bool,
    /// Append the entry once, however often the append is repeated. Default: no.
    pub idempotency: Option<Idempotency>,
}

/// What makes an append idempotent: appends to one stream with the same key within the window give the ID of the first
/// entry, and only the first writes anything. What they hold is not compared.
///
/// On Redis the key is remembered in a key of its own beside the stream, in the same slot of a Redis Cluster (about 200 bytes
/// for the time of the window).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// What the repetitions have in common, at most 256 bytes; longer ones are refused ([`EngineErrorKind::InvalidInput`]).
    pub key: Bytes,
    /// For how long a repetition is recognised, from the first append on. At least a millisecond.
    pub window: Duration,
}

impl Idempotency {
    /// The longest key in bytes.
    pub const LONGEST_KEY: usize = 256;

    /// Whole milliseconds of the window.
    pub(crate) fn window_ms(&self) -> u64 {
        u64::try_from(self.window.as_millis())
            .unwrap_or(u64::MAX)
            .clamp(1, 1 << 50)
    }
}

impl Default for AppendOptions {
    fn default() -> Self {
        Self {
            trim: None,
            create_stream: true,
            idempotency: None,
        }
    }
}

/// What [`Engine::append_recorded`] writes beside the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// `LPUSH`: a new head of a list, made of the ID's text between two others.
    Push {
        /// The list.
        list: StreamName,
        /// What comes before the ID.
        before: Bytes,
        /// What comes after it.
        after: Bytes,
    },
    /// Which message comes back from the archive ([`Origins`]). If it has come back already, nothing is written.
    Restored {
        /// The IDs that the message had, oldest first. The last one is the ID that it has in the archive.
        ids: Vec<EntryId>,
    },
}

impl Record {
    /// The list that it is pushed to.
    #[must_use]
    pub fn list(&self) -> Option<&StreamName> {
        match self {
            Self::Push { list, .. } => Some(list),
            Self::Restored { .. } => None,
        }
    }
}

/// What [`Engine::append_recorded`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The ID of the entry.
    pub id: EntryId,
    /// Whether it was appended now. `false`: the message of a [`Record::Restored`] is back already, under this ID or a
    /// later one.
    pub fresh: bool,
}

/// A batch of appends of which not all succeeded.
#[derive(Debug, thiserror::Error)]
#[error("{} of {} entries were not appended; the first: {}", self.failures().count(), self.results.len(), self.first())]
pub struct AppendManyError {
    /// The lot of each append, in order.
    pub results: Vec<EngineResult<EntryId>>,
}

impl AppendManyError {
    fn failures(&self) -> impl Iterator<Item = &EngineError> {
        self.results.iter().filter_map(|result| result.as_ref().err())
    }

    fn first(&self) -> String {
        self.failures().next().map(ToString::to_string).unwrap_or_default()
    }
}

/// Where a group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupStart {
    /// After this ID; `0-0` is from the beginning.
    After(EntryId),
    /// After the stream's last entry, resolved by the engine in the same step (`$`).
    Now,
}

/// Pending entries that are delivered once more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redelivery {
    /// The entries.
    pub entries: Vec<RedeliveredEntry>,
    /// Pending IDs whose entries were deleted from the stream: their payloads are lost.
    pub deleted: Vec<EntryId>,
    /// Where a scan goes on; `0-0` at its end, and where there is no scan.
    pub next: EntryId,
}

/// An entry that was delivered before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedeliveredEntry {
    /// The entry.
    pub entry: Entry,
    /// How often it was delivered, this time included. Where the server could not tell, 2.
    pub deliveries: u64,
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
