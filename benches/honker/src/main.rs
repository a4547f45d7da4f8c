//! honker, for the benchmark's cases of the embedded engine: `streamer-bench-honker WORK FILE AMOUNT`.
//!
//! Prints one line `NAME VALUE` for each number. Its settings are honker's own: WAL, `synchronous = NORMAL`, 32 MB of cache.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use honker::{Database, Stream};
use serde::{Deserialize, Serialize};

const TOPIC: &str = "order.placed";
const GROUP: &str = "bench";

/// What makes a payload as long as the fields of our message.
const BODY: &str = "order.placed event 1.3 shop 1795407980 id=123 total=9.99 sku=ABC-1 \
                    4fdb1ff4ff0b8f0e9a4c8b1b0b9ee7ba1ab0dd6f5d2e2a4c8c1f3f9f6d7a1e2b \
                    4fdb1ff4ff0b8f0e9a4c8b1b0b9ee7ba1ab0dd6f5d2e2a4c8c1f3f9f6d";

#[derive(Serialize, Deserialize)]
struct Order {
    at: u64,
    body: String,
}

impl Order {
    fn emitted(at: u64) -> Self {
        let body = BODY.to_owned();
        Self { at, body }
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [work, file, amount, ..] = &arguments[..] else {
        bail!("usage: streamer-bench-honker WORK FILE AMOUNT [PER_SECOND]");
    };
    let amount: u64 = amount.parse().context("the amount")?;
    let per_second = arguments
        .get(3)
        .map_or(Ok(200), |number| number.parse())
        .context("the rate")?;
    let database = Database::open(file)?;
    let stream = database.stream(TOPIC);
    let done = match &work[..] {
        "emit" => emit(&stream, amount),
        "tasks" => emit_from_threads(&database, amount),
        "transactions" => transactions(&database, amount),
        "backlog" => backlog(&database, amount),
        "drain" => drain(&stream, amount),
        "listen" => listen(&stream, file, amount, per_second),
        "produce" => produce(&stream, amount, per_second),
        other => bail!("no such work: {other}"),
    };
    done.and_then(|()| resident())
}

/// The largest resident memory of this process.
fn resident() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    if let Some(peak) = peak {
        println!("resident_mb {}", peak.trim().parse::<f64>()? / 1024.0);
    }
    Ok(())
}

fn rate(amount: u64, took: Duration) {
    println!("per_second {}", amount as f64 / took.as_secs_f64());
}

fn emit(stream: &Stream, amount: u64) -> Result<()> {
    let begun = Instant::now();
    for _ in 0..amount {
        stream.publish(&Order::emitted(0))?;
    }
    rate(amount, begun.elapsed());
    Ok(())
}

/// honker has no tasks: threads share its connection.
fn emit_from_threads(database: &Database, amount: u64) -> Result<()> {
    const THREADS: u64 = 64;
    let begun = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| scope.spawn(|| emit_some(&database.stream(TOPIC), amount / THREADS)))
            .collect();
        let mut ended = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")));
        ended.try_for_each(|ended| ended)
    })?;
    rate(amount / THREADS * THREADS, begun.elapsed());
    Ok(())
}

fn emit_some(stream: &Stream, amount: u64) -> Result<()> {
    for _ in 0..amount {
        stream.publish(&Order::emitted(0))?;
    }
    Ok(())
}

fn transactions(database: &Database, amount: u64) -> Result<()> {
    const TABLE: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL NOT NULL, sku TEXT NOT NULL)";
    database.with_conn(|connection| connection.execute_batch(TABLE))?;
    let stream = database.stream(TOPIC);
    let begun = Instant::now();
    for id in 0..amount {
        let transaction = database.transaction()?;
        let mut insert = transaction
            .conn()
            .prepare_cached("INSERT INTO orders (id, total, sku) VALUES (?, ?, ?)")?;
        insert.execute((i64::try_from(id)?, 9.99, "ABC-1"))?;
        drop(insert);
        stream.publish_tx(&transaction, &Order::emitted(0))?;
        transaction.commit()?;
    }
    rate(amount, begun.elapsed());
    Ok(())
}

fn backlog(database: &Database, amount: u64) -> Result<()> {
    const AT_ONCE: u64 = 1000;
    let stream = database.stream(TOPIC);
    for _ in 0..amount / AT_ONCE {
        let transaction = database.transaction()?;
        for _ in 0..AT_ONCE {
            stream.publish_tx(&transaction, &Order::emitted(0))?;
        }
        transaction.commit()?;
    }
    Ok(())
}

fn drain(stream: &Stream, amount: u64) -> Result<()> {
    let mut events = stream.subscribe(GROUP)?.save_every(500);
    let begun = Instant::now();
    for _ in 0..amount {
        let event = events.next().context("the stream ended")??;
        std::hint::black_box(event.payload_as::<Order>()?);
    }
    events.save_offset()?;
    rate(amount, begun.elapsed());
    Ok(())
}

fn now_ns() -> Result<u64> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64)
}

fn listen(stream: &Stream, file: &str, amount: u64, per_second: u64) -> Result<()> {
    let mut events = stream.subscribe(GROUP)?.save_every(1);
    let mut producer = Command::new(std::env::current_exe()?)
        .args(["produce", file, &amount.to_string(), &per_second.to_string()])
        .stdout(Stdio::null())
        .spawn()?;
    let mut waited = Vec::new();
    for _ in 0..amount {
        let order: Order = events.next().context("the stream ended")??.payload_as()?;
        waited.push(now_ns()?.saturating_sub(order.at));
    }
    ensure!(producer.wait()?.success(), "the producer failed");
    waited.sort_unstable();
    let last = waited.len().saturating_sub(1);
    for (name, part) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
        println!(
            "{name} {}",
            waited[(last as f64 * part).round() as usize] as f64 / 1000.0
        );
    }
    Ok(())
}

fn produce(stream: &Stream, amount: u64, per_second: u64) -> Result<()> {
    let begun = Instant::now();
    for index in 0..amount {
        let due = Duration::from_nanos(index * 1_000_000_000 / per_second);
        thread::sleep(due.saturating_sub(begun.elapsed()));
        stream.publish(&Order::emitted(now_ns()?))?;
    }
    Ok(())
}
