//! What the processes do. Each is this program again, with an assignment in a variable.

mod archiver;
mod consumer;
mod keeper;
mod producer;
#[cfg(feature = "relay")]
mod relay;
mod retrier;

use std::{
    fs::OpenOptions,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use streamer::{DynamicEvent, ReceivedMessage, StopHandle, Streamer};

use crate::{ledger::Ledger, say};

/// The variable.
const VARIABLE: &str = "STREAMER_CHAOS_ASSIGNMENT";

/// The streams.
pub(crate) const STREAMS: [&str; 8] = [
    "order.placed",
    "order.paid",
    "user.changed",
    "stock.moved",
    "mail.sent",
    "{shop}.opened",
    "{shop}.closed",
    "audit",
];

/// The groups; each handles everything.
pub(crate) const GROUPS: [&str; 2] = ["billing", "search"];

/// How long an entry is idle before another consumer claims it.
pub(crate) const RECLAIM: Duration = Duration::from_secs(2);

/// What a process is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) role: Role,
    /// Its name in the ledger, different after each start.
    pub(crate) who: String,
    pub(crate) url: String,
    /// Where the ledger, the archive and the application's database are.
    pub(crate) folder: PathBuf,
    /// Where its numbers begin, and what its choices follow from.
    pub(crate) first_number: u64,
    /// How many replicas must have an event before a producer takes it for written.
    pub(crate) replicas: u32,
}

/// What kinds there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// Emits.
    Producer,
    /// Listens.
    Consumer {
        group: String,
        /// Its name in the group, where it keeps it.
        name: Option<String>,
        /// How many messages at once; 0: in order.
        at_once: usize,
        /// How long each takes, in milliseconds.
        takes_ms: u64,
    },
    /// Retries the failed list.
    Retrier,
    /// Archives and restores.
    Archiver,
    /// Archives, restores and purges everything.
    Keeper,
    /// Saves rows with events in the application's database.
    Application,
    /// Publishes those events.
    Relay,
}

/// The assignment of this process; `None` for the one that gives them.
pub(crate) fn assignment() -> Option<String> {
    std::env::var(VARIABLE).ok()
}

/// Tells a process what to do.
pub(crate) fn assign(command: &mut std::process::Command, assignment: &Assignment) -> Result<()> {
    command.env(VARIABLE, serde_json::to_string(assignment)?);
    Ok(())
}

/// Does what the assignment says until SIGTERM.
pub(crate) fn main(assignment: &str) -> ExitCode {
    match begin(assignment) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(assignment: &str) -> Result<()> {
    // Nobody outlives the one that will be asked for the report.
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let assignment: Assignment = serde_json::from_str(assignment)?;
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(assignment.folder.join(format!("{}.log", assignment.who)))?;
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
        .with_writer(std::sync::Arc::new(log))
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(work(assignment))
}

async fn work(assignment: Assignment) -> Result<()> {
    let ledger = Ledger::open(&assignment.folder)?;
    let stop = StopHandle::new();
    stop.on_signals()?;
    tokio::spawn(note_tasks(assignment.folder.join(tasks_file(&assignment.who))));
    match assignment.role.clone() {
        Role::Producer => producer::run(&assignment, &ledger, &stop).await,
        Role::Consumer {
            group,
            name,
            at_once,
            takes_ms,
        } => {
            let options = consumer::Options {
                group,
                name,
                at_once,
                takes: Duration::from_millis(takes_ms),
            };
            consumer::run(&assignment, ledger, options).await
        }
        Role::Retrier => retrier::run(&assignment, ledger, &stop).await,
        Role::Archiver => archiver::run(&assignment, &ledger, &stop).await,
        Role::Keeper => keeper::run(&assignment, &stop).await,
        #[cfg(feature = "relay")]
        Role::Application => relay::application(&assignment, &ledger, &stop).await,
        #[cfg(feature = "relay")]
        Role::Relay => relay::relay(&assignment, &stop).await,
        #[cfg(not(feature = "relay"))]
        Role::Application | Role::Relay => anyhow::bail!("this build has no relay"),
    }
}

/// Where a process writes down how many tasks it has; there as soon as it listens to signals.
pub(crate) fn tasks_file(who: &str) -> String {
    format!("{who}.tasks")
}

/// Writes down how many tasks this process has, without this one.
async fn note_tasks(file: PathBuf) {
    loop {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        let _ = std::fs::write(&file, tasks.saturating_sub(1).to_string());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Connects, as long as it takes: servers may be away.
async fn connect(url: &str, stop: &StopHandle) -> Result<Option<Streamer>> {
    loop {
        match Streamer::connect(url).await {
            Ok(streamer) => return Ok(Some(streamer)),
            Err(error) if stop.is_stopped() => return Err(error).context("never connected"),
            Err(_) => {}
        }
        if !sleep(stop, Duration::from_millis(100)).await {
            return Ok(None);
        }
    }
}

/// Sleeps; `false` when the end was asked for.
async fn sleep(stop: &StopHandle, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = stop.stopped() => false,
    }
}

/// The event with a number, and a checksum over what it carries.
fn event(stream: &str, number: u64) -> DynamicEvent {
    // Some are large.
    let length = if number.is_multiple_of(50) {
        20_000
    } else {
        40 + (number % 200) as usize
    };
    let filler = "chaos ".repeat(length / 6);
    let sum = checksum(number, &filler);
    DynamicEvent::new(stream, json!({ "n": number, "filler": filler, "sum": sum }))
}

/// The number of a message; an error when it is not what was emitted.
fn checked(message: &ReceivedMessage) -> Result<u64> {
    let number = message.get("n").and_then(serde_json::Value::as_u64);
    let number = number.with_context(|| format!("message {} has no number", message.id()))?;
    let filler = message
        .get("filler")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    let sum = message
        .get("sum")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    anyhow::ensure!(
        sum == checksum(number, filler),
        "CORRUPT: message {} with number {number} has another checksum",
        message.id()
    );
    Ok(number)
}

fn checksum(number: u64, filler: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (number, filler).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The archive that all share.
pub(crate) fn archive_url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("archive.db").display())
}

/// Whether the listeners fail on this number every time: only a retry of the failed list handles it.
pub(crate) fn fails_always(number: u64) -> bool {
    number.is_multiple_of(101)
}

/// Whether the first attempt fails.
fn fails_first(number: u64) -> bool {
    number.is_multiple_of(17)
}
