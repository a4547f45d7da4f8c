//! Archives what is a few seconds old, and restores some of it once.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use futures_util::TryStreamExt as _;
use streamer::{
    StopHandle, StreamName, Streamer,
    archive::{ArchiveStorage, OlderThan, Restore, SqliteArchive, Sweep, TransferError},
};

use super::{Assignment, STREAMS, archive_url, connect, sleep};
use crate::ledger::Ledger;

/// How old what is archived is.
const AGE: Duration = Duration::from_secs(4);
/// How many messages of a stream are restored in one round.
const SOME: usize = 6;

pub(super) async fn run(assignment: &Assignment, ledger: &Ledger, stop: &StopHandle) -> Result<()> {
    let Some(streamer) = connect(&assignment.url, stop).await? else {
        return Ok(());
    };
    let archive: Arc<dyn ArchiveStorage> = Arc::new(SqliteArchive::open(&archive_url(&assignment.folder)).await?);
    archive.migrate().await?;
    for round in 0_usize.. {
        if !sleep(stop, Duration::from_millis(600)).await {
            break;
        }
        for stream in STREAMS {
            if let Err(error) = one_round(&streamer, &archive, ledger, stream, round).await {
                tracing::warn!("archiving or restoring {stream}: {error}");
            }
        }
    }
    Ok(())
}

async fn one_round(
    streamer: &Streamer,
    archive: &Arc<dyn ArchiveStorage>,
    ledger: &Ledger,
    stream: &str,
    round: usize,
) -> Result<(), TransferError> {
    let name = StreamName::from(stream);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = OlderThan::moment(now.saturating_sub(AGE).as_millis() as u64);
    let summary = Sweep::archive(streamer, Arc::clone(archive)).run(&name, until).await?;
    if summary.conflicts > 0 {
        ledger.remark(&format!(
            "CONFLICT the archive has other messages of {stream} under the same IDs"
        ));
    }
    if !round.is_multiple_of(3) {
        return Ok(());
    }
    let restore = Restore::new(streamer, Arc::clone(archive));
    let mut messages = archive.of_stream(name.clone());
    let mut restored = 0;
    while let Some(message) = messages.try_next().await? {
        if restored == SOME {
            break;
        }
        // Each message once, else they would go round for ever.
        if !message.original_ids.is_empty() {
            continue;
        }
        let data = message.fields.iter().find(|(name, _)| name == "data");
        let data = data.and_then(|(_, data)| serde_json::from_slice::<serde_json::Value>(data).ok());
        let Some(number) = data.and_then(|data| data["n"].as_u64()) else {
            continue;
        };
        if let Some(id) = restore.one(&name, message.id).await? {
            restored += 1;
            let _ = ledger.restored(number, stream, &id.to_string());
        }
    }
    Ok(())
}
