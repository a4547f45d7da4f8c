//! `scheduled`: events that were emitted for later are listed, cancelled, or put on their streams when they are due.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use streamer::{
    Entry, EntryId, OrderedJson, ReceivedMessage, StreamName, Streamer,
    engine::{EngineErrorKind, ScheduledEntry},
};

use crate::{
    app::Session,
    confirm::Confirm,
    exit::{Exit, Failure, Outcome},
    listeners, output,
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  streamer emit cart.reminder '{\"cart\": 7}' --in 24h
  streamer scheduled list
  streamer scheduled cancel cart.reminder 1764230400000-1764144000000000
  streamer scheduled deliver cart.reminder";

const LIST_EXAMPLES: &str = "\
Examples:
  streamer scheduled list
  streamer scheduled list cart.reminder --limit 100
  streamer scheduled list --json | jq -r 'select(.overdue) | .id'

An event that is overdue for more than a few seconds waits for a listening:
nobody listens to its stream. `scheduled deliver` puts it there.";

const CANCEL_EXAMPLES: &str = "\
Examples:
  streamer scheduled cancel cart.reminder 1764230400000-1764144000000000 --yes

The ID is the one that `emit` printed, and that `scheduled list` shows.";

const DELIVER_EXAMPLES: &str = "\
Examples:
  streamer scheduled deliver
  streamer scheduled deliver cart.reminder

Every listening does this by itself for the streams that it reads. The command
is for streams that nobody listens to, from cron or a timer of systemd.";

/// The most streams that are looked for in the store.
const STREAMS: usize = 10_000;

/// Events that are read at once.
const PAGE: usize = 200;

/// How much of a payload is shown.
const SHOWN: usize = 60;

/// List and cancel events that are due later
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Scheduled {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Cancel(Cancel),
    Deliver(Deliver),
}

impl Scheduled {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        match &self.command {
            What::List(list) => list.run(session).await,
            What::Cancel(cancel) => cancel.run(session).await,
            What::Deliver(deliver) => deliver.run(session).await,
        }
    }
}

/// List the events that are due later, the first to be due first
#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// The events [default: those of the configuration, and all for which something is scheduled]
    events: Vec<String>,
    /// At most so many of each event
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
}

impl List {
    async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_read().await?;
        let names = names(&self.events, session, &streamer).await?;
        let first = streamer.engine().first_scheduled(&names).await;
        let mut table = Table::new([
            Column::text("Due"),
            Column::text("Event"),
            Column::text("ID"),
            Column::text("Payload"),
        ]);
        let mut more = 0;
        for (name, first) in names.iter().zip(first) {
            let now_ms = match first {
                Ok(first) if first.id.is_some() => first.now_ms,
                Ok(_) => continue,
                // A name that was found may be something else by now; one that was asked for is told.
                Err(error) if self.events.is_empty() && error.kind() == EngineErrorKind::WrongType => continue,
                Err(error) => return Err(error.into()),
            };
            let entries = first_of(&streamer, name, self.limit).await?;
            let all = streamer.scheduled(name.clone()).count().await?;
            more += all.saturating_sub(entries.len() as u64);
            for ScheduledEntry { id, fields } in entries {
                let message = ReceivedMessage::new(name.clone(), Entry { id, fields }, 0);
                let (payload, due) = (payload(&message), shown_moment(id.ms));
                let overdue = id.ms <= now_ms;
                if session.json {
                    output::json(&output::object!({
                        "event": name.to_string(), "id": id, "due": due, "due_ms": id.ms, "overdue": overdue,
                        "data": payload,
                    }))?;
                    continue;
                }
                let due = if overdue { format!("{due} (overdue)") } else { due };
                let mut text: String = payload.to_string().chars().take(SHOWN + 1).collect();
                if text.chars().count() > SHOWN {
                    text.pop();
                    text.push('…');
                }
                table.row([due, name.to_string(), id.to_string(), text]);
            }
        }
        if session.json {
            return Ok(Exit::Done);
        }
        if table.is_empty() {
            output::line("No scheduled events")?;
            return Ok(Exit::Done);
        }
        table.print()?;
        if more > 0 {
            output::line(format!(
                "{} more; --limit shows them.",
                output::counted(more, "scheduled event")
            ))?;
        }
        Ok(Exit::Done)
    }
}

/// The first events of a name, at most `limit`.
async fn first_of(streamer: &Streamer, name: &StreamName, limit: usize) -> Result<Vec<ScheduledEntry>, Failure> {
    let scheduled = streamer.scheduled(name.clone());
    let mut entries: Vec<ScheduledEntry> = Vec::new();
    while entries.len() < limit {
        let count = PAGE.min(limit - entries.len());
        let page = scheduled.page(entries.last().map(|entry| entry.id), count).await?;
        let is_last = page.len() < count;
        entries.extend(page);
        if is_last {
            break;
        }
    }
    Ok(entries)
}

/// The payload; null where it cannot be decoded.
fn payload(message: &ReceivedMessage) -> OrderedJson {
    message.payload().unwrap_or_default()
}

pub(super) fn shown_moment(ms: u64) -> String {
    let moment = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(
        || format!("{ms} ms"),
        |moment| moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// The streams to look at: those that are named, or all that are known.
async fn names(events: &[String], session: &Session, streamer: &Streamer) -> Result<Vec<StreamName>, Failure> {
    let mut names = BTreeSet::new();
    for event in events {
        let name = StreamName::from(event);
        name.check()?;
        names.insert(name);
    }
    if events.is_empty() {
        let configured = listeners::names(&session.listeners, &session.config.definitions);
        names.extend(configured.into_iter().map(|(event, _)| StreamName::from(event)));
        // A stream that waits for its first event is no stream yet.
        let found = streamer.engine().find_scheduled(STREAMS).await?;
        if !found.complete {
            tracing::warn!("the store has too many keys to find every stream; name the events that are looked for");
        }
        names.extend(found.names);
    }
    Ok(names.into_iter().collect())
}

/// Cancel events that are due later
#[derive(Args, Debug)]
#[command(after_help = CANCEL_EXAMPLES)]
struct Cancel {
    /// The event
    event: String,
    /// The IDs under which they wait
    #[arg(required = true)]
    ids: Vec<EntryId>,
    #[command(flatten)]
    confirm: Confirm,
}

impl Cancel {
    async fn run(&self, session: &Session) -> Outcome {
        let dry_run = self.confirm.is_dry_run();
        let streamer = session.connect_to_change(dry_run).await?;
        let name = StreamName::from(&self.event);
        name.check()?;
        let scheduled = streamer.scheduled(name);
        let mut waiting = Vec::new();
        for id in &self.ids {
            // The first event after the ID before it.
            let page = scheduled.page(id.previous(), 1).await?;
            if page.first().is_some_and(|entry| entry.id == *id) {
                waiting.push(*id);
            }
        }
        let events = output::counted(waiting.len() as u64, "scheduled event");
        if dry_run {
            match session.json {
                true => output::json(&output::object!({
                    "report": "cancelled", "event": self.event, "ids": waiting, "dry_run": true,
                }))?,
                false => output::line(format!("Would cancel {events} of '{}'.", self.event))?,
            }
            return Ok(Exit::Done);
        }
        let what = format!(
            "This cancels {events} of '{}', which no listener gets then.",
            self.event
        );
        if !waiting.is_empty() && !self.confirm.ask(session, &what)? {
            output::done("Nothing was cancelled.")?;
            return Ok(Exit::Failed);
        }
        let mut missing = Vec::new();
        for id in &self.ids {
            if !scheduled.cancel(*id).await? {
                missing.push(*id);
            } else if session.json {
                output::done_json(&output::object!({"report": "cancelled", "event": self.event, "id": id}))?;
            } else {
                output::done(format!("Cancelled [{id}] of '{}'.", self.event))?;
            }
        }
        match &missing[..] {
            [] => Ok(Exit::Done),
            missing => {
                let ids = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                Err(Failure::failed(format!(
                    "no event of '{}' waits as {ids}: it is on its stream already, was cancelled before, or was never \
                     scheduled; `scheduled list {0}` shows what waits",
                    self.event
                )))
            }
        }
    }
}

/// Put events that are due on their streams
#[derive(Args, Debug)]
#[command(after_help = DELIVER_EXAMPLES)]
struct Deliver {
    /// The events [default: those of the configuration, and all for which something is scheduled]
    events: Vec<String>,
}

impl Deliver {
    async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_change(false).await?;
        let names = names(&self.events, session, &streamer).await?;
        let first = streamer.engine().first_scheduled(&names).await;
        let mut total = 0;
        for (name, first) in names.into_iter().zip(first) {
            if !first?.is_due() {
                continue;
            }
            let delivered = streamer.scheduled(name.clone()).append_due().await?;
            total += delivered;
            if session.json && delivered > 0 {
                output::done_json(
                    &output::object!({"report": "delivered", "event": name.to_string(), "events": delivered}),
                )?;
            }
        }
        if !session.json {
            output::done(format!("Delivered {}.", output::counted(total, "event")))?;
        }
        Ok(Exit::Done)
    }
}
