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
//! A message that waits for other groups is first noted in a set beside the stream (`{stream}:handled:GROUP`), then
//! acknowledged. A sweep goes through that set, now and then and at the end, and stores and deletes what every group has
//! acknowledged, and last takes it from the set. Killed in between, the note is still there for the next sweep, of
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
    run::Shared,
    settle::{Trouble, persistently},
    supervisor::Finished,
};
use crate::{
    archive::{ArchiveStorage, ArchivedMessage, Needed, TransferError, forget_origins, store, to_archive},
    engine::EngineError,
    entry::{Entry, EntryId, StreamName},
    message::ReceivedMessage,
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
    archive: Option<Arc<dyn ArchiveStorage>>,
    pub(super) when: When,
}

/// When a handled message leaves its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
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
            when: When::default(),
        }
    }

    /// It is deleted for good.
    #[must_use]
    pub fn purge() -> Self {
        Self {
            archive: None,
            when: When::default(),
        }
    }

    /// When that happens. Default: at once.
    #[must_use]
    pub fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    /// Before the messages are acknowledged: stores them, or notes that they wait. Returns those that may be deleted
    /// when they are.
    pub(super) async fn before_acknowledging(
        &self,
        shared: &Shared,
        stream: usize,
        handled: &[ReceivedMessage],
    ) -> Result<Vec<ArchivedMessage>, Trouble> {
        let name = &shared.streams[stream].name;
        match self.when {
            When::AtOnce => {
                let entries = handled.iter().map(|message| Entry {
                    id: message.id(),
                    fields: message.fields().clone(),
                });
                self.store(shared, name, entries.collect()).await
            }
            When::AllGroupsAcknowledged => {
                let ids = handled.iter().map(ReceivedMessage::id).collect::<Vec<_>>();
                shared.engine().add_handled(name, group(shared), &ids).await?;
                Ok(Vec::new())
            }
        }
    }

    /// Stores messages where there is an archive, and returns those that may be deleted.
    async fn store(
        &self,
        shared: &Shared,
        stream: &StreamName,
        entries: Vec<Entry>,
    ) -> Result<Vec<ArchivedMessage>, Trouble> {
        let messages = to_archive(shared.engine().as_ref(), stream, entries).await?;
        let Some(archive) = &self.archive else {
            return Ok(messages);
        };
        guarded_future(ARCHIVE, async {
            let stored = store(archive.as_ref(), messages).await?;
            for id in stored.conflicts {
                tracing::warn!(
                    "message {id} stays on '{stream}' stream: the archive {} has another message under this stream and \
                     ID",
                    archive.location()
                );
            }
            Ok(stored.messages)
        })
        .await?
        .map_err(|error: TransferError| Trouble::from(EngineError::from(error)))
    }

    /// Deletes messages from their stream, and tells it.
    pub(super) async fn delete(
        &self,
        shared: &Shared,
        stream: &StreamName,
        messages: &[ArchivedMessage],
    ) -> Result<(), Trouble> {
        let ids = messages.iter().map(|message| message.id).collect::<Vec<_>>();
        shared.engine().delete(stream, &ids).await?;
        if let Some(archive) = &self.archive {
            let forgotten = forget_origins(shared.engine().as_ref(), archive.as_ref(), messages);
            guarded_future(ARCHIVE, forgotten).await?.map_err(EngineError::from)?;
        }
        for id in ids {
            shared.reporter.tell(&match self.archive {
                Some(_) => Report::Archived { stream, id },
                None => Report::Purged { stream, id },
            });
        }
        Ok(())
    }
}

/// Sweeps until settling has ended, and once more then.
pub(super) async fn sweep_until(
    shared: Arc<Shared>,
    mut settled: oneshot::Receiver<()>,
) -> Result<Finished, ListenError> {
    let Some(after) = &shared.options.after_success else {
        return Ok(Finished::Other);
    };
    let mut pause = BETWEEN_SWEEPS;
    loop {
        let ended = tokio::time::timeout(pause, &mut settled).await.is_ok();
        if shared.has_failed() {
            return Ok(Finished::Other);
        }
        let begun = Instant::now();
        for stream in &shared.streams {
            sweep(&shared, after, &stream.name).await?;
        }
        if ended {
            return Ok(Finished::Other);
        }
        pause = BETWEEN_SWEEPS.max(begun.elapsed() * 10);
    }
}

/// Goes once through the messages of a stream that wait for other groups.
async fn sweep(shared: &Shared, after: &AfterSuccess, stream: &StreamName) -> Result<(), ListenError> {
    let engine = shared.engine();
    let mut cursor = 0;
    loop {
        let page = || engine.page_of_handled(stream, group(shared), cursor, LOOKED_AT);
        let (next, mut ids) = persistently(shared, page).await?;
        ids.sort_unstable();
        ids.dedup();
        let needed = persistently(shared, || Needed::among(engine.as_ref(), stream, &ids)).await?;
        ids.retain(|id| !needed.is_undelivered(*id) && !needed.is_pending(*id));
        for ids in ids.chunks(MOVED) {
            persistently(shared, || move_away(shared, after, stream, ids)).await?;
        }
        if next == 0 {
            return Ok(());
        }
        cursor = next;
    }
}

/// Moves messages that no group needs any more. It may be repeated at any point.
async fn move_away(shared: &Shared, after: &AfterSuccess, stream: &StreamName, ids: &[EntryId]) -> Result<(), Trouble> {
    let entries = shared.engine().get_many(stream, ids).await?;
    let messages = after
        .store(shared, stream, entries.into_iter().flatten().collect())
        .await?;
    if !messages.is_empty() {
        after.delete(shared, stream, &messages).await?;
    }
    shared.engine().remove_handled(stream, group(shared), ids).await?;
    Ok(())
}

fn group(shared: &Shared) -> Option<&str> {
    shared.group.as_ref().map(|member| &*member.group)
}
