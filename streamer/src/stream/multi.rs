//! Many streams, read on and on.

use std::{fmt, sync::Arc, time::Duration};

use crate::{
    engine::{Engine, EngineError, EngineErrorKind, EngineResult, ReadMode, Reader, StreamEntries},
    entry::{EntryId, StreamName},
};

/// Reads many streams on and on, plainly or as a consumer of a group, on one connection of its own.
///
/// Plainly, it continues each stream after the last entry that it returned, also after an error. In a group, entries
/// that an error or a dropped future took with it are pending: find them in
/// [`Consumer::own_pending`](super::Consumer::own_pending).
pub struct MultiStream {
    engine: Arc<dyn Engine>,
    /// Where the next reader begins.
    mode: ReadMode,
    /// Opened by the first read; gone after an error, for a reader that failed is spent.
    reader: Option<Box<dyn Reader>>,
}

impl MultiStream {
    /// Reads each stream after an ID.
    #[must_use]
    pub fn plain(engine: Arc<dyn Engine>, positions: Vec<(StreamName, EntryId)>) -> Self {
        Self {
            engine,
            mode: ReadMode::Plain(positions),
            reader: None,
        }
    }

    /// Reads what nobody in the group was delivered yet. The group must exist on each stream.
    pub fn in_group(
        engine: Arc<dyn Engine>,
        group: impl Into<String>,
        consumer: impl Into<String>,
        streams: Vec<StreamName>,
    ) -> Self {
        let mode = ReadMode::Group {
            group: group.into(),
            consumer: consumer.into(),
            streams,
        };
        Self {
            engine,
            mode,
            reader: None,
        }
    }

    /// The next entries, at most `count` of each stream; when there are none it waits up to `wait`. Empty when the
    /// time is over.
    ///
    /// # Errors
    ///
    /// As [`Reader::next`]. It can be called again after an error: the next call reconnects.
    pub async fn next(&mut self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>> {
        // Taken out while it reads: a reader whose read failed or was dropped half-way is never used again.
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.engine.reader(self.mode.clone()).await?,
        };
        let read = reader.next(count, wait).await?;
        self.reader = Some(reader);
        if let ReadMode::Plain(positions) = &mut self.mode {
            for StreamEntries { stream, entries } in &read {
                let position = positions.iter_mut().find(|(name, _)| name == stream);
                if let (Some((_, position)), Some(last)) = (position, entries.last()) {
                    *position = last.id;
                }
            }
        }
        Ok(read)
    }

    /// Settles entries of one stream in the group, and tells how many were pending.
    ///
    /// # Errors
    ///
    /// As [`GroupAdmin::acknowledge`](crate::engine::GroupAdmin::acknowledge); [`EngineErrorKind::InvalidInput`] when there is no group.
    pub async fn acknowledge(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64> {
        match &self.mode {
            ReadMode::Group { group, .. } => self.engine.acknowledge(stream, group, ids).await,
            ReadMode::Plain(_) => Err(EngineError::new(
                EngineErrorKind::InvalidInput,
                format!("acknowledge entries of stream '{stream}'"),
                "they were read without a group, so nothing is pending",
            )),
        }
    }
}

impl fmt::Debug for MultiStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiStream")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
