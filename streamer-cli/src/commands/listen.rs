//! `listen`: gives messages to listeners, until a signal or the end of the work.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use clap::{Args, ValueEnum};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use streamer::{
    AfterSuccess, Ended, EntryId, KeepAlive, Key, Listeners, Report, Start, StopHandle, StreamName, Streamer, Summary,
    When, Workers,
};

use crate::{
    app::Session,
    config::{Flags, SettingFlags, Settings},
    exit::{Exit, Failure, Outcome},
    listeners, output,
};

const EXAMPLES: &str = "\
Examples:
  streamer listen order.placed --group billing
  streamer listen order.placed,order.paid --group billing --workers 8 --key order.id
  streamer listen --all --group billing --keep-alive
  streamer listen order.placed --last-id 0 --listen-timeout 1s     # everything there is, without a group

The first Ctrl-C (or SIGTERM) finishes what runs and exits 0; a second one ends at once, and what was not finished
stays pending.";

/// Give messages to their listeners
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Listen {
    /// The events to listen to, separated by commas or spaces
    #[arg(
        value_name = "EVENTS",
        value_delimiter = ',',
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    events: Vec<String>,
    /// Listen to every event that has a listener
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    settings: SettingFlags,
    /// Where to begin: an entry ID (what follows it), `0` (everything) or `now`; for a group, only when it is made
    /// [default: now; a new group: 0]
    #[arg(long, value_name = "ID", value_parser = start, alias = "last_id")]
    last_id: Option<Start>,
    /// Move messages to the archive when all their listeners have handled them
    #[arg(long)]
    archive: bool,
    /// Delete messages when all their listeners have handled them
    #[arg(long, conflicts_with = "archive")]
    purge: bool,
    /// With --archive or --purge: at once, or when every group of the stream has acknowledged the message
    #[arg(long, value_name = "WHEN", default_value = "at-once")]
    when: WhenArg,
}

/// When a handled message leaves its stream.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum WhenArg {
    AtOnce,
    AllGroupsAcked,
}

impl Listen {
    pub(crate) fn flags(&self, flags: &mut Flags) {
        self.settings.clone().put_into(flags);
    }

    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let settings = &session.config.settings;
        let events = self.events(session)?;
        let workers = settings.workers.value.0 as usize;
        let built = listeners::build(session.listeners.clone(), &session.config.definitions, &events, workers)?;
        let (listeners, programs) = built.split();
        let streamer = session.connect().await?;
        for warning in streamer.engine().warnings().await.unwrap_or_default() {
            tracing::warn!("{warning}");
        }
        if settings.max_attempts.value.is_some() && !settings.keep_alive.value {
            tracing::warn!("`max_attempts` has no effect without --keep-alive");
        }

        let printer = Printer::new(session.json, session.quiet);
        let listening = listening(&streamer, listeners, settings).events(events);
        let listening = self.last_id.into_iter().fold(listening, streamer::Listening::start);
        let listening = match self.after_success(session).await? {
            Some(after) => listening.after_success(after),
            None => listening,
        };
        let stop = listening.stop_handle();
        stop.on_signals()
            .map_err(|error| Failure::failed(format!("could not listen to signals: {error}")))?;
        let printing = (printer.clone(), stop.clone());
        let ended = listening
            .on_report(move |report| printing.0.tell(report, &printing.1))
            .run()
            .await;
        finish(ended, &stop, &programs, &printer).await
    }

    /// What becomes of messages that were handled.
    async fn after_success(&self, session: &Session) -> Result<Option<AfterSuccess>, Failure> {
        let after = match (self.archive, self.purge) {
            (true, _) => AfterSuccess::archive(session.archive().await?),
            (_, true) => AfterSuccess::purge(),
            _ => return Ok(None),
        };
        Ok(Some(after.when(match self.when {
            WhenArg::AtOnce => When::AtOnce,
            WhenArg::AllGroupsAcked => When::AllGroupsAcknowledged,
        })))
    }

    /// The events that have a listener. As in PHP, those that have none are named, and only when none is left it is an
    /// error.
    fn events(&self, session: &Session) -> Result<Vec<StreamName>, Failure> {
        let known = listeners::names(&session.listeners, &session.config.definitions);
        let has = |event: &str| {
            known
                .iter()
                .any(|(name, listeners)| name == event && !listeners.is_empty())
        };
        if self.all {
            let events: Vec<StreamName> = known
                .iter()
                .filter(|(name, _)| has(name))
                .map(|(name, _)| name.into())
                .collect();
            if events.is_empty() {
                return Err(Failure::failed(
                    "no event has a listener; add some to `[listen_and_fire]` in streamer.toml",
                ));
            }
            return Ok(events);
        }
        let events = self
            .events
            .iter()
            .map(|event| event.trim())
            .filter(|event| !event.is_empty());
        let (with, without): (Vec<&str>, Vec<&str>) = events.partition(|event| has(event));
        let text =
            |event: &&str| format!("There are no local listeners associated with '{event}' event in configuration.");
        if with.is_empty() {
            let text = without.iter().map(text).collect::<Vec<_>>().join("\n");
            return Err(if text.is_empty() {
                Failure::usage("no event is named")
            } else {
                Failure::failed(text)
            });
        }
        for event in &without {
            tracing::warn!("{}", text(event));
        }
        Ok(with.into_iter().map(StreamName::from).collect())
    }
}

/// Ends the programs as the listening ended, and makes an exit code of it.
async fn finish(
    ended: Result<Summary, streamer::ListenError>,
    stop: &StopHandle,
    programs: &listeners::Programs,
    printer: &Printer,
) -> Outcome {
    if stop.aborted().now_or_never().is_some() {
        programs.kill();
        return Err(Failure {
            exit: Exit::Aborted,
            text: Some("ended at once by a second signal; what was not finished stays pending".to_owned()),
        });
    }
    // A second signal cuts this short as well.
    tokio::select! {
        () = programs.end() => {}
        () = stop.aborted() => {}
    }
    // Programs that are still at work belong to listeners that were given up, and nobody else would end them.
    programs.kill();
    let summary = ended?;
    if summary.ended == Ended::Aborted {
        tracing::warn!("the grace period ran out; what was not finished stays pending");
    }
    tracing::info!(
        "Messages: {}. Handled: {}. Failed: {}.",
        summary.messages,
        summary.processed,
        summary.failed
    );
    printer.outcome()
}

/// A listening as the settings describe it.
fn listening(streamer: &Streamer, listeners: Listeners, settings: &Settings) -> streamer::Listening {
    let mut listening = streamer
        .listen(listeners)
        .reclaim(settings.reclaim.value.0)
        .batch(settings.batch.value.0 as usize)
        .read_wait(settings.read_wait.value)
        .always_acknowledge(settings.always_acknowledge.value)
        .grace(settings.grace.value)
        .workers(match (settings.workers.value.0 as usize, &settings.key.value) {
            (1, _) => Workers::InOrder,
            (count, None) => Workers::AtOnce(count),
            (count, Some(path)) => Workers::PerKey(count, Key::path(path)),
        });
    if let Some(group) = &settings.group.value {
        listening = listening.group(group);
    }
    if let Some(consumer) = &settings.consumer.value {
        listening = listening.consumer(consumer);
    }
    if let Some(quiet) = settings.listen_timeout.value.0 {
        listening = listening.listen_timeout(quiet);
    }
    if settings.keep_alive.value {
        let max_attempts = settings.max_attempts.value.map(|count| count.0);
        listening = listening.keep_alive(KeepAlive {
            max_attempts,
            ..KeepAlive::default()
        });
    }
    listening
}

/// Where to begin, from a flag. laravel-streamer takes `0` for "not given"; here it means the beginning.
pub(super) fn start(text: &str) -> Result<Start, String> {
    match text {
        "now" | "$" => Ok(Start::Now),
        "0" | "0-0" | "beginning" => Ok(Start::Beginning),
        _ => text
            .parse::<EntryId>()
            .map(Start::After)
            .map_err(|error| format!("{error}, or `0`, or `now`")),
    }
}

/// Prints reports: on stdout what became of messages, the rest in the log.
#[derive(Clone)]
pub(super) struct Printer {
    json: bool,
    quiet: bool,
    /// Why writing to stdout failed: there is no use in going on then.
    broken: Arc<Mutex<Option<io::Error>>>,
}

impl Printer {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            quiet,
            broken: Arc::default(),
        }
    }

    /// Prints a report, and ends the listening when that cannot be done.
    pub(super) fn tell(&self, report: &Report<'_>, stop: &StopHandle) {
        let printed = match report {
            Report::Processed { .. } | Report::Archived { .. } | Report::Purged { .. } if self.quiet => Ok(()),
            _ if self.json => output::json(&as_json(report)),
            Report::Processed { .. } | Report::Archived { .. } | Report::Purged { .. } => {
                output::line(report.to_string())
            }
            Report::Failed { .. } => output::line(output::styled(&report.to_string(), "31")),
            Report::RetryLater { .. } => output::line(output::styled(&report.to_string(), "33")),
            _ => Ok(()),
        };
        match report {
            Report::Processed { .. }
            | Report::Failed { .. }
            | Report::RetryLater { .. }
            | Report::Archived { .. }
            | Report::Purged { .. } => {}
            Report::Gone { .. } | Report::LeaseLost { .. } | Report::Interrupted { .. } => tracing::warn!("{report}"),
            _ => tracing::info!("{report}"),
        }
        if let Err(error) = printed {
            lock(&self.broken).get_or_insert(error);
            stop.stop();
        }
    }

    /// Whether everything could be printed.
    fn outcome(&self) -> Outcome {
        match lock(&self.broken).take() {
            Some(error) => Err(error.into()),
            None => Ok(Exit::Done),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn as_json(report: &Report<'_>) -> Value {
    match report {
        Report::Started { streams, group } => json!({
            "report": "started",
            "streams": streams,
            "group": group.map(|(group, _)| group),
            "consumer": group.map(|(_, consumer)| consumer),
        }),
        Report::Processed { message, listener } => {
            json!({"report": "processed", "stream": message.stream(), "id": message.id(), "listener": listener})
        }
        Report::Failed {
            message,
            listener,
            error,
        } => json!({
            "report": "failed",
            "stream": message.stream(),
            "id": message.id(),
            "listener": listener,
            "error": error,
        }),
        Report::RetryLater {
            message,
            listener,
            error,
            attempt,
            delay,
        } => json!({
            "report": "retry_later",
            "stream": message.stream(),
            "id": message.id(),
            "listener": listener,
            "error": error,
            "attempt": attempt,
            "delay_ms": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        }),
        Report::Recovered { stream, count, claimed } => {
            json!({"report": "recovered", "stream": stream, "count": count, "claimed": claimed})
        }
        Report::Archived { stream, id } => json!({"report": "archived", "stream": stream, "id": id}),
        Report::Purged { stream, id } => json!({"report": "purged", "stream": stream, "id": id}),
        Report::Gone { stream, ids } => json!({"report": "gone", "stream": stream, "ids": ids}),
        Report::LeaseLost { stream, ids } => json!({"report": "lease_lost", "stream": stream, "ids": ids}),
        Report::Interrupted { error, attempt, delay } => json!({
            "report": "interrupted",
            "error": error.to_string(),
            "attempt": attempt,
            "delay_ms": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        }),
        Report::Resumed => json!({"report": "resumed"}),
        Report::GroupRecreated { stream, group, after } => {
            json!({"report": "group_recreated", "stream": stream, "group": group, "after": after})
        }
        Report::Stopping => json!({"report": "stopping"}),
        other => json!({"report": "other", "text": other.to_string()}),
    }
}
