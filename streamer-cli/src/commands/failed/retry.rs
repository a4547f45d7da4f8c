//! `failed retry`: the listeners of failures run once more.

use std::{
    io::{self, IsTerminal as _},
    sync::{Arc, Mutex, PoisonError},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use streamer::{
    OrderedJson, StreamName,
    failed::{FailedMessage, RetryReport, RetrySummary, Skipped},
};

use super::Filter;
use crate::{
    app::Session,
    config::{Workers, flag},
    exit::{Exit, Failure, Outcome},
    listeners, output,
};

const EXAMPLES: &str = "\
Examples:
  streamer failed retry --all
  streamer failed retry --receiver receipt --workers 16
  streamer failed retry --stream order.placed --in-order --purge
  streamer failed retry --error timeout --since \"2 hours\"

Oldest first. Several retries may run at once: each failure runs in one of them.";

/// How many failures are retried at once unless it is said.
const WORKERS: u32 = 4;

/// Run the listeners of failures once more
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true)
    .args(["all", "id", "stream", "receiver", "error", "since"]))]
pub(crate) struct Retry {
    /// Every failure
    #[arg(long, conflicts_with_all = ["id", "stream", "receiver", "error", "since"])]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Delete a message from its stream after its last failure was retried with success
    #[arg(long, conflicts_with = "archive")]
    purge: bool,
    /// Move a message to the archive after its last failure was retried with success
    #[arg(long)]
    archive: bool,
    /// How many failures are retried at once [default: 4]
    #[arg(long, value_name = "N", value_parser = flag::<Workers>)]
    workers: Option<Workers>,
    /// Retry the failures of a stream one after the other
    #[arg(long)]
    in_order: bool,
}

impl Retry {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streams = self.filter.of.stream.iter().map(StreamName::from).collect::<Vec<_>>();
        let workers = self.workers.map_or(WORKERS, |workers| workers.0) as usize;
        let built = listeners::build(
            session.listeners.clone(),
            &session.config.definitions,
            &streams,
            workers,
        )?;
        let (listeners, programs) = built.split();
        if let Some(mistake) = listeners.mistakes().first() {
            return Err(Failure::usage(mistake.clone()));
        }
        let streamer = session.connect_to_change(false).await?;
        let failed = streamer.failed();
        let listed = failed.count().await?;
        if listed == 0 && !session.json {
            output::done("There are no failed messages to retry.")?;
            return Ok(Exit::Done);
        }
        let retry = failed.retry(self.filter.filter(), listeners);
        let mut retry = retry.workers(workers).in_order(self.in_order);
        if self.archive || session.has_archive() {
            retry = retry.archive(session.archive().await?);
        }
        if self.archive {
            retry = retry.archive_after();
        }
        if self.purge {
            retry = retry.purge_after();
        }
        let stop = retry.stop_handle();
        stop.on_signals()
            .map_err(|error| Failure::failed(format!("could not listen to signals: {error}")))?;
        let teller = Arc::new(Teller {
            json: session.json,
            quiet: session.quiet,
            bar: progress(listed, session.quiet),
            broken: Mutex::default(),
        });
        let (telling, stopping) = (Arc::clone(&teller), stop.clone());
        let retrying = retry.on_report(move |report| {
            telling.tell(report);
            if telling.is_broken() {
                stopping.stop();
            }
        });
        let summary = tokio::select! {
            summary = retrying.run() => summary,
            () = stop.aborted() => {
                programs.kill();
                return Err(Failure {
                    exit: Exit::Aborted,
                    text: Some("ended at once by a second signal; what was not retried stays listed".to_owned()),
                });
            }
        };
        teller.bar.finish_and_clear();
        programs.end().await;
        if let Some(error) = teller.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error.into());
        }
        let summary = summary?;
        if summary == RetrySummary::default() {
            for unknown in self.filter.unknown_names(session, &streamer).await? {
                tracing::warn!("{unknown}");
            }
        }
        self.finish(session, summary)
    }

    fn finish(&self, session: &Session, summary: RetrySummary) -> Outcome {
        let RetrySummary {
            retried,
            failed_again,
            skipped,
            elsewhere,
            ..
        } = summary;
        if session.json {
            output::done_json(&output::joined(&output::object!({"report": "total"}), &summary))?;
        } else if retried + failed_again + skipped + elsewhere == 0 {
            output::done("There are no failed messages matching your criteria.")?;
        } else {
            let elsewhere = match elsewhere {
                0 => String::new(),
                _ => format!(" Left to another retry: {elsewhere}."),
            };
            output::done(format!(
                "Retried: {retried}. Failed again: {failed_again}. Skipped: {skipped}.{elsewhere}"
            ))?;
        }
        match failed_again + skipped {
            0 => Ok(Exit::Done),
            // Each was told with its reason.
            _ => Err(Failure {
                exit: Exit::Failed,
                text: None,
            }),
        }
    }
}

/// Tells what becomes of each failure.
struct Teller {
    json: bool,
    quiet: bool,
    bar: ProgressBar,
    broken: Mutex<Option<io::Error>>,
}

impl Teller {
    fn is_broken(&self) -> bool {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn tell(&self, report: &RetryReport<'_>) {
        if let RetryReport::Progress { looked_at, .. } = report {
            self.bar.set_position(*looked_at);
            return;
        }
        let well = matches!(
            report,
            RetryReport::Retried(_) | RetryReport::Purged { .. } | RetryReport::Archived { .. }
        );
        // What another retry does is told by that one; here it is only counted.
        let elsewhere = matches!(
            report,
            RetryReport::Skipped {
                reason: Skipped::Busy | Skipped::Settled,
                ..
            }
        );
        if elsewhere && !self.json {
            return tracing::debug!("{report}");
        }
        if well && self.quiet {
            return;
        }
        let print = || match (self.json, well) {
            (true, _) => output::json(&as_json(report)),
            (false, true) => output::line(report.to_string()),
            (false, false) => output::line(output::styled(&report.to_string(), "31")),
        };
        if let Err(error) = self.bar.suspend(print) {
            let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
            broken.get_or_insert(error);
        }
    }
}

fn as_json(report: &RetryReport<'_>) -> OrderedJson {
    let about = |what: &str, failed: &FailedMessage, error: Option<String>| {
        let FailedMessage {
            id, stream, receiver, ..
        } = failed;
        let object = output::object!({"report": what, "id": id, "stream": stream, "receiver": receiver});
        match error {
            Some(error) => output::joined(&object, &output::object!({"error": error})),
            None => object,
        }
    };
    match report {
        RetryReport::Retried(failed) => about("retried", failed, None),
        RetryReport::FailedAgain { failed, error } => about("failed_again", failed, Some((*error).to_owned())),
        RetryReport::Skipped { failed, reason } => about("skipped", failed, Some(reason.to_string())),
        RetryReport::Unreadable(error) => output::object!({"report": "unreadable", "error": error.to_string()}),
        RetryReport::Purged { stream, id } => output::object!({"report": "purged", "stream": stream, "id": id}),
        RetryReport::Archived { stream, id } => output::object!({"report": "archived", "stream": stream, "id": id}),
        RetryReport::NotArchived { stream, id, error } => {
            output::object!({"report": "not_archived", "stream": stream, "id": id, "error": error})
        }
        other => output::object!({"report": "other", "text": other.to_string()}),
    }
}

/// A bar for people who look at stderr.
fn progress(total: u64, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {percent}% {pos} of {len} failures, {eta} left");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
