//! `archive restore`: archived messages go back to their streams.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use futures_util::TryStreamExt as _;
use streamer::{
    EntryId, StreamName,
    archive::{ArchiveStorage, ArchivedMessage, Restore as Restoring, RestoreSummary, TransferError},
};

use super::missing;
use crate::{
    app::Session,
    confirm::Confirm,
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer archive restore --stream order.placed --id 1795407980936-0
  streamer archive restore --stream order.placed --yes
  streamer archive restore --all --dry-run";

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
    #[command(flatten)]
    confirm: Confirm,
}

impl Restore {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        if self.confirm.is_dry_run() {
            let archive = session.archive_to_read().await?;
            return self.tell_what_would_happen(session, archive.as_ref()).await;
        }
        let which = self.which();
        let (messages, listeners) = if self.id.is_some() {
            ("it", "its")
        } else {
            ("them", "their")
        };
        let what = format!("Restoring {which} gives {messages} to {listeners} listeners again.");
        if !self.confirm.ask(session, &what)? {
            output::done("Nothing was restored.")?;
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
        let (restored, failed) = match (&self.stream, self.id) {
            (Some(name), Some(id)) => match restoring.one(&name.into(), id).await {
                Ok(Some(_)) => (1, 0),
                Ok(None) => return Err(missing(name, id, archive.location())),
                Err(error) => return Err(error.into()),
            },
            _ => {
                let RestoreSummary { restored, failed, .. } = restoring.run(stream.as_ref()).await?;
                (restored, failed)
            }
        };
        if let Some(error) = broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error.into());
        }
        match session.json {
            true => output::done_json(&output::object!({"report": "total", "restored": restored, "failed": failed}))?,
            false => output::done(format!("Total of {} restored.", output::counted(restored, "message")))?,
        }
        match failed {
            0 => Ok(Exit::Done),
            _ => Err(Failure::failed(format!(
                "{} could not be restored and stayed in the archive",
                output::counted(failed, "message")
            ))),
        }
    }

    /// What is to be restored, in words.
    fn which(&self) -> String {
        match (&self.stream, self.id) {
            (Some(stream), Some(id)) => format!("message {id} of '{stream}'"),
            (Some(stream), None) => format!("all archived messages of '{stream}'"),
            _ => "all archived messages".to_owned(),
        }
    }

    async fn tell_what_would_happen(&self, session: &Session, archive: &dyn ArchiveStorage) -> Outcome {
        let mut count = 0_u64;
        if let (Some(stream), Some(id)) = (&self.stream, self.id) {
            count = u64::from(archive.find(&stream.into(), id).await?.is_some());
        } else {
            let mut messages: futures_util::stream::BoxStream<'_, _> = match &self.stream {
                Some(stream) => Box::pin(archive.of_stream(stream.into())),
                None => Box::pin(archive.all()),
            };
            while messages.try_next().await?.is_some() {
                count += 1;
            }
        }
        match session.json {
            true => output::json(
                &output::object!({"report": "total", "restored": 0, "would_restore": count, "dry_run": true}),
            )?,
            false => output::line(format!("Would restore {}.", output::counted(count, "message")))?,
        }
        Ok(Exit::Done)
    }
}

/// Prints what became of a message.
fn tell(message: &ArchivedMessage, new: Result<EntryId, &TransferError>, json: bool, quiet: bool) -> io::Result<()> {
    let ArchivedMessage { stream, id, .. } = message;
    let archived = message.message();
    let name = archived.name();
    match (new, json) {
        (Ok(_), _) if quiet => Ok(()),
        (Ok(new), true) => {
            output::json(&output::object!({"report": "restored", "stream": stream, "original_id": id, "id": new}))
        }
        // The first sentence of each is laravel-streamer's.
        (Ok(new), false) => output::line(format!("Successfully restored [{name}][{id}] message. New ID: {new}")),
        (Err(error), true) => output::json(
            &output::object!({"report": "failed", "stream": stream, "original_id": id, "error": error.to_string()}),
        ),
        (Err(error), false) => output::line(output::styled(
            &format!("Failed to restore [{name}][{id}] message. Error: {error}"),
            "31",
        )),
    }
}
