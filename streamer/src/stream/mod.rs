//! Streams by hand: what lies below events and listeners.
//!
//! # Layout
//!
//! - [`Stream`], here: one stream; write, read, look, groups.
//! - `range`: entries between two IDs, in pages.
//! - `consumer`: one consumer of a group.
//! - `streams`: many streams at once, for writing and a single look.
//! - `multi`: many streams at once, read on and on, plainly or in a group.
//!
//! These are thin: names are given once, the rest is the [`Engine`]'s contract. What they read are raw entries;
//! [`ReceivedMessage::new`](crate::ReceivedMessage::new) makes a message of one, and
//! [`Envelope`](crate::message::Envelope) makes the fields of one.

mod consumer;
mod multi;
mod range;
mod streams;

use std::{sync::Arc, time::Duration};

pub use self::{
    consumer::Consumer,
    multi::MultiStream,
    range::{Pages, Range},
    streams::Streams,
};
use crate::{
    Streamer,
    engine::{
        Append, AppendOptions, ConsumerInfo, Engine, EngineResult, FullStreamInfo, GroupInfo, GroupStart, PendingEntry,
        PendingFilter, PendingSummary, ReadMode, StreamEntries, StreamInfo,
    },
    entry::{Entry, EntryId, Fields, NewId, RangeBound, StreamName, Trim},
};

impl Streamer {
    /// A stream by its name. It need not exist.
    pub fn stream(&self, name: impl Into<StreamName>) -> Stream {
        Stream::new(Arc::clone(self.engine()), name)
    }

    /// Many streams by their names. They need not exist.
    pub fn streams<N: Into<StreamName>>(&self, names: impl IntoIterator<Item = N>) -> Streams {
        Streams::new(Arc::clone(self.engine()), names)
    }
}

/// One stream. Cheap to clone.
///
/// The errors of its methods are those of the [`Engine`] methods that they are named after.
#[derive(Clone, Debug)]
pub struct Stream {
    engine: Arc<dyn Engine>,
    name: StreamName,
}

impl Stream {
    /// A stream by its name. It need not exist.
    pub fn new(engine: Arc<dyn Engine>, name: impl Into<StreamName>) -> Self {
        Self {
            engine,
            name: name.into(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// Appends an entry and gives its ID. The stream is made if it is missing.
    ///
    /// # Errors
    ///
    /// As [`Engine::append`].
    pub async fn add(&self, fields: Fields) -> EngineResult<EntryId> {
        self.add_with(fields, NewId::Auto, AppendOptions::default()).await
    }

    /// Appends an entry with a certain ID, trimming, or only to a stream that exists.
    ///
    /// # Errors
    ///
    /// As [`Engine::append`].
    pub async fn add_with(
        &self,
        fields: Fields,
        id: impl Into<NewId>,
        options: AppendOptions,
    ) -> EngineResult<EntryId> {
        let append = Append {
            stream: self.name.clone(),
            id: id.into(),
            fields,
            options,
        };
        self.engine.append(append).await
    }

    /// Deletes entries, and tells how many were there.
    ///
    /// # Errors
    ///
    /// As [`Engine::delete`].
    pub async fn delete(&self, ids: &[EntryId]) -> EngineResult<u64> {
        self.engine.delete(&self.name, ids).await
    }

    /// Cuts the old end, and tells how many entries went.
    ///
    /// # Errors
    ///
    /// As [`Engine::trim`].
    pub async fn trim(&self, trim: Trim) -> EngineResult<u64> {
        self.engine.trim(&self.name, trim).await
    }

    /// The entries after an ID that are there now, oldest first, at most `count`.
    ///
    /// # Errors
    ///
    /// As [`Engine::range`].
    pub async fn read(&self, after: EntryId, count: usize) -> EngineResult<Vec<Entry>> {
        let start = RangeBound::Exclusive(after);
        self.engine
            .range(&self.name, start, RangeBound::Unbounded, Some(count), false)
            .await
    }

    /// The entries after an ID, at most `count`; when there are none it waits up to `wait` for the next. Empty when the
    /// time is over. Each call waits on a connection of its own; to read on and on use a [`MultiStream`].
    ///
    /// # Errors
    ///
    /// As [`Reader::next`](crate::engine::Reader::next).
    pub async fn wait_after(&self, after: EntryId, count: usize, wait: Duration) -> EngineResult<Vec<Entry>> {
        let mode = ReadMode::Plain(vec![(self.name.clone(), after)]);
        read_one(&*self.engine, mode, count, Some(wait)).await
    }

    /// The entries of a range, in pages.
    #[must_use]
    pub fn range(&self, range: Range) -> Pages {
        Pages::new(self.clone(), range)
    }

    /// How many entries it has; 0 when it does not exist.
    ///
    /// # Errors
    ///
    /// As [`Engine::info`].
    pub async fn len(&self) -> EngineResult<u64> {
        self.engine.len(&self.name).await
    }

    /// Whether it has no entries, or does not exist.
    ///
    /// # Errors
    ///
    /// As [`Engine::info`].
    pub async fn is_empty(&self) -> EngineResult<bool> {
        Ok(self.len().await? == 0)
    }

    /// The greatest ID that it ever gave: what "now" means. `0-0` when it does not exist.
    ///
    /// # Errors
    ///
    /// As [`Engine::info`].
    pub async fn last_id(&self) -> EngineResult<EntryId> {
        self.engine.last_id(&self.name).await
    }

    /// What is known about it; `None` when it does not exist.
    ///
    /// # Errors
    ///
    /// As [`Engine::info`].
    pub async fn info(&self) -> EngineResult<Option<StreamInfo>> {
        self.engine.info(&self.name).await
    }

    /// The same with groups, consumers and pending entries, at most `count` entries of each list; `None` when it does
    /// not exist.
    ///
    /// # Errors
    ///
    /// As [`Engine::full_info`].
    pub async fn full_info(&self, count: usize) -> EngineResult<Option<FullStreamInfo>> {
        self.engine.full_info(&self.name, count).await
    }

    /// Its groups; none when it does not exist.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::groups`](crate::engine::GroupAdmin::groups).
    pub async fn groups(&self) -> EngineResult<Vec<GroupInfo>> {
        self.engine.groups(&self.name).await
    }

    /// Whether it has a group of this name.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::groups`](crate::engine::GroupAdmin::groups).
    pub async fn group_exists(&self, group: &str) -> EngineResult<bool> {
        Ok(self.groups().await?.iter().any(|info| info.name == group))
    }

    /// Makes a group that begins after `start`; with `create_stream` also the stream, if it is missing.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::create_group`](crate::engine::GroupAdmin::create_group): a group that exists already is an error.
    pub async fn create_group(&self, group: &str, start: GroupStart, create_stream: bool) -> EngineResult<()> {
        self.engine.create_group(&self.name, group, start, create_stream).await
    }

    /// The consumers of a group.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::consumers`](crate::engine::GroupAdmin::consumers).
    pub async fn consumers(&self, group: &str) -> EngineResult<Vec<ConsumerInfo>> {
        self.engine.consumers(&self.name, group).await
    }

    /// A consumer of a group. Neither need exist.
    pub fn consumer(&self, group: impl Into<String>, name: impl Into<String>) -> Consumer {
        Consumer::new(self.clone(), group.into(), name.into())
    }

    /// What is pending in a group, in numbers.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::pending_summary`](crate::engine::GroupAdmin::pending_summary).
    pub async fn pending_summary(&self, group: &str) -> EngineResult<PendingSummary> {
        self.engine.pending_summary(&self.name, group).await
    }

    /// The pending entries of a group, or of one consumer if the filter names it.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::pending`](crate::engine::GroupAdmin::pending).
    pub async fn pending(&self, group: &str, filter: PendingFilter<'_>) -> EngineResult<Vec<PendingEntry>> {
        self.engine.pending(&self.name, group, filter).await
    }

    /// Settles entries in a group, and tells how many were pending.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::acknowledge`](crate::engine::GroupAdmin::acknowledge).
    pub async fn acknowledge(&self, group: &str, ids: &[EntryId]) -> EngineResult<u64> {
        self.engine.acknowledge(&self.name, group, ids).await
    }
}

/// One read of one stream.
async fn read_one(
    engine: &dyn Engine,
    mode: ReadMode,
    count: usize,
    wait: Option<Duration>,
) -> EngineResult<Vec<Entry>> {
    let read = read_once(engine, mode, count, wait).await?;
    Ok(read.into_iter().flat_map(|of_stream| of_stream.entries).collect())
}

/// One read, on a connection of its own.
async fn read_once(
    engine: &dyn Engine,
    mode: ReadMode,
    count: usize,
    wait: Option<Duration>,
) -> EngineResult<Vec<StreamEntries>> {
    engine.reader(mode).await?.next(count, wait).await
}
