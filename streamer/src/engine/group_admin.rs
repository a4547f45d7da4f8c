//! Groups by single commands: for operators, and for programs that want groups and consumers plain.
//!
//! Listening uses none of this: its deliveries go through [`GroupStore`](super::GroupStore).

use std::time::Duration;

use async_trait::async_trait;

use super::{ConsumerInfo, EngineResult, GroupInfo, PendingEntry, PendingFilter, PendingSummary};
use crate::entry::{Entry, EntryId, StreamName};

/// Looks at groups and changes them, one command of Redis Streams at a time.
///
/// The commands `group` and `consumer` of the command line and the handles [`Stream`](crate::stream::Stream) and
/// [`Consumer`](crate::stream::Consumer) stand on it. Unlike a subscription, nothing here renews leases or waits.
///
/// # The contract
///
/// - A method does what the command in its first line does, on every engine, in one atomic step. Only the delivery counts
///   that [`GroupAdmin::read_pending`] tells may be read after it.
/// - It may be called while others listen in the group. For them, a claimed entry is one that another consumer claimed.
/// - [`NoGroup`](super::EngineErrorKind::NoGroup) says that the group or its stream is missing, unless the
///   method says otherwise.
/// - After [`Connection`](super::EngineErrorKind::Connection) the step may have been done: look before you
///   repeat it. A repeated claim or read counts one more delivery.
#[async_trait]
pub trait GroupAdmin {
    // ----- looking ------------------------------------------------------------------------------------------------

    /// `XINFO GROUPS`; empty when there is no such stream.
    async fn groups(&self, stream: &StreamName) -> EngineResult<Vec<GroupInfo>>;

    /// `XINFO CONSUMERS`; [`NoGroup`](super::EngineErrorKind::NoGroup) when there is no such stream or group.
    async fn consumers(&self, stream: &StreamName, group: &str) -> EngineResult<Vec<ConsumerInfo>>;

    /// `XPENDING stream group`: the pending entries list in numbers.
    async fn pending_summary(&self, stream: &StreamName, group: &str) -> EngineResult<PendingSummary>;

    /// `XPENDING … IDLE … start end count [consumer]`: pending entries, by ID.
    async fn pending(
        &self,
        stream: &StreamName,
        group: &str,
        filter: PendingFilter<'_>,
    ) -> EngineResult<Vec<PendingEntry>>;

    // ----- groups -------------------------------------------------------------------------------------------------

    /// `XGROUP CREATE`: a group that begins after `start`. With `create_stream` (`MKSTREAM`) the stream is made if it
    /// is missing; without, [`NoStream`](super::EngineErrorKind::NoStream). A group that exists is left as it is:
    /// [`GroupExists`](super::EngineErrorKind::GroupExists).
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

    // ----- pending entries of a consumer --------------------------------------------------------------------------

    /// `XREADGROUP … STREAMS stream after`: this consumer's own pending entries with IDs after `after`, oldest first,
    /// at most `count`. Each counts as one more delivery, and its idle time starts again.
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

    /// `XCLAIM`: makes those of `ids` that are pending and idle for at least `min_idle` this consumer's own, counts
    /// one more delivery, starts their idle time again, and returns them. Entries that were deleted from the stream
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

    /// `XACK`: removes entries from the pending entries list, and tells how many were pending. IDs that are not pending are
    /// ignored, also where there is no such group or stream.
    async fn acknowledge(&self, stream: &StreamName, group: &str, ids: &[EntryId]) -> EngineResult<u64>;
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
