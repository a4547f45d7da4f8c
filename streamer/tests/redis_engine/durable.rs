//! Emits that wait for replicas, or for the append-only file.

use serde_json::json;
use streamer::{DynamicEvent, EmitErrorKind, EmitOptions, Streamer, engine::EngineErrorKind};
use streamer_test_servers::wait_until;

use super::*;

fn event(stream: &str) -> DynamicEvent {
    DynamicEvent::new(stream, json!({"id": 7}))
}

fn pair() -> (RedisServer, RedisServer) {
    let master = Options::default().append_only().start();
    let replica = Options::default().replica_of(&master).start();
    wait_until("the replica is in step", || {
        master.command(&["INFO", "replication"]).contains("state=online")
    });
    (master, replica)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emit_that_asks_for_a_replica_returns_when_the_replica_has_it() {
    let (master, replica) = pair();
    let streamer = Streamer::connect(&master.url()).await.unwrap();
    for (emitted, options) in [
        EmitOptions::new(),
        EmitOptions::new().idempotency_key("once"),
        EmitOptions::new().identifier("r1"),
    ]
    .into_iter()
    .enumerate()
    {
        streamer.emit_with(&event("e"), options.replicas(1)).await.unwrap();
        assert_eq!(replica.command(&["XLEN", "e"]), (emitted + 1).to_string());
    }
    assert_eq!(replica.command(&["LLEN", "e-r1"]), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emit_says_that_it_is_written_and_that_no_replica_had_it_and_holds_up_no_other() {
    let (master, replica) = pair();
    let streamer = Streamer::connect(&master.url()).await.unwrap();
    replica.freeze();
    let waiting = tokio::spawn({
        let streamer = streamer.clone();
        let longest = streamer::engine::Durability::LONGEST_TIMEOUT;
        async move {
            let options = EmitOptions::new().replicas(1).durable_within(longest);
            streamer.emit_with(&event("e"), options).await
        }
    });
    wait_until("it is written", || master.command(&["XLEN", "e"]) == "1");
    // Others do not wait for it.
    streamer.emit(&event("e")).await.unwrap();
    assert!(!waiting.is_finished());
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), EmitErrorKind::NotDurable);
    assert!(!error.may_be_written());
    let id = error.written_as().unwrap().to_string();
    assert!(master.command(&["XRANGE", "e", &id, &id]).contains(&id));
    let text = error.to_string();
    let expected = format!(
        "event 'e' is written to stream 'e' as {id}, but not yet as safe as was asked: 0 of 1 replicas had it after 8000 ms. \
         Do not emit it again: listeners get it"
    );
    assert_eq!(text, expected);
    replica.thaw();
    streamer
        .emit_with(&event("e"), EmitOptions::new().replicas(1))
        .await
        .unwrap();
    assert_eq!(replica.command(&["XLEN", "e"]), "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emit_that_asks_for_a_flush_gets_it_or_learns_why_not() {
    let flushed = || EmitOptions::new().flushed(true);
    let server = Options::default().line("appendonly yes").line("appendfsync no").start();
    let streamer = Streamer::connect(&server.url()).await.unwrap();
    let outcome = streamer.emit_with(&event("e"), flushed()).await;
    assert_eq!(server.command(&["XLEN", "e"]), "1");
    match server.command(&["COMMAND", "INFO", "WAITAOF"]).is_empty() {
        false => _ = outcome.unwrap(),
        true => {
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), EmitErrorKind::NotDurable);
            assert!(
                error.to_string().contains("the server has no WAITAOF, which Redis 7.2"),
                "{error}"
            );
        }
    }
    let without_log = RedisServer::start();
    let streamer = Streamer::connect(&without_log.url()).await.unwrap();
    let error = streamer.emit_with(&event("e"), flushed()).await.unwrap_err();
    assert_eq!(error.kind(), EmitErrorKind::NotDurable, "{error}");
    assert_eq!(without_log.command(&["XLEN", "e"]), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_cannot_be_waited_is_refused_before_anything_is_written() {
    let server = RedisServer::start();
    let streamer = Streamer::connect(&server.url()).await.unwrap();
    for timeout in [Duration::ZERO, Duration::from_secs(9)] {
        let options = EmitOptions::new().replicas(1).durable_within(timeout);
        let error = streamer.emit_with(&event("e"), options).await.unwrap_err();
        assert_eq!(error.kind(), EmitErrorKind::Engine(EngineErrorKind::InvalidInput));
    }
    assert_eq!(server.command(&["XLEN", "e"]), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_the_replica_of_the_slot_has_it_also_after_the_slot_has_moved() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::start_with_replicas)
        .await
        .unwrap();
    let streamer = Streamer::connect(&cluster.url()).await.unwrap();
    let names = ["a", "b", "c", "{shop}.opened"];
    let safe = || EmitOptions::new().replicas(1);
    for name in names {
        streamer.emit_with(&event(name), safe()).await.unwrap();
    }
    let nodes = cluster.nodes();
    let has = |node: &RedisServer, name: &str| !node.command(&["XLEN", name]).starts_with('-');
    let from = (0..3).find(|index| has(&nodes[*index], "a")).unwrap();
    let to = (from + 1) % 3;
    let slot = nodes[0].command(&["CLUSTER", "KEYSLOT", "a"]).parse().unwrap();
    cluster.move_slot(slot, from, to);
    streamer.emit_with(&event("a"), safe()).await.unwrap();
    assert_eq!(nodes[to].command(&["XLEN", "a"]), "2");
    // Its replica answers only for itself when it is told to be read.
    let replica = &nodes[to + 3];
    assert!(
        replica
            .command(&["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), "9"])
            .lines()
            .any(|key| key == "a")
    );
}
