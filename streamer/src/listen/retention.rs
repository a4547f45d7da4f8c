//! What becomes of a message after all its listeners handled it: by default it stays; it may be archived or purged.
//!
//! # The order
//!
//! A message that leaves at once is stored in the archive, *then* acknowledged, *then* deleted:
//!
//! - killed before the acknowledgement, it is pending and is handled again, and stored again, which changes nothing;
//! - killed after it, it is in the archive and on the stream, where the next `archive` or `purge` finds it: it is old enough
//!   then, and no group needs it;
//! - never is it deleted while it is pending: a consumer that claims it would get an ID without a message.
//!
//! A message that waits for other groups is first marked in a set beside the stream (`{stream}:handled:GROUP`), then
//! acknowledged. A sweep goes through that set, now and then and at the end, and stores and deletes what every group has
//! acknowledged, and last takes it from the set. Killed in between, the mark is still there for the next sweep, of
//! this listening or of another in the group.
//!
//! Only messages that every listener handled come here; one that any listener failed on stays on the stream.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    ListenError, Report,
    guarded::guarded_future,
    outcome::Outcome,
    plan::Plan,
    supervisor::Finished,
    trouble::{Trouble, patiently},
};
use crate::{
    archive::{ArchiveStorage, ArchivedMessage, Needed, TransferError, forget_origins, store, to_archive},
    engine::{End, EngineError},
    entry::{Entry, EntryId, StreamName},
};

/// How long a sweep for what waits for other groups waits for the next; longer where sweeps take long.
const BETWEEN_SWEEPS: Duration = Duration::from_secs(1);
/// How many messages a sweep looks at in one step, and how many of them it moves in one.
const LOOKED_AT: usize = 512;
const MOVED: usize = 64;
/// Whose code an archive is.
const ARCHIVE: &str = "an `ArchiveStorage`";

/// What becomes of a message after all its listeners handled it.
#[derive(Clone, Debug)]
pub struct AfterSuccess {
    /// `None`: they are deleted for good.
    archive: Option<Arc<dyn ArchiveStorage>>,
    when: LeaveWhen,
}

/// When a handled message leaves its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveWhen {
    /// At once, also when other groups have not been delivered it, which then never get it. As laravel-streamer does.
    #[default]
    AtOnce,
    /// When every group of the stream has acknowledged it.
    AllGroupsAcknowledged,
}

impl AfterSuccess {
    /// It moves to an archive.
    pub fn archive(archive: Arc<dyn ArchiveStorage>) -> Self {
        Self {
            archive: Some(archive),
            when: LeaveWhen::default(),
        }
    }

    /// It is deleted for good.
    #[must_use]
    pub fn purge() -> Self {
        Self {
            archive: None,
            when: LeaveWhen::default(),
        }
    }

    /// When that happens. Default: at once.
    #[must_use]
    pub fn when(self, when: LeaveWhen) -> Self {
        Self { when, ..self }
    }

    /// Whether a message that was handled waits for other groups.
    pub(super) fn waits(&self) -> bool {
        self.when == LeaveWhen::AllGroupsAcknowledged
    }
}

/// Does what [`AfterSuccess`] says. The settle stage has one, and so has the retention stage where messages wait for
/// other groups.
#[derive(Clone, Debug)]
pub(super) struct Retention {
    plan: Arc<Plan>,
    pub(super) after: AfterSuccess,
}

impl Retention {
    pub(super) fn of(plan: &Arc<Plan>) -> Option<Self> {
        let after = plan.options.after_success.clone()?;
        let plan = Arc::clone(plan);
        Some(Self { plan, after })
    }

    /// Before messages are acknowledged: stores them, or marks that they wait. Those that may be deleted are to be deleted
    /// with their acknowledgement; they are returned with their places in the batch.
    pub(super) async fn before(
        &self,
        batch: &mut [Outcome],
    ) -> Result<Vec<(usize, (u32, ArchivedMessage))>, ListenError> {
        let mut leaving = Vec::new();
        for stream in 0..self.plan.streams.len() as u32 {
            let of_stream = |outcome: &Outcome| outcome.handled.is_some() && outcome.settlement.at.stream == stream;
            let handled = batch.iter().filter(|outcome| of_stream(outcome));
            let entries = handled
                .filter_map(|outcome| outcome.handled.as_ref())
                .map(|message| Entry {
                    id: message.id(),
                    fields: message.fields().clone(),
                });
            let entries = entries.collect::<Vec<_>>();
            if entries.is_empty() {
                continue;
            }
            let name = &self.plan.stream(stream).name;
            if self.after.waits() {
                let ids = entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
                patiently(&self.plan, || self.mark(name, &ids)).await?;
                continue;
            }
            let stored = patiently(&self.plan, || self.store(name, entries.clone())).await?;
            let mut stored = stored.into_iter().peekable();
            for (number, outcome) in batch.iter_mut().enumerate().filter(|(_, one)| of_stream(one)) {
                let id = outcome.handled.as_ref().map(crate::message::ReceivedMessage::id);
                // They come in the same order; those that another message in the archive stands for are left out.
                if let Some(message) = stored.next_if(|message| Some(message.id) == id) {
                    outcome.settlement.end = End::Acknowledge { delete: true };
                    leaving.push((number, (stream, message)));
                }
            }
        }
        Ok(leaving)
    }

    /// Messages were acknowledged and deleted.
    pub(super) async fn after(&self, messages: Vec<(u32, ArchivedMessage)>) -> Result<(), ListenError> {
        let (mut first, mut of_stream) = (0, Vec::new());
        for (stream, message) in messages {
            if stream != first {
                self.deleted(first, std::mem::take(&mut of_stream)).await?;
                first = stream;
            }
            of_stream.push(message);
        }
        self.deleted(first, of_stream).await
    }

    async fn deleted(&self, stream: u32, messages: Vec<ArchivedMessage>) -> Result<(), ListenError> {
        if messages.is_empty() {
            return Ok(());
        }
        patiently(&self.plan, || self.forget(&messages)).await?;
        self.tell(&self.plan.stream(stream).name, &messages);
        Ok(())
    }

    async fn mark(&self, stream: &StreamName, ids: &[EntryId]) -> Result<(), Trouble> {
        let engine = self.plan.context.streamer.engine();
        engine.add_handled(stream, self.group(), ids).await?;
        Ok(())
    }

    /// Stores messages where there is an archive, and returns those that may be deleted.
    async fn store(&self, stream: &StreamName, entries: Vec<Entry>) -> Result<Vec<ArchivedMessage>, Trouble> {
        let engine = self.plan.context.streamer.engine();
        let messages = to_archive(engine.as_ref(), stream, entries).await?;
        let Some(archive) = &self.after.archive else {
            return Ok(messages);
        };
        guarded_future(ARCHIVE, async {
            let stored = store(engine.as_ref(), archive.as_ref(), messages).await?;
            for (id, kept) in stored.kept {
                let archive = archive.location();
                tracing::warn!(
                    "message {id} was not moved to the archive {archive} and stays on '{stream}' stream: {kept}"
                );
            }
            Ok(stored.messages)
        })
        .await?
        .map_err(|error: TransferError| Trouble::from(EngineError::from(error)))
    }

    /// Forgets what was kept beside the stream of messages that are in the archive again.
    async fn forget(&self, messages: &[ArchivedMessage]) -> Result<(), Trouble> {
        if let Some(archive) = &self.after.archive {
            let engine = self.plan.context.streamer.engine();
            let forgotten = forget_origins(engine.as_ref(), archive.as_ref(), messages);
            guarded_future(ARCHIVE, forgotten).await?.map_err(EngineError::from)?;
        }
        Ok(())
    }

    fn tell(&self, stream: &StreamName, messages: &[ArchivedMessage]) {
        for ArchivedMessage { id, .. } in messages {
            let id = *id;
            self.plan.reporter.tell(&match self.after.archive {
                Some(_) => Report::Archived { stream, id },
                None => Report::Purged { stream, id },
            });
        }
    }

    fn group(&self) -> Option<&str> {
        self.plan.member.as_ref().map(|member| &*member.group)
    }

    /// The retention stage: sweeps until settling has ended, and once more then.
    pub(super) async fn sweep_until(self, mut settled: oneshot::Receiver<()>) -> Result<Finished, ListenError> {
        let mut pause = BETWEEN_SWEEPS;
        loop {
            let ended = tokio::time::timeout(pause, &mut settled).await.is_ok();
            let begun = Instant::now();
            for stream in &self.plan.streams {
                self.sweep(&stream.name).await?;
            }
            if ended {
                return Ok(Finished::Other);
            }
            pause = BETWEEN_SWEEPS.max(begun.elapsed() * 10);
        }
    }

    /// Goes once through the messages of a stream that wait for other groups.
    async fn sweep(&self, stream: &StreamName) -> Result<(), ListenError> {
        let engine = self.plan.context.streamer.engine();
        let mut cursor = 0;
        loop {
            let page = || async {
                let page = engine.page_of_handled(stream, self.group(), cursor, LOOKED_AT);
                Ok::<_, Trouble>(page.await?)
            };
            let (next, mut ids) = patiently(&self.plan, page).await?;
            ids.sort_unstable();
            ids.dedup();
            let needed = || async { Ok::<_, Trouble>(Needed::among(engine.as_ref(), stream, &ids).await?) };
            let needed = patiently(&self.plan, needed).await?;
            ids.retain(|id| !needed.is_undelivered(*id) && !needed.is_pending(*id));
            for ids in ids.chunks(MOVED) {
                patiently(&self.plan, || self.move_away(stream, ids)).await?;
            }
            if next == 0 {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Moves messages that no group needs any more. It may be repeated at any point.
    async fn move_away(&self, stream: &StreamName, ids: &[EntryId]) -> Result<(), Trouble> {
        let engine = self.plan.context.streamer.engine();
        let entries = engine.get_many(stream, ids).await?;
        let messages = self.store(stream, entries.into_iter().flatten().collect()).await?;
        if !messages.is_empty() {
            let ids = messages.iter().map(|message| message.id).collect::<Vec<_>>();
            engine.delete(stream, &ids).await?;
            self.forget(&messages).await?;
            self.tell(stream, &messages);
        }
        engine.remove_handled(stream, self.group(), ids).await?;
        Ok(())
    }
}
