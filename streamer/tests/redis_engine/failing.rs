//! What happens when servers fail, refuse, or hold something else.

use serde_json::json;
use streamer::{DynamicEvent, EmitOptions, Streamer};
use streamer_test_servers::Proxy;

use super::*;

#[tokio::test]
async fn after_a_restart_the_same_engine_works_again() {
    let mut server = Options::default().append_only().start();
    let engine = works(&server.url()).await;
    for graceful in [true, false] {
        if graceful {
            server.stop();
        } else {
            server.kill9();
        }
        assert_kind(engine.append(an_append("events")).await, EngineErrorKind::Connection);
        assert_kind(
            engine.len(&StreamName::from("events")).await,
            EngineErrorKind::Connection,
        );
        server.restart();
        append_until_it_works(&engine).await;
    }
    // What was answered is there: one entry of `works`, one after each restart.
    assert_eq!(engine.len(&StreamName::from("events")).await.unwrap(), 3);
}

#[tokio::test]
async fn an_emit_whose_answer_was_lost_is_repeated_with_its_key() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let streamer = Streamer::connect(&format!("redis://127.0.0.1:{}", proxy.port()))
        .await
        .unwrap();
    let emit = async |streamer: &Streamer, key: &'static str| {
        let options = EmitOptions::new().idempotency_key(key).identifier("7");
        streamer
            .emit_with(&DynamicEvent::new("order", json!({})), options)
            .await
    };
    // The server knows the script then.
    emit(&streamer, "first").await.unwrap();
    let looking = works(&server.url()).await;
    let stream = StreamName::from("order");
    let length = async || looking.len(&stream).await.unwrap();

    // The answer is under way for seconds; its connection is cut as soon as the entry is there.
    proxy.set_round_trip(Duration::from_secs(8));
    let emitting = tokio::spawn({
        let streamer = streamer.clone();
        async move { emit(&streamer, "second").await }
    });
    tokio::time::timeout(PATIENCE, async {
        while length().await < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    proxy.set_round_trip(Duration::ZERO);
    proxy.cut();
    let id = emitting.await.unwrap().unwrap();
    assert_eq!(looking.last_id(&stream).await.unwrap(), id);
    assert_eq!(length().await, 2);
    let replayed = streamer.replay("order", "7").run().await.unwrap().unwrap();
    assert_eq!(replayed.messages, 2);
}

#[tokio::test]
async fn a_server_that_does_not_answer_counts_as_gone_until_it_does() {
    let server = RedisServer::start();
    let engine = works(&server.url()).await;
    server.freeze();
    let error = engine.append(an_append("events")).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Connection, "{error}");
    assert!(error.is_timeout(), "{error}");
    server.thaw();
    append_until_it_works(&engine).await;
    // The append that was not answered may have happened, once.
    let entries = engine.len(&StreamName::from("events")).await.unwrap();
    assert!((2..=3).contains(&entries), "{entries}");
}

#[tokio::test]
async fn a_batch_that_lost_its_server_says_so_for_each_append() {
    let mut server = RedisServer::start();
    let engine = works(&server.url()).await;
    server.kill9();
    let error = engine
        .append_many(vec![an_append("events"), an_append("events")])
        .await
        .unwrap_err();
    for result in error.results {
        assert_kind(result, EngineErrorKind::Connection);
    }
}

#[tokio::test]
async fn a_waiting_reader_notices_a_dead_server_and_a_new_one_goes_on() {
    let mut server = Options::default().append_only().start();
    let engine = works(&server.url()).await;
    let stream = StreamName::from("events");
    let now = engine.last_id(&stream).await.unwrap();
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(stream.clone(), now)]))
        .await
        .unwrap();
    let waiting = tokio::spawn(async move { reader.next(1, Some(PATIENCE * 10)).await });
    tokio::task::yield_now().await;
    server.kill9();
    let ended = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_kind(ended, EngineErrorKind::Connection);
    server.restart();
    append_until_it_works(&engine).await;
    let mut reader = engine.reader(ReadMode::Plain(vec![(stream, now)])).await.unwrap();
    assert_eq!(reader.next(10, None).await.unwrap()[0].entries.len(), 1);
}

#[tokio::test]
async fn a_large_answer_is_received_while_the_server_works_on_the_next() {
    reading_ahead(RedisServer::start()).await;
}

#[tokio::test]
async fn a_large_answer_over_tls_is_received_while_the_server_works_on_the_next() {
    reading_ahead(Options::default().tls().start()).await;
}

async fn reading_ahead(server: RedisServer) {
    let engine = works(&server.url()).await;
    let stream = StreamName::from("large");
    let start = GroupStart::After(EntryId::MIN);
    engine.create_group(&stream, "g", start, true).await.unwrap();
    let mut append = an_append("large");
    append.fields[0].1 = Bytes::from(vec![b'x'; 10_000]);
    engine.append_many(vec![append; 100]).await.unwrap();
    let mode = ReadMode::Group {
        group: "g".into(),
        consumer: "c".into(),
        streams: vec![stream],
    };
    let mut reader = engine.reader(mode).await.unwrap();
    reader.read_ahead(true);
    let count = |read: EngineResult<Vec<StreamEntries>>| -> usize {
        read.unwrap().iter().map(|stream| stream.entries.len()).sum()
    };
    assert_eq!(count(reader.next(20, None).await), 20);
    assert_eq!(count(reader.rest().await), 20, "it was asked for already");
    assert_eq!(count(reader.rest().await), 0, "but no more");
    reader.read_ahead(false);
    assert_eq!(count(reader.next(30, None).await), 30);
    assert_eq!(count(reader.rest().await), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_vanishes_under_a_waiting_reader_is_told_apart() {
    let server = RedisServer::start();
    let engine = works(&server.url()).await;
    let stream = StreamName::from("events");
    engine
        .create_group(&stream, "workers", GroupStart::Now, true)
        .await
        .unwrap();
    let mode = ReadMode::Group {
        group: "workers".to_owned(),
        consumer: "a".to_owned(),
        streams: vec![stream.clone()],
    };
    let mut reader = engine.reader(mode.clone()).await.unwrap();
    // Redis 6.2 does not wake it: its wait runs to its end.
    let wakes = streamer_test_servers::is_7_0();
    let wait = if wakes { PATIENCE * 10 } else { Duration::from_secs(1) };
    let waiting = tokio::spawn(async move { reader.next(1, Some(wait)).await });
    streamer_test_servers::wait_until("the reader waits", || {
        waiting.is_finished() || server.command(&["CLIENT", "LIST"]).contains("cmd=xreadgroup")
    });
    server.command(&["DEL", "events"]);
    let ended = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    match ended {
        // Redis 7.2 and Valkey tell at once that there is no group.
        Err(error) if wakes => assert!(
            [EngineErrorKind::Unblocked, EngineErrorKind::NoGroup].contains(&error.kind()),
            "{error}"
        ),
        ended => assert_eq!((wakes, ended.unwrap()), (false, vec![])),
    }
    let mut reader = engine.reader(mode).await.unwrap();
    assert_kind(reader.next(1, None).await, EngineErrorKind::NoGroup);
}

#[tokio::test]
async fn another_kind_of_key_is_told_apart() {
    let server = RedisServer::start();
    let engine = works(&server.url()).await;
    server.command(&["SET", "plain", "text"]);
    let stream = StreamName::from("plain");
    assert_kind(engine.append(an_append("plain")).await, EngineErrorKind::WrongType);
    assert_kind(engine.len(&stream).await, EngineErrorKind::WrongType);
    assert_kind(engine.info(&stream).await, EngineErrorKind::WrongType);
    let snapshots = engine.snapshots(&stream, 0, 10).await;
    assert_kind(snapshots, EngineErrorKind::WrongType);
}

#[tokio::test]
async fn a_read_only_replica_is_unavailable_for_writing() {
    let master = RedisServer::start();
    let replica = Options::default().replica_of(&master).start();
    let engine = RedisEngine::connect(&replica.url()).await.unwrap();
    assert_kind(engine.append(an_append("events")).await, EngineErrorKind::Unavailable);
    assert_eq!(engine.len(&StreamName::from("events")).await.unwrap(), 0);
}

#[tokio::test]
async fn a_full_server_refuses_and_says_so() {
    let server = Options::default().line("maxmemory 1").start();
    let engine = RedisEngine::connect(&server.url()).await.unwrap();
    assert_kind(engine.append(an_append("events")).await, EngineErrorKind::Full);
}

#[tokio::test]
async fn an_eviction_policy_that_may_drop_streams_is_warned_of() {
    for (policy, warned) in [("allkeys-lru", true), ("volatile-lru", false), ("noeviction", false)] {
        let server = Options::default().line(format!("maxmemory-policy {policy}")).start();
        let warnings = RedisEngine::connect(&server.url())
            .await
            .unwrap()
            .warnings()
            .await
            .unwrap();
        assert_eq!(
            warnings.iter().any(|warning| warning.contains(policy)),
            warned,
            "{policy}: {warnings:?}"
        );
    }
}

// ----- servers that do not serve ----------------------------------------------------------------------------------------

#[tokio::test]
async fn a_server_with_too_many_clients_is_quoted() {
    let server = RedisServer::start();
    let _engine = works(&server.url()).await;
    server.command(&["CONFIG", "SET", "maxclients", "1"]);
    let error = connect_error(&server.url()).await;
    assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("max number of clients reached"), "{error}");
}

#[test]
fn a_server_that_loads_its_data_is_quoted() {
    let server = Options::default().debug_commands().line("rdbcompression no").start();
    // It answers whenever it has loaded another 2 MB.
    for number in 0..100 {
        let value = "x".repeat(60_000);
        server.command(&["SET", &format!("key {number}"), &value]);
    }
    // Microseconds for each key.
    server.command(&["CONFIG", "SET", "key-load-delay", "20000"]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| server.command(&["DEBUG", "RELOAD"]));
        let mut error = None;
        streamer_test_servers::wait_until("the server loads", || {
            error = runtime.block_on(RedisEngine::connect(&server.url())).err();
            error.is_some()
        });
        let error = error.unwrap();
        assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("loading the dataset in memory"), "{error}");
    });
    runtime.block_on(works(&server.url()));
}

#[tokio::test]
async fn a_server_that_wants_a_password_is_quoted() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "requirepass", "secret"]);
    let error = connect_error(&server.url()).await;
    assert_eq!(error.kind(), EngineErrorKind::Permission, "{error}");
    assert!(error.to_string().contains("NOAUTH"), "{error}");

    let without = RedisServer::start();
    let error = connect_error(&format!("redis://:password@127.0.0.1:{}", without.port())).await;
    assert_eq!(error.kind(), EngineErrorKind::Permission, "{error}");
    assert!(error.to_string().contains("without any password configured"), "{error}");
}

#[tokio::test]
async fn a_password_that_was_changed_while_running_is_a_question_of_permission() {
    let server = Options::default().user("app on >old ~* &* +@all").start();
    let engine = works(&format!("redis://app:old@127.0.0.1:{}", server.port())).await;
    server.command(&["ACL", "SETUSER", "app", "resetpass", ">new"]);
    server.command(&["CLIENT", "KILL", "USER", "app"]);
    let refused = async || loop {
        let error = engine.append(an_append("events")).await.unwrap_err();
        // The first may find the old connection cut.
        if error.kind() != EngineErrorKind::Connection {
            return error;
        }
    };
    let error = refused().await;
    assert_eq!(error.kind(), EngineErrorKind::Permission, "{error}");
    assert!(error.to_string().contains("WRONGPASS"), "{error}");
    let mode = ReadMode::Plain(vec![(StreamName::from("events"), EntryId::MIN)]);
    let error = engine.reader(mode.clone()).await.err().unwrap();
    assert_eq!(error.kind(), EngineErrorKind::Permission, "{error}");
    server.command(&["ACL", "SETUSER", "app", ">old"]);
    engine.append(an_append("events")).await.unwrap();
    let mut reader = engine.reader(mode).await.unwrap();
    assert_eq!(reader.next(10, None).await.unwrap()[0].entries.len(), 2);
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls_is_asked_about() {
    let server = RedisServer::start();
    let error = connect_error(&format!("rediss://127.0.0.1:{}?insecure=true", server.port())).await;
    assert_eq!(error.kind(), EngineErrorKind::Connection, "{error}");
    assert!(error.to_string().contains("TLS"), "{error}");
}

// ----- interruption -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_never_ends_the_wait_of_another_client() {
    let mut server = Options::default().append_only().start();
    let engine = works(&server.url()).await;
    let stream = StreamName::from("events");
    let now = engine.last_id(&stream).await.unwrap();
    let reader = engine
        .reader(ReadMode::Plain(vec![(stream.clone(), now)]))
        .await
        .unwrap();
    let interrupter = reader.interrupter();
    // The server counts its clients from the beginning again: others get the reader's number.
    server.kill9();
    server.restart();
    append_until_it_works(&engine).await;
    let now = engine.last_id(&stream).await.unwrap();
    let others = (0..8).map(|_| engine.reader(ReadMode::Plain(vec![(stream.clone(), now)])));
    let others = futures_util::future::try_join_all(others).await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for mut other in others {
        waiting.spawn(async move { other.next(1, Some(PATIENCE * 10)).await });
    }
    streamer_test_servers::wait_until("all wait", || {
        server.command(&["CLIENT", "LIST"]).matches("cmd=xread").count() == 8
    });
    let mut reader = reader;
    let read = tokio::spawn(async move { reader.next(1, Some(PATIENCE)).await });
    assert_kind(read.await.unwrap(), EngineErrorKind::Connection);
    for _ in 0..10 {
        interrupter.interrupt();
        engine.len(&stream).await.unwrap();
    }
    assert!(waiting.try_join_next().is_none(), "nobody was woken");
    let id = engine.append(an_append("events")).await.unwrap();
    while let Some(read) = waiting.join_next().await {
        assert_eq!(read.unwrap().unwrap()[0].entries[0].id, id);
    }
}
