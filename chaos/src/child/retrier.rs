//! Retries the failed list, with listeners that succeed.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use streamer::{
    ListenerError, Listeners, ReceivedMessage, StopHandle,
    archive::{ArchiveStorage, SqliteArchive},
    extract::State,
    failed::FailedFilter,
};

use super::{Assignment, GROUPS, STREAMS, archive_url, checked, connect, sleep};
use crate::ledger::{Attempt, Ledger};

#[derive(Clone)]
struct Desk(Arc<(Ledger, String, &'static str)>);

pub(super) async fn run(assignment: &Assignment, ledger: Ledger, stop: &StopHandle) -> Result<()> {
    let Some(streamer) = connect(&assignment.url, stop).await? else {
        return Ok(());
    };
    let archive: Arc<dyn ArchiveStorage> = Arc::new(SqliteArchive::open(&archive_url(&assignment.folder)).await?);
    archive.migrate().await?;
    let mut listeners = Listeners::new();
    let ledger = Arc::new(ledger);
    for group in GROUPS {
        let mut of_group = Listeners::with_state(Desk(Arc::new((
            Ledger::open(&assignment.folder)?,
            assignment.who.clone(),
            group,
        ))));
        for stream in STREAMS {
            of_group = of_group.on(stream, group, handle);
        }
        listeners.add_many(of_group);
    }
    while sleep(stop, Duration::from_millis(700)).await {
        let retry = streamer
            .failed()
            .retry(FailedFilter::all(), listeners.clone())
            .archive(Arc::clone(&archive));
        let inner = retry.stop_handle();
        let outcome = tokio::select! {
            outcome = retry.run() => outcome,
            () = async { stop.stopped().await; inner.stop(); std::future::pending().await } => unreachable!(),
        };
        match outcome {
            Ok(summary) if summary.skipped > 0 => {
                ledger.remark(&format!("SKIPPED {} failures were skipped by a retry", summary.skipped));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("retrying: {error}"),
        }
    }
    Ok(())
}

async fn handle(message: ReceivedMessage, State(Desk(desk)): State<Desk>) -> Result<(), ListenerError> {
    let (ledger, who, group) = &*desk;
    let number = checked(&message).map_err(|error| {
        ledger.remark(&format!("{who}: {error:#}"));
        ListenerError::new(error.to_string())
    })?;
    ledger
        .attempt(&Attempt {
            who,
            group,
            number,
            stream: &message.stream().to_string(),
            id: message.id().to_string(),
            succeeded: true,
            restored: message.original_id().is_some(),
        })
        .map_err(|error| ListenerError::new(error.to_string()))
}
