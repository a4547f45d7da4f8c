//! `listen`: gives messages to listeners, until a signal or the end of the work.

#[cfg(feature = "endpoints")]
use std::net::SocketAddr;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::{Args, ValueEnum};
use futures_util::FutureExt as _;
use streamer::{
    AfterSuccess, EndReason, Health, KeepAlive, LeaveWhen, Listeners, OnNameInUse, OrderKey, OrderedJson, Report,
    Scope, StopHandle, StreamName, Streamer, Summary, Workers,
};

use super::start::{StartAt, start};
#[cfg(unix)]
use crate::systemd;
use crate::{
    app::Session,
    config::{
        Definition, Definitions, Flags, NameInUse, SettingFlags, Settings, Source, What, flag, plain_webhook,
        suspicious_times,
    },
    exit::{Exit, Failure, Outcome},
    listeners, names, output,
};
#[cfg(feature = "endpoints")]
use crate::{health, metrics};

const EXAMPLES: &str = "\
Examples:
  streamer listen order.placed --exec './receipt.sh --fast' --group billing
  streamer listen order.placed --webhook https://example.com/hook
  streamer listen --all --group billing --keep-alive --metrics 9464
  streamer listen order.placed --group billing --workers 8 --key order.id
  streamer listen order.placed --last-id 0 --listen-timeout 1s

The listeners are those that streamer.toml gives the events, or those of --exec
and --webhook. The first Ctrl-C (or SIGTERM) finishes what runs and exits 0; a
second one ends at once, and what was not finished stays pending.";

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
    /// Where to begin: an entry ID (what follows it), a date or an age, `0` (everything) or `now`; for a group, only when
    /// it is made [default: now; a new group: 0]
    #[arg(long, value_name = "ID", value_parser = start, alias = "last_id", allow_hyphen_values = true)]
    last_id: Option<StartAt>,
    /// Move messages to the archive when all their listeners have handled them
    #[arg(long)]
    archive: bool,
    /// Delete messages when all their listeners have handled them
    #[arg(long, conflicts_with = "archive")]
    purge: bool,
    /// With --archive or --purge: at once, or when every group of the stream has acknowledged the message
    #[arg(long, value_name = "WHEN")]
    when: Option<WhenArg>,
    /// Run this command line (`/bin/sh -c`) for each message, which it gets as a line of JSON on stdin; exit code 0 means
    /// handled. No configuration is needed
    #[arg(long, value_name = "COMMAND", requires = "events")]
    exec: Option<String>,
    /// Serve metrics for Prometheus at http://ADDR/metrics: a port on this machine only, or an address and a port. Whoever
    /// reaches it reads the names of streams, groups and listeners
    #[cfg(feature = "endpoints")]
    #[arg(long, value_name = "ADDR", value_parser = metrics::address)]
    metrics: Option<SocketAddr>,
    /// Serve http://ADDR/live and http://ADDR/ready for health checks: a port on this machine only, or an address and a port.
    /// Ready means connected, reading, and handling
    #[cfg(feature = "endpoints")]
    #[arg(long, value_name = "ADDR", value_parser = metrics::address)]
    health: Option<SocketAddr>,
    /// After so long without an answer to a read, or without a message that ended while some are in flight, it is not
    /// ready; longer than the slowest listener takes [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = flag::<Duration>)]
    stalled_after: Option<Duration>,
    /// POST each message to this URL; 2xx means handled. No configuration is needed. Other users of this machine see the
    /// URL in the process list: one with a secret belongs into the file
    #[arg(long, value_name = "URL", requires = "events")]
    webhook: Option<String>,
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
        let definitions = self.definitions(&session.config.definitions)?;
        let events = self.events(session, &definitions)?;
        for event in &events {
            event.check()?;
        }
        let workers = settings.workers.value.0 as usize;
        let built = listeners::build(session.listeners.clone(), &definitions, &events, workers)?;
        let (listeners, programs) = built.split();
        if let Some(mistake) = listeners.mistakes().first() {
            return Err(Failure::usage(mistake.clone()));
        }
        for mistake in self.likely_mistakes(session) {
            tracing::warn!("{mistake}");
        }
        // Before anything connects: a listening is measured from its beginning.
        #[cfg(feature = "endpoints")]
        session.measure(self.metrics)?;
        #[cfg(feature = "endpoints")]
        let watched = health::Watched::default();
        #[cfg(feature = "endpoints")]
        if let Some(address) = self.health {
            health::serve(address, Arc::clone(&watched)).await?;
        }
        let streamer = session.connect_patiently().await?;
        programs.reap_orphans();
        for warning in streamer.engine().warnings().await.unwrap_or_default() {
            tracing::warn!("{warning}");
        }
        if let Some(StartAt::After(id)) = self.last_id {
            for event in &events {
                let last = streamer.engine().last_id(event).await?;
                if id > last {
                    tracing::warn!("--last-id {id} comes after the last entry of '{event}', {last}");
                }
            }
        }

        let printer = Printer::new(session.json, session.quiet);
        let listening = listening(&streamer, listeners, settings).events(events);
        let listening = self.last_id.into_iter().fold(listening, streamer::Listening::start);
        let listening = match self.after_success(session).await? {
            Some(after) => listening.after_success(after),
            None => listening,
        };
        let health = listening.health();
        let health = self.stalled_after.into_iter().fold(health, Health::stalled_after);
        #[cfg(feature = "endpoints")]
        let _ = watched.set(health.clone());
        #[cfg(unix)]
        systemd::watch(health);
        let stop = listening.stop_handle();
        stop.on_signals()
            .map_err(|error| Failure::failed(format!("could not listen to signals: {error}")))?;
        let printing = printer.clone();
        // The printer logs what it does not print.
        let listening = listening.log_reports(false).on_report(move |report| {
            printing.tell(report);
            #[cfg(unix)]
            if matches!(report, Report::Stopping) {
                systemd::stopping();
            }
        });
        let ended = listening.run().await;
        finish(ended, &stop, &programs, &printer).await
    }

    /// What becomes of messages that were handled.
    async fn after_success(&self, session: &Session) -> Result<Option<AfterSuccess>, Failure> {
        let after = match (self.archive, self.purge) {
            (true, _) => AfterSuccess::archive(session.archive().await?),
            (_, true) => AfterSuccess::purge(),
            _ => return Ok(None),
        };
        Ok(Some(after.when(match self.when.unwrap_or(WhenArg::AtOnce) {
            WhenArg::AtOnce => LeaveWhen::AtOnce,
            WhenArg::AllGroupsAcked => LeaveWhen::AllGroupsAcknowledged,
        })))
    }

    /// The listeners of the configuration, and those of the command line.
    fn definitions(&self, configured: &Definitions) -> Result<Definitions, Failure> {
        let mut all = configured.clone();
        let mut add = |name: &str, option: &str, what| {
            if all.listeners.iter().any(|one| one.name == name) {
                return Err(Failure::usage(format!(
                    "--{option} makes a listener `{name}`, and the configuration has one of that name"
                )));
            }
            all.listeners.push(Definition::of_command_line(name, option, what));
            for event in self.named() {
                match all.events.iter_mut().find(|(known, _)| known == event) {
                    Some((_, names)) => names.push(name.to_owned()),
                    None => all.events.push((event.to_owned(), vec![name.to_owned()])),
                }
            }
            Ok(())
        };
        if let Some(command) = &self.exec {
            // `sh -c ''` succeeds: every message would count as handled.
            if command.trim().is_empty() {
                return Err(Failure::usage("--exec names no program"));
            }
            add("exec", "exec", What::command_line(command))?;
        }
        if let Some(url) = &self.webhook {
            add("webhook", "webhook", plain_webhook(url).map_err(Failure::usage)?)?;
        }
        Ok(all)
    }

    fn serves_health(&self) -> bool {
        #[cfg(feature = "endpoints")]
        return self.health.is_some();
        #[cfg(not(feature = "endpoints"))]
        false
    }

    fn named(&self) -> impl Iterator<Item = &str> {
        self.events
            .iter()
            .map(|event| event.trim())
            .filter(|event| !event.is_empty())
    }

    /// What was asked for and has no effect, and values that are almost certainly mistakes.
    fn likely_mistakes(&self, session: &Session) -> Vec<String> {
        let settings = &session.config.settings;
        let mut mistakes = suspicious_times(settings);
        let said = |source: &Source| matches!(source, Source::Flag);
        let group = settings.group.value.is_some();
        let useless = [
            (
                settings.max_attempts.value.is_some() && !settings.keep_alive.value,
                "`max_attempts` has no effect without --keep-alive",
            ),
            (
                settings.key.value.is_some() && settings.workers.value.0 == 1,
                "`key` has no effect with one worker, which handles everything in order",
            ),
            (
                said(&settings.reclaim.source) && !group,
                "--reclaim has no effect without --group",
            ),
            (
                said(&settings.poison.source) && !group,
                "--poison has no effect without --group",
            ),
            (
                said(&settings.name_in_use.source) && settings.consumer.value.is_none(),
                "--name-in-use has no effect without --consumer: a generated name is nobody else's",
            ),
            (
                self.stalled_after.is_some() && !self.serves_health() && std::env::var_os("NOTIFY_SOCKET").is_none(),
                "--stalled-after has no effect without --health, or systemd's watchdog",
            ),
            (
                self.when.is_some() && !self.archive && !self.purge,
                "--when has no effect without --archive or --purge",
            ),
        ];
        let useless = useless
            .into_iter()
            .filter(|(useless, _)| *useless)
            .map(|(_, text)| text.to_owned());
        mistakes.extend(useless);
        if said(&settings.url.source) && streamer::shown_url(&settings.url.value) != settings.url.value {
            mistakes.push(
                "other users of this machine can see the password in --url in the process list; put it into STREAMER_URL or \
                 `url` in streamer.toml"
                    .to_owned(),
            );
        }
        if self
            .webhook
            .as_ref()
            .is_some_and(|url| streamer::shown_url(url) != *url)
        {
            mistakes.push(
                "other users of this machine can see the secret in --webhook in the process list; put the URL into \
                 `[listeners.NAME]` in streamer.toml"
                    .to_owned(),
            );
        }
        mistakes
    }

    /// The events that have a listener. As in PHP, those that have none are named, and only when none is left it is an
    /// error.
    fn events(&self, session: &Session, definitions: &Definitions) -> Result<Vec<StreamName>, Failure> {
        if !self.all && self.named().next().is_none() {
            return Err(Failure::usage("no event is named"));
        }
        let known = listeners::names(&session.listeners, definitions);
        if known.iter().all(|(_, listeners)| listeners.is_empty()) {
            return Err(Failure::usage(
                "no event has a listener: add one to `[listen_and_fire]` in streamer.toml (docs/configuration.md), or name \
                 one with --exec COMMAND or --webhook URL",
            ));
        }
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
            return Ok(events);
        }
        let (with, without): (Vec<&str>, Vec<&str>) = self.named().partition(|event| has(event));
        // laravel-streamer's words come first.
        let text = |event: &&str| {
            let hint = names::hint(event, known.iter().map(|(name, _)| name.as_str()));
            format!("There are no local listeners associated with '{event}' event in configuration.{hint}")
        };
        if with.is_empty() {
            let text = without.iter().map(text).collect::<Vec<_>>().join(" ");
            return Err(Failure::failed(text));
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
    if summary.ended == EndReason::Aborted {
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
        .always_acknowledge(settings.always_acknowledge.value.0)
        .grace(settings.grace.value)
        .poison(settings.poison.value.0.into())
        .retry_in_order(settings.retry_in_order.value)
        .on_name_in_use(match settings.name_in_use.value {
            NameInUse::Warn => OnNameInUse::Warn,
            NameInUse::Refuse => OnNameInUse::Refuse,
        })
        .workers(match (settings.workers.value.0 as usize, &settings.key.value) {
            (1, _) => Workers::InOrder,
            (count, None) => Workers::AtOnce(count),
            (count, Some(path)) => Workers::PerKey(count, OrderKey::path(path)),
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

/// Prints reports: on stdout what became of messages, the rest in the log.
#[derive(Clone)]
pub(super) struct Printer {
    json: bool,
    quiet: bool,
    /// Whether writing to stdout failed. A service goes on all the same: its work is not its output.
    silent: Arc<AtomicBool>,
}

impl Printer {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            quiet,
            silent: Arc::default(),
        }
    }

    /// Prints a report.
    pub(super) fn tell(&self, report: &Report<'_>) {
        let printed = match report {
            _ if self.silent.load(Ordering::Relaxed) => Ok(()),
            _ if self.quiet && !is_trouble(report) => Ok(()),
            _ if self.json => output::json(&as_json(report)),
            Report::Processed { .. } | Report::Archived { .. } | Report::Purged { .. } => {
                output::line(report.to_string())
            }
            Report::Failed { .. } | Report::Poison { .. } => output::line(output::styled(&report.to_string(), "31")),
            Report::RetryLater { .. } => output::line(output::styled(&report.to_string(), "33")),
            _ => Ok(()),
        };
        match report {
            Report::Processed { .. }
            | Report::Failed { .. }
            | Report::Poison { .. }
            | Report::RetryLater { .. }
            | Report::Archived { .. }
            | Report::Purged { .. } => {}
            _ => report.log(),
        }
        if let Err(error) = printed
            && !self.silent.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("standard output cannot be written any more ({error}); listening goes on without it");
        }
    }

    /// A listening whose reports could not all be printed did its work, and still it is no success.
    fn outcome(&self) -> Outcome {
        match self.silent.load(Ordering::Relaxed) {
            true => Err(Failure::failed(
                "the reports could not all be printed: standard output was closed",
            )),
            false => Ok(Exit::Done),
        }
    }
}

/// Whether a report tells of something that went wrong.
fn is_trouble(report: &Report<'_>) -> bool {
    matches!(
        report,
        Report::Failed { .. }
            | Report::Poison { .. }
            | Report::RetryLater { .. }
            | Report::Gone { .. }
            | Report::LeaseLost { .. }
            | Report::Orphaned { .. }
            | Report::Detached { .. }
            | Report::NameInUse { .. }
            | Report::Interrupted { .. }
    )
}

fn as_json(report: &Report<'_>) -> OrderedJson {
    match report {
        Report::Started { streams, group } => output::object!({
            "report": "started",
            "streams": streams,
            "group": group.map(|(group, _)| group),
            "consumer": group.map(|(_, consumer)| consumer),
        }),
        Report::Processed {
            message,
            listener,
            timing,
        } => output::object!({
            "report": "processed",
            "stream": message.stream(),
            "id": message.id(),
            "listener": listener,
            "attempt": message.attempt(),
            "took_ms": timing.map(|timing| ms(timing.took)),
            "waited_ms": timing.map(|timing| ms(timing.waited)),
        }),
        Report::Failed {
            message,
            listener,
            error,
            timing,
        } => output::object!({
            "report": "failed",
            "stream": message.stream(),
            "id": message.id(),
            "listener": listener,
            "error": error,
            "attempt": message.attempt(),
            "took_ms": timing.map(|timing| ms(timing.took)),
            "waited_ms": timing.map(|timing| ms(timing.waited)),
        }),
        Report::RetryLater {
            message,
            listener,
            error,
            attempt,
            delay,
            timing,
        } => output::object!({
            "report": "retry_later",
            "stream": message.stream(),
            "id": message.id(),
            "listener": listener,
            "error": error,
            "attempt": attempt,
            "delay_ms": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "took_ms": timing.map(|timing| ms(timing.took)),
            "waited_ms": timing.map(|timing| ms(timing.waited)),
        }),
        Report::Recovered { stream, count, claimed } => {
            output::object!({"report": "recovered", "stream": stream, "count": count, "claimed": claimed})
        }
        Report::Archived { stream, id } => output::object!({"report": "archived", "stream": stream, "id": id}),
        Report::Purged { stream, id } => output::object!({"report": "purged", "stream": stream, "id": id}),
        Report::Gone { stream, ids } => output::object!({"report": "gone", "stream": stream, "ids": ids}),
        Report::LeaseLost {
            stream,
            ids,
            stood_still,
        } => output::object!({
            "report": "lease_lost",
            "stream": stream,
            "ids": ids,
            "stood_still_ms": stood_still.map(ms),
        }),
        Report::Orphaned { stream, ids } => output::object!({"report": "orphaned", "stream": stream, "ids": ids}),
        Report::Detached { stream, ids } => output::object!({"report": "detached", "stream": stream, "ids": ids}),
        Report::NameInUse { stream, consumer, ids } => {
            output::object!({"report": "name_in_use", "stream": stream, "consumer": consumer, "ids": ids})
        }
        Report::ConsumersRemoved { stream, names } => {
            output::object!({"report": "consumers_removed", "stream": stream, "names": names})
        }
        Report::Poison { message, cut_off } => output::object!({
            "report": "poison",
            "stream": message.stream(),
            "id": message.id(),
            "cut_off": cut_off,
        }),
        Report::Interrupted {
            scope,
            error,
            attempt,
            delay,
        } => output::object!({
            "report": "interrupted",
            "scope": scope_as_json(scope).0,
            "streams": scope_as_json(scope).1,
            "error": error.to_string(),
            "attempt": attempt,
            "delay_ms": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        }),
        Report::Resumed { scope } => output::object!({
            "report": "resumed",
            "scope": scope_as_json(scope).0,
            "streams": scope_as_json(scope).1,
        }),
        Report::GroupRecreated { stream, group, after } => {
            output::object!({"report": "group_recreated", "stream": stream, "group": group, "after": after})
        }
        Report::Stopping => output::object!({"report": "stopping"}),
        other => output::object!({"report": "other", "text": other.to_string()}),
    }
}

/// Milliseconds, to the microsecond.
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// A scope's name, and the streams that it is about, if it is not about all.
fn scope_as_json(scope: &Scope) -> (&'static str, Option<&[StreamName]>) {
    match scope {
        Scope::Store => ("store", None),
        Scope::Streams(streams) => ("streams", Some(streams)),
        Scope::Settling(streams) => ("settling", Some(streams)),
        Scope::Retention => ("retention", None),
        _ => ("other", None),
    }
}
