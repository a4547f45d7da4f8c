//! Where the message of a failure is by now.

use super::{Details, Skipped};
use crate::{
    archive::ArchiveStorage,
    engine::{Engine, EngineResult},
    entry::{Entry, EntryId, RangeBound, StreamName},
};

/// The entry of a failure: from its stream, else from the archive, else from what is kept beside the failure.
pub(super) async fn find(
    engine: &dyn Engine,
    archive: Option<&dyn ArchiveStorage>,
    stream: &StreamName,
    id: EntryId,
    details: &Details,
) -> EngineResult<Result<Entry, Skipped>> {
    if let Some(entry) = on_stream(engine, stream, id).await? {
        return Ok(Ok(entry));
    }
    if let Some(archive) = archive {
        match archive.find(stream, id).await {
            Ok(Some(message)) => {
                let fields = message.fields;
                return Ok(Ok(Entry { id, fields }));
            }
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
