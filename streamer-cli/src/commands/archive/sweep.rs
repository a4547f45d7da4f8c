//! `archive --streams …` and `purge`: old messages leave their streams.

use std::{
    io::{self, IsTerminal as _},
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use streamer::{
    EntryId, StreamName,
    archive::{Fate, OlderThan, Sweep, SweepSummary},
};

use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer purge --streams order.placed --older-than \"2 weeks\"
  streamer purge --streams order.placed,order.paid --older-than \"60 min\" --dry-run";

/// What `archive` and `purge` take.
#[derive(Args, Debug)]
pub(crate) struct SweepArgs {
    /// The streams, separated by commas
    #[arg(long, value_name = "STREAMS", value_delimiter = ',', required = true)]
    streams: Vec<String>,
    /// Messages created so long ago or earlier (`5 days`, `60 min`, `P5D`), or on this date or before it (`2026-11-01`)
    #[arg(long, value_name = "AGE", required = true, alias = "older_than")]
    older_than: Option<OlderThan>,
    /// Only tell what would happen
    #[arg(long)]
    dry_run: bool,
    /// Also what some group has not been delivered, or has not acknowledged
    #[arg(long)]
    force: bool,
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
        let streamer = session.connect().await?;
        self.sweep.run(session, &streamer, Sweep::purge(&streamer)).await
    }
}

impl SweepArgs {
    pub(super) async fn archive(&self, session: &Session) -> Outcome {
        let streamer = session.connect().await?;
        let archive = session.archive().await?;
        self.run(session, &streamer, Sweep::archive(&streamer, archive)).await
    }

    async fn run(&self, session: &Session, streamer: &streamer::Streamer, sweep: Sweep) -> Outcome {
        let older_than = self.older_than.ok_or_else(|| Failure::usage("say --older-than what"))?;
        let streams = self
            .streams
            .iter()
            .map(|stream| stream.trim())
            .filter(|stream| !stream.is_empty());
        let streams = streams.map(StreamName::from).collect::<Vec<_>>();
        let mut total = 0;
        for stream in &streams {
            total += streamer.engine().len(stream).await?;
        }
        let teller = Arc::new(Teller {
            json: session.json,
            quiet: session.quiet,
            dry_run: self.dry_run,
            bar: progress(total, session.quiet),
            broken: Mutex::default(),
        });
        let telling = Arc::clone(&teller);
        let sweep = sweep
            .dry_run(self.dry_run)
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
        if session.json {
            let streams = summaries
                .iter()
                .map(|(stream, summary)| (stream.to_string(), json!(summary)));
            let streams = streams.collect::<serde_json::Map<_, _>>();
            output::json(
                &json!({"report": "total", "processed": processed, "dry_run": self.dry_run, "streams": streams}),
            )?;
            return Ok(Exit::Done);
        }
        for (stream, summary) in &summaries {
            if let Some(kept) = kept(stream, summary) {
                output::line(kept)?;
            }
        }
        output::line(match self.dry_run {
            true => format!("Total of {processed} messages would be processed."),
            false => format!("Total of {processed} messages processed."),
        })?;
        Ok(Exit::Done)
    }
}

/// Why messages that are old enough stay.
fn kept(stream: &StreamName, summary: &SweepSummary) -> Option<String> {
    let reasons = [
        (summary.undelivered, "not yet delivered to some group"),
        (summary.pending, "not yet acknowledged by some group"),
        (summary.conflicts, "in whose place the archive has another message"),
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
            (true, dry_run) => output::json(&json!({"report": done, "stream": stream, "id": id, "dry_run": dry_run})),
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
