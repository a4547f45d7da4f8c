//! Archives, restores and purges, so that a long run keeps nothing for ever.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use futures_util::{StreamExt as _, TryStreamExt as _};
use streamer::{
    StopHandle, StreamName, Streamer,
    archive::{ArchiveStorage, OlderThan, Restore, SqliteArchive, Sweep, TransferError},
};

use super::{Assignment, STREAMS, archive_url, connect, sleep};

/// How old what is archived is.
const AGE: Duration = Duration::from_secs(10);
/// How old what is purged is, on the stream and in the archive: some of it was restored by then.
const LAST_AGE: Duration = Duration::from_secs(60);
/// How many archived messages of a stream are looked at in a round, and how many are restored in every tenth.
const SOME: usize = 2000;
const RESTORED: usize = 100;

pub(super) async fn run(assignment: &Assignment, stop: &StopHandle) -> Result<()> {
    let Some(streamer) = connect(&assignment.url, stop).await? else {
        return Ok(());
    };
    let archive: Arc<dyn ArchiveStorage> = Arc::new(SqliteArchive::open(&archive_url(&assignment.folder)).await?);
    archive.migrate().await?;
    for round in 0_u64.. {
        if !sleep(stop, Duration::from_secs(2)).await {
            break;
        }
        if let Err(error) = one_round(&streamer, &archive, round).await {
            tracing::warn!("archiving, restoring or purging: {error}");
        }
    }
    Ok(())
}

async fn one_round(streamer: &Streamer, archive: &Arc<dyn ArchiveStorage>, round: u64) -> Result<(), TransferError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = |age| now.saturating_sub(age).as_millis() as u64;
    let older = |age| OlderThan::moment(moment(age));
    for stream in STREAMS.map(StreamName::from) {
        let purge = Sweep::purge(streamer);
        purge.run(&stream, older(LAST_AGE)).await?;
        let sweep = Sweep::archive(streamer, Arc::clone(archive));
        sweep.run(&stream, older(AGE)).await?;
        let archived = archive.of_stream(stream.clone()).take(SOME).try_collect::<Vec<_>>();
        let archived = archived.await?.into_iter().map(|message| message.id);
        let (old, young) = archived.partition::<Vec<_>, _>(|id| id.ms <= moment(LAST_AGE));
        archive.delete_many(&stream, &old).await?;
        if round.is_multiple_of(10) {
            let restore = Restore::new(streamer, Arc::clone(archive)).forget_after(LAST_AGE);
            for id in young.into_iter().take(RESTORED) {
                restore.one(&stream, id).await?;
            }
            restore.tidy(&stream).await?;
        }
    }
    Ok(())
}
