//! Many streams at once.

use std::{sync::Arc, time::Duration};

use super::{MultiStream, read_once};
use crate::{
    engine::{Append, AppendManyError, AppendOptions, Engine, EngineResult, ReadMode, StreamEntries},
    entry::{EntryId, Fields, NewId, StreamName},
};

/// Many streams. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Streams {
    engine: Arc<dyn Engine>,
    names: Arc<[StreamName]>,
}

impl Streams {
    /// Streams by their names. They need not exist.
    pub fn new<N: Into<StreamName>>(engine: Arc<dyn Engine>, names: impl IntoIterator<Item = N>) -> Self {
        Self {
            engine,
            names: names.into_iter().map(Into::into).collect(),
        }
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> &[StreamName] {
        &self.names
    }

    /// Appends the same entry to each of them, in one round trip, and gives the IDs in their order.
    ///
    /// # Errors
    ///
    /// As [`Engine::append_many`]: the error holds one `Result` for each stream, in order.
    pub async fn add(&self, fields: &Fields, options: AppendOptions) -> Result<Vec<EntryId>, AppendManyError> {
        let append = |stream: &StreamName| Append {
            stream: stream.clone(),
            id: NewId::Auto,
            fields: fields.clone(),
            options: options.clone(),
        };
        self.engine.append_many(self.names.iter().map(append).collect()).await
    }

    /// The entries of all of them after an ID, at most `count` of each; when there are none it waits up to `wait` for
    /// the next of any, on a connection of its own.
    ///
    /// # Errors
    ///
    /// As [`Reader::next`](crate::engine::Reader::next).
    pub async fn read(&self, after: EntryId, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>> {
        let positions = self.names.iter().map(|name| (name.clone(), after)).collect();
        read_once(&*self.engine, ReadMode::Plain(positions), count, wait).await
    }

    /// Reads them on and on, each from after its last entry of now.
    ///
    /// # Errors
    ///
    /// As [`GroupStore::last_ids`](crate::engine::GroupStore::last_ids).
    pub async fn follow(&self) -> EngineResult<MultiStream> {
        let last_ids = self.engine.last_ids(&self.names).await;
        let position = |(name, last_id): (&StreamName, EngineResult<EntryId>)| Ok((name.clone(), last_id?));
        let positions = self.names.iter().zip(last_ids).map(position);
        let positions = positions.collect::<EngineResult<_>>()?;
        Ok(MultiStream::plain(Arc::clone(&self.engine), positions))
    }

    /// Reads them on and on, each from after an ID.
    #[must_use]
    pub fn follow_from(&self, after: EntryId) -> MultiStream {
        let positions = self.names.iter().map(|name| (name.clone(), after)).collect();
        MultiStream::plain(Arc::clone(&self.engine), positions)
    }

    /// Reads them on and on as a consumer of a group, which must exist on each.
    pub fn consumer(&self, group: impl Into<String>, name: impl Into<String>) -> MultiStream {
        MultiStream::in_group(Arc::clone(&self.engine), group, name, self.names.to_vec())
    }
}
