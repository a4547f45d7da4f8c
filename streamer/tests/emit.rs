//! Emitting: what arrives, and what is said about what does not.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use streamer::{
    DynamicEvent, EmitErrorKind, EmitOptions, EntryId, Event, ReceivedMessage, Streamer, Trim, engine::EngineErrorKind,
    stream::Range,
};
use streamer_test_servers::RedisServer;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed", kind = "command")]
struct OrderPlaced {
    id: u64,
    total: f64,
}

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "ping")]
struct Ping;

fn order(id: u64) -> OrderPlaced {
    OrderPlaced { id, total: 9.5 }
}

fn numbered(stream: &str, number: usize) -> DynamicEvent {
    DynamicEvent::new(stream, json!({ "n": number }))
}

async fn store() -> (RedisServer, Streamer) {
    let server = RedisServer::start();
    let streamer = Streamer::builder()
        .url(server.url())
        .domain("shop")
        .connect()
        .await
        .unwrap();
    (server, streamer)
}

async fn messages(streamer: &Streamer, stream: &str) -> Vec<ReceivedMessage> {
    let mut pages = streamer.stream(stream).range(Range::all());
    let mut messages = Vec::new();
    loop {
        let page = pages.next_page().await.unwrap();
        if page.is_empty() {
            return messages;
        }
        messages.extend(
            page.into_iter()
                .map(|entry| ReceivedMessage::new(stream.into(), entry, 1)),
        );
    }
}

#[tokio::test]
async fn an_event_arrives_with_its_fields_in_order() {
    let (_server, streamer) = store().await;
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let id = streamer.emit(&order(7)).await.unwrap();
    let messages = messages(&streamer, "order.placed").await;
    assert_eq!(messages.len(), 1);
    let message = &messages[0];
    let names: Vec<_> = message.fields().iter().map(|(name, _)| name.as_ref()).collect();
    let expected = ["_id", "type", "version", "name", "domain", "created", "data", "hash"];
    assert_eq!(names, expected.map(str::as_bytes));
    assert_eq!(message.id(), id);
    assert_eq!((message.kind(), message.domain()), ("command".into(), "shop".into()));
    assert!((before..=before + 60).contains(&message.created().unwrap()));
    assert_eq!(message.payload(), Ok(order(7)));
}

#[tokio::test]
async fn an_event_without_content_arrives_as_one() {
    let (_server, streamer) = store().await;
    streamer.emit(&Ping).await.unwrap();
    let messages = messages(&streamer, "ping").await;
    assert_eq!(messages[0].field("data").unwrap(), "[]");
    assert_eq!(messages[0].payload(), Ok(Ping));
}

#[tokio::test]
async fn options_say_id_trimming_domain_and_whether_the_stream_is_made() {
    let (_server, streamer) = store().await;
    let absent = streamer
        .emit_with(&Ping, EmitOptions::new().create_stream(false))
        .await
        .unwrap_err();
    assert_eq!(absent.kind(), EmitErrorKind::Engine(EngineErrorKind::NoStream));

    let id = EntryId::new(5, 3);
    let options = EmitOptions::new().id(id).domain("bakery");
    assert_eq!(streamer.emit_with(&Ping, options).await.unwrap(), id);
    assert_eq!(messages(&streamer, "ping").await[0].domain(), "bakery");

    let options = EmitOptions::new().create_stream(false).trim(Trim::max_len(1).exactly());
    let newest = streamer.emit_with(&Ping, options).await.unwrap();
    let left = messages(&streamer, "ping").await;
    assert_eq!((left.len(), left[0].id()), (1, newest));
}

#[tokio::test]
async fn a_refusal_is_an_error_that_names_the_event() {
    let (server, streamer) = store().await;
    streamer
        .emit_with(&Ping, EmitOptions::new().id(EntryId::new(5, 0)))
        .await
        .unwrap();
    let too_small = streamer
        .emit_with(&Ping, EmitOptions::new().id(EntryId::new(4, 0)))
        .await
        .unwrap_err();
    assert_eq!(too_small.kind(), EmitErrorKind::Engine(EngineErrorKind::IdTooSmall));
    assert!(too_small.to_string().contains("'ping'"), "{too_small}");

    server.command(&["SET", "order.placed", "x"]);
    let wrong_type = streamer.emit(&order(1)).await.unwrap_err();
    assert_eq!(wrong_type.kind(), EmitErrorKind::Engine(EngineErrorKind::WrongType));
    assert!(!wrong_type.may_be_written());

    let broken = OrderPlaced { id: 1, total: f64::NAN };
    let no_json = streamer.emit(&broken).await.unwrap_err();
    assert_eq!(no_json.kind(), EmitErrorKind::Encode);
    assert!(std::error::Error::source(&no_json).is_some());
}

#[tokio::test]
async fn a_batch_arrives_in_order() {
    let (_server, streamer) = store().await;
    let ids = streamer.emit_all((0..2_000).map(|n| numbered("s", n))).await.unwrap();
    assert!(ids.is_sorted_by(|a, b| a < b));
    let messages = messages(&streamer, "s").await;
    assert!(messages.iter().map(ReceivedMessage::id).eq(ids));
    assert!(
        messages
            .iter()
            .enumerate()
            .all(|(n, message)| message.get("n") == Some(&json!(n)))
    );

    let orders = vec![order(1), order(2)];
    assert_eq!(streamer.emit_all(&orders).await.unwrap().len(), 2);
    assert_eq!(streamer.emit_all(Vec::<OrderPlaced>::new()).await.unwrap(), []);
}

#[tokio::test]
async fn a_batch_is_taken_as_it_is_sent() {
    let (server, streamer) = store().await;
    let taken = Cell::new(0);
    let in_store = || server.command(&["XLEN", "s"]).trim().parse::<usize>().unwrap();
    let large = "x".repeat(100_000);
    let most_waiting = Cell::new(0);
    let events = (0..100).map(|n| {
        most_waiting.set(most_waiting.get().max(taken.get() - in_store()));
        taken.set(n + 1);
        DynamicEvent::new("s", json!({ "text": large }))
    });
    streamer.emit_all(events).await.unwrap();
    assert_eq!(in_store(), 100);
    // Two chunks of 512 KiB, and what overflows each.
    assert!((1..=11).contains(&most_waiting.get()), "{}", most_waiting.get());
}

#[tokio::test]
async fn a_batch_that_breaks_says_what_was_written() {
    let (server, streamer) = store().await;
    server.command(&["SET", "wrong", "x"]);
    let taken = Cell::new(0);
    let events = (0..2_000).map(|n| {
        taken.set(n + 1);
        numbered(if n == 600 { "wrong" } else { "s" }, n)
    });
    let error = streamer.emit_all(events).await.unwrap_err();
    assert_eq!((error.failed.len(), error.unknown.len()), (1, 0));
    assert_eq!(error.failed[0].0, 600);
    assert_eq!(
        error.failed[0].1.kind(),
        EmitErrorKind::Engine(EngineErrorKind::WrongType)
    );
    assert!(error.to_string().contains("'wrong'"), "{error}");
    // The rest of its chunk was under way with it, and the next one unless the answer was faster; later chunks were not
    // even taken from the iterator.
    assert_eq!(error.not_attempted, taken.get());
    assert!([768, 1_024].contains(&taken.get()), "{}", taken.get());
    let written: Vec<_> = error.written.iter().map(|(position, _)| *position).collect();
    assert!(written.into_iter().eq((0..600).chain(601..taken.get())));
    let in_store = messages(&streamer, "s").await;
    assert!(
        in_store
            .iter()
            .map(ReceivedMessage::id)
            .eq(error.written.iter().map(|(_, id)| *id))
    );
}

#[tokio::test]
async fn an_event_that_cannot_be_encoded_ends_the_batch_after_those_before_it() {
    let (_server, streamer) = store().await;
    let orders = (0..1_000).map(|id| OrderPlaced {
        id,
        total: if id == 700 { f64::INFINITY } else { 1.0 },
    });
    let error = streamer.emit_all(orders).await.unwrap_err();
    assert_eq!(
        (error.written.len(), error.failed[0].0, error.not_attempted),
        (700, 700, 701)
    );
    assert_eq!(error.failed[0].1.kind(), EmitErrorKind::Encode);
    assert_eq!(streamer.stream("order.placed").len().await.unwrap(), 700);
}

#[tokio::test]
async fn a_batch_without_a_server_says_that_nothing_is_known_or_nothing_was_written() {
    let (mut server, streamer) = store().await;
    streamer.emit(&Ping).await.unwrap();
    server.kill9();
    let error = streamer.emit_all([Ping, Ping]).await.unwrap_err();
    assert_eq!((error.written.len(), error.not_attempted), (0, 2));
    assert_eq!(error.failed.len() + error.unknown.len(), 2);
    let alone = streamer.emit(&Ping).await.unwrap_err();
    let EmitErrorKind::Engine(kind) = alone.kind() else {
        panic!("{alone}")
    };
    assert!(kind.is_transient(), "{alone}");
}

/// Compiles only if the futures can go to another thread.
#[tokio::test]
async fn emits_can_be_spawned() {
    let (_server, streamer) = store().await;
    let emits = (0..50).map(|n| {
        let streamer = streamer.clone();
        tokio::spawn(async move { streamer.emit(&order(n)).await })
    });
    for emit in emits.collect::<Vec<_>>() {
        emit.await.unwrap().unwrap();
    }
    let batch = streamer.clone();
    tokio::spawn(async move { batch.emit_all((0..5).map(order)).await })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(streamer.stream("order.placed").len().await.unwrap(), 55);
}
