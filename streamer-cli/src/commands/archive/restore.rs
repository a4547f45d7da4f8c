//! `archive restore`: archived messages go back to their streams.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use serde_json::json;
use streamer::{
    EntryId, StreamName,
    archive::{ArchivedMessage, Restore as Restoring, RestoreSummary, TransferError},
};

use super::missing;
use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer archive restore --stream order.placed --id 1795407980936-0
  streamer archive restore --stream order.placed --yes
  streamer archive restore --all --yes";

/// Put archived messages back on their streams, where listeners get them again
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["all", "stream"]))]
pub(crate) struct Restore {
    /// Every message
    #[arg(long)]
    all: bool,
    /// Those of this stream
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// The one that had this ID there
    #[arg(long, value_name = "ID", requires = "stream")]
    id: Option<EntryId>,
    /// Do not ask
    #[arg(long, visible_alias = "no-interaction", short_alias = 'n')]
    yes: bool,
}

impl Restore {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        if !self.yes && !confirmed(self)? {
            output::line("Nothing was restored.")?;
            return Ok(Exit::Failed);
        }
        let streamer = session.connect().await?;
        let archive = session.archive().await?;
        let stream = self.stream.as_ref().map(StreamName::from);
        let broken = Arc::new(Mutex::<Option<io::Error>>::default());
        let (telling, json, quiet) = (Arc::clone(&broken), session.json, session.quiet);
        let restoring = Restoring::new(&streamer, Arc::clone(&archive)).on_message(move |message, new| {
            let mut broken = telling.lock().unwrap_or_else(PoisonError::into_inner);
            if broken.is_none() {
                *broken = tell(message, new, json, quiet).err();
            }
        });
        let summary = match (&self.stream, self.id) {
            (Some(name), Some(id)) => match restoring.one(&name.into(), id).await {
                Ok(Some(_)) => RestoreSummary { restored: 1, failed: 0 },
                Ok(None) => return Err(missing(name, id, archive.location())),
                Err(error) => return Err(error.into()),
            },
            _ => restoring.run(stream.as_ref()).await?,
        };
        if let Some(error) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error.into());
        }
        let RestoreSummary { restored, failed } = summary;
        match session.json {
            true => output::json(&json!({"report": "total", "restored": restored, "failed": failed}))?,
            false => output::line(format!("Total of {restored} messages restored."))?,
        }
        match failed {
            0 => Ok(Exit::Done),
            _ => Err(Failure::failed(format!(
                "{failed} messages could not be restored and are still in the archive"
            ))),
        }
    }
}

/// Prints what became of a message.
fn tell(message: &ArchivedMessage, new: Result<EntryId, &TransferError>, json: bool, quiet: bool) -> io::Result<()> {
    let ArchivedMessage { stream, id, .. } = message;
    match (new, json) {
        (Ok(_), _) if quiet => Ok(()),
        (Ok(new), true) => output::json(&json!({"report": "restored", "stream": stream, "original_id": id, "id": new})),
        (Ok(new), false) => output::line(format!(
            "Message [{id}] has been restored to the '{stream}' stream as [{new}]."
        )),
        (Err(error), true) => {
            output::json(&json!({"report": "failed", "stream": stream, "original_id": id, "error": error.to_string()}))
        }
        (Err(error), false) => output::line(output::styled(
            &format!("Failed to restore [{id}] to the '{stream}' stream. Error: {error}"),
            "31",
        )),
    }
}

/// Asks whoever sits at the terminal.
fn confirmed(restore: &Restore) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(
            "restoring gives messages to their listeners again: say --yes where nobody can be asked",
        ));
    }
    let which = match (&restore.stream, restore.id) {
        (Some(stream), Some(id)) => format!("message {id} of '{stream}'"),
        (Some(stream), None) => format!("all archived messages of '{stream}'"),
        _ => "all archived messages".to_owned(),
    };
    let mut stderr = io::stderr();
    write!(
        stderr,
        "Restoring {which} gives them to their listeners again. Go on? [y/N] "
    )?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::failed(format!("could not read the answer: {error}")))?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}
