//! The way back from the archive.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use futures_util::TryStreamExt as _;

use super::{ArchiveStorage, ArchivedMessage, TransferError, origin, tidy};
use crate::{
    client::Streamer,
    engine::{Append, AppendOptions, Engine},
    entry::{EntryId, NewId, RangeBound, StreamName},
};

/// How many messages leave the archive at once.
const CHUNK: usize = 100;

type Tell = dyn Fn(&ArchivedMessage, Result<EntryId, &TransferError>) + Send + Sync;

/// Puts archived messages back on their streams.
///
/// Each gets a new ID, because a stream's IDs only grow, and names its old one in `original_id`. It leaves the archive only
/// after it is back. A crash anywhere, and running again, neither loses nor doubles a message; several may run at once.
#[must_use = "nothing is done before `run`"]
pub struct Restore {
    engine: Arc<dyn Engine>,
    archive: Arc<dyn ArchiveStorage>,
    forget_after: Duration,
    tell: Box<Tell>,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RestoreSummary {
    /// How many messages are back.
    pub restored: u64,
    /// How many could not be restored and are still in the archive.
    pub failed: u64,
}

impl Restore {
    /// From `archive`, to where `streamer` is connected.
    pub fn new(streamer: &Streamer, archive: Arc<dyn ArchiveStorage>) -> Self {
        Self {
            engine: Arc::clone(streamer.engine()),
            archive,
            forget_after: Duration::from_secs(3600),
            tell: Box::new(|_, _| {}),
        }
    }

    /// Tells `tell` what became of each message: its new ID, or why it stays in the archive.
    pub fn on_message(
        mut self,
        tell: impl Fn(&ArchivedMessage, Result<EntryId, &TransferError>) + Send + Sync + 'static,
    ) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// How long after a message was restored it may be forgotten ([`Restore::tidy`]), if it is gone by then. Default: one
    /// hour, which must be longer than any restore that runs at the same time works on one page of the archive.
    pub fn forget_after(mut self, age: Duration) -> Self {
        self.forget_after = age;
        self
    }

    /// Restores every message, by stream and ID, or those of `stream` if it is given. One that cannot be restored does
    /// not stop the rest. At the end, [tidies up](Restore::tidy) beside the streams that it restored messages to.
    ///
    /// # Errors
    ///
    /// When the archive cannot be read, or the store cannot be reached.
    pub async fn run(&self, stream: Option<&StreamName>) -> Result<RestoreSummary, TransferError> {
        let mut summary = RestoreSummary::default();
        let mut messages: futures_util::stream::BoxStream<'_, _> = match stream {
            Some(stream) => Box::pin(self.archive.of_stream(stream.clone())),
            None => Box::pin(self.archive.all()),
        };
        let mut streams = BTreeSet::new();
        let mut chunk = Vec::<ArchivedMessage>::with_capacity(CHUNK);
        loop {
            let message = messages.try_next().await?;
            let is_next = |message: &ArchivedMessage| {
                chunk.len() < CHUNK && chunk.last().is_none_or(|last| last.stream == message.stream)
            };
            if !message.as_ref().is_some_and(is_next) && !chunk.is_empty() {
                streams.insert(chunk[0].stream.clone());
                self.chunk(&chunk, &mut summary).await?;
                chunk.clear();
            }
            match message {
                Some(message) => chunk.push(message),
                None => break,
            }
        }
        for stream in &streams {
            // The messages are back, which is what was asked for.
            if let Err(error) = self.tidy(stream).await {
                tracing::warn!("what is kept of restored messages that are gone from '{stream}' stays: {error}");
            }
        }
        Ok(summary)
    }

    /// Forgets restored messages that are neither on `stream` nor in the archive any more: the hashes `{STREAM}:restored`
    /// and `{STREAM}:original_ids` keep something of every message that was restored. Tells how many those were.
    ///
    /// It looks at each restored message that is not on the stream, and asks the archive for it.
    ///
    /// # Errors
    ///
    /// The engine's or the archive's. What was forgotten until then stays so; run it again.
    pub async fn tidy(&self, stream: &StreamName) -> Result<u64, TransferError> {
        tidy::tidy(self.engine.as_ref(), self.archive.as_ref(), stream, self.forget_after).await
    }

    /// Restores one message, and gives its new ID; `None` when the archive does not have it.
    ///
    /// # Errors
    ///
    /// The engine's or the archive's; the message is still in the archive then.
    pub async fn one(&self, stream: &StreamName, id: EntryId) -> Result<Option<EntryId>, TransferError> {
        match self.archive.find(stream, id).await? {
            Some(message) => self.message(&message).await.map(Some),
            None => Ok(None),
        }
    }

    /// Restores messages of one stream. They leave the archive together, after all are back.
    async fn chunk(&self, messages: &[ArchivedMessage], summary: &mut RestoreSummary) -> Result<(), TransferError> {
        let (mut back, mut broken) = (Vec::with_capacity(messages.len()), None);
        for message in messages {
            match self.append(message).await {
                Ok(id) => back.push((message, id)),
                Err(error) => {
                    (self.tell)(message, Err(&error));
                    // All others would fail in the same way, each after a while.
                    if error.is_transient() {
                        broken = Some(error);
                        break;
                    }
                    summary.failed += 1;
                }
            }
        }
        let ids = back.iter().map(|(message, _)| message.id).collect::<Vec<_>>();
        match self.archive.delete_many(&messages[0].stream, &ids).await {
            Ok(_) => {
                summary.restored += back.len() as u64;
                back.iter().for_each(|(message, id)| (self.tell)(message, Ok(*id)));
            }
            Err(error) => {
                let error = TransferError::from(error);
                back.iter().for_each(|(message, _)| (self.tell)(message, Err(&error)));
                if error.is_transient() {
                    return Err(error);
                }
                summary.failed += back.len() as u64;
            }
        }
        broken.map_or(Ok(()), Err)
    }

    async fn message(&self, message: &ArchivedMessage) -> Result<EntryId, TransferError> {
        let restored = self.restore(message).await;
        (self.tell)(message, restored.as_ref().copied());
        restored
    }

    async fn restore(&self, message: &ArchivedMessage) -> Result<EntryId, TransferError> {
        let id = self.append(message).await?;
        self.archive.delete(&message.stream, message.id).await?;
        Ok(id)
    }

    /// Puts a message back on its stream, once.
    async fn append(&self, message: &ArchivedMessage) -> Result<EntryId, TransferError> {
        let ArchivedMessage { stream, id, fields, .. } = message;
        // An archiving that was cut short left it on the stream as well. First that is ended, else it would be there
        // twice. It is in the archive, so nothing is lost.
        let itself = RangeBound::Inclusive(*id);
        let there = self.engine.range(stream, itself, itself, Some(1), false).await?;
        if there.iter().any(|entry| entry.fields == *fields) {
            self.engine.delete(stream, &[*id]).await?;
        }
        let append = Append {
            stream: stream.clone(),
            id: NewId::Auto,
            fields: origin::restored_fields(message),
            options: AppendOptions::default(),
        };
        // Only once, however often this is begun anew.
        let appended = self.engine.append_recorded(append, origin::record(message)).await?;
        Ok(appended.id)
    }
}

impl fmt::Debug for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restore")
            .field("engine", &self.engine)
            .field("archive", &self.archive)
            .finish_non_exhaustive()
    }
}
