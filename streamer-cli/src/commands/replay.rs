//! `replay`: what a resource looks like after what happened to it.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use jiff::Timestamp;
use streamer::{Change, HistoryError, Moment, Replayed, Streamer, archive::ArchiveStorage};

use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    output,
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  streamer replay user 7
  streamer replay user 7 --until 2026-11-01T12:00:00+01:00
  streamer replay user 7 --until 2026-11-01
  streamer replay user 7 --steps
  streamer replay user 7 --json | jq .data
  streamer replay --model order 7 --until \"2 days\"

With --model all events of a model (`order.created`, `.updated`, `.deleted`)
rebuild its row. Only events that were emitted with an identifier
(`emit … --identifier ID`) have a history.";

/// Put a resource together again from the events about it
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Replay {
    /// The event; with --model the model, such as `order`
    event: String,
    /// The identifier that it was emitted with; with --model the key of the row (of several columns joined by `:`)
    #[arg(value_name = "ID")]
    identifier: String,
    /// Rebuild the row of a model, as it is or was
    #[arg(long)]
    model: bool,
    /// Only what happened before this moment: a date (UTC where it names no zone), or an age such as `2 days`
    #[arg(long, value_name = "DATE", allow_hyphen_values = true)]
    until: Option<Moment>,
    /// Show each change as it happened
    #[arg(long)]
    steps: bool,
}

impl Replay {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_read().await?;
        let mut outcome = self.replay(&streamer, None).await?;
        // An archive is opened only when there is something to look for.
        if matches!(&outcome, Some((replayed, _)) if !replayed.missing.is_empty()) && session.archive_is_there() {
            let archive = session.archive_to_read().await?;
            outcome = self.replay(&streamer, Some(&*archive)).await?;
        }
        let Some((replayed, changes)) = outcome else {
            let Self { event, identifier, .. } = self;
            if session.json {
                output::json(&())?;
            } else {
                let what = if self.model { "key" } else { "identifier" };
                output::line(format!(
                    "There is no history of '{event}' with the {what} '{identifier}'."
                ))?;
            }
            return Ok(Exit::Done);
        };
        if self.steps {
            show_steps(&changes, session.json)?;
        } else if session.json {
            let Replayed {
                data,
                messages,
                missing,
                unreadable,
                ..
            } = &replayed;
            let of_model = self.model.then_some(replayed.deleted);
            let deleted = of_model.map(|deleted| output::object!({"deleted": deleted}));
            let begin = output::joined(&output::object!({"data": data}), &deleted);
            let rest = output::object!({"messages": messages, "missing": missing, "unreadable": unreadable});
            output::json(&output::joined(&begin, &rest))?;
        } else if replayed.deleted {
            output::line(format!("{} {} is deleted.", self.event, self.identifier))?;
        } else {
            output::text(format!("{:#}", replayed.data))?;
        }
        whole(&replayed)
    }

    async fn replay(
        &self,
        streamer: &Streamer,
        archive: Option<&dyn ArchiveStorage>,
    ) -> Result<Option<(Replayed, Vec<Change>)>, HistoryError> {
        let mut changes = Vec::new();
        let mut replay = match self.model {
            true => streamer.replay_model(&self.event, &self.identifier),
            false => streamer.replay(&self.event, &self.identifier),
        };
        if let Some(archive) = archive {
            replay = replay.archive(archive);
        }
        if let Some(until) = self.until {
            replay = replay.until(UNIX_EPOCH + Duration::from_millis(until.unix_ms()));
        }
        if self.steps {
            replay = replay.on_change(|change| changes.push(change));
        }
        let replayed = replay.run().await?;
        Ok(replayed.map(|replayed| (replayed, changes)))
    }
}

fn show_steps(changes: &[Change], json: bool) -> Result<(), Failure> {
    let mut table = Table::new([
        Column::whole("When (UTC)"),
        Column::whole("Entry"),
        Column::text("Field"),
        Column::text("From"),
        Column::text("To"),
    ]);
    for Change {
        when,
        entry,
        field,
        from,
        to,
        ..
    } in changes
    {
        let when = Timestamp::try_from(*when).unwrap_or_default();
        if json {
            let when = when.to_string();
            output::json(&output::object!({"when": when, "entry": entry, "field": field, "from": from, "to": to}))?;
            continue;
        }
        let from = from.as_ref().map(ToString::to_string).unwrap_or_default();
        let when = when.strftime("%Y-%m-%d %H:%M:%S").to_string();
        table.row([when, entry.to_string(), field.clone(), from, to.to_string()]);
    }
    if !json {
        table.print()?;
    }
    Ok(())
}

/// What is only a part is said to be one, after it was shown.
fn whole(replayed: &Replayed) -> Outcome {
    let Replayed {
        missing, unreadable, ..
    } = replayed;
    let mut reasons: Vec<String> = Vec::new();
    if !missing.is_empty() {
        let ids: Vec<String> = missing.iter().take(10).map(ToString::to_string).collect();
        let more = if missing.len() > ids.len() { ", …" } else { "" };
        reasons.push(format!(
            "messages that are neither on the stream nor in the archive: {} ({}{more})",
            missing.len(),
            ids.join(", ")
        ));
    }
    reasons.extend(unreadable.iter().take(10).cloned());
    if reasons.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Failure::failed(format!(
        "this is not the whole history: {}; what they changed is left out",
        reasons.join("; ")
    )))
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Engine(error) => error.into(),
            HistoryError::Archive(error) => error.into(),
            other => Self::failed(other.to_string()),
        }
    }
}
