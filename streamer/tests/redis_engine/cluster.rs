//! A Redis Cluster whose slots move and whose nodes fail.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use serde_json::json;
use streamer::{DynamicEvent, Entry, Streamer};
use streamer_test_servers::{Proxy, wait_until};
use tokio::task::JoinHandle;

use super::*;

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

/// Moves a slot there and back, so often. Between two moves something that began after the first is done: a command that
/// was on its way while its slot left and came back may be done on a node that takes the slot in again, and what is done
/// there is overwritten by the move.
fn keep_moving(cluster: RedisCluster, slot: u16, times: usize) -> (JoinHandle<RedisCluster>, Arc<AtomicUsize>) {
    let done = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&done);
    let home = (0..3)
        .find(|node| !cluster.nodes()[*node].command(&["XLEN", "events"]).starts_with('-'))
        .unwrap();
    let moving = tokio::task::spawn_blocking(move || {
        let away = (home + 1) % 3;
        for (from, to) in [(home, away), (away, home)].repeat(times) {
            cluster.move_slot(slot, from, to);
            let before = counted.load(SeqCst);
            wait_until("something is done between two moves", || {
                counted.load(SeqCst) >= before + 2
            });
        }
        cluster
    });
    (moving, done)
}

fn slot_of_events(cluster: &RedisCluster) -> u16 {
    let slot = cluster.nodes()[0].command(&["CLUSTER", "KEYSLOT", "events"]);
    slot.parse().unwrap()
}

#[tokio::test]
async fn appends_while_slots_move_are_each_stored_once() {
    let cluster = RedisCluster::start();
    let engine = works(&cluster.url()).await;
    let slot = slot_of_events(&cluster);
    let (moving, done) = keep_moving(cluster, slot, 3);
    let mut stored = vec![engine.last_id(&StreamName::from("events")).await.unwrap()];
    while !moving.is_finished() {
        match engine.append(an_append("events")).await {
            Ok(id) => stored.push(id),
            Err(error) => assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}"),
        }
        done.fetch_add(1, SeqCst);
    }
    let _cluster = moving.await.unwrap();
    let all = (RangeBound::Unbounded, RangeBound::Unbounded);
    let found = engine
        .range(&StreamName::from("events"), all.0, all.1, None, false)
        .await
        .unwrap();
    assert_eq!(found.iter().map(|entry| entry.id).collect::<Vec<_>>(), stored);
}

/// What a node refuses is sent again, and must not come behind what was sent after it.
#[tokio::test]
async fn events_emitted_together_keep_their_order_while_slots_move() {
    let cluster = RedisCluster::start();
    let streamer = Streamer::connect(&cluster.url()).await.unwrap();
    let (_cluster, written) = emit_while_a_slot_moves(&streamer, cluster, 5).await;
    assert!(numbers(&streamer).await == written, "each once, in order");
}

/// Emits a thousand events at a time while their slot moves there and back, so often. Gives the numbers of those that were
/// written.
async fn emit_while_a_slot_moves(
    streamer: &Streamer,
    cluster: RedisCluster,
    times: usize,
) -> (RedisCluster, Vec<usize>) {
    let slot = slot_of_events(&cluster);
    let (moving, done) = keep_moving(cluster, slot, times);
    let (mut number, mut written) = (0, Vec::new());
    while !moving.is_finished() {
        match streamer.emit_all(numbered(number..number + 1_000)).await {
            Ok(_) => written.extend(number..number + 1_000),
            Err(error) => written.extend(error.written.iter().map(|(position, _)| number + position)),
        }
        number += 1_000;
        done.fetch_add(1, SeqCst);
    }
    (moving.await.unwrap(), written)
}

/// The URL of a user who may do all but this, on each node.
fn url_of_user_without(cluster: &RedisCluster, forbidden: &str) -> String {
    for node in cluster.nodes() {
        let rules = ["ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", forbidden];
        assert_eq!(node.command(&rules), "OK");
    }
    cluster.url().replace("://", "://app:secret@")
}

fn numbered(numbers: std::ops::Range<usize>) -> impl Iterator<Item = DynamicEvent> {
    numbers.map(|number| DynamicEvent::new("events", json!({ "number": number })))
}

/// Counts the warnings that have these words.
struct Warnings {
    words: &'static str,
    count: Arc<AtomicUsize>,
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::new();
        event.record(&mut |_: &tracing::field::Field, value: &dyn std::fmt::Debug| text += &format!("{value:?}"));
        self.count.fetch_add(usize::from(text.contains(self.words)), SeqCst);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn the_log_says_once_what_a_user_without_transactions_lacks() {
    let cluster = RedisCluster::start();
    let count = Arc::new(AtomicUsize::new(0));
    let warnings = Warnings {
        words: "ACL SETUSER USER +multi +exec +asking",
        count: Arc::clone(&count),
    };
    let _logged = tracing::subscriber::set_default(warnings);
    let streamer = Streamer::connect(&cluster.url()).await.unwrap();
    streamer.emit_all(numbered(0..100)).await.unwrap();
    assert_eq!(count.load(SeqCst), 0);
    let url = url_of_user_without(&cluster, "-multi");
    let streamer = Streamer::connect(&url).await.unwrap();
    streamer.emit_all(numbered(100..200)).await.unwrap();
    streamer.emit_all(numbered(200..300)).await.unwrap();
    assert_eq!(count.load(SeqCst), 1);
    assert_eq!(numbers(&streamer).await, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn events_of_a_user_without_transactions_are_each_stored_once_while_slots_move() {
    let cluster = RedisCluster::start();
    let streamer = Streamer::connect(&url_of_user_without(&cluster, "-multi"))
        .await
        .unwrap();
    let (_cluster, written) = emit_while_a_slot_moves(&streamer, cluster, 3).await;
    let mut found = numbers(&streamer).await;
    found.sort_unstable();
    assert!(found == written, "each once");
}

/// The numbers of the events on the stream `events`.
async fn numbers(streamer: &Streamer) -> Vec<usize> {
    let all = (RangeBound::Unbounded, RangeBound::Unbounded);
    let events = StreamName::from("events");
    let found = streamer.engine().range(&events, all.0, all.1, None, false).await;
    let number = |entry: &Entry| {
        let data = entry.fields.iter().find(|(name, _)| name == "data").unwrap();
        let data: serde_json::Value = serde_json::from_slice(&data.1).unwrap();
        data["number"].as_u64().unwrap() as usize
    };
    found.unwrap().iter().map(number).collect()
}

/// The node refuses the first events of a pipeline, and could do the others when its slot has come back.
#[tokio::test]
async fn events_emitted_together_keep_their_order_where_a_slot_comes_back_meanwhile() {
    let cluster = RedisCluster::start();
    let home = (0..3)
        .find(|node| !cluster.nodes()[*node].command(&["XLEN", "events"]).starts_with('-'))
        .unwrap();
    let (slot, away) = (slot_of_events(&cluster), (home + 1) % 3);
    // Clients reach the node by a slow way.
    let way = Proxy::to(cluster.nodes()[home].port());
    let port = way.port().to_string();
    let announced = ["CONFIG", "SET", "cluster-announce-port", &port];
    assert_eq!(cluster.nodes()[home].command(&announced), "OK");
    wait_until("all nodes know the way", || {
        let knows = |node: &RedisServer| node.command(&["CLUSTER", "SLOTS"]).contains(&port);
        cluster.nodes().iter().all(knows)
    });
    let streamer = Streamer::connect(&cluster.url()).await.unwrap();
    streamer.emit_all(numbered(0..1)).await.unwrap();
    let before = way.bytes_down();
    assert_ne!(before, 0);
    cluster.move_slot(slot, home, away);
    way.set_rate(Some(30_000));
    let emitting = tokio::spawn({
        let streamer = streamer.clone();
        async move { streamer.emit_all(numbered(1..200)).await }
    });
    while way.bytes_down() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It has refused some. The others are on their way.
    way.stall();
    let cluster = tokio::task::spawn_blocking(move || {
        cluster.move_slot(slot, away, home);
        cluster
    });
    let _cluster = cluster.await.unwrap();
    way.set_rate(None);
    way.resume();
    emitting.await.unwrap().unwrap();
    assert_eq!(numbers(&streamer).await, (0..200).collect::<Vec<_>>());
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

/// A stream that a node serves.
fn stream_on(cluster: &RedisCluster, node: usize) -> String {
    let answers = |name: &String| !cluster.nodes()[node].command(&["XLEN", name]).starts_with('-');
    (0..).map(|n| format!("stream {n}")).find(answers).unwrap()
}

#[tokio::test]
async fn a_process_starts_while_the_node_of_the_first_slot_is_down() {
    let mut cluster = RedisCluster::start();
    for node in cluster.nodes() {
        node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let (dead, alive) = (stream_on(&cluster, 0), stream_on(&cluster, 1));
    cluster.nodes_mut()[0].kill9();
    let engine = RedisEngine::connect(&cluster.url()).await.unwrap();
    assert_eq!(engine.warnings().await.unwrap(), [""; 0], "any node can be asked");
    engine.append(an_append(&alive)).await.unwrap();
    let mode = ReadMode::Plain(vec![(StreamName::from(&*alive), EntryId::MIN)]);
    let mut reader = engine.reader(mode).await.unwrap();
    assert_eq!(reader.next(10, None).await.unwrap()[0].entries.len(), 1);
    let error = engine.append(an_append(&dead)).await.unwrap_err();
    assert!(error.kind().is_transient(), "{error}");
    // It comes back with the node.
    cluster.nodes_mut()[0].restart();
    let begin = Instant::now();
    while let Err(error) = engine.append(an_append(&dead)).await {
        assert!(begin.elapsed() < PATIENCE && error.kind().is_transient(), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn commands_to_other_nodes_go_on_while_one_does_not_answer() {
    let cluster = RedisCluster::start();
    for node in cluster.nodes() {
        node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let engine = RedisEngine::connect(&cluster.url()).await.unwrap();
    let (frozen, alive) = (stream_on(&cluster, 0), stream_on(&cluster, 1));
    engine.append(an_append(&frozen)).await.unwrap();
    cluster.nodes()[0].freeze();
    let mut waiting = {
        let engine = engine.clone();
        tokio::spawn(async move { engine.append(an_append(&frozen)).await })
    };
    for _ in 0..100 {
        tokio::select! {
            biased;
            done = engine.append(an_append(&alive)) => drop(done.unwrap()),
            _ = &mut waiting => panic!("it waits for a node that does not answer"),
        }
    }
    assert!(!waiting.is_finished(), "nobody waited for it");
    assert_kind(waiting.await.unwrap(), EngineErrorKind::Connection);
    // The map is asked of others now, of whom one does not answer.
    for _ in 0..100 {
        engine.append(an_append(&alive)).await.unwrap();
    }
    assert_eq!(engine.len(&StreamName::from(&*alive)).await.unwrap(), 200);
    cluster.nodes()[0].thaw();
}

#[tokio::test]
async fn a_cluster_with_tls_serves() {
    let cluster = RedisCluster::start_tls();
    let engine = RedisEngine::connect(&cluster.url()).await.unwrap();
    let streams: Vec<StreamName> = (0..3).map(|node| StreamName::from(stream_on(&cluster, node))).collect();
    let appends = streams.iter().map(|stream| Append {
        stream: stream.clone(),
        ..an_append("")
    });
    engine.append_many(appends.collect()).await.unwrap();
    let positions = streams.iter().map(|stream| (stream.clone(), EntryId::MIN));
    let mut reader = engine.reader(ReadMode::Plain(positions.collect())).await.unwrap();
    let mut read = reader.next(10, Some(PATIENCE)).await.unwrap();
    while read.len() < 3 {
        read.extend(reader.next(10, Some(PATIENCE)).await.unwrap());
    }
    assert!(read.iter().all(|stream| stream.entries.len() == 1), "{read:?}");
}
