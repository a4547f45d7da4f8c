//! What a subscription tells while it runs.

use std::{sync::Arc, time::Duration};

use crate::{engine::EngineError, entry::EntryId};

/// Who is told. It is called in the midst of the work, with no lock held.
pub(crate) type EventSink = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Something that happened. Streams are given by their index.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// Positions are resolved, groups exist, the first read is about to begin.
    Started,
    /// Pending entries are handled here now.
    Recovered {
        stream: u32,
        count: usize,
        /// Whether they were claimed from other consumers.
        claimed: bool,
    },
    /// Pending entries were deleted from the stream before anybody handled them.
    Gone { stream: u32, ids: &'a [EntryId] },
    /// Other consumers have claimed these, or had the time to.
    LeaseLost {
        stream: u32,
        ids: &'a [EntryId],
        /// For how long this process stood still shortly before, if it did.
        stood_still: Option<Duration>,
    },
    /// These were pending with nobody although their leases were valid: the group or the consumer was removed. They are
    /// pending with this consumer again, and handled here.
    Orphaned { stream: u32, ids: &'a [EntryId] },
    /// These were deleted from the stream while their payloads are here. They are handled here.
    Detached { stream: u32, ids: &'a [EntryId] },
    /// A group had vanished and was created again, after this ID.
    GroupRecreated { stream: u32, after: EntryId },
    /// Another process uses this consumer's name: it took these, or was delivered them. Empty where its mark shows it.
    NameInUse { stream: u32, ids: &'a [EntryId] },
    /// Consumers of processes that died were removed from the group.
    ConsumersRemoved { stream: u32, names: &'a [String] },
    /// The store could not be reached or refused; there will be a new attempt. Told for every attempt to read, and once
    /// for each stream whose outcomes cannot be stored, until that has resumed.
    Interrupted {
        scope: &'a Scope,
        error: &'a EngineError,
        /// Which attempt comes, from 1 on.
        attempt: u32,
        /// In how long.
        delay: Duration,
    },
    /// A call of [`Settler::settle`](super::Settler::settle) waits for its next attempt: others need not wait with it.
    SettlingWaits,
    /// The trouble is over.
    Resumed { scope: &'a Scope },
}

/// Where there is trouble.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Nothing can be read.
    Store,
    /// These streams cannot be read; others can.
    Streams(Vec<u32>),
    /// Outcomes of these streams cannot be stored.
    Settling(Vec<u32>),
}
