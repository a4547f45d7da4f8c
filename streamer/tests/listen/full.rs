//! A store that takes nothing more: what frees space goes on, what has to wait says so, and it goes on by itself.

use std::time::Duration;

use serde_json::json;
use streamer::{
    AfterSuccess, DynamicEvent, EndReason, ListenerError, Listeners, ReceivedMessage,
    archive::{ArchiveStorage as _, MemoryArchive},
    extract::State,
};

use crate::{Running, Seen, Told, assert_each_once, emit, numbered, on, on_each_engine, quick, store::Store, until};

on_each_engine!(
    a_listening_that_purges_starts_on_a_full_store_and_frees_it,
    a_failure_on_a_full_store_is_reported_and_listed_when_there_is_room,
    a_stop_on_a_full_store_does_not_take_the_grace_period,
    with_keep_alive_a_listening_begins_before_its_store_is_there,
);
on!(
    file,
    Embedded,
    a_full_file_is_read_acknowledged_archived_and_takes_events_again
);

const MESSAGES: u64 = 100;

/// Fills the store; it takes nothing from now on.
fn fill(store: &Store) {
    for server in store.servers() {
        assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    }
}

fn make_room(store: &Store) {
    for server in store.servers() {
        assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    }
}

async fn a_listening_that_purges_starts_on_a_full_store_and_frees_it(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let _ = store.command(&["XGROUP", "CREATE", "e", "g", "0"]);
    fill(&store);
    assert!(streamer.emit(&numbered("e", 0)).await.is_err(), "it is full");
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .after_success(AfterSuccess::purge());
    let running = Running::start(listening);
    until("the stream is empty", async || store.command(&["XLEN", "e"]) == "0").await;
    running.stop().await;
    assert_each_once(seen.numbers(), 0..MESSAGES);
    make_room(&store);
}

/// Fails always, and waits until there is something to do before it is full.
fn failing(seen: &Seen) -> Listeners {
    async fn fails(message: ReceivedMessage, State(seen): State<Seen>) -> Result<(), ListenerError> {
        seen.add(message);
        Err(ListenerError::new("no"))
    }
    Listeners::with_state(seen.clone())
        .on("e", "fails", fails)
        .without_state()
}

async fn a_failure_on_a_full_store_is_reported_and_listed_when_there_is_room(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let _ = store.command(&["XGROUP", "CREATE", "e", "g", "0"]);
    fill(&store);
    let (seen, told) = (Seen::default(), Told::default());
    let listening = streamer.listen(failing(&seen)).group("g").keep_alive(quick());
    let running = Running::start(told.by(listening));
    until("it is told", async || told.has("Interrupted")).await;
    assert!(
        !store.pending("e", "g").is_empty(),
        "nothing is acknowledged that is not listed"
    );
    assert_eq!(streamer.failed().count().await.unwrap(), 0);
    assert!(!told.has("Resumed") && running.is_running());
    make_room(&store);
    until("every failure is listed", async || {
        streamer.failed().count().await.unwrap() == MESSAGES && store.pending("e", "g").is_empty()
    })
    .await;
    until("that it goes on is told", async || told.has("Resumed")).await;
    running.stop().await;
}

async fn a_stop_on_a_full_store_does_not_take_the_grace_period(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let _ = store.command(&["XGROUP", "CREATE", "e", "g", "0"]);
    fill(&store);
    let seen = Seen::default();
    let listening = streamer.listen(failing(&seen)).group("g").keep_alive(quick());
    let running = Running::start(listening.grace(Duration::from_secs(3_600)));
    until("something failed", async || seen.len() > 0).await;
    running.stop.stop();
    until("it ends", async || !running.is_running()).await;
    let _ = running.task.await.unwrap();
    assert_eq!(streamer.failed().count().await.unwrap(), 0);
    make_room(&store);

    // Nothing is lost, and whoever comes next need not wait for the reclaim time.
    let successor = Seen::default();
    let listening = streamer.listen(successor.listener("e")).group("g");
    let running = Running::start(listening.reclaim(Some(Duration::from_secs(3_600))));
    until("all are handled", async || {
        successor.len() as u64 == MESSAGES && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
}

async fn with_keep_alive_a_listening_begins_before_its_store_is_there(mut store: Store) {
    let streamer = store.connect().await;
    let server = store.server().unwrap();
    server.kill9();
    let (seen, told) = (Seen::default(), Told::default());
    let listening = streamer.listen(seen.listener("e")).group("g").keep_alive(quick());
    let running = Running::start(told.by(listening));
    until("it waits for the store", async || told.has("Interrupted")).await;
    store.server().unwrap().restart();
    let emitter = store.connect().await;
    emit(&emitter, "e", 0..10).await;
    until("it listens", async || seen.len() == 10).await;
    running.stop().await;
    assert_each_once(seen.numbers(), 0..10);
}

async fn a_full_file_is_read_acknowledged_archived_and_takes_events_again(store: Store) {
    let url = format!("{}?max_size=400000", store.url());
    let streamer = streamer::Streamer::connect(&url).await.unwrap();
    let event = |number| DynamicEvent::new("e", json!({ "n": number, "text": "x".repeat(1_000) }));
    let mut emitted = 0;
    while streamer.emit(&event(emitted)).await.is_ok() {
        emitted += 1;
    }
    assert!(emitted > 10, "{emitted}");
    let archive = std::sync::Arc::new(MemoryArchive::default());
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).group("g");
    let listening = listening.after_success(AfterSuccess::archive(archive.clone()));
    let summary = listening
        .listen_timeout(Duration::from_millis(200))
        .run()
        .await
        .unwrap();
    assert_eq!(summary.ended, EndReason::Quiet);
    assert_each_once(seen.numbers(), 0..emitted);
    assert!(store.pending("e", "g").is_empty());
    assert_eq!(archive.page(None, None, 10_000).await.unwrap().len() as u64, emitted);
    streamer.emit(&event(emitted)).await.unwrap();
}
