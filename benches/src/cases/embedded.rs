//! The engine without a server, beside SQLite itself.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use rusqlite::{Connection, params};
use rustix::time::ClockId;
use serde::{Deserialize, Serialize};
use streamer::{Event, Listeners, Payload, Report, Streamer, Workers};
use tokio::sync::Notify;

use super::{
    drain::{self, Countdown},
    emit,
};
use crate::{
    case::{Bound, Case, Contender, Job, RATE, RESIDENT, Reading, Target},
    message::{self, GROUP, Order, STREAM},
    peers::{apalis_sqlite, honker},
};

/// The database and its log at the end, in bytes for each message.
const BYTES: &str = "bytes_per_message";
/// Processor time, user and system, in per cent of one core.
const CPU: &str = "cpu_percent";
const P50: &str = "p50_us";
const P99: &str = "p99_us";
const P999: &str = "p999_us";

const MULTI: &str = "streamer, multi-thread";
const CURRENT: &str = "streamer, current-thread";
const PLAIN: &str = "streamer, without a group, current-thread";
const HONKER: &str = honker::NAME;
const APALIS: &str = apalis_sqlite::NAME;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        emit_one(),
        emit_tasks(),
        emit_all(),
        drain(),
        wake_up(
            "embedded-wake-up-200",
            "Embedded: from emit to listener across processes, 200 a second",
            1000,
            [
                raw_wake_up::<200>,
                multi_wake_up::<200>,
                current_wake_up::<200>,
                plain_wake_up::<200>,
                |job| honker::run(job, "listen", &["200"]),
            ],
        ),
        wake_up(
            "embedded-wake-up-1000",
            "Embedded: from emit to listener across processes, 1,000 a second",
            5000,
            [
                raw_wake_up::<1000>,
                multi_wake_up::<1000>,
                current_wake_up::<1000>,
                plain_wake_up::<1000>,
                |job| honker::run(job, "listen", &["1000"]),
            ],
        ),
        idle(),
    ]
}

/// A bound that stands by itself.
fn absolute(contender: &'static str, metric: &'static str, bound: Bound) -> Target {
    Target {
        contender,
        against: None,
        metric,
        bound,
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("streams.db")
}

fn url(directory: &Path) -> String {
    format!("sqlite://{}", file(directory).display())
}

// ----- SQLite itself --------------------------------------------------------------------------------------------------

/// The one stream in a table of many.
const KEY: i64 = 1;

/// A file kept as the engine keeps its own: a log, and no flush in a commit.
fn raw_store(directory: &Path) -> Result<Connection> {
    let store = Connection::open(file(directory)).context("open the file")?;
    store.pragma_update(None, "journal_mode", "wal")?;
    store.pragma_update(None, "synchronous", "normal")?;
    store.execute_batch(
        "CREATE TABLE IF NOT EXISTS entries (
            stream INTEGER NOT NULL, ms INTEGER NOT NULL, seq INTEGER NOT NULL, fields BLOB NOT NULL,
            PRIMARY KEY (stream, ms, seq)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS cursor (ms INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT;
        INSERT INTO cursor SELECT 0, 0 WHERE NOT EXISTS (SELECT * FROM cursor)",
    )?;
    Ok(store)
}

/// The message as a row holds it: each name and each value after a byte that is its length.
fn raw_fields() -> Vec<u8> {
    let parts = message::fields().into_iter().flat_map(<[&str; 2]>::from);
    parts
        .flat_map(|part| [&[part.len() as u8], part.as_bytes()].concat())
        .collect()
}

fn raw_emit(job: &Job, rows_a_commit: u64) -> Result<Reading> {
    let store = raw_store(&job.directory)?;
    let fields = raw_fields();
    let mut begin = store.prepare("BEGIN IMMEDIATE")?;
    let mut insert = store.prepare("INSERT INTO entries (stream, ms, seq, fields) VALUES (?, ?, ?, ?)")?;
    let mut commit = store.prepare("COMMIT")?;
    let begun = Instant::now();
    for first in (0..job.amount).step_by(rows_a_commit as usize) {
        // A single row is a transaction by itself.
        if rows_a_commit > 1 {
            begin.execute([])?;
        }
        for index in first..(first + rows_a_commit).min(job.amount) {
            insert.execute(params![KEY, (index / 64) as i64 + 1, (index % 64) as i64, fields])?;
        }
        if rows_a_commit > 1 {
            commit.execute([])?;
        }
    }
    let reading = Reading::rate(job.amount, begun.elapsed());
    with_bytes(reading, &job.directory, job.amount)
}

/// Adds what database and log take. Somebody must have the file open, else the log is gone.
fn with_bytes(reading: Reading, directory: &Path, amount: u64) -> Result<Reading> {
    let mut bytes = 0;
    for entry in directory.read_dir()? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().ends_with("-shm") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(reading.with(BYTES, bytes as f64 / amount as f64))
}

// ----- emitting -------------------------------------------------------------------------------------------------------

const EMITTING: &[&str] = &[RATE, RESIDENT, BYTES];

fn emit_one() -> Case {
    Case {
        name: "embedded-emit-one",
        title: "Embedded: emit one at a time",
        about: "Each emit is awaited before the next. Raw is SQLite itself with the same settings, one row in each \
                commit. honker publishes to a stream, apalis pushes jobs to a table, both of the same length.",
        metrics: EMITTING,
        amount: 30_000,
        contenders: vec![
            Contender::new("raw", |job| raw_emit(job, 1)),
            Contender::new(MULTI, |job| job.on_two_threads(emitted(job, emit::ours_one))),
            Contender::new(CURRENT, |job| job.on_one_thread(emitted(job, emit::ours_one))),
            Contender::new(HONKER, |job| honker::run(job, "emit", &[])).prepared(honker::built),
            Contender::new(APALIS, apalis_sqlite::emit_one).share(0.1),
        ],
        targets: vec![
            Target::at_least(0.55, MULTI, "raw"),
            Target::at_least(0.55, CURRENT, "raw"),
            Target::at_least(1.0, MULTI, HONKER),
            Target::at_least(1.0, CURRENT, HONKER),
            Target::at_least(1.0, MULTI, APALIS),
            Target::at_least(1.0, CURRENT, APALIS),
            Target::resident_below(50.0, MULTI),
            Target::resident_below(50.0, CURRENT),
        ],
    }
}

fn emit_tasks() -> Case {
    Case {
        name: "embedded-emit-tasks",
        title: "Embedded: emit from 64 tasks",
        about: "64 tasks emit at once, each awaiting every emit. Raw is SQLite itself with the same settings, 100 \
                rows in each commit. honker has no tasks: 64 threads share its connection.",
        metrics: EMITTING,
        amount: 200_000,
        contenders: vec![
            Contender::new("raw", |job| raw_emit(job, 100)),
            Contender::new(MULTI, |job| job.on_two_threads(emitted(job, emit::ours_from_tasks))),
            Contender::new(CURRENT, |job| job.on_one_thread(emitted(job, emit::ours_from_tasks))),
            Contender::new(HONKER, |job| honker::run(job, "tasks", &[]))
                .prepared(honker::built)
                .share(0.25),
            Contender::new(APALIS, apalis_sqlite::emit_from_tasks).share(0.05),
        ],
        targets: vec![
            Target::at_least(0.50, MULTI, "raw"),
            Target::at_least(0.50, CURRENT, "raw"),
            Target::resident_below(50.0, MULTI),
            Target::resident_below(50.0, CURRENT),
        ],
    }
}

fn emit_all() -> Case {
    Case {
        name: "embedded-emit-all",
        title: "Embedded: emit 100,000 with one call",
        about: "`emit_all` from an iterator. Raw is SQLite itself with the same settings, 1,000 rows in each \
                commit.",
        metrics: EMITTING,
        amount: 100_000,
        contenders: vec![
            Contender::new("raw", |job| raw_emit(job, 1000)),
            Contender::new(MULTI, |job| job.on_two_threads(emitted(job, emit::ours_all))),
            Contender::new(CURRENT, |job| job.on_one_thread(emitted(job, emit::ours_all))),
        ],
        targets: vec![
            Target::resident_below(50.0, MULTI),
            Target::resident_below(50.0, CURRENT),
        ],
    }
}

/// What the cases of emitting do, in a file.
fn emitted<E: Future<Output = Result<Reading>>, F: FnOnce(String, u64) -> E>(
    job: &Job,
    emit: F,
) -> impl Future<Output = Result<Reading>> + use<E, F> {
    let (directory, amount) = (job.directory.clone(), job.amount);
    let emitting = emit(url(&directory), amount);
    async move {
        // Held until the size was taken: the last one to close the file removes its log.
        let _open = Streamer::connect(&url(&directory)).await?;
        with_bytes(emitting.await?, &directory, amount)
    }
}

// ----- draining -------------------------------------------------------------------------------------------------------

const BATCH: u64 = 500;

fn drain() -> Case {
    Case {
        name: "embedded-drain",
        title: "Embedded: drain 200,000 with a group and acknowledgements, one worker in order",
        about: "The handler does nothing. Raw is SQLite itself with the same settings: it reads 500 rows and \
                updates a cursor in the same transaction. A consumer group does more: it keeps each message pending \
                until it is acknowledged. Raw emit writes 100 rows in each commit. honker reads 100 events at a \
                time, and saves its position every 500; apalis locks 500 jobs at a time, and marks each as done.",
        metrics: &[RATE, RESIDENT],
        amount: 200_000,
        contenders: vec![
            Contender::new("raw", raw_drain).prepared(raw_backlog),
            Contender::new("raw emit", |job| raw_emit(job, 100)),
            Contender::new(MULTI, |job| {
                let (url, amount) = (url(&job.directory), job.amount);
                job.on_two_threads(drain::ours(url, amount, Workers::InOrder, drain::nothing))
            })
            .prepared(backlog),
            Contender::new(CURRENT, |job| {
                let (url, amount) = (url(&job.directory), job.amount);
                job.on_one_thread(drain::ours(url, amount, Workers::InOrder, drain::nothing))
            })
            .prepared(backlog),
            Contender::new(HONKER, |job| honker::run(job, "drain", &[])).prepared(honker::backlog),
            Contender::new(APALIS, apalis_sqlite::drain)
                .prepared(apalis_sqlite::backlog)
                .share(0.1),
        ],
        targets: vec![
            Target::at_least(1.0, MULTI, HONKER),
            Target::at_least(1.0, CURRENT, HONKER),
            Target::at_least(1.0, MULTI, APALIS),
            Target::at_least(1.0, CURRENT, APALIS),
            absolute(MULTI, RATE, Bound::AtLeast(100_000.0)),
            absolute(CURRENT, RATE, Bound::AtLeast(100_000.0)),
            Target::resident_below(50.0, MULTI),
            Target::resident_below(50.0, CURRENT),
        ],
    }
}

fn raw_backlog(job: &Job) -> Result<()> {
    raw_emit(job, 1000)?;
    without_log(job)
}

fn backlog(job: &Job) -> Result<()> {
    job.on_one_thread(emit::ours_all(url(&job.directory), job.amount))?;
    without_log(job)
}

/// Moves all of the log into the database, so that no run does this for those who prepared it.
fn without_log(job: &Job) -> Result<()> {
    let store = Connection::open(file(&job.directory))?;
    // SQLite does not wait for another one that moves the log, as those who wrote may still do.
    for _ in 0..500 {
        let busy: i64 = store.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if busy == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!("the file is still in use")
}

fn raw_drain(job: &Job) -> Result<Reading> {
    let store = raw_store(&job.directory)?;
    let mut begin = store.prepare("BEGIN IMMEDIATE")?;
    let mut read = store.prepare(
        "SELECT ms, seq, fields FROM entries WHERE stream = ? AND (ms, seq) > (?, ?) ORDER BY ms, seq LIMIT ?",
    )?;
    let mut go_on = store.prepare("UPDATE cursor SET ms = ?, seq = ?")?;
    let mut commit = store.prepare("COMMIT")?;
    let (mut ms, mut seq, mut drained) = (0_i64, 0_i64, 0);
    let begun = Instant::now();
    while drained < job.amount {
        begin.execute([])?;
        let before = drained;
        let mut rows = read.query(params![KEY, ms, seq, BATCH as i64])?;
        while let Some(row) = rows.next()? {
            (ms, seq) = (row.get(0)?, row.get(1)?);
            std::hint::black_box(row.get_ref(2)?.as_blob()?);
            drained += 1;
        }
        ensure!(drained > before, "there were only {drained} rows");
        drop(rows);
        go_on.execute([ms, seq])?;
        commit.execute([])?;
    }
    Ok(Reading::rate(drained, begun.elapsed()))
}

// ----- waking up ------------------------------------------------------------------------------------------------------

/// How often a reader of plain SQLite looks for new rows.
const POLL: Duration = Duration::from_micros(200);

fn wake_up(name: &'static str, title: &'static str, amount: u64, runs: [fn(&Job) -> Result<Reading>; 5]) -> Case {
    let [raw, multi, current, plain, peer] = runs;
    Case {
        name,
        title,
        about: "One process emits; another listens in a group and compares the time in the payload with its clock. \
                Raw is SQLite itself with the same settings, one row in each commit, and polls for new rows every \
                200 µs. It records no delivery, and neither does the listening without a group. honker polls every \
                millisecond, as by default.",
        metrics: &[P50, P99, P999, RESIDENT],
        amount,
        contenders: vec![
            Contender::new("raw", raw),
            Contender::new(MULTI, multi),
            Contender::new(CURRENT, current),
            Contender::new(PLAIN, plain),
            Contender::new(HONKER, peer).prepared(honker::built),
        ],
        targets: vec![
            Target::at_most(1.0, P50, MULTI, "raw"),
            Target::at_most(1.0, P50, CURRENT, "raw"),
            absolute(MULTI, P99, Bound::AtMost(20_000.0)),
            absolute(CURRENT, P99, Bound::AtMost(20_000.0)),
        ],
    }
}

/// The order, and when it was emitted.
#[derive(Serialize, Deserialize)]
struct Stamped {
    /// In nanoseconds since the Unix epoch.
    at: u64,
    #[serde(flatten)]
    order: Order,
}

impl Event for Stamped {
    fn name(&self) -> std::borrow::Cow<'_, str> {
        self.order.name()
    }
}

fn now_ns() -> Result<u64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64)
}

/// Does something so often, evenly.
fn paced(amount: u64, per_second: u64, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    let begun = Instant::now();
    for index in 0..amount {
        let due = Duration::from_nanos(index * 1_000_000_000 / per_second);
        thread::sleep(due.saturating_sub(begun.elapsed()));
        work()?;
    }
    Ok(())
}

/// The command for the process that emits.
fn producer(job: &Job) -> Result<Command> {
    let mut command = job.other_process("producer")?;
    command.stdout(Stdio::null());
    Ok(command)
}

fn percentiles(mut waited_ns: Vec<u64>) -> Result<Reading> {
    waited_ns.sort_unstable();
    let last = waited_ns.len().checked_sub(1).context("nothing came")?;
    let at = |part: f64| waited_ns[(last as f64 * part).round() as usize] as f64 / 1000.0;
    Ok(Reading::default()
        .with(P50, at(0.5))
        .with(P99, at(0.99))
        .with(P999, at(0.999)))
}

fn raw_wake_up<const PER_SECOND: u64>(job: &Job) -> Result<Reading> {
    let store = raw_store(&job.directory)?;
    if job.role.is_some() {
        let mut insert = store.prepare("INSERT INTO entries (stream, ms, seq, fields) VALUES (?, ?, 0, ?)")?;
        let (mut ms, fields) = (0_i64, raw_fields());
        paced(job.amount, PER_SECOND, || {
            ms += 1;
            let stamped = [&now_ns()?.to_be_bytes()[..], &fields].concat();
            insert.execute(params![KEY, ms, stamped])?;
            Ok(())
        })?;
        return Ok(Reading::default());
    }
    let mut read = store.prepare("SELECT ms, fields FROM entries WHERE stream = ? AND ms > ? ORDER BY ms LIMIT ?")?;
    let mut producer = producer(job)?.spawn().context("start the producer")?;
    let (mut after, mut waited) = (0_i64, Vec::with_capacity(job.amount as usize));
    while waited.len() < job.amount as usize {
        let mut rows = read.query(params![KEY, after, BATCH as i64])?;
        while let Some(row) = rows.next()? {
            after = row.get(0)?;
            let stamp = row
                .get_ref(1)?
                .as_blob()?
                .first_chunk()
                .context("a row without a time")?;
            waited.push(now_ns()?.saturating_sub(u64::from_be_bytes(*stamp)));
        }
        drop(rows);
        thread::sleep(POLL);
    }
    ensure!(producer.wait()?.success(), "the producer failed");
    percentiles(waited)
}

fn multi_wake_up<const PER_SECOND: u64>(job: &Job) -> Result<Reading> {
    match job.role {
        Some(_) => produce(job, PER_SECOND),
        None => job.on_two_threads(consume(url(&job.directory), Some(GROUP), job.amount, producer(job)?)),
    }
}

fn current_wake_up<const PER_SECOND: u64>(job: &Job) -> Result<Reading> {
    match job.role {
        Some(_) => produce(job, PER_SECOND),
        None => job.on_one_thread(consume(url(&job.directory), Some(GROUP), job.amount, producer(job)?)),
    }
}

fn plain_wake_up<const PER_SECOND: u64>(job: &Job) -> Result<Reading> {
    match job.role {
        Some(_) => produce(job, PER_SECOND),
        None => job.on_one_thread(consume(url(&job.directory), None, job.amount, producer(job)?)),
    }
}

fn produce(job: &Job, per_second: u64) -> Result<Reading> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let streamer = runtime.block_on(Streamer::connect(&url(&job.directory)))?;
    paced(job.amount, per_second, || {
        let at = now_ns()?;
        let order = Order::default();
        runtime.block_on(streamer.emit(&Stamped { at, order }))?;
        Ok(())
    })?;
    Ok(Reading::default())
}

async fn consume(url: String, group: Option<&'static str>, amount: u64, mut producer: Command) -> Result<Reading> {
    let streamer = Streamer::connect(&url).await?;
    let countdown = Countdown::from(amount);
    let waited = Arc::new(Mutex::new(Vec::with_capacity(amount as usize)));
    let listeners = {
        let (countdown, waited) = (countdown.clone(), waited.clone());
        Listeners::new().on(STREAM, "clock", move |Payload(stamped): Payload<Stamped>| {
            let now = now_ns().unwrap_or_default();
            let mut waited = waited.lock().unwrap_or_else(PoisonError::into_inner);
            waited.push(now.saturating_sub(stamped.at));
            countdown.one_less();
            async {}
        })
    };
    let begins = Arc::new(Notify::new());
    let begun = begins.clone();
    let producer = tokio::spawn(async move {
        begun.notified().await;
        producer.spawn()
    });
    let mut listening = streamer.listen(listeners).on_report(move |report| {
        if let Report::Started { .. } = report {
            begins.notify_one();
        }
    });
    if let Some(group) = group {
        listening = listening.group(group);
    }
    drain::timed(listening, countdown, amount).await?;
    let mut producer = producer.await?.context("start the producer")?;
    ensure!(producer.wait()?.success(), "the producer failed");
    let waited = std::mem::take(&mut *waited.lock().unwrap_or_else(PoisonError::into_inner));
    percentiles(waited)
}

// ----- doing nothing --------------------------------------------------------------------------------------------------

fn idle() -> Case {
    Case {
        name: "embedded-idle",
        title: "Embedded: an idle listener, for five seconds",
        about: "A consumer waits in a group without a backlog. Raw is SQLite itself, and polls for new rows every \
                200 µs.",
        metrics: &[CPU, RESIDENT],
        // Milliseconds.
        amount: 5000,
        contenders: vec![
            Contender::new("raw", raw_idle),
            Contender::new(MULTI, |job| job.on_two_threads(idling(url(&job.directory), job.amount))).prepared(handled),
            Contender::new(CURRENT, |job| {
                job.on_one_thread(idling(url(&job.directory), job.amount))
            })
            .prepared(handled),
        ],
        targets: vec![
            absolute(MULTI, CPU, Bound::AtMost(0.1)),
            absolute(CURRENT, CPU, Bound::AtMost(0.1)),
        ],
    }
}

/// A stream of which a group has handled everything.
fn handled(job: &Job) -> Result<()> {
    const MESSAGES: u64 = 1000;
    let url = url(&job.directory);
    job.on_one_thread(async {
        emit::ours_all(url.clone(), MESSAGES).await?;
        drain::ours(url, MESSAGES, Workers::InOrder, drain::nothing).await?;
        Ok(())
    })
}

/// The processor time of this process, with all its threads.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

async fn idling(url: String, ms: u64) -> Result<Reading> {
    let streamer = Streamer::connect(&url).await?;
    let listening = streamer.listen(drain::nothing(Countdown::from(1))).group(GROUP);
    let stop = listening.stop_handle();
    let measured = tokio::spawn(async move {
        // Long enough for what a beginning listening has to do.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let (begun, before) = (Instant::now(), processor_seconds());
        tokio::time::sleep(Duration::from_millis(ms)).await;
        let percent = (processor_seconds() - before) / begun.elapsed().as_secs_f64() * 100.0;
        stop.stop();
        percent
    });
    let summary = listening.run().await?;
    ensure!(summary.messages == 0, "{} messages came", summary.messages);
    Ok(Reading::default().with(CPU, measured.await?))
}

fn raw_idle(job: &Job) -> Result<Reading> {
    let store = raw_store(&job.directory)?;
    let mut read = store.prepare("SELECT ms, fields FROM entries WHERE stream = ? AND ms > ? ORDER BY ms LIMIT ?")?;
    let (begun, before) = (Instant::now(), processor_seconds());
    while begun.elapsed() < Duration::from_millis(job.amount) {
        let mut rows = read.query(params![KEY, 0, BATCH as i64])?;
        ensure!(rows.next()?.is_none(), "there is a row");
        drop(rows);
        thread::sleep(POLL);
    }
    let percent = (processor_seconds() - before) / begun.elapsed().as_secs_f64() * 100.0;
    Ok(Reading::default().with(CPU, percent))
}
