//! `archive --streams …` and `purge`: old messages leave their streams.

use std::{
    io::{self, IsTerminal as _},
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use streamer::{
    EntryId, OrderedJson, StreamName, Streamer,
    archive::{ArchiveStorage, Fate, HoldingGroup, MemoryArchive, OlderThan, Sweep, SweepSummary, holding_groups},
};

use crate::{
    app::Session,
    confirm::Confirm,
    exit::{Exit, Failure, Outcome},
    listeners, names, output,
};

const EXAMPLES: &str = "\
Examples:
  streamer purge --streams order.placed --older-than \"2 weeks\"
  streamer purge --streams order.placed --older-than 2026-11-01 --dry-run
  streamer purge --streams order.placed,order.paid --older-than 2w --yes";

/// What `archive` and `purge` take.
#[derive(Args, Debug)]
pub(crate) struct SweepArgs {
    /// The streams, separated by commas
    #[arg(long, value_name = "STREAMS", value_delimiter = ',', required = true)]
    streams: Vec<String>,
    /// Messages created so long ago or earlier (`5 days`, `60 min`, `P5D`), or on this date or before it (`2026-11-01`; UTC where it names no zone)
    #[arg(
        long,
        value_name = "AGE",
        required = true,
        alias = "older_than",
        allow_hyphen_values = true
    )]
    older_than: Option<OlderThan>,
    /// Also what some group has not been delivered, or has not acknowledged
    #[arg(long)]
    force: bool,
    // Not the struct `Confirm`: clap cannot leave out as a whole what has a part of its own.
    /// Do not ask; needed where nobody can be asked
    #[arg(short, long)]
    yes: bool,
    /// Only tell what would happen
    #[arg(long)]
    dry_run: bool,
}

/// Delete old messages for good
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Purge {
    #[command(flatten)]
    sweep: SweepArgs,
}

impl Purge {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_change(self.sweep.dry_run).await?;
        self.sweep.run(session, &streamer, Sweep::purge(&streamer), true).await
    }
}

impl SweepArgs {
    pub(super) async fn archive(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_change(self.dry_run).await?;
        let archive: Arc<dyn ArchiveStorage> = match self.dry_run {
            // Telling what would happen does not make the archive either.
            true if !session.archive_is_there() => Arc::new(MemoryArchive::default()),
            true => session.archive_to_read().await?,
            false => session.archive().await?,
        };
        // What goes to this one is not kept.
        let deletes = session.config.settings.archive_driver.value == "null";
        self.run(session, &streamer, Sweep::archive(&streamer, archive), deletes)
            .await
    }

    async fn run(&self, session: &Session, streamer: &Streamer, sweep: Sweep, deletes: bool) -> Outcome {
        let older_than = self.older_than.ok_or_else(|| Failure::usage("say --older-than what"))?;
        let streams = self
            .streams
            .iter()
            .map(|stream| stream.trim())
            .filter(|stream| !stream.is_empty());
        let streams = streams.map(StreamName::from).collect::<Vec<_>>();
        if streams.is_empty() {
            return Err(Failure::usage("--streams names no stream"));
        }
        let mut total = 0;
        let known = listeners::names(&session.listeners, &session.config.definitions);
        for stream in &streams {
            stream.check()?;
            let length = streamer.engine().len(stream).await?;
            if length == 0 && streamer.engine().info(stream).await?.is_none() {
                let hint = names::hint(&stream.to_string(), known.iter().map(|(event, _)| event.as_str()));
                tracing::warn!("there is no stream '{stream}'{hint}");
            }
            total += length;
        }
        let confirm = Confirm::new(self.yes, self.dry_run);
        if deletes && confirm.asks(session) {
            let (mut count, mut parts) = (0, Vec::new());
            for stream in &streams {
                let looking = Sweep::purge(streamer).dry_run(true).force(self.force);
                let removed = looking.run(stream, older_than).await?.removed;
                count += removed;
                parts.push(format!("{removed} on '{stream}'"));
            }
            let messages = output::counted(count, "message");
            let what = format!("This deletes {messages} for good ({}).", parts.join(", "));
            if count > 0 && !confirm.ask(session, &what)? {
                output::done("Nothing was deleted.")?;
                return Ok(Exit::Failed);
            }
        }
        let dry_run = confirm.is_dry_run();
        let teller = Arc::new(Teller {
            json: session.json,
            quiet: session.quiet,
            dry_run,
            bar: progress(total, session.quiet),
            broken: Mutex::default(),
        });
        let telling = Arc::clone(&teller);
        let sweep = sweep
            .dry_run(dry_run)
            .force(self.force)
            .on_message(move |stream, id, fate| telling.tell(stream, id, fate));
        let mut processed = 0;
        let mut summaries = Vec::new();
        for stream in streams {
            let summary = sweep.run(&stream, older_than).await?;
            if let Some(error) = teller.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error.into());
            }
            processed += summary.removed;
            summaries.push((stream, summary));
        }
        teller.bar.finish_and_clear();
        if session.quiet && !dry_run {
            return Ok(Exit::Done);
        }
        let mut held = Vec::new();
        for (stream, summary) in &summaries {
            if summary.undelivered + summary.pending > 0 {
                let groups = holding_groups(streamer, stream).await?;
                held.extend(groups.into_iter().map(|group| (stream.clone(), group)));
            }
        }
        if session.json {
            for (stream, group) in &held {
                let held = output::object!({"report": "held", "stream": stream});
                output::json(&output::joined(&held, group))?;
            }
            let streams = summaries
                .iter()
                .map(|(stream, summary)| (stream.to_string(), output::value(summary)));
            let streams = streams.collect::<OrderedJson>();
            output::json(
                &output::object!({"report": "total", "processed": processed, "dry_run": dry_run, "streams": streams}),
            )?;
            return Ok(Exit::Done);
        }
        for (stream, summary) in &summaries {
            if let Some(kept) = kept(stream, summary) {
                output::line(kept)?;
            }
            for (_, group) in held.iter().filter(|(held_on, _)| held_on == stream) {
                output::line(format!("  Group {}", describe(group)))?;
            }
        }
        let messages = output::counted(processed, "message");
        output::line(match dry_run {
            true => format!("Total of {messages} would be processed."),
            false => format!("Total of {messages} processed."),
        })?;
        Ok(Exit::Done)
    }
}

/// A group that keeps messages on their stream, so that somebody can act.
fn describe(group: &HoldingGroup) -> String {
    let undelivered = match group.undelivered {
        Some(0) => String::new(),
        Some(undelivered) => format!("{undelivered} not yet delivered, "),
        None => "an unknown number not yet delivered, ".to_owned(),
    };
    let pending = match group.pending {
        0 => String::new(),
        pending => format!("{pending} pending, "),
    };
    let idle = match group.idle_ms {
        Some(idle) => {
            let since = jiff::Timestamp::now() - jiff::SignedDuration::from_millis(i64::try_from(idle).unwrap_or(0));
            format!("idle since {}", since.strftime("%Y-%m-%d %H:%M:%S UTC"))
        }
        None => "has no consumers".to_owned(),
    };
    format!("'{}': {undelivered}{pending}{idle}.", group.group)
}

/// Why messages that are old enough stay.
fn kept(stream: &StreamName, summary: &SweepSummary) -> Option<String> {
    let reasons = [
        (summary.undelivered, "not yet delivered to some group"),
        (summary.pending, "not yet acknowledged by some group"),
        (summary.conflicts, "in whose place the archive has another message"),
        (summary.too_many_fields, "with too many fields to be restored"),
    ];
    let reasons = reasons.iter().filter(|(count, _)| *count > 0);
    let reasons = reasons.map(|(count, why)| format!("{count} {why}")).collect::<Vec<_>>();
    let hint = match summary.undelivered + summary.pending {
        0 => "",
        _ => " (--force removes what groups still need)",
    };
    (!reasons.is_empty()).then(|| format!("Kept on the '{stream}' stream: {}{hint}.", reasons.join(", ")))
}

/// Tells what becomes of each message.
struct Teller {
    json: bool,
    quiet: bool,
    dry_run: bool,
    bar: ProgressBar,
    broken: Mutex<Option<io::Error>>,
}

impl Teller {
    fn tell(&self, stream: &StreamName, id: EntryId, fate: Fate) {
        self.bar.inc(1);
        let done = match fate {
            Fate::Archived => "archived",
            Fate::Purged => "purged",
            Fate::Kept(_) => return,
        };
        if self.quiet {
            return;
        }
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.is_some() {
            return;
        }
        let print = || match (self.json, self.dry_run) {
            (true, dry_run) => {
                output::json(&output::object!({"report": done, "stream": stream, "id": id, "dry_run": dry_run}))
            }
            (false, false) => output::line(format!("Message [{id}] has been {done} from the '{stream}' stream.")),
            (false, true) => output::line(format!("Message [{id}] would be {done} from the '{stream}' stream.")),
        };
        *broken = self.bar.suspend(print).err();
    }
}

/// A bar for people who look at stderr.
pub(super) fn progress(total: u64, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent}% {pos} of {len} messages, {eta} left");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
