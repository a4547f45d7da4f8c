//! Processes that die, and processes that must stay small: real children, started from this test's own binary.
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
    sync::Mutex,
    time::Duration,
};

use serde_json::{Value, json};
use streamer::{DynamicEvent, Listeners, ReceivedMessage, Streamer, Workers, extract::State};
use streamer_test_servers::Place;

/// Not a test of its own: what a child process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests in a process of its own"]
async fn child() {
    let kind = std::env::var("CHILD").unwrap();
    let streamer = Streamer::connect(&std::env::var("STORE").unwrap()).await.unwrap();
    let notes = std::env::var("NOTES").unwrap();
    match kind.as_str() {
        "note" => note_forever(&streamer, Path::new(&notes)).await,
        "drain" => drain(&streamer, Path::new(&notes)).await,
        other => panic!("no such child: {other}"),
    }
}

/// Notes the number of each message, before it is acknowledged.
async fn note_forever(streamer: &Streamer, notes: &Path) {
    struct Notes(Mutex<fs::File>);
    async fn note(message: ReceivedMessage, State(notes): State<std::sync::Arc<Notes>>) {
        let number = message.get("n").and_then(Value::as_u64).unwrap();
        notes
            .0
            .lock()
            .unwrap()
            .write_all(format!("{number}\n").as_bytes())
            .unwrap();
    }
    let file = OpenOptions::new().append(true).create(true).open(notes).unwrap();
    let state = std::sync::Arc::new(Notes(Mutex::new(file)));
    let listeners = Listeners::with_state(state).on("e", "note", note);
    let listening = streamer
        .listen(listeners)
        .group("g")
        .reclaim(Some(Duration::from_millis(300)));
    listening.workers(Workers::AtOnce(4)).run().await.unwrap();
}

/// Handles everything, then notes how large this process ever was.
async fn drain(streamer: &Streamer, notes: &Path) {
    async fn nothing() {}
    let listening = streamer.listen(Listeners::new().on("e", "nothing", nothing)).group("g");
    let summary = listening
        .listen_timeout(Duration::from_millis(500))
        .run()
        .await
        .unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
    fs::write(
        notes,
        json!({ "messages": summary.messages, "peak_kib": peak }).to_string(),
    )
    .unwrap();
}

fn handled(notes: &Path) -> Vec<u64> {
    let text = fs::read_to_string(notes).unwrap_or_default();
    // A line that was cut off by the kill was not acknowledged either.
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n')?.parse().ok())
        .collect()
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited two minutes for this: {what}");
}

/// kill -9 in the midst of 10,000 messages, several times: each successor goes on, and nothing is missing.
async fn killed_listeners_lose_nothing(place: Place) {
    const MESSAGES: u64 = 10_000;
    const KILLS: u64 = 5;
    let streamer = Streamer::connect(place.url()).await.unwrap();
    let events = (0..MESSAGES).map(|number| DynamicEvent::new("e", json!({ "n": number })));
    streamer.emit_all(events).await.unwrap();
    let notes = place.notes();
    for kill in 1..=KILLS {
        let mut child = place.start_child("note");
        let so_many = (MESSAGES * kill / (KILLS + 2)) as usize;
        until("it is in the midst of its work", async || {
            handled(&notes).len() >= so_many
        })
        .await;
        child.kill();
        assert!(
            handled(&notes).len() < MESSAGES as usize,
            "it was killed too late to prove anything"
        );
    }
    let mut child = place.start_child("note");
    until("all are handled and acknowledged", async || {
        let numbers = handled(&notes).into_iter().collect::<BTreeSet<_>>();
        numbers.len() == MESSAGES as usize
            && streamer.engine().pending_summary(&"e".into(), "g").await.unwrap().count == 0
    })
    .await;
    child.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_listener_loses_nothing_on_redis() {
    killed_listeners_lose_nothing(Place::redis()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_listener_loses_nothing_on_the_embedded_engine() {
    killed_listeners_lose_nothing(Place::embedded()).await;
}

/// Memory does not grow with the backlog.
#[cfg(target_os = "linux")]
async fn a_backlog_is_drained_in_bounded_memory(place: Place) {
    /// A million in a release build (`cargo test --release`); a debug build takes too long for so many.
    const MESSAGES: u64 = if cfg!(debug_assertions) { 150_000 } else { 1_000_000 };
    let streamer = Streamer::connect(place.url()).await.unwrap();
    let events =
        (0..MESSAGES).map(|number| DynamicEvent::new("e", json!({ "n": number, "total": 9.99, "sku": "ABC-1" })));
    streamer.emit_all(events).await.unwrap();
    assert!(place.start_child("drain").succeeds());
    let result = serde_json::from_slice::<Value>(&fs::read(place.notes()).unwrap()).unwrap();
    assert_eq!(result["messages"], MESSAGES);
    assert!(result["peak_kib"].as_u64().unwrap() < 100 * 1024, "{result}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_backlog_is_drained_in_bounded_memory_on_redis() {
    a_backlog_is_drained_in_bounded_memory(Place::redis()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_backlog_is_drained_in_bounded_memory_on_the_embedded_engine() {
    a_backlog_is_drained_in_bounded_memory(Place::embedded()).await;
}
