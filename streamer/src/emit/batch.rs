//! Many events, in few round trips.

use super::{EmitAllError, EmitError, EmitOptions};
use crate::{Event, Streamer, engine::Append, entry::EntryId};

/// A chunk is sent when it holds so many events …
const CHUNK_EVENTS: usize = 512;
/// … or so many bytes, whichever comes first.
const CHUNK_BYTES: usize = 1024 * 1024;

impl Streamer {
    /// Emits events in their order, and gives the IDs of their entries in the same order.
    ///
    /// The events are taken from the iterator and encoded as they are sent, a chunk at a time (512 events, or 1 MiB):
    /// one round trip each, and no more than a chunk in memory. Events may go to several streams; items may be events
    /// or references to them.
    ///
    /// # Errors
    ///
    /// [`EmitAllError`] at the first chunk of which not everything was written; it tells each event's lot. An event
    /// that cannot be encoded ends its chunk: what came before it is sent.
    pub async fn emit_all<I>(&self, events: I) -> Result<Vec<EntryId>, EmitAllError>
    where
        I: IntoIterator,
        I::Item: Event,
    {
        let mut batch = Batch::default();
        let options = EmitOptions::default();
        for event in events {
            match self.encode(&event, &options) {
                Ok((append, _)) => batch.push(append),
                Err(error) => {
                    batch.send(self).await?;
                    let position = batch.ids.len();
                    return Err(EmitAllError {
                        written: batch.ids.into_iter().enumerate().collect(),
                        failed: vec![(position, error)],
                        unknown: Vec::new(),
                        not_attempted: position + 1,
                    });
                }
            }
            // `event` must not live across the await: it need not be `Send`.
            drop(event);
            if batch.is_full() {
                batch.send(self).await?;
            }
        }
        batch.send(self).await?;
        Ok(batch.ids)
    }
}

/// What was emitted, and the chunk that is being filled.
#[derive(Default)]
struct Batch {
    ids: Vec<EntryId>,
    chunk: Vec<Append>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, append: Append) {
        let size = append.fields.iter().map(|(name, value)| name.len() + value.len());
        self.bytes += size.sum::<usize>();
        self.chunk.push(append);
    }

    fn is_full(&self) -> bool {
        self.chunk.len() >= CHUNK_EVENTS || self.bytes >= CHUNK_BYTES
    }

    async fn send(&mut self, streamer: &Streamer) -> Result<(), EmitAllError> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let chunk = std::mem::take(&mut self.chunk);
        let streams: Vec<_> = chunk.iter().map(|append| append.stream.clone()).collect();
        let broken = match streamer.engine().append_many(chunk).await {
            Ok(ids) => {
                self.ids.extend(ids);
                return Ok(());
            }
            Err(broken) => broken,
        };
        let first = self.ids.len();
        let mut error = EmitAllError {
            written: std::mem::take(&mut self.ids).into_iter().enumerate().collect(),
            failed: Vec::new(),
            unknown: Vec::new(),
            not_attempted: first + streams.len(),
        };
        for (position, (result, stream)) in broken.results.into_iter().zip(&streams).enumerate() {
            let position = first + position;
            match result.map_err(|cause| EmitError::engine(stream, cause)) {
                Ok(id) => error.written.push((position, id)),
                Err(cause) if cause.may_be_written() => error.unknown.push((position, cause)),
                Err(cause) => error.failed.push((position, cause)),
            }
        }
        Err(error)
    }
}
