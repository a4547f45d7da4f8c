//! One consumer of a group on one stream.

use std::time::Duration;

use super::{Stream, read_one};
use crate::{
    engine::{EngineResult, PendingEntry, PendingFilter, ReadMode, Redelivery},
    entry::{Entry, EntryId},
};

/// A consumer of a group on one stream. Cheap to clone. It is made by its first read or claim; the group must exist
/// ([`Stream::create_group`]).
///
/// The errors of its methods are those of the [`GroupAdmin`](crate::engine::GroupAdmin) methods that they are named after.
#[derive(Clone, Debug)]
pub struct Consumer {
    stream: Stream,
    group: String,
    name: String,
}

impl Consumer {
    pub(super) fn new(stream: Stream, group: String, name: String) -> Self {
        Self { stream, group, name }
    }

    /// The stream that it reads.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Its group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Entries that nobody in the group was delivered yet, at most `count`; when there are none it waits up to `wait`
    /// for the next. They are pending until acknowledged, and so are those that a dropped future took with it: find
    /// them in [`Consumer::own_pending`].
    ///
    /// Each call waits on a connection of its own; to read on and on use a [`MultiStream`](super::MultiStream).
    ///
    /// # Errors
    ///
    /// As [`Reader::next`](crate::engine::Reader::next).
    pub async fn read_new(&self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<Entry>> {
        let mode = ReadMode::Group {
            group: self.group.clone(),
            consumer: self.name.clone(),
            streams: vec![self.stream.name.clone()],
        };
        read_one(&*self.stream.engine, mode, count, wait).await
    }

    /// This consumer's own pending entries after an ID, delivered once more, at most `count`.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::read_pending`](crate::engine::GroupAdmin::read_pending).
    pub async fn own_pending(&self, after: EntryId, count: usize) -> EngineResult<Redelivery> {
        let Stream { engine, name } = &self.stream;
        engine.read_pending(name, &self.group, &self.name, after, count).await
    }

    /// A list of this consumer's pending entries, which are not delivered by that. A consumer that the filter names
    /// does not matter.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::pending`](crate::engine::GroupAdmin::pending).
    pub async fn pending(&self, filter: PendingFilter<'_>) -> EngineResult<Vec<PendingEntry>> {
        let own = PendingFilter {
            consumer: Some(&self.name),
            ..filter
        };
        self.stream.pending(&self.group, own).await
    }

    /// Takes over those of `ids` that are pending and idle for at least `min_idle`.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::claim`](crate::engine::GroupAdmin::claim).
    pub async fn claim(&self, min_idle: Duration, ids: &[EntryId]) -> EngineResult<Redelivery> {
        let Stream { engine, name } = &self.stream;
        engine.claim(name, &self.group, &self.name, min_idle, ids).await
    }

    /// Takes over up to `count` pending entries, of whomever, that are idle for at least `min_idle`, from `from` on.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::auto_claim`](crate::engine::GroupAdmin::auto_claim).
    pub async fn auto_claim(&self, min_idle: Duration, from: EntryId, count: usize) -> EngineResult<Redelivery> {
        let Stream { engine, name } = &self.stream;
        engine
            .auto_claim(name, &self.group, &self.name, min_idle, from, count)
            .await
    }

    /// Settles entries, and tells how many were pending.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::acknowledge`](crate::engine::GroupAdmin::acknowledge).
    pub async fn acknowledge(&self, ids: &[EntryId]) -> EngineResult<u64> {
        self.stream.acknowledge(&self.group, ids).await
    }
}
