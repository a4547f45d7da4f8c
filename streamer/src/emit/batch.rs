//! Many events, in few round trips.

use std::{collections::VecDeque, future::poll_fn, pin::Pin, task::Poll};

use futures_util::future::{BoxFuture, Future, MaybeDone, maybe_done};
use tracing::{Instrument as _, Span};

use super::{EmitAllError, EmitError, EmitErrorKind, PLAIN};
use crate::{
    Event, Streamer,
    engine::{Append, AppendManyError},
    entry::{EntryId, StreamName},
    metrics::BatchTimer,
    trace,
};

/// A chunk is sent when it holds so many events …
const CHUNK_EVENTS: usize = 256;
/// … or so many bytes, whichever comes first.
const CHUNK_BYTES: usize = 512 * 1024;
/// While one chunk is answered, the next is encoded and sent, where the store keeps their order.
const UNDER_WAY: usize = 2;

impl Streamer {
    /// Emits events in their order, and gives the IDs of their entries in the same order.
    ///
    /// Events are encoded and sent in chunks of 256 events or 512 KiB. At most two chunks wait for a reply (on a Redis Cluster
    /// one), so memory does not depend on the number of events. Events may go to several streams; items may be events or
    /// references to them.
    ///
    /// # Errors
    ///
    /// [`EmitAllError`] after the first chunk with an event that was not written. The error says for each event what became of
    /// it, including the events of the chunk that was sent after that one. An event that cannot be encoded ends its chunk:
    /// the events before it are sent.
    pub async fn emit_all<I>(&self, events: I) -> Result<Vec<EntryId>, EmitAllError>
    where
        I: IntoIterator,
        I::Item: Event,
    {
        let span = trace::batch_span();
        let emitted = self.emit_batch(events, &span).instrument(span.clone()).await;
        if let Err(error) = &emitted {
            trace::failed(&span, error);
        }
        emitted
    }

    /// Runs inside the span, which is the one that the messages' trace goes on from.
    async fn emit_batch<I>(&self, events: I, span: &Span) -> Result<Vec<EntryId>, EmitAllError>
    where
        I: IntoIterator,
        I::Item: Event,
    {
        let mut batch = Batch::default();
        let is_watched = !span.is_disabled();
        let (mut count, mut destination) = (0, trace::Destination::default());
        let mut unencoded = None;
        for event in events {
            let encoded = self.encode(&event, &PLAIN);
            // It must not live across the await: it need not be `Send`.
            drop(event);
            count += 1;
            match encoded {
                Ok((append, _)) => {
                    if is_watched {
                        destination.add(&append.stream);
                    }
                    batch.push(append);
                }
                Err(error) => {
                    unencoded = Some(error);
                    break;
                }
            }
            if batch.is_full() && !batch.send(self).await {
                break;
            }
        }
        trace::emitted_all(span, count, &destination);
        batch.send(self).await;
        let mut emitted = batch.all_answered().await;
        if let Some(error) = unencoded {
            emitted.failed(error);
        }
        emitted.result()
    }
}

/// The chunks that were answered, those that wait for a reply, and the one that is being filled.
#[derive(Default)]
struct Batch<'a> {
    emitted: Emitted,
    under_way: VecDeque<(Vec<StreamName>, MaybeDone<Answer<'a>>, BatchTimer)>,
    chunk: Vec<Append>,
    bytes: usize,
}

type Answer<'a> = BoxFuture<'a, Result<Vec<EntryId>, AppendManyError>>;

impl<'a> Batch<'a> {
    fn push(&mut self, append: Append) {
        let size = append.fields.iter().map(|(name, value)| name.len() + value.len());
        self.bytes += size.sum::<usize>();
        self.chunk.push(append);
    }

    fn is_full(&self) -> bool {
        self.chunk.len() >= CHUNK_EVENTS || self.bytes >= CHUNK_BYTES
    }

    /// Sends the chunk, and waits while too much is under way. `false` when something went wrong: no more may be sent.
    async fn send(&mut self, streamer: &'a Streamer) -> bool {
        if self.chunk.is_empty() {
            return true;
        }
        self.bytes = 0;
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_EVENTS));
        let streams = chunk.iter().map(|append| append.stream.clone()).collect();
        let answer = maybe_done(streamer.engine().append_many(chunk));
        self.under_way.push_back((streams, answer, BatchTimer::start()));
        let others = match streamer.engine().overlapping_appends_keep_order() {
            true => UNDER_WAY - 1,
            false => 0,
        };
        self.answered(others).await;
        self.emitted.error.is_none()
    }

    /// Goes on with what is under way, in its order (so that it is also sent in its order), until no more than `most`
    /// are left.
    async fn answered(&mut self, most: usize) {
        poll_fn(|context| {
            for (_, answer, _) in &mut self.under_way {
                let _ = Pin::new(answer).poll(context);
            }
            while let Some((_, MaybeDone::Done(_), _)) = self.under_way.front()
                && let Some((streams, mut answer, timer)) = self.under_way.pop_front()
                && let Some(outcome) = Pin::new(&mut answer).take_output()
            {
                self.emitted.chunk(&streams, outcome, timer);
            }
            match self.under_way.len() <= most {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    async fn all_answered(mut self) -> Emitted {
        self.answered(0).await;
        self.emitted
    }
}

/// What became of the events so far.
#[derive(Default)]
struct Emitted {
    /// While all went well.
    ids: Vec<EntryId>,
    error: Option<EmitAllError>,
}

impl Emitted {
    /// What is known when something goes wrong, up to there.
    fn error(&mut self) -> &mut EmitAllError {
        let ids = &mut self.ids;
        self.error.get_or_insert_with(|| EmitAllError {
            not_attempted: ids.len(),
            written: std::mem::take(ids).into_iter().enumerate().collect(),
            failed: Vec::new(),
            unknown: Vec::new(),
        })
    }

    fn chunk(&mut self, streams: &[StreamName], outcome: Result<Vec<EntryId>, AppendManyError>, timer: BatchTimer) {
        timer.stop(streams.iter().enumerate().map(|(at, stream)| {
            let error = outcome
                .as_ref()
                .err()
                .and_then(|broken| broken.results.get(at)?.as_ref().err());
            (stream, error.map(|error| EmitErrorKind::Engine(error.kind())))
        }));
        let results = match (outcome, &self.error) {
            (Ok(ids), None) => return self.ids.extend(ids),
            (Ok(ids), Some(_)) => ids.into_iter().map(Ok).collect(),
            (Err(broken), _) => broken.results,
        };
        let error = self.error();
        for (result, stream) in results.into_iter().zip(streams) {
            let position = error.not_attempted;
            error.not_attempted += 1;
            match result.map_err(|cause| EmitError::engine(stream, cause)) {
                Ok(id) => error.written.push((position, id)),
                Err(cause) if cause.may_be_written() => error.unknown.push((position, cause)),
                Err(cause) => error.failed.push((position, cause)),
            }
        }
    }

    /// An event that could not be encoded comes next.
    fn failed(&mut self, cause: EmitError) {
        let error = self.error();
        error.failed.push((error.not_attempted, cause));
        error.not_attempted += 1;
    }

    fn result(self) -> Result<Vec<EntryId>, EmitAllError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.ids),
        }
    }
}
