//! Forgets restored messages that are gone.

use std::time::Duration;

use super::{ArchiveStorage, TransferError};
use crate::{
    engine::{Engine, Origin},
    entry::{EntryId, StreamName, unix_ms},
};

/// How many messages are looked at in one step, and for how many of them the archive is asked at once.
const PAGE: usize = 500;
const AT_ONCE: usize = 100;

/// Removes what is kept beside a stream for restored messages that are neither on the stream nor in the archive any more,
/// and were restored at least `age` ago; tells how many messages those were.
///
/// The age protects what another restore is working on: it may have read a message from the archive before that was
/// restored, and learns only from what is kept here that it must not append it. Several may run at once.
pub(super) async fn tidy(
    engine: &dyn Engine,
    archive: &dyn ArchiveStorage,
    stream: &StreamName,
    age: Duration,
) -> Result<u64, TransferError> {
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let youngest = unix_ms().saturating_sub(age);
    let is_old = |id: &EntryId| id.ms <= youngest;
    let (mut forgotten, mut cursor) = (0, None);
    loop {
        let (next, lost) = engine.page_of_lost(stream, cursor, PAGE).await?;
        let lost = lost.into_iter().filter(|origin| is_old(&origin.current)).collect();
        let gone = not_in_archive(engine, archive, stream, lost).await?;
        forgotten += engine.forget_restored(stream, &gone).await?;
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    // After the others, of which some need theirs.
    loop {
        let (next, lost) = engine.page_of_lost_earlier_ids(stream, cursor, PAGE).await?;
        let lost = lost.into_iter().filter(is_old).collect();
        let useless = without_origin(engine, stream, lost).await?;
        engine.forget_earlier_ids(stream, &useless).await?;
        cursor = next;
        if cursor.is_none() {
            return Ok(forgotten);
        }
    }
}

/// Those entries to which no first ID leads.
async fn without_origin(
    engine: &dyn Engine,
    stream: &StreamName,
    ids: Vec<EntryId>,
) -> Result<Vec<EntryId>, TransferError> {
    let earlier = engine.earlier_ids(stream, &ids).await?;
    let first = |(id, earlier): (&EntryId, Option<Vec<EntryId>>)| earlier.map_or(*id, |earlier| earlier[0]);
    let firsts = ids.iter().zip(earlier).map(first).collect::<Vec<_>>();
    let became = engine.restored_ids(stream, &firsts).await?;
    let useless = ids.into_iter().zip(became).filter(|(id, became)| became != &Some(*id));
    Ok(useless.map(|(id, _)| id).collect())
}

/// Those messages that the archive does not have: neither under their current ID nor under the one that it had them under
/// before they were restored, which a restore that was cut short has left.
async fn not_in_archive(
    engine: &dyn Engine,
    archive: &dyn ArchiveStorage,
    stream: &StreamName,
    lost: Vec<Origin>,
) -> Result<Vec<Origin>, TransferError> {
    let ids = lost.iter().map(|origin| origin.current).collect::<Vec<_>>();
    let earlier = engine.earlier_ids(stream, &ids).await?;
    let archived = lost.iter().zip(earlier);
    let archived =
        archived.map(|(origin, earlier)| earlier.and_then(|ids| ids.last().copied()).unwrap_or(origin.first));
    let archived = archived.collect::<Vec<_>>();
    let mut gone = Vec::new();
    for (lost, archived) in lost.chunks(AT_ONCE).zip(archived.chunks(AT_ONCE)) {
        let current = lost.iter().map(|origin| origin.current).collect::<Vec<_>>();
        let under_current = archive.find_many(stream, &current).await?;
        let under_archived = archive.find_many(stream, archived).await?;
        let found = under_current
            .iter()
            .zip(&under_archived)
            .map(|both| both.0.is_some() || both.1.is_some());
        let missing = lost.iter().zip(found).filter(|(_, found)| !found);
        gone.extend(missing.map(|(origin, _)| *origin));
    }
    Ok(gone)
}
