//! `history trim`: removes snapshots whose messages are gone.

use clap::{Args, Subcommand};
use streamer::{
    HistoryError, Streamer, TrimmedHistory,
    archive::{ArchiveStorage, Restore},
    model::ModelAction,
};

use crate::{
    app::Session,
    confirm::Confirm,
    exit::{Exit, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer history trim user 7 --dry-run
  streamer history trim user 7 8 9 --yes --json
  streamer history trim --model order 7

A snapshot is removed when its message is neither on the stream nor in the
archive that `archive_driver` and `archive_url` name. Restored messages that are
gone are forgotten, too (the hash `{EVENT}:restored`). Events may be emitted at
the same time.";

/// Maintain the snapshots that replays read
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct History {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Trim(Trim),
}

/// Remove the snapshots whose messages are gone everywhere
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
struct Trim {
    /// The event; with --model the model, such as `order`
    event: String,
    /// The identifiers that it was emitted with; with --model the keys of rows
    #[arg(value_name = "ID", required = true)]
    identifiers: Vec<String>,
    /// The histories of rows of a model, over its three events
    #[arg(long)]
    model: bool,
    #[command(flatten)]
    confirm: Confirm,
}

impl History {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let What::Trim(trim) = &self.command;
        let Trim {
            event,
            identifiers,
            model,
            confirm,
        } = trim;
        let streamer = session.connect_to_change(confirm.is_dry_run()).await?;
        // Without the archive that messages went to, their snapshots would count as gone.
        let archive = match session.archive_is_there() {
            true => Some(session.archive_to_read().await?),
            false => None,
        };
        if confirm.asks(session) {
            let mut removed = 0;
            for identifier in identifiers {
                removed += trim.of(&streamer, identifier, archive.as_deref(), true).await?.removed;
            }
            let snapshots = output::counted(removed, "snapshot");
            let what = format!("This removes {snapshots} of '{event}', whose messages are gone.");
            if removed > 0 && !confirm.ask(session, &what)? {
                output::done("Nothing was removed.")?;
                return Ok(Exit::Failed);
            }
        }
        for identifier in identifiers {
            let trimmed = trim
                .of(&streamer, identifier, archive.as_deref(), confirm.is_dry_run())
                .await?;
            let (snapshots, removed) = (trimmed.snapshots, trimmed.removed);
            if session.quiet && !confirm.is_dry_run() {
                continue;
            }
            if session.json {
                output::json(&output::object!({
                    "event": event, "identifier": identifier, "snapshots": snapshots, "removed": removed,
                    "dry_run": confirm.is_dry_run(),
                }))?;
            } else {
                let did = if confirm.is_dry_run() {
                    "Would remove"
                } else {
                    "Removed"
                };
                output::line(format!(
                    "{did} {removed} of {snapshots} snapshots of '{event}' with the identifier '{identifier}'."
                ))?;
            }
        }
        // The same for what is kept of messages that were restored, which all identifiers share.
        if let Some(archive) = archive.filter(|_| !confirm.is_dry_run()) {
            let restore = Restore::new(&streamer, archive);
            let streams = match model {
                false => vec![event.clone()],
                true => ModelAction::ALL
                    .map(|action| format!("{}.{action}", event.to_lowercase()))
                    .to_vec(),
            };
            for stream in streams {
                restore.tidy(&stream.into()).await?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Trim {
    async fn of(
        &self,
        streamer: &Streamer,
        identifier: &str,
        archive: Option<&dyn ArchiveStorage>,
        dry_run: bool,
    ) -> Result<TrimmedHistory, HistoryError> {
        let event = &self.event;
        match (self.model, dry_run) {
            (false, true) => streamer.trimmable_history(event, identifier, archive).await,
            (false, false) => streamer.trim_history(event, identifier, archive).await,
            (true, true) => streamer.trimmable_model_history(event, identifier, archive).await,
            (true, false) => streamer.trim_model_history(event, identifier, archive).await,
        }
    }
}
