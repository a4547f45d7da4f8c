//! Where the message of a failure is by now.

use std::{error::Error as StdError, fmt};

use async_trait::async_trait;

use super::{Details, Skipped};
use crate::{
    engine::{Engine, EngineResult},
    entry::{Entry, EntryId, RangeBound, StreamName},
};

/// Where messages are kept that left their streams: what a retry needs of an archive.
#[async_trait]
pub trait MessageArchive: Send + Sync + fmt::Debug {
    /// The message that had this ID on this stream; `None` when the archive does not have it.
    async fn find(&self, stream: &StreamName, id: EntryId) -> Result<Option<Entry>, Box<dyn StdError + Send + Sync>>;

    /// Keeps a message. When it returns, the message is in the archive: it is deleted from its stream only then. Keeping
    /// one that is there already does nothing.
    async fn keep(&self, stream: &StreamName, entry: &Entry) -> Result<(), Box<dyn StdError + Send + Sync>>;
}

/// The entry of a failure: from its stream, else from the archive, else from what is kept beside the failure.
pub(super) async fn find(
    engine: &dyn Engine,
    archive: Option<&dyn MessageArchive>,
    stream: &StreamName,
    id: EntryId,
    details: &Details,
) -> EngineResult<Result<Entry, Skipped>> {
    if let Some(entry) = on_stream(engine, stream, id).await? {
        return Ok(Ok(entry));
    }
    if let Some(archive) = archive {
        match archive.find(stream, id).await {
            Ok(Some(entry)) => return Ok(Ok(Entry { id, ..entry })),
            Ok(None) => {}
            Err(error) => return Ok(Err(Skipped::Archive(error.to_string()))),
        }
    }
    if !details.fields.is_empty() {
        let fields = details.fields.clone();
        return Ok(Ok(Entry { id, fields }));
    }
    Ok(Err(Skipped::MessageGone))
}

/// The entry with this ID, if it is on its stream.
pub(super) async fn on_stream(engine: &dyn Engine, stream: &StreamName, id: EntryId) -> EngineResult<Option<Entry>> {
    let this = RangeBound::Inclusive(id);
    let found = engine.range(stream, this, this, Some(1), false).await?;
    Ok(found.into_iter().next())
}
