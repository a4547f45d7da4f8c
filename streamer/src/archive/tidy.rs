//! Forgets restored messages that are gone.

use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{ArchiveStorage, TransferError};
use crate::{
    engine::{Engine, Origin},
    entry::{EntryId, StreamName, unix_ms},
};

/// How many messages are looked at in one step, and for how many of them the archive is asked at once.
const PAGE: usize = 500;
const AT_ONCE: usize = 16;

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
    let asked = lost.into_iter().zip(earlier).map(async |(origin, earlier)| {
        let archived = earlier.and_then(|ids| ids.last().copied()).unwrap_or(origin.first);
        let gone =
            archive.find(stream, origin.current).await?.is_none() && archive.find(stream, archived).await?.is_none();
        Ok::<_, TransferError>(gone.then_some(origin))
    });
    let gone = stream::iter(asked).buffer_unordered(AT_ONCE);
    gone.try_filter_map(|gone| std::future::ready(Ok(gone)))
        .try_collect()
        .await
}
