//! Retrying in processes that are killed with SIGKILL: every failure is listed or handled, always; attempts that a crash
//! cut off are made by the successor; and the length of the list costs no memory.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::Write,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use streamer::{
    DynamicEvent, EntryId, Listeners, ReceivedMessage, RetryPolicy, Streamer,
    extract::State,
    failed::{self, FailedFilter, FailedMessage},
};
use streamer_test_servers::Place;

/// How often a child is killed in the midst of retrying.
const KILLS: u32 = 40;

/// Not a test of its own: what a child process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests in a process of its own"]
async fn child() {
    let kind = std::env::var("CHILD").unwrap();
    let streamer = Streamer::connect(&std::env::var("STORE").unwrap()).await.unwrap();
    let notes = Notes(Arc::new(std::env::var("NOTES").unwrap().into()));
    match kind.as_str() {
        "retry-some" => retry(&streamer, notes, 5).await,
        "retry-all" => retry(&streamer, notes, 100).await,
        "listen" => listen(&streamer, notes).await,
        "list" => list(&streamer, notes).await,
        other => panic!("no such child: {other}"),
    }
}

#[derive(Clone)]
struct Notes(Arc<PathBuf>);

impl Notes {
    fn add(&self, line: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&*self.0).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Retries the whole list over and over; of 100 attempts so many succeed, and are noted.
async fn retry(streamer: &Streamer, notes: Notes, succeed: u32) {
    async fn sometimes(message: ReceivedMessage, State((notes, succeed)): State<(Notes, u32)>) -> Result<(), String> {
        if rand::random_range(0..100) >= succeed {
            // Often the same error in the same second.
            return Err(format!("error {}", rand::random_range(0..2)));
        }
        notes.add(&message.id().to_string());
        Ok(())
    }
    notes.add("started");
    while streamer.failed().count().await.unwrap() > 0 {
        let listeners = Listeners::with_state((notes.clone(), succeed)).on("e", "sometimes", sometimes);
        let retry = streamer.failed().retry(FailedFilter::all(), listeners);
        retry.on_report(|_| {}).run().await.unwrap();
    }
}

/// Listens with a listener that always fails and is tried three times, and one that works.
async fn listen(streamer: &Streamer, notes: Notes) {
    async fn fails(message: ReceivedMessage, State(notes): State<Notes>) -> Result<(), &'static str> {
        notes.add(&format!("attempt {}", message.attempt()));
        Err("no paper")
    }
    async fn works(State(notes): State<Notes>) {
        notes.add("worked");
    }
    let policy = RetryPolicy::fixed(3, Duration::from_millis(500));
    let listeners = Listeners::with_state(notes)
        .on("e", "works", works)
        .on("e", "fails", fails);
    let listening = streamer.listen(listeners.retry(&policy)).group("g");
    listening.reclaim(Some(Duration::from_millis(300))).run().await.unwrap();
}

/// Counts what is listed, and notes how large this process ever was.
async fn list(streamer: &Streamer, notes: Notes) {
    let mut listing = streamer.failed().list(FailedFilter::all()).with_details();
    let mut listed = 0;
    while let Some(page) = listing.next_page().await.unwrap() {
        listed += page.len();
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    notes.add(&listed.to_string());
    notes.add(peak.trim().trim_end_matches(" kB"));
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited two minutes for this: {what}");
}

/// The IDs of the messages that are listed, with how often.
async fn listed(streamer: &Streamer) -> BTreeMap<String, usize> {
    let mut listing = streamer.failed().list(FailedFilter::all());
    let mut ids = BTreeMap::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        for listed in page {
            *ids.entry(listed.record.unwrap().id).or_default() += 1;
        }
    }
    ids
}

async fn killed_retries_lose_no_failure(place: Place) {
    const FAILURES: u64 = 300;
    let streamer = Streamer::connect(place.url()).await.unwrap();
    let events = (0..FAILURES).map(|number| DynamicEvent::new("e", serde_json::json!({ "n": number })));
    let ids = streamer.emit_all(events).await.unwrap();
    let failures = ids
        .iter()
        .map(|id| FailedMessage::new(*id, &"e".into(), "sometimes", "first"));
    failed::record(streamer.engine().as_ref(), &failures.collect::<Vec<_>>())
        .await
        .unwrap();
    for kill in 1..=KILLS {
        let mut child = place.start_child("retry-some");
        until("it has begun", async || {
            place.lines().iter().filter(|line| *line == "started").count() == kill as usize
        })
        .await;
        // The moment has to be a random one.
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..60_000))).await;
        child.kill();
        let handled = place.lines().into_iter().collect::<BTreeSet<_>>();
        let listed = listed(&streamer).await;
        for id in ids.iter().map(EntryId::to_string) {
            assert!(
                handled.contains(&id) || listed.contains_key(&id),
                "after {kill} kills {id} is neither listed nor handled"
            );
        }
        if kill == KILLS / 2 {
            assert!(!listed.is_empty(), "nothing was left to prove anything");
        }
    }
    assert!(place.start_child("retry-all").succeeds());
    let handled = place.lines().into_iter().collect::<BTreeSet<_>>();
    assert!(ids.iter().all(|id| handled.contains(&id.to_string())));
    assert_eq!(streamer.failed().count().await.unwrap(), 0);
    // A kill between a record and its details leaves the details, which are marked when they are seen, and removed later.
    for _ in 0..2 {
        streamer.failed().tidy(Duration::ZERO).await.unwrap();
    }
    let details = streamer.engine().page_of_details(None, 10).await;
    assert_eq!(details.unwrap(), (None, Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_retry_loses_no_failure_on_redis() {
    killed_retries_lose_no_failure(Place::redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_retry_loses_no_failure_on_the_embedded_engine() {
    killed_retries_lose_no_failure(Place::embedded()).await;
}

/// The process dies while the message waits, twice: its successor makes the next attempt, and the count goes on.
async fn a_crash_between_attempts_loses_none(place: Place) {
    let streamer = Streamer::connect(place.url()).await.unwrap();
    let event = DynamicEvent::new("e", serde_json::json!({}));
    let id = streamer.emit_all([event]).await.unwrap()[0];
    let progress = async || streamer.engine().retry_state(&"e".into(), "g", id).await.unwrap();
    let mut seen = None;
    for attempt in 1..=2 {
        let mut child = place.start_child("listen");
        until("an attempt failed and the next one is waited for", async || {
            let lines = place.lines();
            // Deliveries that came before the attempt was due are counted by the store, not here.
            lines.iter().filter(|line| line.starts_with("attempt")).count() == attempt && progress().await != seen
        })
        .await;
        child.kill();
        seen = progress().await;
        assert_eq!(streamer.failed().count().await.unwrap(), 0);
    }
    let mut child = place.start_child("listen");
    until("it is listed and acknowledged", async || {
        let pending = streamer.engine().pending_summary(&"e".into(), "g").await.unwrap();
        streamer.failed().count().await.unwrap() == 1 && pending.count == 0
    })
    .await;
    child.kill();
    let lines = place.lines();
    assert_eq!(lines.iter().filter(|line| *line == "worked").count(), 1, "{lines:?}");
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("attempt")).count(),
        3,
        "{lines:?}"
    );
    assert!(progress().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_attempts_loses_none_on_redis() {
    a_crash_between_attempts_loses_none(Place::redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_attempts_loses_none_on_the_embedded_engine() {
    a_crash_between_attempts_loses_none(Place::embedded()).await;
}

/// 20,000 failures of 8 KiB are 160 MiB.
#[cfg(target_os = "linux")]
async fn a_long_list_is_read_in_bounded_memory(place: Place) {
    const FAILURES: u64 = 20_000;
    let streamer = Streamer::connect(place.url()).await.unwrap();
    let long = "x".repeat(8 * 1024);
    for from in (0..FAILURES).step_by(500) {
        let failures = (from..from + 500)
            .map(|number| FailedMessage::new(EntryId::new(number + 1, 0), &"e".into(), "r", &long))
            .collect::<Vec<_>>();
        failed::record(streamer.engine().as_ref(), &failures).await.unwrap();
    }
    assert!(place.start_child("list").succeeds());
    let lines = place.lines();
    let [listed, peak] = [0, 1].map(|line| lines[line].parse::<u64>().unwrap());
    // A scan may give some twice.
    assert!((FAILURES..FAILURES + FAILURES / 10).contains(&listed), "{listed}");
    assert!(peak < 80 * 1024, "{peak} KiB");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_is_read_in_bounded_memory_on_redis() {
    a_long_list_is_read_in_bounded_memory(Place::redis()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_list_is_read_in_bounded_memory_on_the_embedded_engine() {
    a_long_list_is_read_in_bounded_memory(Place::embedded()).await;
}
