//! Entries that are appended later.

use async_trait::async_trait;

use super::{EngineResult, FoundStreams};
use crate::entry::{EntryId, Fields, StreamName};

/// Keeps, beside a stream, entries that are due later ([`AppendOptions::due_ms`](super::AppendOptions::due_ms)), and appends
/// them when they are due.
///
/// # The contract
///
/// - A scheduled entry survives what the entries of its stream survive. It is in exactly one of three states: kept,
///   appended, or cancelled. Appending it and forgetting that it was scheduled are one atomic step, whoever dies and however
///   many processes try: it is appended once.
/// - It is never appended before it is due by the store's clock. *When* it is appended afterwards is up to whoever calls
///   [`Scheduled::append_due`]; nobody else appends it.
/// - Its ID while it waits is its own: the millisecond in which it is due, and a number that grows with the time at which it
///   was scheduled. The stream gives the entry another ID when it is appended. The entry then has one more field,
///   [`SCHEDULED_ID`](crate::message::SCHEDULED_ID), with the ID under which it waited.
/// - Entries of one stream are appended in the order of these IDs: by the time at which they are due, and those of one
///   millisecond in the order in which they were scheduled.
/// - It belongs to its stream: [`Engine::remove_stream`](super::Engine::remove_stream) removes it. Whether the stream is there
///   before its first entry is up to the engine.
#[async_trait]
pub trait Scheduled {
    /// For each stream which entry is due first, in one round trip. It is what is looked at again and again, so it must be
    /// cheap: no fields are read.
    async fn first_scheduled(&self, streams: &[StreamName]) -> Vec<EngineResult<FirstScheduled>>;

    /// How many entries wait for each stream, in one round trip.
    async fn count_scheduled(&self, streams: &[StreamName]) -> Vec<EngineResult<u64>>;

    /// The names of streams for which entries wait, sorted, at most `most`; also of those that are not there yet. Looks at all keys
    /// of the store, within the bound of [`Inspection::find_streams`](super::Inspection::find_streams).
    async fn find_scheduled(&self, most: usize) -> EngineResult<FoundStreams>;

    /// Appends the entries of a stream that are due, at most `most` of them (and about 1 MiB), and tells how many.
    async fn append_due(&self, stream: &StreamName, most: usize) -> EngineResult<AppendedDue>;

    /// A page of the entries that wait, in the order in which they are due, after this one; it is the last page if it has
    /// fewer than `count`.
    async fn page_of_scheduled(
        &self,
        stream: &StreamName,
        after: Option<EntryId>,
        count: usize,
    ) -> EngineResult<Vec<ScheduledEntry>>;

    /// Removes entries that wait, and tells how many of them did.
    async fn cancel_scheduled(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64>;
}

/// Which entry of a stream is due first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstScheduled {
    /// Its ID, which begins with the millisecond in which it is due; `None` when none waits.
    pub id: Option<EntryId>,
    /// What time it is by the store's clock, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl FirstScheduled {
    /// Whether it is due.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.id.is_some_and(|id| id.ms <= self.now_ms)
    }
}

/// What [`Scheduled::append_due`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppendedDue {
    /// How many entries were appended.
    pub appended: u64,
    /// Which entry is due next, and what time it is now. It may be due already.
    pub next: FirstScheduled,
}

/// An entry that waits until it is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledEntry {
    /// Under which ID it waits. Its first part is the millisecond in which it is due, since the Unix epoch.
    pub id: EntryId,
    /// What it will hold.
    pub fields: Fields,
}
