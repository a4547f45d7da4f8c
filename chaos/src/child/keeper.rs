//! Archives, restores and purges, so that a long run keeps nothing for ever.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use streamer::{
    StopHandle, StreamName, Streamer,
    archive::{ArchiveStorage, OlderThan, Restore, SqliteArchive, Sweep, TransferError},
};

use super::{Assignment, STREAMS, archive_url, connect, sleep};

/// How old what is archived is.
const AGE: Duration = Duration::from_secs(10);
/// How old what is purged is: it was archived and restored by then.
const LAST_AGE: Duration = Duration::from_secs(60);

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
    let older = |age| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        OlderThan::moment(now.saturating_sub(age).as_millis() as u64)
    };
    for stream in STREAMS.map(StreamName::from) {
        let purge = Sweep::purge(streamer);
        purge.run(&stream, older(LAST_AGE)).await?;
        let sweep = Sweep::archive(streamer, Arc::clone(archive));
        sweep.run(&stream, older(AGE)).await?;
    }
    if round.is_multiple_of(10) {
        let restore = Restore::new(streamer, Arc::clone(archive)).forget_after(LAST_AGE);
        restore.run(None).await?;
    }
    Ok(())
}
