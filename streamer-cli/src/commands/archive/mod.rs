//! `archive` and `purge`, and what is done with an archive.
//!
//! - `sweep`: old messages leave their streams. `restore`: the way back.
//! - Here: `archive list`, `show` and `migrate`.

pub(crate) mod restore;
pub(crate) mod sweep;

use clap::{Args, Subcommand};
use futures_util::TryStreamExt as _;
use streamer::{
    EntryId,
    archive::{ArchivedMessage, SqliteArchive},
};

use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer archive --streams order.placed --older-than \"5 days\"
  streamer archive --streams a,b --older-than 2026-11-01 --dry-run
  streamer archive list --stream order.placed
  streamer archive show order.placed 1795407980936-0
  streamer archive restore --stream order.placed --yes
  streamer archive migrate --print

`archive_driver` and `archive_url` say where the archive is: docs/archive.md.";

/// Move old messages to the archive, look into it, and restore from it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Archive {
    #[command(flatten)]
    sweep: Option<sweep::SweepArgs>,
    #[command(subcommand)]
    command: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Show(Show),
    Restore(restore::Restore),
    Migrate(Migrate),
}

impl Archive {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        match (&self.command, &self.sweep) {
            (Some(What::List(list)), _) => list.run(session).await,
            (Some(What::Show(show)), _) => show.run(session).await,
            (Some(What::Restore(restore)), _) => restore.run(session).await,
            (Some(What::Migrate(migrate)), _) => migrate.run(session).await,
            (None, Some(sweep)) => sweep.archive(session).await,
            (None, None) => Err(Failure::usage(
                "say which --streams, and --older-than what; or a subcommand",
            )),
        }
    }
}

const LIST_EXAMPLES: &str = "\
Examples:
  streamer archive list --stream order.placed
  streamer archive list --json | jq -r .id";

const SHOW_EXAMPLES: &str = "\
Examples:
  streamer archive show order.placed 1795407980936-0
  streamer archive show order.placed 1795407980936-0 --json";

const MIGRATE_EXAMPLES: &str = "\
Examples:
  streamer archive migrate
  streamer archive migrate --print";

/// List what is in the archive, by stream and ID
#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// Only this stream's messages
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

impl List {
    async fn run(&self, session: &Session) -> Outcome {
        if !session.archive_is_there() {
            if !session.json {
                output::line("The archive has no such messages.")?;
            }
            tracing::warn!("the archive's file is not there: nothing was archived yet");
            return Ok(Exit::Done);
        }
        let archive = session.archive_to_read().await?;
        let mut messages: futures_util::stream::BoxStream<'_, _> = match &self.stream {
            Some(stream) => Box::pin(archive.of_stream(stream.into())),
            None => Box::pin(archive.all()),
        };
        let mut any = false;
        while let Some(message) = messages.try_next().await? {
            any = true;
            if session.json {
                output::json(&message)?;
            } else {
                output::line(describe(&message))?;
            }
        }
        if !any && !session.json {
            output::line("The archive has no such messages.")?;
        }
        Ok(Exit::Done)
    }
}

/// A message in a line: stream, ID, time, name.
fn describe(message: &ArchivedMessage) -> String {
    let ArchivedMessage { stream, id, .. } = message;
    let created = i64::try_from(message.created_ms()).ok();
    let created = created.and_then(|created| jiff::Timestamp::from_millisecond(created).ok());
    let created = created.map_or_else(|| "-".to_owned(), |created| created.to_string());
    format!("{stream} {id} {created} {}", message.message().name())
}

/// Show one archived message
#[derive(Args, Debug)]
#[command(after_help = SHOW_EXAMPLES)]
struct Show {
    /// The stream that it was on
    stream: String,
    /// The ID that it had there
    id: EntryId,
}

impl Show {
    async fn run(&self, session: &Session) -> Outcome {
        let Self { stream, id } = self;
        let archive = session.archive_to_read().await?;
        let Some(message) = archive.find(&stream.into(), *id).await? else {
            return Err(missing(stream, *id, archive.location()));
        };
        if session.json {
            output::json(&message)?;
            return Ok(Exit::Done);
        }
        output::line(format!("{stream} {id}"))?;
        for earlier in &message.original_ids {
            output::line(format!("  was {earlier} before"))?;
        }
        for (name, value) in &message.fields {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            output::line(format!("  {name}: {value}"))?;
        }
        Ok(Exit::Done)
    }
}

/// A message that the archive does not have.
fn missing(stream: &str, id: EntryId, location: &str) -> Failure {
    Failure::failed(format!("message {id} of '{stream}' is not in the archive {location}"))
}

/// Make the tables that the archive needs, where they are missing
#[derive(Args, Debug)]
#[command(after_help = MIGRATE_EXAMPLES)]
struct Migrate {
    /// Print the statements, for whoever may run them
    #[arg(long)]
    print: bool,
}

impl Migrate {
    async fn run(&self, session: &Session) -> Outcome {
        if self.print && session.config.settings.archive_driver.value == "sqlite" {
            // Nothing is opened: that would make the file.
            output::text(SqliteArchive::SCHEMA.trim_end())?;
            return Ok(Exit::Done);
        }
        let archive = session.archive().await?;
        if self.print {
            let schema = archive.schema().unwrap_or("-- This archive needs no tables.");
            output::text(schema.trim_end())?;
            return Ok(Exit::Done);
        }
        archive.migrate().await?;
        match session.json {
            true => output::done_json(&output::object!({"report": "migrated", "archive": archive.location()}))?,
            false => output::done(format!("The archive {} is ready.", archive.location()))?,
        }
        Ok(Exit::Done)
    }
}
