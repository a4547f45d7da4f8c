//! `history trim`: removes snapshots whose messages are gone.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    app::Session,
    exit::{Exit, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer history trim user 7
  streamer history trim user 7 8 9 --json

A snapshot is removed when its message is neither on the stream nor in the archive that
`archive_driver` and `archive_url` name. Emit as you like meanwhile.";

/// Look after what is recorded for replays
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
    /// The event
    event: String,
    /// The identifiers that it was emitted with
    #[arg(value_name = "ID", required = true)]
    identifiers: Vec<String>,
}

impl History {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let What::Trim(Trim { event, identifiers }) = &self.command;
        let streamer = session.connect().await?;
        let archive = session.archive().await?;
        for identifier in identifiers {
            let trimmed = streamer.trim_history(event, identifier, Some(&*archive)).await?;
            let (snapshots, removed) = (trimmed.snapshots, trimmed.removed);
            if session.json {
                output::json(&json!({
                    "event": event, "identifier": identifier, "snapshots": snapshots, "removed": removed,
                }))?;
            } else {
                output::line(format!(
                    "Removed {removed} of {snapshots} snapshots of '{event}' with the identifier '{identifier}'."
                ))?;
            }
        }
        Ok(Exit::Done)
    }
}
