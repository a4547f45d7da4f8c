//! What becomes of messages after their last failure was retried: deleted from their streams, or archived.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{FailedFilter, Listing, RetryReport, RetrySummary, find};
use crate::{
    archive::{self, ArchiveStorage, Kept, TransferError},
    engine::{Engine, EngineResult},
    entry::{Entry, EntryId, StreamName},
};

/// What becomes of a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    Keep,
    Purge,
    Archive,
}

/// Messages one of whose failures was retried.
#[derive(Debug, Default)]
pub(super) struct Clear {
    messages: BTreeMap<StreamName, BTreeSet<EntryId>>,
}

impl Clear {
    pub(super) fn add(&mut self, stream: StreamName, id: EntryId) {
        self.messages.entry(stream).or_default().insert(id);
    }

    /// Goes through the list once, and clears the messages that it does not name any more.
    pub(super) async fn finish(
        mut self,
        engine: &Arc<dyn Engine>,
        after: After,
        archive: Option<&dyn ArchiveStorage>,
        tell: &(dyn Fn(&RetryReport<'_>) + Send + Sync),
        summary: &mut RetrySummary,
    ) -> EngineResult<()> {
        if self.messages.is_empty() {
            return Ok(());
        }
        let mut listing = Listing::new(engine.clone(), FailedFilter::all());
        while let Some(page) = listing.next_page().await? {
            for failed in page.into_iter().filter_map(|listed| listed.record.ok()) {
                let ids = self.messages.get_mut(&StreamName::from(&failed.stream));
                if let (Some(ids), Ok(id)) = (ids, failed.id.parse()) {
                    ids.remove(&id);
                }
            }
        }
        for (stream, ids) in &self.messages {
            for id in ids {
                match (after, archive) {
                    (After::Purge, _) => purge(engine.as_ref(), stream, *id, tell, summary).await?,
                    (After::Archive, Some(archive)) => {
                        to_archive(engine.as_ref(), archive, stream, *id, tell, summary).await?;
                    }
                    (After::Keep | After::Archive, _) => {}
                }
            }
        }
        Ok(())
    }
}

async fn purge(
    engine: &dyn Engine,
    stream: &StreamName,
    id: EntryId,
    tell: &(dyn Fn(&RetryReport<'_>) + Send + Sync),
    summary: &mut RetrySummary,
) -> EngineResult<()> {
    if engine.delete(stream, &[id]).await? > 0 {
        summary.purged += 1;
        tell(&RetryReport::Purged { stream, id });
    }
    Ok(())
}

/// Archived first, deleted after: a crash in between leaves the message in both places, never in neither.
async fn to_archive(
    engine: &dyn Engine,
    archive: &dyn ArchiveStorage,
    stream: &StreamName,
    id: EntryId,
    tell: &(dyn Fn(&RetryReport<'_>) + Send + Sync),
    summary: &mut RetrySummary,
) -> EngineResult<()> {
    let Some(entry) = find::on_stream(engine, stream, id).await? else {
        return Ok(());
    };
    match try_to_archive(engine, archive, stream, entry).await {
        Ok(None) => {
            summary.archived += 1;
            tell(&RetryReport::Archived { stream, id });
        }
        Ok(Some(kept)) => {
            let error = &*kept.to_string();
            tell(&RetryReport::NotArchived { stream, id, error });
        }
        Err(error) => {
            let error = &*error.to_string();
            tell(&RetryReport::NotArchived { stream, id, error });
        }
    }
    Ok(())
}

async fn try_to_archive(
    engine: &dyn Engine,
    archive: &dyn ArchiveStorage,
    stream: &StreamName,
    entry: Entry,
) -> Result<Option<Kept>, TransferError> {
    let id = entry.id;
    let messages = archive::to_archive(engine, stream, vec![entry]).await?;
    let stored = archive::store(engine, archive, messages).await?;
    if let Some((_, kept)) = stored.kept.first() {
        return Ok(Some(*kept));
    }
    engine.delete(stream, &[id]).await?;
    archive::forget_origins(engine, archive, &stored.messages).await?;
    Ok(None)
}
