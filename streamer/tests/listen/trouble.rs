//! The store goes away, restarts, loses a group or a stream.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use streamer::{EmitErrorKind, EntryId, KeepAlive, ListenError, Report, StopHandle, Streamer, engine::EngineErrorKind};
use streamer_test_servers::{Options, RedisServer};

use crate::{Seen, emit, numbered, on_each_engine, quick, store::Store, until};

on_each_engine!(
    without_keep_alive_a_vanished_group_ends_the_listening_with_a_clear_error,
    with_keep_alive_a_vanished_group_is_made_again_where_it_stood,
);

async fn without_keep_alive_a_vanished_group_ends_the_listening_with_a_clear_error(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .read_wait(Duration::from_millis(20));
    let running = tokio::spawn(listening.run());
    emit(&streamer, "e", 0..1).await;
    until("it listens", async || seen.len() == 1).await;
    assert!(streamer.engine().destroy_group(&"e".into(), "g").await.unwrap());
    let error = running.await.unwrap().unwrap_err();
    assert!(
        matches!(
            error.engine_kind(),
            Some(EngineErrorKind::NoGroup | EngineErrorKind::Unblocked)
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains('g'), "{error}");
}

async fn with_keep_alive_a_vanished_group_is_made_again_where_it_stood(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .read_wait(Duration::from_millis(20));
    let listening = listening.keep_alive(quick());
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    let pending = async || {
        streamer
            .engine()
            .pending_summary(&"e".into(), "g")
            .await
            .map(|summary| summary.count)
    };
    for round in 0..5 {
        let numbers = round * 100..(round + 1) * 100;
        emit(&streamer, "e", numbers).await;
        let all = (round as usize + 1) * 100;
        until("all arrived", async || {
            seen.len() == all && pending().await.is_ok_and(|count| count == 0)
        })
        .await;
        streamer.engine().destroy_group(&"e".into(), "g").await.unwrap();
    }
    emit(&streamer, "e", 500..510).await;
    until("it goes on", async || seen.len() >= 510).await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert!(
        seen.numbers().into_iter().eq(0..510),
        "none is missing, none is handled again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_deleted_while_a_read_waits_is_listened_to_again_from_its_beginning() {
    let mut store = Store::redis();
    let streamer = store.connect().await;
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).group("g").keep_alive(quick());
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    emit(&streamer, "e", 0..10).await;
    until("it listens", async || seen.len() == 10).await;
    store.server().unwrap().command(&["DEL", "e"]);
    let small = streamer::EmitOptions::default().id(EntryId::new(5, 1));
    streamer.emit_with(&numbered("e", 10), small).await.unwrap();
    until("the new stream is listened to", async || seen.len() == 11).await;
    stop.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keep_alive_a_dead_server_ends_the_listening() {
    let mut store = Store::redis();
    let streamer = store.connect().await;
    let seen = Seen::default();
    let running = tokio::spawn(streamer.listen(seen.listener("e")).group("g").run());
    emit(&streamer, "e", 0..1).await;
    until("it listens", async || seen.len() == 1).await;
    store.server().unwrap().kill9();
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, ListenError::Engine(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keep_alive_gives_up_after_as_many_attempts_as_it_may_make() {
    let mut store = Store::redis();
    let streamer = store.connect().await;
    let seen = Seen::default();
    let attempts = Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = Arc::clone(&attempts);
    let keep_alive = KeepAlive {
        max_attempts: Some(3),
        ..quick()
    };
    let listening = streamer
        .listen(seen.listener("e"))
        .keep_alive(keep_alive)
        .on_report(move |report| {
            if let Report::Interrupted { attempt, .. } = report {
                note.lock().unwrap().push(*attempt);
            }
        });
    let running = tokio::spawn(listening.run());
    store.server().unwrap().kill9();
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, ListenError::GaveUp { attempts: 3, .. }), "{error:?}");
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 3]);
}

/// Emits until told to stop; what comes back is what the store answered for.
async fn emit_under_trouble(streamer: Streamer, stop: Arc<AtomicBool>) -> BTreeSet<EntryId> {
    let mut answered = BTreeSet::new();
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        match streamer.emit(&numbered("e", number)).await {
            Ok(id) => assert!(answered.insert(id)),
            Err(error) => {
                assert!(
                    matches!(error.kind(), EmitErrorKind::Engine(kind) if kind.is_transient()),
                    "{error}"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        number += 1;
    }
    answered
}

async fn survive(mut server: RedisServer, interrupt: impl AsyncFnOnce(&mut RedisServer)) {
    let streamer = Streamer::connect(&server.url()).await.unwrap();
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).group("g").keep_alive(quick());
    let listening = listening.reclaim(Some(Duration::from_millis(300)));
    let stop: StopHandle = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    let stop_emitting = Arc::new(AtomicBool::new(false));
    let emitter = Streamer::connect(&server.url()).await.unwrap();
    let emitting = tokio::spawn(emit_under_trouble(emitter, Arc::clone(&stop_emitting)));
    until("messages flow", async || seen.len() > 500).await;
    interrupt(&mut server).await;
    let before = seen.len();
    until("messages flow again", async || seen.len() > before + 500).await;
    stop_emitting.store(true, Ordering::SeqCst);
    let answered = emitting.await.unwrap();
    until("every answered emit is handled", async || {
        let ids = seen.ids().into_iter().collect::<BTreeSet<_>>();
        answered.is_subset(&ids)
    })
    .await;
    until("nothing is pending", async || {
        let summary = streamer.engine().pending_summary(&"e".into(), "g").await;
        summary.is_ok_and(|summary| summary.count == 0)
    })
    .await;
    stop.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_redis_stops_and_starts_again() {
    let server = Options::default().append_only().start();
    survive(server, async |server| {
        server.stop();
        // An outage, with many attempts that fail.
        tokio::time::sleep(Duration::from_secs(5)).await;
        server.restart();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_connections_are_cut_again_and_again() {
    survive(RedisServer::start(), async |server| {
        for _ in 0..20 {
            server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
