//! `failed`: what listeners could not handle is listed, retried, and forgotten.

use std::{
    io::{self, IsTerminal as _},
    sync::{Arc, Mutex, PoisonError},
};

use clap::{Args, Subcommand};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use streamer::{
    StreamName,
    failed::{FailedFilter, FailedMessage, Listed, RetryReport, RetrySummary},
};

use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    listeners, output,
};

const EXAMPLES: &str = "\
Examples:
  streamer failed list --stream order.placed
  streamer failed list --json | jq -r .error
  streamer failed retry --all
  streamer failed retry --receiver receipt --purge
  streamer failed forget 1795407980936-0 --receiver audit
  streamer failed flush --stream order.placed";

/// The most rows of one table: it is in memory as a whole.
const ROWS: usize = 1_000;

/// List, retry and forget what listeners could not handle
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Failed {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Retry(Retry),
    Flush(Flush),
    Forget(Forget),
}

impl Failed {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        match &self.command {
            What::List(list) => list.run(session).await,
            What::Retry(retry) => retry.run(session).await,
            What::Flush(flush) => flush.run(session).await,
            What::Forget(forget) => forget.run(session).await,
        }
    }
}

/// Which failures.
#[derive(Args, Clone, Debug)]
struct Filter {
    /// Only those of the message with this ID; messages of several streams may have it
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    of: Of,
}

#[derive(Args, Clone, Debug)]
struct Of {
    /// Only those on this stream
    #[arg(long)]
    stream: Option<String>,
    /// Only those of this listener
    #[arg(long, value_name = "LISTENER")]
    receiver: Option<String>,
}

impl Of {
    fn filter(&self, id: Option<&String>) -> FailedFilter {
        let filter = id.into_iter().fold(FailedFilter::all(), FailedFilter::id);
        let filter = self.stream.iter().fold(filter, FailedFilter::stream);
        self.receiver.iter().fold(filter, FailedFilter::receiver)
    }
}

impl Filter {
    fn filter(&self) -> FailedFilter {
        self.of.filter(self.id.as_ref())
    }
}

/// List the failures
#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only IDs, streams and errors
    #[arg(long)]
    compact: bool,
}

impl List {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect().await?;
        let mut listing = streamer.failed().list(self.filter.filter());
        if session.json && !self.compact {
            listing = listing.with_details();
        }
        let mut any = false;
        let mut rows = Vec::new();
        while let Some(page) = listing.next_page().await? {
            for listed in page {
                any = true;
                match (session.json, &listed.record) {
                    (true, _) => output::json(&self.json(&listed))?,
                    (false, Ok(failed)) => rows.push(self.row(failed)),
                    (false, Err(error)) => tracing::warn!("{error}"),
                }
                if rows.len() == ROWS {
                    self.print(&mut rows)?;
                }
            }
        }
        if !rows.is_empty() {
            self.print(&mut rows)?;
        }
        if !any && !session.json {
            output::line("No failed messages")?;
        }
        Ok(Exit::Done)
    }

    fn row(&self, failed: &FailedMessage) -> Vec<String> {
        let FailedMessage {
            id,
            stream,
            receiver,
            error,
            date,
        } = failed;
        let row = match self.compact {
            true => vec![id, stream, error],
            false => vec![id, stream, receiver, error, date],
        };
        // What somebody else wrote must not drive the terminal.
        let shown = |text: &String| {
            let shown = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c });
            shown.collect()
        };
        row.into_iter().map(shown).collect()
    }

    fn print(&self, rows: &mut Vec<Vec<String>>) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(output::TABLE);
        table.set_header(match self.compact {
            true => vec!["ID", "Stream", "Error"],
            false => vec!["ID", "Stream", "Receiver", "Error", "Date"],
        });
        table.add_rows(rows.drain(..));
        output::line(table.to_string())
    }

    fn json(&self, listed: &Listed) -> Value {
        let failed = match &listed.record {
            Ok(failed) => failed,
            Err(error) => return json!({"unreadable": error.to_string()}),
        };
        if self.compact {
            return json!({"id": failed.id, "stream": failed.stream, "error": failed.error});
        }
        let mut object = json!(failed);
        if let (Some(object), Value::Object(details)) = (object.as_object_mut(), json!(listed.details)) {
            object.extend(details);
        }
        object
    }
}

/// Run the listeners of failures once more
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["all", "id", "stream", "receiver"]))]
pub(crate) struct Retry {
    /// Every failure
    #[arg(long, conflicts_with_all = ["id", "stream", "receiver"])]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Delete a message from its stream after its last failure was retried with success
    #[arg(long, conflicts_with = "archive")]
    purge: bool,
    /// Move a message to the archive after its last failure was retried with success
    #[arg(long)]
    archive: bool,
}

impl Retry {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streams = self.filter.of.stream.iter().map(StreamName::from).collect::<Vec<_>>();
        let built = listeners::build(session.listeners.clone(), &session.config.definitions, &streams, 1)?;
        let (listeners, programs) = built.split();
        let streamer = session.connect().await?;
        let failed = streamer.failed();
        let listed = failed.count().await?;
        if listed == 0 && !session.json {
            output::line("There are no failed messages to retry.")?;
            return Ok(Exit::Done);
        }
        let mut retry = failed.retry(self.filter.filter(), listeners);
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
        self.finish(session, summary?)
    }

    fn finish(&self, session: &Session, summary: RetrySummary) -> Outcome {
        let RetrySummary {
            retried,
            failed_again,
            skipped,
            ..
        } = summary;
        if session.json {
            let mut total = json!(summary);
            if let Some(total) = total.as_object_mut() {
                total.shift_insert(0, "report".to_owned(), json!("total"));
            }
            output::json(&total)?;
        } else if retried + failed_again + skipped == 0 {
            output::line("There are no failed messages matching your criteria.")?;
        } else {
            output::line(format!(
                "Retried: {retried}. Failed again: {failed_again}. Skipped: {skipped}."
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

/// Forget all failures, or those of a stream or a listener; their messages stay
#[derive(Args, Debug)]
pub(crate) struct Flush {
    #[command(flatten)]
    filter: Filter,
}

impl Flush {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        remove(session, self.filter.filter(), "Flushed").await
    }
}

/// Forget the failures of one message; the message stays
#[derive(Args, Debug)]
pub(crate) struct Forget {
    /// The message's ID
    id: String,
    #[command(flatten)]
    of: Of,
}

impl Forget {
    async fn run(&self, session: &Session) -> Outcome {
        remove(session, self.of.filter(Some(&self.id)), "Forgot").await
    }
}

async fn remove(session: &Session, filter: FailedFilter, did: &str) -> Outcome {
    let streamer = session.connect().await?;
    let removed = streamer.failed().flush(filter).await?;
    if session.json {
        output::json(&json!({"removed": removed}))?;
    } else {
        output::line(match removed {
            0 => "No messages to remove.".to_owned(),
            1 => format!("{did} 1 message."),
            removed => format!("{did} {removed} messages."),
        })?;
    }
    Ok(Exit::Done)
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

fn as_json(report: &RetryReport<'_>) -> Value {
    let about = |what: &str, failed: &FailedMessage, error: Option<String>| {
        let FailedMessage {
            id, stream, receiver, ..
        } = failed;
        let mut object = json!({"report": what, "id": id, "stream": stream, "receiver": receiver});
        if let Some(error) = error {
            object["error"] = error.into();
        }
        object
    };
    match report {
        RetryReport::Retried(failed) => about("retried", failed, None),
        RetryReport::FailedAgain { failed, error } => about("failed_again", failed, Some((*error).to_owned())),
        RetryReport::Skipped { failed, reason } => about("skipped", failed, Some(reason.to_string())),
        RetryReport::Unreadable(error) => json!({"report": "unreadable", "error": error.to_string()}),
        RetryReport::Purged { stream, id } => json!({"report": "purged", "stream": stream, "id": id}),
        RetryReport::Archived { stream, id } => json!({"report": "archived", "stream": stream, "id": id}),
        RetryReport::NotArchived { stream, id, error } => {
            json!({"report": "not_archived", "stream": stream, "id": id, "error": error})
        }
        other => json!({"report": "other", "text": other.to_string()}),
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
