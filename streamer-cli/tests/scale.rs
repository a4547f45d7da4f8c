//! What views cost on a large store: 1,000 streams with 10 groups each, 1,000,000 pending entries, 1,000,000 failures.
//!
//! It takes a minute, so it runs by hand, on a machine that does nothing else:
//!
//! ```console
//! cargo test --release -p streamer-cli --test scale -- --ignored --nocapture --test-threads 1
//! ```
//!
//! It prints how long things take, and fails when they are wrong, take too much memory, or too much processor time. Processor
//! time and not time, which a busy machine makes longer: that of this process and of the server together. A debug build takes
//! several times as much, and may.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EntryId, StreamName, Streamer,
    engine::{GroupStart, ReadMode},
    failed::{self, FailedMessage},
    inspect::{Collector, Lag, Overview},
};
use streamer_test_servers::{Store, Topology};

const STREAMS: u64 = 1_000;
const GROUPS: u64 = 10;
/// Of each stream: those that each group was delivered, and those that none was.
const DELIVERED: u64 = 100;
const WAITING: u64 = 50;
const FAILURES: u64 = 1_000_000;
/// What the dashboard may take at most while it is looked at, with the rates of an hour.
const MOST_MB: f64 = 100.0;
/// What an overview may take of processors at most: this process and the server together.
const MOST_MS: f64 = 300.0;
/// The same in a debug build.
const MOST_MS_OF_DEBUG: f64 = 900.0;
/// How many overviews are measured.
const OVERVIEWS: u32 = 10;
/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// On a server: one script for each part, so that it takes seconds.
fn fill_server(store: &Store) {
    const STREAMS_OF_A_PART: &str = "
        for stream = tonumber(ARGV[1]), tonumber(ARGV[1]) + 99 do
          local name = string.format('stream.%03d', stream)
          local add = function(from, to)
            for n = from, to do redis.call('XADD', name, '*', 'type', 'event', 'name', name, 'data', '{\"n\":' .. n .. '}') end
          end
          add(1, tonumber(ARGV[3]))
          for group = 0, tonumber(ARGV[2]) - 1 do
            redis.call('XGROUP', 'CREATE', name, 'group.' .. group, '0')
            redis.call('XREADGROUP', 'GROUP', 'group.' .. group, 'consumer', 'COUNT', ARGV[3], 'STREAMS', name, '>')
          end
          add(tonumber(ARGV[3]) + 1, tonumber(ARGV[3]) + tonumber(ARGV[4]))
        end";
    const FAILURES_OF_A_PART: &str = r#"
        for n = tonumber(ARGV[1]), tonumber(ARGV[1]) + 99999 do
          redis.call('SADD', 'failed_stream', string.format(
            '{"id":"%d-0","stream":"stream.%03d","receiver":"receipt","error":"no paper for %d","date":"2026-11-%02d 10:00:00"}',
            n, n % 1000, n, 1 + n % 28))
        end"#;
    let eval = |script: &str, arguments: &[u64]| {
        let arguments = arguments.iter().map(u64::to_string).collect::<Vec<_>>();
        let command = ["EVAL", script, "0"]
            .into_iter()
            .chain(arguments.iter().map(String::as_str));
        assert_eq!(store.command(&command.collect::<Vec<_>>()), "");
    };
    for part in 0..STREAMS / 100 {
        eval(STREAMS_OF_A_PART, &[part * 100, GROUPS, DELIVERED, WAITING]);
    }
    for part in 0..FAILURES / 100_000 {
        eval(FAILURES_OF_A_PART, &[part * 100_000]);
    }
}

/// In a file, through the engine.
async fn fill_file(streamer: &Streamer) {
    let names = (0..STREAMS)
        .map(|stream| format!("stream.{stream:03}"))
        .collect::<Vec<_>>();
    let add = async |count: u64| {
        for name in &names {
            let events = (0..count).map(|n| DynamicEvent::new(name.as_str(), json!({"n": n})));
            streamer.emit_all(events).await.unwrap();
        }
    };
    add(DELIVERED).await;
    let engine = streamer.engine();
    for group in (0..GROUPS).map(|group| format!("group.{group}")) {
        for names in names.chunks(100) {
            let streams = names.iter().map(StreamName::from).collect::<Vec<_>>();
            for stream in &streams {
                let start = GroupStart::After(EntryId::MIN);
                engine.create_group(stream, &group, start, true).await.unwrap();
            }
            let mode = ReadMode::Group {
                group: group.clone(),
                consumer: "consumer".to_owned(),
                streams,
            };
            let mut reader = engine.reader(mode).await.unwrap();
            let mut read = 0;
            while read < 100 * DELIVERED as usize {
                let more = reader.next(DELIVERED as usize, None).await.unwrap();
                assert!(!more.is_empty());
                read += more.iter().map(|of_stream| of_stream.entries.len()).sum::<usize>();
            }
        }
    }
    add(WAITING).await;
    for part in 0..FAILURES / 10_000 {
        let failures = (part * 10_000..(part + 1) * 10_000).map(|n| FailedMessage {
            date: format!("2026-11-{:02} 10:00:00", 1 + n % 28),
            ..FailedMessage::new(
                EntryId::new(n, 0),
                &format!("stream.{:03}", n % STREAMS).into(),
                "receipt",
                format!("no paper for {n}"),
            )
        });
        failed::record(engine.as_ref(), &failures.collect::<Vec<_>>())
            .await
            .unwrap();
    }
}

/// How often the server carried out commands that a look uses, and how long it took over them, in milliseconds.
fn own_time(store: &Store) -> (u64, f64) {
    if store.file().is_some() {
        return (0, 0.0);
    }
    let (mut calls, mut time) = (0, 0.0);
    for line in store.command(&["INFO", "commandstats"]).lines() {
        let Some((name, rest)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(':')) else {
            continue;
        };
        // The time of a script has that of its commands in it.
        let of_look = matches!(
            name,
            "scan" | "xinfo|stream" | "memory|usage" | "time" | "eval" | "scard" | "zcard"
        );
        let number = |key: &str| {
            let value = rest.split(',').find_map(|pair| pair.strip_prefix(key));
            value.and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()
        };
        if of_look {
            calls += u64::from(name == "xinfo|stream") * number("calls=") as u64;
            time += number("usec=") / 1000.0;
        }
    }
    (calls, time)
}

/// A number of megabytes from the kernel's account of a process.
fn megabytes(process: &str, key: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let kilobytes = line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim();
    kilobytes.parse::<f64>().unwrap() / 1024.0
}

/// `streamer dashboard`, as an operator runs it.
struct Dashboard {
    process: Child,
    port: String,
}

impl Dashboard {
    fn start(url: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamer"));
        command.args(["--url", url, "dashboard", "--listen", "0", "--read-only"]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "the dashboard ended");
            if let Some((_, port)) = line.split_once("http://127.0.0.1:") {
                break port.chars().take_while(char::is_ascii_digit).collect::<String>();
            }
        };
        Self { process, port }
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", self.port)).unwrap();
        let head = format!(
            "GET /api/{path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\r\n",
            self.port
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    fn json(&self, path: &str) -> Value {
        let mut answer = String::new();
        self.ask(path).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 200 "), "{path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    fn until<T>(&self, path: &str, mut wanted: impl FnMut(&Value) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            let answer = self.json(path);
            if let Some(found) = wanted(&answer) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "{path}: {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for so many looks; each was seen by when it was made.
    fn looks(&self, count: usize) {
        let mut seen = BTreeSet::new();
        self.until("overview?limit=1", |overview| {
            seen.insert(overview["at_ms"].as_u64()?);
            (seen.len() > count).then_some(())
        });
    }

    fn memory(&self) -> f64 {
        megabytes(&self.process.id().to_string(), "VmHWM")
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How much time of processors this process has taken, in milliseconds.
fn own_processor_ms() -> f64 {
    const MS_OF_A_TICK: f64 = 10.0;
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    // The fields 14 and 15; the first one after the name is the third.
    let ticks = after_name.split(' ').skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() * MS_OF_A_TICK
}

/// How much the server has taken; none for a file.
fn server_processor_ms(store: &Store) -> f64 {
    if store.file().is_some() {
        return 0.0;
    }
    let cpu = store.command(&["INFO", "cpu"]);
    let of = |key: &str| {
        let value = cpu.lines().find_map(|line| line.strip_prefix(key));
        value.and_then(|value| value.trim().parse::<f64>().ok()).unwrap()
    };
    (of("used_cpu_user:") + of("used_cpu_sys:")) * 1000.0
}

fn check(overview: &Overview) {
    let totals = overview.totals;
    assert_eq!((totals.streams, totals.groups), (STREAMS, STREAMS * GROUPS));
    assert_eq!(totals.pending, STREAMS * GROUPS * DELIVERED);
    assert_eq!(totals.lag, Lag::Exact(STREAMS * GROUPS * WAITING));
    assert_eq!((overview.failures, overview.complete), (Some(FAILURES), true));
    assert!(overview.groups().all(|(_, group)| group.lag_ms.is_some()));
    assert!(overview.groups().all(|(_, group)| group.oldest_pending.is_some()));
}

async fn views_of(store: &Store) {
    let streamer = Streamer::connect(store.url()).await.unwrap();
    let began = Instant::now();
    match store.file() {
        None => fill_server(store),
        Some(_) => fill_file(&streamer).await,
    }
    println!(
        "{:?}: filled in {:.1} s",
        store.topology(),
        began.elapsed().as_secs_f64()
    );

    // The overview itself, beside what the store says of the same commands. The first one connects.
    check(&streamer.inspect().overview().await.unwrap());
    let before = (own_processor_ms(), server_processor_ms(store), own_time(store));
    let mut takes = Vec::new();
    for _ in 0..OVERVIEWS {
        let began = Instant::now();
        let overview = streamer.inspect().overview().await.unwrap();
        takes.push(began.elapsed().as_secs_f64() * 1000.0);
        check(&overview);
    }
    let of_one = |before: f64, after: f64| (after - before) / f64::from(OVERVIEWS);
    let own = of_one(before.0, own_processor_ms());
    let server = of_one(before.1, server_processor_ms(store));
    let commands = of_one(before.2.1, own_time(store).1);
    takes.sort_by(f64::total_cmp);
    println!(
        "overview: {:.0} ms by the clock; processors: {own:.0} ms here and {server:.0} ms of the server, whose commands took {commands:.0} ms",
        takes[takes.len() / 2]
    );
    let most = if cfg!(debug_assertions) {
        MOST_MS_OF_DEBUG
    } else {
        MOST_MS
    };
    assert!(own + server < most, "{own} ms here and {server} ms of the server");

    let dashboard = Dashboard::start(store.url());
    let first = dashboard.until("overview?limit=1", |overview| overview["at_ms"].as_u64());
    assert!(first > 0);
    let page = dashboard.json("failed");
    assert_eq!((&page["listed"], &page["complete"]), (&json!(FAILURES), &json!(false)));
    assert_eq!(page["failures"].as_array().unwrap().len(), 200);
    dashboard.until("overview?limit=1", |overview| overview["diagnosed_at_ms"].as_u64());
    let mut load = Vec::new();
    for count in [1, 20] {
        let viewers = (0..count).map(|_| dashboard.ask("live")).collect::<Vec<_>>();
        dashboard.until("overview?limit=1", |overview| {
            (overview["load"]["viewers"].as_u64()? == count).then_some(())
        });
        dashboard.looks(1);
        if store.file().is_none() {
            let before = own_time(store).0;
            dashboard.looks(3);
            let calls = own_time(store).0 - before;
            load.push(calls);
        }
        let look = dashboard.json("overview?limit=1")["load"].clone();
        println!("dashboard with {count} viewers: {look}");
        drop(viewers);
    }
    // Three looks were seen to begin, one more may have, and so may doctor's checks, which look once.
    let most = STREAMS * 5;
    assert!(
        load.iter().all(|calls| (STREAMS * 2..=most).contains(calls)),
        "{load:?}"
    );
    let dashboard_memory = dashboard.memory();

    // An hour of looks, which the dashboard keeps.
    let mut overview = streamer.inspect().overview().await.unwrap();
    let mut collector = Collector::new();
    let mut observe = |looks: usize| {
        for _ in 0..looks {
            overview.at_ms += 30_000;
            collector.observe(overview.clone());
        }
    };
    // What the first looks take, the dashboard had above.
    observe(3);
    let before = megabytes("self", "VmRSS");
    observe(118);
    assert_eq!(collector.group_series("stream.000", "group.0").len(), 120);
    let hour = (megabytes("self", "VmRSS") - before).max(0.0);
    println!("memory: dashboard {dashboard_memory:.0} MB at most, and {hour:.0} MB for an hour of rates");
    assert!(dashboard_memory + hour < MOST_MB, "{dashboard_memory} MB and {hour} MB");
}

#[tokio::test]
#[ignore = "fills a store with millions of entries"]
async fn a_large_server_is_seen_in_bounded_time_and_memory() {
    views_of(&Store::new(Topology::Redis)).await;
}

#[tokio::test]
#[ignore = "fills a store with millions of entries"]
async fn a_large_file_is_seen_in_bounded_time_and_memory() {
    views_of(&Store::new(Topology::Embedded)).await;
}
