//! `group`: the consumer groups of streams are listed, moved and deleted.

use clap::{Args, Subcommand};
use streamer::{
    EntryId, OrderedJson, RangeBound, StreamName, Streamer,
    engine::{EngineErrorKind, GroupInfo, GroupStart},
};

use super::start::{StartAt, start};
use crate::{
    app::Session,
    confirm::Confirm,
    exit::{Exit, Failure, Outcome},
    listeners, names, output,
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  streamer group list order.placed
  streamer group reset order.placed billing --to 2026-11-01 --dry-run
  streamer group reset order.placed billing --to start
  streamer group delete order.placed old-billing";

const LIST_EXAMPLES: &str = "\
Examples:
  streamer group list
  streamer group list order.placed,order.paid --json";

const RESET_EXAMPLES: &str = "\
Examples:
  streamer group reset order.placed billing --to start
  streamer group reset order.placed billing --to 1795407980936-0
  streamer group reset order.placed billing --to \"2 hours\" --dry-run

Messages that are pending stay pending. Back means that listeners get messages
again; forward means that the group never gets those in between.";

const DELETE_EXAMPLES: &str = "\
Examples:
  streamer group delete order.placed old-billing --dry-run
  streamer group delete order.placed old-billing --yes";

/// So many entries are counted; beyond it is "more than".
const COUNTED: usize = 100_000;
/// Entries asked for at once.
const STEP: usize = 1_000;

/// List, move and delete the consumer groups of streams
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Group {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Reset(Reset),
    Delete(Delete),
}

impl Group {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        match &self.command {
            What::List(list) => list.run(session).await,
            What::Reset(reset) => reset.run(session).await,
            What::Delete(delete) => delete.run(session).await,
        }
    }
}

/// List the groups of streams: how far each one is, and since when it is idle
#[derive(Args, Debug)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// The streams, separated by commas [default: those of the configuration]
    #[arg(value_name = "STREAMS", value_delimiter = ',')]
    streams: Vec<String>,
}

impl List {
    async fn run(&self, session: &Session) -> Outcome {
        let configured = listeners::names(&session.listeners, &session.config.definitions);
        let known = configured.iter().map(|(event, _)| event.as_str()).collect::<Vec<_>>();
        let named = self
            .streams
            .iter()
            .map(|name| name.trim())
            .filter(|name| !name.is_empty());
        let mut streams = named.collect::<Vec<_>>();
        if streams.is_empty() {
            streams.clone_from(&known);
        }
        if streams.is_empty() {
            return Err(Failure::usage("name a stream: no event is configured"));
        }
        let streamer = session.connect_to_read().await?;
        let mut table = Table::new([
            Column::text("Stream"),
            Column::text("Group"),
            Column::whole("Consumers"),
            Column::whole("Pending"),
            Column::whole("Lag"),
            Column::whole("Last delivered"),
            Column::whole("Idle"),
        ]);
        for name in streams {
            let stream = StreamName::from(name);
            if let Some(missing) = names::no_stream(session, &streamer, name).await {
                tracing::warn!("{missing}");
                continue;
            }
            for group in streamer.engine().groups(&stream).await? {
                let idle = idle_ms(&streamer, &stream, &group.name).await?;
                if session.json {
                    let rest = output::object!({"stream": name, "idle_ms": idle});
                    output::json(&output::joined(&group, &rest))?;
                    continue;
                }
                table.row([
                    name,
                    &group.name,
                    &group.consumers.to_string(),
                    &group.pending.to_string(),
                    &group.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string()),
                    &group.last_delivered_id.to_string(),
                    &idle.map_or_else(|| "-".to_owned(), shown_ms),
                ]);
            }
        }
        match (session.json, table.is_empty()) {
            (true, _) => {}
            (false, true) => output::line("There are no groups.")?,
            (false, false) => table.print()?,
        }
        Ok(Exit::Done)
    }
}

/// For how long no consumer of the group did anything; `None` when it has none.
pub(crate) async fn idle_ms(streamer: &Streamer, stream: &StreamName, group: &str) -> Result<Option<u64>, Failure> {
    let consumers = match streamer.engine().consumers(stream, group).await {
        // Deleted a moment ago, or its name is not text, so that it cannot be asked for.
        Err(error) if error.kind() == EngineErrorKind::NoGroup => return Ok(None),
        consumers => consumers?,
    };
    let idle = consumers.iter().map(|consumer| consumer.idle).min();
    Ok(idle.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)))
}

/// `3h 5m`: whole seconds, which is what matters to whoever reads it.
pub(crate) fn shown_ms(ms: u64) -> String {
    match ms {
        ..1000 => format!("{ms}ms"),
        _ => humantime::format_duration(std::time::Duration::from_secs(ms / 1000)).to_string(),
    }
}

/// The group, or an error with the nearest name.
pub(super) async fn find(
    session: &Session,
    streamer: &Streamer,
    stream: &str,
    group: &str,
) -> Result<GroupInfo, Failure> {
    let name = StreamName::from(stream);
    if let Some(missing) = names::no_stream(session, streamer, stream).await {
        return Err(Failure::failed(missing));
    }
    let groups = streamer.engine().groups(&name).await?;
    match groups.iter().find(|one| one.name == group) {
        Some(found) => Ok(found.clone()),
        None => {
            let hint = names::hint(group, groups.iter().map(|one| one.name.as_str()));
            Err(Failure::failed(format!(
                "the stream '{stream}' has no group '{group}'{hint}"
            )))
        }
    }
}

/// Move a group to another place in its stream
#[derive(Args, Debug)]
#[command(after_help = RESET_EXAMPLES)]
struct Reset {
    /// The stream
    stream: String,
    /// The group
    group: String,
    /// Where it goes on: after an entry ID, at a date or an age, at the `start`, or with what comes from `now` on
    #[arg(long, value_name = "PLACE", value_parser = start, allow_hyphen_values = true)]
    to: StartAt,
    /// Only tell what would happen
    #[arg(long)]
    dry_run: bool,
}

impl Reset {
    async fn run(&self, session: &Session) -> Outcome {
        let Self {
            stream, group, dry_run, ..
        } = self;
        let streamer = session.connect_to_change(*dry_run).await?;
        let info = find(session, &streamer, stream, group).await?;
        let name = StreamName::from(stream);
        let last = streamer.engine().last_id(&name).await?;
        let to = match self.to {
            StartAt::Beginning => EntryId::MIN,
            StartAt::Now => last,
            StartAt::After(id) => id,
        };
        if to > last {
            tracing::warn!("{to} comes after the last entry of '{stream}', {last}");
        }
        let from = info.last_delivered_id;
        let between = count(&streamer, &name, from.min(to), from.max(to)).await?;
        if !dry_run {
            let place = match self.to {
                // What is appended at this moment belongs to "from now on".
                StartAt::Now => GroupStart::Now,
                _ => GroupStart::After(to),
            };
            streamer.engine().set_group_position(&name, group, place).await?;
        }
        if session.quiet && !dry_run {
            return Ok(Exit::Done);
        }
        let (again, left_out) = if to < from { (between, 0) } else { (0, between) };
        if session.json {
            output::json(&output::object!({
                "report": "group_reset", "stream": stream, "group": group, "from": from, "to": to, "again": again,
                "left_out": left_out, "pending": info.pending, "dry_run": dry_run,
            }))?;
            return Ok(Exit::Done);
        }
        let effect = match between {
            0 => "no message lies in between".to_owned(),
            _ if to < from => format!("{} delivered again", will_be(between)),
            _ => format!("{} never delivered", will_be(between)),
        };
        let did = if *dry_run { "would be moved" } else { "has been moved" };
        let pending = match info.pending {
            0 => String::new(),
            1 => " 1 message stays pending.".to_owned(),
            pending => format!(" {} stay pending.", output::counted(pending, "message")),
        };
        output::line(format!(
            "Group '{group}' of the '{stream}' stream {did} from {from} to {to}: {effect}.{pending}"
        ))?;
        Ok(Exit::Done)
    }
}

fn will_be(count: u64) -> String {
    match count > COUNTED as u64 {
        true => format!("more than {COUNTED} messages will be"),
        false => format!("{} will be", output::counted(count, "message")),
    }
}

/// How many entries lie after `from`, up to `to`.
async fn count(streamer: &Streamer, stream: &StreamName, from: EntryId, to: EntryId) -> Result<u64, Failure> {
    let mut start = RangeBound::Exclusive(from);
    let mut counted = 0;
    while counted <= COUNTED {
        let end = RangeBound::Inclusive(to);
        let page = streamer.engine().range(stream, start, end, Some(STEP), false).await?;
        counted += page.len();
        match page.last() {
            Some(last) if page.len() == STEP => start = RangeBound::Exclusive(last.id),
            _ => break,
        }
    }
    Ok(counted as u64)
}

/// Delete a group, with what is pending in it
#[derive(Args, Debug)]
#[command(after_help = DELETE_EXAMPLES)]
struct Delete {
    /// The stream
    stream: String,
    /// The group
    group: String,
    #[command(flatten)]
    confirm: Confirm,
}

impl Delete {
    async fn run(&self, session: &Session) -> Outcome {
        let Self { stream, group, confirm } = self;
        let streamer = session.connect_to_change(confirm.is_dry_run()).await?;
        let info = find(session, &streamer, stream, group).await?;
        let (pending, consumers) = (info.pending, info.consumers);
        let lag = match info.lag {
            Some(lag) => format!("{} not yet delivered", output::counted(lag, "message")),
            None => "an unknown number of messages not yet delivered".to_owned(),
        };
        let has = format!(
            "{}, {} pending, {lag}",
            output::counted(consumers, "consumer"),
            output::counted(pending, "message")
        );
        if confirm.is_dry_run() {
            match session.json {
                true => output::json(&report(self, &info, true))?,
                false => output::line(format!("Would delete group '{group}' of the '{stream}' stream: {has}."))?,
            }
            return Ok(Exit::Done);
        }
        let what = format!("This deletes group '{group}' of the '{stream}' stream ({has}); the messages stay.");
        if !confirm.ask(session, &what)? {
            output::done("Nothing was deleted.")?;
            return Ok(Exit::Failed);
        }
        streamer
            .engine()
            .destroy_group(&StreamName::from(stream), group)
            .await?;
        match session.json {
            true => output::done_json(&report(self, &info, false))?,
            false => output::done(format!(
                "Group '{group}' has been deleted from the '{stream}' stream: {has}."
            ))?,
        }
        Ok(Exit::Done)
    }
}

fn report(delete: &Delete, info: &GroupInfo, dry_run: bool) -> OrderedJson {
    output::object!({
        "report": "group_deleted", "stream": delete.stream, "group": delete.group, "pending": info.pending,
        "consumers": info.consumers, "lag": info.lag, "dry_run": dry_run,
    })
}
