//! Processes that die, stand still, grow, or have a clock that is set back: real children, started from this test's own
//! binary.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use streamer::{
    DynamicEvent, EmitOptions, ListenerError, Listeners, ReceivedMessage, RetryPolicy, StartAt, StopHandle, Streamer,
    Workers, extract::State,
};
use tempfile::TempDir;

use crate::{Running, Seen, assert_each_once, emit, number, on, on_each_engine, quick, store::Store, until};

on_each_engine!(
    what_kills_the_process_is_listed_and_its_neighbours_are_handled,
    what_kills_the_process_is_listed_with_two_attempts,
    what_kills_the_process_is_listed_with_three_attempts,
    what_kills_the_process_is_listed_with_four_workers,
    what_kills_the_process_is_listed_also_when_others_claim_it,
    what_others_handled_while_a_process_stood_still_is_not_repeated,
    killed_processes_lose_nothing,
    processes_that_are_killed_move_each_event_that_is_due_once,
);
on!(memory_of_redis, Redis, without_a_group_what_waits_for_a_retry_is_bounded what_waits_keeps_no_read_buffer_alive);
on!(
    memory_of_embedded,
    Embedded,
    without_a_group_what_waits_for_a_retry_is_bounded what_waits_keeps_no_read_buffer_alive
);
on!(clock_of_redis, Redis, a_clock_that_is_set_back_delays_no_retry a_process_whose_clock_is_behind_waits_no_longer);
on!(
    clock_of_embedded,
    Embedded,
    a_clock_that_is_set_back_delays_no_retry a_process_whose_clock_is_behind_waits_no_longer
);

/// What a child is told, and where it leaves its notes.
struct Notes {
    folder: TempDir,
    url: String,
}

impl Notes {
    fn new(store: &Store) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            url: store.url(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// The numbers of the messages that children began, in order. A line that a kill cut off counts as begun.
    fn begun(&self) -> Vec<u64> {
        numbers(&self.path("begun"))
    }

    /// [`child`] in a process of its own.
    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["processes::child", "--exact", "--ignored", "--nocapture"]);
        command
            .env("ROLE", role)
            .env("STORE", &self.url)
            .env("NOTES", self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// A process with four workers in the group `g`.
    fn worker(&self) -> Process {
        let mut command = self.command("note");
        command.env("GROUP", "g").env("RECLAIM", "500").env("WORKERS", "4");
        Process(command.spawn().unwrap())
    }
}

fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

/// A child that does not outlive its test.
struct Process(Child);

impl Process {
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// The most memory that it ever had, in bytes; `None` when it has ended.
    fn peak(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        Some(peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the listeners of a child know.
#[derive(Clone)]
struct Known(Arc<PathBuf>);

impl Known {
    fn note(&self, name: &str, number: u64) {
        let file = OpenOptions::new().append(true).create(true).open(self.0.join(name));
        file.unwrap().write_all(format!("{number}\n").as_bytes()).unwrap();
    }
}

/// Not a test of its own: what a child process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by other tests in a process of its own"]
async fn child() {
    let variable = |name: &str| std::env::var(name).ok();
    let notes = Known(Arc::new(variable("NOTES").unwrap().into()));
    let streamer = Streamer::connect(&variable("STORE").unwrap()).await.unwrap();
    let number = |name: &str| variable(name).and_then(|text| text.parse::<u64>().ok());
    let listeners = Listeners::with_state(notes.clone());
    let listeners = match variable("ROLE").unwrap().as_str() {
        "poison" => listeners.on("e", "poisoned", poisoned),
        "gated" => listeners.on("e", "gated", gated),
        "note" => listeners.on("e", "note", note),
        "fails" => listeners.on("e", "fails", fails),
        "fails-rarely" => listeners.on("e", "fails_rarely", fails_rarely),
        other => panic!("no such role: {other}"),
    };
    let listeners = match (number("ATTEMPTS"), number("DELAY")) {
        (Some(attempts), delay) => {
            let delay = Duration::from_millis(delay.unwrap_or(20));
            listeners.retry(&RetryPolicy::fixed(attempts, delay))
        }
        _ => listeners,
    };
    let mut listening = streamer.listen(listeners).keep_alive(quick());
    listening = match variable("GROUP") {
        Some(group) => listening.group(group),
        None => listening.start(StartAt::Beginning),
    };
    if let Some(consumer) = variable("CONSUMER") {
        listening = listening.consumer(consumer);
    }
    if let Some(workers) = number("WORKERS") {
        listening = listening.workers(Workers::AtOnce(workers as usize));
    }
    if let Some(reclaim) = number("RECLAIM") {
        listening = listening.reclaim(Some(Duration::from_millis(reclaim)));
    }
    if let Some(quiet) = number("QUIET") {
        listening = listening.listen_timeout(Duration::from_millis(quiet));
    }
    let summary = listening.run().await.unwrap();
    notes.note("ended", summary.messages);
}

const POISON: u64 = 3;

async fn poisoned(message: ReceivedMessage, State(notes): State<Known>) {
    let number = number(&message);
    notes.note("begun", number);
    if number == POISON {
        // So that what was begun beside it is in the midst of its work.
        tokio::time::sleep(Duration::from_millis(20)).await;
        std::process::abort();
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    notes.note("done", number);
}

async fn gated(message: ReceivedMessage, State(notes): State<Known>) {
    notes.note("begun", number(&message));
    while !notes.0.join("gate").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn note(message: ReceivedMessage, State(notes): State<Known>) {
    notes.note("begun", number(&message));
}

async fn fails(message: ReceivedMessage, State(notes): State<Known>) -> Result<(), ListenerError> {
    notes.note("begun", number(&message));
    Err(ListenerError::new("no"))
}

async fn fails_rarely(
    message: ReceivedMessage,
    State(notes): State<Known>,
    stop: StopHandle,
) -> Result<(), ListenerError> {
    let number = number(&message);
    notes.note("begun", number);
    if notes.0.join("stop").exists() {
        stop.stop();
    }
    match number % 50 {
        0 => Err(ListenerError::new("no")),
        _ => Ok(()),
    }
}

// ----- messages that kill their process -------------------------------------------------------------------------------

/// One message kills whoever handles it, 20 others do not. After so many crashes at most, exactly the one is listed and
/// the others are handled.
async fn poison(store: Store, crashes: u32, environment: &[(&str, &str)]) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..21).await;
    let notes = Notes::new(&store);
    let mut crashed = 0;
    loop {
        let mut command = notes.command("poison");
        command
            .env("GROUP", "g")
            .env("QUIET", "800")
            .envs(environment.iter().copied());
        let mut process = Process(command.spawn().unwrap());
        let mut status = None;
        until("the process ends", async || {
            status = process.0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        if status.unwrap().success() {
            break;
        }
        crashed += 1;
        assert!(
            crashed <= crashes,
            "it crashed {crashed} times; begun: {:?}",
            notes.begun()
        );
    }
    let done = numbers(&notes.path("done")).into_iter().collect::<BTreeSet<_>>();
    assert!(done.into_iter().eq((0..21).filter(|number| *number != POISON)));
    assert!(store.pending("e", "g").is_empty());
    let listed = crate::failed_list::list(&streamer, streamer::failed::FailedFilter::all()).await;
    assert_eq!(listed.len(), 1, "{listed:?}");
    let record = listed[0].record.as_ref().unwrap();
    assert_eq!(record.receiver, "poisoned");
    assert!(crashed >= 3, "it was given up after {crashed} crashes only");
    assert_eq!(
        listed[0].details.attempts,
        u64::from(crashed),
        "each crash was an attempt"
    );
}

async fn what_kills_the_process_is_listed_and_its_neighbours_are_handled(store: Store) {
    poison(store, 5, &[("CONSUMER", "pod")]).await;
}

async fn what_kills_the_process_is_listed_with_two_attempts(store: Store) {
    poison(store, 3, &[("CONSUMER", "pod"), ("ATTEMPTS", "2")]).await;
}

async fn what_kills_the_process_is_listed_with_three_attempts(store: Store) {
    poison(store, 3, &[("CONSUMER", "pod"), ("ATTEMPTS", "3")]).await;
}

async fn what_kills_the_process_is_listed_with_four_workers(store: Store) {
    poison(store, 5, &[("CONSUMER", "pod"), ("WORKERS", "4")]).await;
}

/// Each start is another consumer, which claims what the dead one had.
async fn what_kills_the_process_is_listed_also_when_others_claim_it(store: Store) {
    poison(store, 5, &[("RECLAIM", "200")]).await;
}

// ----- processes that stand still, or are killed ----------------------------------------------------------------------

async fn what_others_handled_while_a_process_stood_still_is_not_repeated(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..16).await;
    let notes = Notes::new(&store);
    let mut command = notes.command("gated");
    command.env("GROUP", "g").env("RECLAIM", "300").env("CONSUMER", "still");
    let process = Process(command.spawn().unwrap());
    until("all are there, and the first was begun", async || {
        notes.begun() == [0] && store.pending("e", "g").len() == 16
    })
    .await;
    process.signal("-STOP");
    let other = Seen::default();
    let listening = store.connect().await.listen(other.listener("e")).group("g");
    let running = Running::start(listening.consumer("other").reclaim(Some(Duration::from_millis(300))));
    until("another consumer handled all", async || {
        other.len() == 16 && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
    // So that it goes on with the next one in the same instant.
    notes.write("gate", "");
    process.signal("-CONT");
    emit(&streamer, "e", 16..17).await;
    until("it handles what comes now", async || notes.begun().contains(&16)).await;
    assert_eq!(notes.begun(), [0, 16]);
    assert_each_once(other.numbers(), 0..16);
}

/// Killed again and again in the midst of its work, each time beside a live one.
async fn killed_processes_lose_nothing(store: Store) {
    const MESSAGES: u64 = 3_000;
    let streamer = store.connect().await;
    let notes = Notes::new(&store);
    let survivor = notes.worker();
    for part in 0..5 {
        let process = notes.worker();
        emit(&streamer, "e", part * MESSAGES / 5..(part + 1) * MESSAGES / 5).await;
        until("they are in the midst of it", async || {
            notes.begun().len() as u64 > part * MESSAGES / 5 + 100
        })
        .await;
        process.kill();
    }
    until("all are handled", async || {
        crate::all_there(notes.begun(), 0..MESSAGES) && store.pending("e", "g").is_empty()
    })
    .await;
    survivor.kill();
}

/// They are killed in the midst of moving and handling.
async fn processes_that_are_killed_move_each_event_that_is_due_once(store: Store) {
    const PART: u64 = 400;
    let streamer = store.connect().await;
    let notes = Notes::new(&store);
    let survivor = notes.worker();
    for part in 0..4 {
        let process = notes.worker();
        for number in part * PART..(part + 1) * PART {
            let event = DynamicEvent::new("e", json!({"n": number}));
            // They become due one after the other.
            let later = EmitOptions::new().deliver_after(Duration::from_millis(20 + number % 50));
            streamer.emit_with(&event, later).await.unwrap();
        }
        until("they are in the midst of it", async || {
            notes.begun().len() as u64 > part * PART + 50
        })
        .await;
        process.kill();
    }
    until("all are handled", async || {
        crate::all_there(notes.begun(), 0..4 * PART) && store.pending("e", "g").is_empty()
    })
    .await;
    assert_eq!(streamer.stream("e").len().await.unwrap(), 4 * PART);
    assert_eq!(streamer.scheduled("e").count().await.unwrap(), 0);
    survivor.kill();
}

// ----- memory ---------------------------------------------------------------------------------------------------------

const MIB: u64 = 1 << 20;

/// All fail, and wait for an hour.
async fn without_a_group_what_waits_for_a_retry_is_bounded(store: Store) {
    const MESSAGES: u64 = 2_000;
    let streamer = store.connect().await;
    let event = |n: u64| DynamicEvent::new("e", json!({ "n": n, "text": "x".repeat(100_000) }));
    streamer.emit_all((0..MESSAGES).map(event)).await.unwrap();
    let notes = Notes::new(&store);
    let mut command = notes.command("fails");
    command.env("ATTEMPTS", "2").env("DELAY", "3600000");
    let process = Process(command.spawn().unwrap());
    // Either everything was read, which is 200 MB, or it waits.
    let (mut begun, mut since) = (0, std::time::Instant::now());
    until("it has read what it may", async || {
        let now = notes.begun().len();
        if now != begun {
            (begun, since) = (now, std::time::Instant::now());
        }
        now as u64 == MESSAGES || (now > 0 && since.elapsed() > Duration::from_secs(3))
    })
    .await;
    let peak = process.peak().unwrap();
    assert!(peak < 150 * MIB, "{} MiB after {begun} messages", peak / MIB);
    process.kill();
}

/// One in fifty fails and waits; its neighbours came in the same read.
async fn what_waits_keeps_no_read_buffer_alive(store: Store) {
    const MESSAGES: u64 = 2_000;
    let streamer = store.connect().await;
    let event = |n: u64| DynamicEvent::new("e", json!({ "n": n, "text": "x".repeat(100_000) }));
    streamer.emit_all((0..MESSAGES).map(event)).await.unwrap();
    let notes = Notes::new(&store);
    let mut command = notes.command("fails-rarely");
    command.env("ATTEMPTS", "2").env("DELAY", "3600000");
    let process = Process(command.spawn().unwrap());
    until("all were handled once", async || notes.begun().len() as u64 >= MESSAGES).await;
    let peak = process.peak().unwrap();
    assert!(peak < 100 * MIB, "{} MiB", peak / MIB);
    // What still waits at the end is listed.
    notes.write("stop", "");
    emit(&streamer, "e", 1..2).await;
    until("it ends", async || notes.path("ended").exists()).await;
    assert_eq!(streamer.failed().count().await.unwrap(), MESSAGES / 50);
}

// ----- clocks ---------------------------------------------------------------------------------------------------------

/// Has the wall clock that a file tells, as an offset in seconds (Debian: `faketime`).
fn with_a_clock(command: &mut Command, file: &Path) {
    let libraries = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib64",
        "/usr/lib",
    ];
    let library = libraries
        .iter()
        .map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"))
        .find(|library| library.exists())
        .expect("libfaketime is there (Debian: apt-get install faketime)");
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
}

async fn a_clock_that_is_set_back_delays_no_retry(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let notes = Notes::new(&store);
    notes.write("clock", "+0");
    let mut command = notes.command("fails");
    with_a_clock(&mut command, &notes.path("clock"));
    command.env("GROUP", "g").env("ATTEMPTS", "3").env("DELAY", "1500");
    let process = Process(command.spawn().unwrap());
    until("the first attempt failed", async || notes.begun().len() == 1).await;
    notes.write("clock", "-3600");
    until("the other attempts come, and it is listed", async || {
        streamer.failed().count().await.unwrap() == 1 && store.pending("e", "g").is_empty()
    })
    .await;
    assert_eq!(notes.begun().len(), 3);
    process.kill();
}

/// What one process put off, another takes up an hour before.
async fn a_process_whose_clock_is_behind_waits_no_longer(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let notes = Notes::new(&store);
    let command = |clock: &str| {
        notes.write("clock", clock);
        let mut command = notes.command("fails");
        with_a_clock(&mut command, &notes.path("clock"));
        command
            .env("GROUP", "g")
            .env("CONSUMER", "c")
            .env("ATTEMPTS", "2")
            .env("DELAY", "1500");
        command
    };
    let first = Process(command("+0").spawn().unwrap());
    until("the first attempt failed", async || notes.begun().len() == 1).await;
    // That it is put off is stored.
    let stored = || match store.file() {
        Some(file) => {
            let sql = rusqlite::Connection::open(file).unwrap();
            sql.query_row("SELECT count(*) FROM streamer_hash_fields", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
                > 0
        }
        None => store
            .command(&["KEYS", "*"])
            .lines()
            .any(|key| key.contains("retry") || key.contains("progress")),
    };
    until("it waits", async || stored()).await;
    first.kill();
    let second = Process(command("-3600").spawn().unwrap());
    until("the second attempt comes, and it is listed", async || {
        streamer.failed().count().await.unwrap() == 1 && store.pending("e", "g").is_empty()
    })
    .await;
    assert_eq!(notes.begun().len(), 2);
    second.kill();
}
