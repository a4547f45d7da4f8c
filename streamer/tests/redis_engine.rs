//! What only the engine on a Redis server promises: ways to connect, and what happens when servers fail.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use streamer::{
    EntryId, NewId, RangeBound, StreamName,
    engine::{
        Append, AppendOptions, Engine, EngineErrorKind, EngineResult, GroupStart, ReadMode, RedisEngine, StreamEntries,
    },
};
use streamer_test_servers::{Options, RedisCluster, RedisServer, SentinelSetup};

/// How long a server and an engine may need to find each other again.
const PATIENCE: Duration = Duration::from_secs(30);

fn an_append(stream: &str) -> Append {
    Append {
        stream: StreamName::from(stream),
        id: NewId::Auto,
        fields: vec![(Bytes::from("name"), Bytes::from("value"))],
        options: AppendOptions::default(),
    }
}

async fn works(url: &str) -> RedisEngine {
    let engine = RedisEngine::connect(url).await.unwrap();
    let id = engine.append(an_append("events")).await.unwrap();
    assert_eq!(engine.last_id(&StreamName::from("events")).await.unwrap(), id);
    engine
}

async fn connect_error(url: &str) -> streamer::engine::EngineError {
    RedisEngine::connect(url).await.unwrap_err()
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: EngineResult<T>, kind: EngineErrorKind) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
}

/// Appends until it succeeds, which must not need a new engine. Gives the kinds of the errors before.
async fn append_until_it_works(engine: &RedisEngine) -> Vec<EngineErrorKind> {
    let begin = Instant::now();
    let mut kinds = Vec::new();
    while let Err(error) = engine.append(an_append("events")).await {
        assert!(begin.elapsed() < PATIENCE, "{error}");
        assert!(error.kind().is_transient(), "{error}");
        kinds.push(error.kind());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kinds
}

// ----- ways to connect ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_database_number_is_a_place_of_its_own() {
    let server = RedisServer::start();
    works(&format!("{}/3", server.url())).await;
    let other = RedisEngine::connect(&server.url()).await.unwrap();
    assert_eq!(other.len(&StreamName::from("events")).await.unwrap(), 0);
    assert!(server.command(&["INFO", "keyspace"]).contains("db3:keys=1"));
}

#[tokio::test]
async fn a_unix_socket_serves() {
    let server = Options::default()
        .unix_socket()
        .user("app on >secret ~* &* +@all")
        .start();
    let url = server.unix_url();
    assert_eq!(works(&url).await.location(), url);
    let engine = works(&format!("{url}?db=2&user=app&pass=secret")).await;
    assert_eq!(engine.location(), format!("{url}?db=2"));
}

#[tokio::test]
async fn tls_with_the_authoritys_certificate_serves() {
    let server = Options::default().tls().start();
    works(&server.url()).await;
    let (cert, key) = (server.file("cert.pem"), server.file("key.pem"));
    works(&format!(
        "{}&cert={}&key={}",
        server.url(),
        cert.display(),
        key.display()
    ))
    .await;
}

#[tokio::test]
async fn tls_trusts_no_unknown_authority_unless_told_to() {
    let server = Options::default().tls().start();
    let url = format!("rediss://127.0.0.1:{}", server.tls_port());
    assert_eq!(connect_error(&url).await.kind(), EngineErrorKind::Connection);
    works(&format!("{url}?insecure=true")).await;
}

#[tokio::test]
async fn a_server_may_demand_a_clients_certificate() {
    let server = Options::default().tls().line("tls-auth-clients yes").start();
    let refused = connect_error(&server.url()).await;
    assert_eq!(refused.kind(), EngineErrorKind::Connection, "{refused}");
    let (cert, key) = (server.file("cert.pem"), server.file("key.pem"));
    works(&format!(
        "{}&cert={}&key={}",
        server.url(),
        cert.display(),
        key.display()
    ))
    .await;
}

#[tokio::test]
async fn a_user_logs_in_and_the_password_is_never_shown() {
    let server = Options::default().user("app on >s3cret/word ~* &* +@all").start();
    let host = format!("127.0.0.1:{}", server.port());
    let engine = works(&format!("redis://app:s3cret%2Fword@{host}")).await;
    assert_eq!(engine.location(), format!("redis://app@{host}"));
    assert!(!format!("{engine:?}").contains("s3cret"));

    let error = connect_error(&format!("redis://app:wrong-pass@{host}")).await;
    assert_eq!(error.kind(), EngineErrorKind::Permission, "{error}");
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains("app@127.0.0.1") && !shown.contains("wrong-pass"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_user_without_permission_is_told_so() {
    let server = Options::default()
        .user("app on >secret ~events* &* +@all -xadd -config -ping -client")
        .start();
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let engine = RedisEngine::connect(&url).await.unwrap();
    assert_kind(engine.append(an_append("events")).await, EngineErrorKind::Permission);
    assert_kind(
        engine.len(&StreamName::from("others")).await,
        EngineErrorKind::Permission,
    );
    // What may not be asked is passed over.
    assert_eq!(engine.warnings().await.unwrap(), [""; 0]);
    // Without CLIENT there is no interrupting, but there is reading.
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(StreamName::from("events"), EntryId::MIN)]))
        .await
        .unwrap();
    reader.interrupter().interrupt();
    assert_eq!(reader.next(1, Some(Duration::from_millis(1))).await.unwrap(), []);
}

#[tokio::test]
async fn urls_that_make_no_sense_are_refused_before_connecting() {
    for url in [
        "redis:/localhost",
        "redis://",
        "redis://a,b",
        "redis://localhost/zero",
        "redis://localhost/1/2",
        "redis://localhost?colour=red",
        "redis://localhost?ca=/no/such/file",
        "rediss://localhost?ca=/no/such/file",
        "rediss://localhost?cert=/etc/hostname",
        "redis-sentinel://localhost",
        "redis-cluster://localhost/1",
        "redis://user:secret/word@localhost",
        "http://localhost",
    ] {
        let error = connect_error(url).await;
        assert_eq!(error.kind(), EngineErrorKind::InvalidInput, "{url}: {error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_a_connection_error() {
    let mut server = RedisServer::start();
    let url = server.url();
    server.stop();
    let error = connect_error(&url).await;
    assert_eq!(error.kind(), EngineErrorKind::Connection);
    assert!(error.to_string().contains(&url), "{error}");
}

// ----- failing servers ------------------------------------------------------------------------------------------------

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
async fn a_server_that_does_not_answer_counts_as_gone_until_it_does() {
    let server = RedisServer::start();
    let engine = works(&server.url()).await;
    server.freeze();
    assert_kind(engine.append(an_append("events")).await, EngineErrorKind::Connection);
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
    let server = RedisServer::start();
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
    let waiting = tokio::spawn(async move { reader.next(1, Some(PATIENCE * 10)).await });
    streamer_test_servers::wait_until("the reader waits", || {
        server.command(&["CLIENT", "LIST"]).contains("cmd=xreadgroup")
    });
    server.command(&["DEL", "events"]);
    let ended = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_kind(ended, EngineErrorKind::Unblocked);
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
    assert_kind(engine.set_len("plain").await, EngineErrorKind::WrongType);
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

// ----- Sentinel and Cluster -------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fail_over_the_same_engine_finds_the_new_master() {
    let mut servers = SentinelSetup::start(3);
    let engine = works(&servers.url()).await;
    assert_eq!(servers.master.command(&["XLEN", "events"]), "1");
    servers.master.kill9();
    servers.wait_for_master(servers.replica.port());
    append_until_it_works(&engine).await;
    let written = servers.replica.command(&["XLEN", "events"]);
    assert!(written != "0", "{written}");
    // Readers find it too.
    let mode = ReadMode::Plain(vec![(StreamName::from("events"), EntryId::MIN)]);
    let mut reader = engine.reader(mode).await.unwrap();
    assert_eq!(
        reader.next(10, None).await.unwrap()[0].entries.len().to_string(),
        written
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_became_a_replica_is_left() {
    let servers = SentinelSetup::start(1);
    let engine = works(&servers.url()).await;
    servers.fail_over();
    servers.wait_for_master(servers.replica.port());
    append_until_it_works(&engine).await;
    assert!(
        servers
            .replica
            .command(&["INFO", "replication"])
            .contains("role:master")
    );
}

#[tokio::test]
async fn a_moved_slot_is_followed_without_doubling_anything() {
    let cluster = RedisCluster::start();
    let engine = works(&cluster.url()).await;
    let stream = StreamName::from("events");
    // The slot of `events` and the node that serves it.
    let slot: u16 = cluster.nodes()[0]
        .command(&["CLUSTER", "KEYSLOT", "events"])
        .parse()
        .unwrap();
    let from = cluster
        .nodes()
        .iter()
        .position(|node| node.command(&["XLEN", "events"]) == "1")
        .unwrap();
    cluster.move_slot(slot, from, (from + 1) % 3);
    engine
        .append_many((0..10).map(|_| an_append("events")).collect())
        .await
        .unwrap();
    engine.append(an_append("events")).await.unwrap();
    assert_eq!(engine.len(&stream).await.unwrap(), 12);
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(stream, EntryId::MIN)]))
        .await
        .unwrap();
    assert_eq!(reader.next(100, None).await.unwrap()[0].entries.len(), 12);
}

#[tokio::test]
async fn appends_while_slots_move_are_each_stored_once() {
    let cluster = RedisCluster::start();
    let engine = works(&cluster.url()).await;
    let slot: u16 = cluster.nodes()[0]
        .command(&["CLUSTER", "KEYSLOT", "events"])
        .parse()
        .unwrap();
    let home = cluster
        .nodes()
        .iter()
        .position(|node| node.command(&["XLEN", "events"]) == "1")
        .unwrap();
    let moving = tokio::task::spawn_blocking(move || {
        cluster.move_slot(slot, home, (home + 1) % 3);
        cluster.move_slot(slot, (home + 1) % 3, home);
        cluster
    });
    let mut stored = vec![engine.last_id(&StreamName::from("events")).await.unwrap()];
    while !moving.is_finished() {
        match engine.append(an_append("events")).await {
            Ok(id) => stored.push(id),
            Err(error) => assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}"),
        }
    }
    let _cluster = moving.await.unwrap();
    let all = (RangeBound::Unbounded, RangeBound::Unbounded);
    let found = engine
        .range(&StreamName::from("events"), all.0, all.1, None, false)
        .await
        .unwrap();
    assert_eq!(found.iter().map(|entry| entry.id).collect::<Vec<_>>(), stored);
}

#[tokio::test]
async fn a_dead_node_leaves_the_streams_of_others_alone() {
    let mut cluster = RedisCluster::start();
    let engine = RedisEngine::connect(&cluster.url()).await.unwrap();
    let on_node = |node: usize| {
        let answers = |name: &String| !cluster.nodes()[node].command(&["XLEN", name]).starts_with('-');
        (0..).map(|n| format!("stream {n}")).find(answers).unwrap()
    };
    let (dead, alive) = (on_node(0), on_node(1));
    engine
        .append_many(vec![an_append(&dead), an_append(&alive)])
        .await
        .unwrap();
    cluster.nodes_mut()[0].kill9();
    let error = engine
        .append_many(vec![an_append(&dead), an_append(&alive)])
        .await
        .unwrap_err();
    assert_eq!(
        error.results[0].as_ref().unwrap_err().kind(),
        EngineErrorKind::Connection
    );
    assert!(error.results[1].is_ok(), "{:?}", error.results[1]);
}
