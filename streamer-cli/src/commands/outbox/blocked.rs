//! `outbox retry` and `outbox skip`: rows that could not be published release their keys.

use clap::Args;
use streamer::{
    Entry, EntryId, OrderedJson, ReceivedMessage, StreamName,
    outbox::{BlockedRow, Outbox, OutboxError},
};

use crate::{
    app::Session,
    confirm::Confirm,
    exit::{Exit, Outcome},
    output,
};

const RETRY_EXAMPLES: &str = "\
Examples:
  streamer outbox retry --all
  streamer outbox retry 0197fdd4-5f2c-7c0e-9d1b-0242ac120002";

const SKIP_EXAMPLES: &str = "\
Examples:
  streamer outbox skip 0197fdd4-5f2c-7c0e-9d1b-0242ac120002 --dry-run
  streamer outbox skip 0197fdd4-5f2c-7c0e-9d1b-0242ac120002 --yes

`outbox status` lists the rows that are blocked. The next rows of their keys are
published then, and a listener never sees what was skipped: its payload is
printed, also by a dry run.";

/// Let blocked rows be published again, once the cause is fixed
#[derive(Args, Debug)]
#[command(after_help = RETRY_EXAMPLES)]
pub(super) struct Retry {
    /// The events
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    events: Vec<String>,
    /// All that are blocked
    #[arg(long)]
    all: bool,
}

impl Retry {
    pub(super) async fn run(&self, session: &Session) -> Outcome {
        let outbox = super::open(session).await?;
        let (mut released, mut missing) = (0, Vec::new());
        if self.all {
            released = outbox.retry(None).await?;
        }
        for event in &self.events {
            match outbox.retry(Some(event)).await {
                Ok(rows) => released += rows,
                Err(OutboxError::NotBlocked(event)) => missing.push(event),
                Err(error) => return Err(error.into()),
            }
        }
        match session.json {
            true => output::done_json(&output::object!({"report": "released", "rows": released}))?,
            false if released == 0 && self.all => output::done("No row is blocked.")?,
            false if released == 0 => {}
            false => output::done(format!(
                "Released {}: a running relay tries {} again (`streamer outbox relay`).",
                output::counted(released, "row"),
                if released == 1 { "it" } else { "them" }
            ))?,
        }
        if !missing.is_empty() {
            return Err(OutboxError::NotBlocked(missing.join("', '")).into());
        }
        Ok(Exit::Done)
    }
}

/// Delete blocked rows, so that the rest of their keys is published
#[derive(Args, Debug)]
#[command(after_help = SKIP_EXAMPLES)]
pub(super) struct Skip {
    /// The events
    #[arg(value_name = "ID", required = true)]
    events: Vec<String>,
    #[command(flatten)]
    confirm: Confirm,
}

impl Skip {
    pub(super) async fn run(&self, session: &Session) -> Outcome {
        let outbox = super::open(session).await?;
        let mut rows = Vec::new();
        for event in &self.events {
            let row = outbox.blocked(event).await?;
            rows.push(row.ok_or_else(|| OutboxError::NotBlocked(event.clone()))?);
        }
        if !self.confirm.is_dry_run() {
            let parts = rows.iter().map(describe).collect::<Vec<_>>().join(", ");
            let events = output::counted(rows.len() as u64, "event");
            let what = format!("This deletes {events} for good, never published ({parts}).");
            if !self.confirm.ask(session, &what)? {
                output::done("Nothing was deleted.")?;
                return Ok(Exit::Failed);
            }
        }
        for row in &rows {
            // Before it is gone.
            let payload = payload(&outbox, row).await?;
            if !self.confirm.is_dry_run() {
                outbox.skip(&row.event_id).await?;
            }
            let did = if self.confirm.is_dry_run() {
                "Would delete"
            } else {
                "Deleted"
            };
            if session.quiet && !self.confirm.is_dry_run() {
                continue;
            }
            match session.json {
                true => output::json(&output::object!({
                    "report": "skipped", "event_id": row.event_id, "stream": row.stream,
                    "ordering_key": row.ordering_key, "data": payload, "dry_run": self.confirm.is_dry_run(),
                }))?,
                false => {
                    output::line(format!("{did} {}.", describe(row)))?;
                    match payload {
                        Some(payload) => output::line(format!("Its payload: {payload}"))?,
                        None => output::line("Its payload cannot be decoded.")?,
                    }
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// What listeners will never get; `None` where it cannot be decoded.
async fn payload(outbox: &Outbox, row: &BlockedRow) -> Result<Option<OrderedJson>, OutboxError> {
    let Some(fields) = outbox.blocked_fields(&row.event_id).await? else {
        return Ok(None);
    };
    let entry = Entry {
        id: EntryId::MIN,
        fields,
    };
    let message = ReceivedMessage::new(StreamName::from(&row.stream), entry, 0);
    Ok(message.payload().ok())
}

fn describe(row: &BlockedRow) -> String {
    let BlockedRow {
        event_id,
        stream,
        ordering_key,
        ..
    } = row;
    format!("event {event_id} of '{stream}', key '{ordering_key}'")
}
