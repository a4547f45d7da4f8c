//! The seam between Streamer and what stores its streams: one trait, [`Engine`].
//!
//! # Layout
//!
//! - [`Engine`], here: the contract of storing streams and looking at them. `append`, `reader`, `info`: its data.
//! - `group_store`: deliveries, the lower half of a subscription. `subscription/`: the upper half, written once.
//!   `name_users`: which processes use a consumer's name.
//! - `failures`, `retry_states`, `retry_claims`, `handled`, `origins`, `scheduled`, `snapshots`: what is kept beside the
//!   streams, each a small trait. `keys`: the names of all keys that are written.
//! - `group_admin`: groups by single commands, for operators and plain handles. `inspection`: what views of the store look
//!   at.
//! - `error`: what can go wrong, as kinds that a program can match. `open`: from a URL to an engine.
//! - `field_codec`: fields as one blob. `slot`: the slots of a Redis Cluster.
//! - `redis/`: the distributed engine, on a Redis or Valkey server, Sentinel or Cluster.
//! - `embedded/`: the engine without a server, on one SQLite file (or in memory).
//!
//! Nothing above this module knows which engine it runs on; nothing below it knows what an event or a listener is.
//! One conformance suite (`tests/conformance/`) runs unchanged on every engine.
//!
//! The words and the rules are those of Redis Streams: what a method does is what the command in its first line does.

mod append;
mod durability;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod failures;
pub(crate) mod field_codec;
mod field_names;
mod group_admin;
mod group_store;
mod handled;
mod info;
mod inspection;
pub(crate) mod keys;
mod name_users;
mod open;
mod origins;
mod reader;
#[cfg(feature = "redis")]
mod redis;
mod retry_claims;
mod retry_states;
mod scheduled;
mod slot;
mod snapshots;
pub(crate) mod subscription;

use std::fmt;

use async_trait::async_trait;

#[cfg(feature = "embedded")]
pub use self::embedded::EmbeddedEngine;
use self::reader::{names, some_stream};
#[cfg(feature = "redis")]
pub use self::redis::RedisEngine;
pub(crate) use self::subscription::{
    Begin, Close, DeferredBound, Deliveries, Delivery, DeliveryRef, Earlier, End, Event, EventSink, Kept, Next, Retry,
    Scope, Settled, Settlement, Settler, Spec, StreamSpec, SubscribeError, Subscription, WhyEnded, subscribe,
};
pub use self::{
    append::{Append, AppendManyError, AppendOptions, Appended, Idempotency, Record},
    durability::{Durability, DurableAppend},
    error::{EngineError, EngineErrorKind},
    failures::{DetailsField, FailingGroups, FailingListener, Failures},
    group_admin::{GroupAdmin, GroupStart, RedeliveredEntry, Redelivery},
    group_store::{
        Deferral, DueEntries, EntryEnd, EntrySettlement, FailureChange, FailureRecord, GroupStore, Joined, Member,
        Missing, Renewal, Scan, TakeRequest, Taken, TakenEntry,
    },
    handled::Handled,
    info::{
        ConsumerInfo, FullGroupInfo, FullStreamInfo, GroupInfo, PendingEntry, PendingFilter, PendingSummary, StreamInfo,
    },
    inspection::{
        CLUSTER_COMMANDS, COMMANDS, EntriesAfter, FileHealth, FoundStreams, Inspection, NodeHealth, ScheduledState,
        StoreHealth, StreamState,
    },
    name_users::{NameUse, NameUser, NameUsers},
    open::{open, open_to_read},
    origins::{Origin, Origins},
    reader::{Interrupter, ReadMode, Reader, StreamEntries},
    retry_claims::RetryClaims,
    retry_states::RetryStates,
    scheduled::{AppendedDue, FirstScheduled, Scheduled, ScheduledEntry},
    snapshots::Snapshots,
    subscription::{KeepAlive, OnNameInUse},
};
use crate::entry::{Entry, EntryId, RangeBound, StreamName, Trim};

/// The result of an operation on an engine.
pub type EngineResult<T> = Result<T, EngineError>;

mod sealed {
    /// Keeps other crates from implementing [`Engine`](super::Engine).
    pub trait Sealed {}

    #[cfg(feature = "redis")]
    impl Sealed for super::RedisEngine {}
    #[cfg(feature = "embedded")]
    impl Sealed for super::EmbeddedEngine {}
}

/// A place that keeps streams.
///
/// The methods of this trait write streams and look at them. The rest of the seam is in its supertraits:
///
/// | | |
/// | --- | --- |
/// | deliveries | [`GroupStore`]: what a listening does in a group, many entries at a time |
/// | stores with a meaning | [`Failures`], [`RetryStates`], [`RetryClaims`], [`Handled`], [`Origins`], [`Scheduled`], [`Snapshots`] |
/// | administration | [`GroupAdmin`]: groups by single commands, for operators and plain handles |
/// | inspection | [`Inspection`]: what views of the store look at, in bounded work |
///
/// This trait cannot be implemented outside of this crate, so that it can grow.
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
    + GroupAdmin
    + Failures
    + RetryStates
    + RetryClaims
    + Handled
    + Origins
    + Scheduled
    + Snapshots
    + Inspection
    + Send
    + Sync
    + fmt::Debug
    + 'static
{
    /// Which store this is, for people: the URL without its password.
    fn location(&self) -> &str;

    /// What about the store endangers messages, in sentences for an operator; empty when nothing does. For example an
    /// eviction policy under which Redis may drop whole streams. What the store does not let its user ask is left out.
    async fn warnings(&self) -> EngineResult<Vec<String>>;

    // ----- writing ------------------------------------------------------------------------------------------------

    /// `XADD`: appends an entry and gives its ID. Appends awaited by many tasks at once share round trips and commits.
    ///
    /// With [`AppendOptions::create_stream`] off and no such stream: [`EngineErrorKind::NoStream`].
    async fn append(&self, append: Append) -> EngineResult<EntryId>;

    /// Many `XADD`s, in order, in one round trip (Redis: one pipeline; embedded: one commit). The IDs come in the order
    /// of the appends. If some were refused, the others may still have been written: the error holds one result per append,
    /// in order. The caller bounds the size of a batch.
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

    /// [`Engine::append`], or [`Engine::append_recorded`] with a record, that returns only when the entry is as safe as
    /// `durability` asks, or its time-out has passed: then the entry is written all the same, and
    /// [`DurableAppend::reached`] says what it lacks.
    ///
    /// Redis: `WAIT` or `WAITAOF` on a connection that only such appends share; they wait one after the other. Embedded:
    /// a flush of the log; replicas are [`EngineErrorKind::Unsupported`], and so is a flush in memory, and then nothing is
    /// written.
    async fn append_durably(
        &self,
        append: Append,
        record: Option<Record>,
        durability: Durability,
    ) -> EngineResult<DurableAppend>;

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

    /// `XINFO STREAM`; `None` when there is no such stream.
    async fn info(&self, stream: &StreamName) -> EngineResult<Option<StreamInfo>>;

    /// `XINFO STREAM … FULL COUNT count`; `None` when there is no such stream.
    async fn full_info(&self, stream: &StreamName, count: usize) -> EngineResult<Option<FullStreamInfo>>;
}

/// What follows from other methods, on every engine.
impl dyn Engine + '_ {
    /// How many entries a stream has; 0 when there is no such stream. This is in [`Engine::info`].
    ///
    /// # Errors
    ///
    /// As [`Engine::info`].
    pub async fn len(&self, stream: &StreamName) -> EngineResult<u64> {
        Ok(self.info(stream).await?.map_or(0, |info| info.length))
    }

    /// The greatest ID that the stream ever gave, even if that entry is gone; `0-0` when there is no such stream. This is
    /// what "now" means, and in [`Engine::info`].
    ///
    /// # Errors
    ///
    /// As [`Engine::info`].
    pub async fn last_id(&self, stream: &StreamName) -> EngineResult<EntryId> {
        Ok(self.info(stream).await?.map_or(EntryId::MIN, |info| info.last_id))
    }
}
