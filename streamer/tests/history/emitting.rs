//! Emitting an event about a resource.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use streamer::{DynamicEvent, EmitErrorKind, EmitOptions, Event, Replayable, Streamer, engine::EngineErrorKind};
use streamer_test_servers::{Options, RedisCluster};

use crate::store::{elements, emit, stores};

#[derive(Serialize, Deserialize, Debug, PartialEq, Event)]
#[event(name = "{user}.changed", identifier = "id")]
struct UserChanged {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

fn user(email: Option<&str>) -> UserChanged {
    UserChanged {
        id: 7,
        email: email.map(str::to_owned),
    }
}

#[tokio::test]
async fn a_replayable_event_leaves_a_snapshot_and_is_replayed_as_its_type() {
    let cluster = RedisCluster::start();
    let mut streamers: Vec<Streamer> = vec![Streamer::connect(&cluster.url()).await.unwrap()];
    let stores = stores().await;
    streamers.extend(stores.iter().map(|store| store.streamer.clone()));
    for streamer in streamers {
        streamer.emit_replayable(&user(Some("ann@example.com"))).await.unwrap();
        streamer.emit_replayable(&user(None)).await.unwrap();
        assert_eq!(user(None).identifier(), "7");
        let replayed = streamer.replay("{user}.changed", "7").run().await.unwrap().unwrap();
        assert!(replayed.is_whole());
        assert_eq!(replayed.messages, 2);
        assert_eq!(
            replayed.payload::<UserChanged>().unwrap(),
            user(Some("ann@example.com"))
        );
    }
}

#[tokio::test]
async fn on_a_cluster_a_name_without_a_hash_tag_is_refused_and_nothing_is_written() {
    let cluster = RedisCluster::start();
    let streamer = Streamer::connect(&cluster.url()).await.unwrap();
    let event = DynamicEvent::new("user", json!({"name": "Ann"}));
    let options = EmitOptions::new().identifier("7");
    let error = streamer.emit_with(&event, options).await.unwrap_err();
    assert_eq!(error.kind(), EmitErrorKind::Engine(EngineErrorKind::Unsupported));
    assert!(error.to_string().contains("hash tag"), "{error}");
    assert_eq!(streamer.engine().len(&"user".into()).await.unwrap(), 0);
}

/// PHP's defect i3: an empty ID and no error.
#[tokio::test]
async fn a_history_that_collides_with_a_stream_is_refused_and_nothing_is_written() {
    for store in stores().await {
        let streamer = &store.streamer;
        emit(streamer, "doc", "7", json!({"a": 1})).await;
        let options = || EmitOptions::new().identifier("z");
        // The stream `doc-7` would have the name of the history of `doc` 7.
        let collides = DynamicEvent::new("doc-7", json!({"b": 1}));
        let error = streamer.emit_with(&collides, options()).await.unwrap_err();
        assert_eq!(error.kind(), EmitErrorKind::Engine(EngineErrorKind::WrongType));
        assert!(error.to_string().contains("'doc-7-z'"), "{error}");
        assert!(elements(streamer, "doc-7-z").await.is_empty());
        // The history of `plain` z would have the name of the stream `plain-z`.
        streamer.emit(&DynamicEvent::new("plain-z", json!({}))).await.unwrap();
        let collides = DynamicEvent::new("plain", json!({"b": 1}));
        let error = streamer.emit_with(&collides, options()).await.unwrap_err();
        assert_eq!(error.kind(), EmitErrorKind::Engine(EngineErrorKind::WrongType));
        assert!(error.to_string().contains("another name"), "{error}");
        assert_eq!(streamer.engine().len(&"plain".into()).await.unwrap(), 0);
        assert_eq!(streamer.engine().len(&"plain-z".into()).await.unwrap(), 1);
        assert_eq!(elements(streamer, "doc-7").await.len(), 1);
    }
}

/// PHP's defect i4: the message is written, then its snapshot fails.
#[tokio::test]
async fn a_user_who_may_not_write_snapshots_writes_no_message_either() {
    let server = Options::default().user("app on >secret ~* &* +@all -lpush").start();
    let url = format!("redis://app:secret@127.0.0.1:{}", server.port());
    let streamer = Streamer::connect(&url).await.unwrap();
    let event = DynamicEvent::new("user", json!({"name": "Ann"}));
    let error = streamer
        .emit_with(&event, EmitOptions::new().identifier("7"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), EmitErrorKind::Engine(EngineErrorKind::Permission));
    assert_eq!(streamer.engine().len(&"user".into()).await.unwrap(), 0);
}

/// PHP's defect i4, and f: two interleaved emitters can make a replay empty there.
#[tokio::test]
async fn emitters_at_once_leave_one_snapshot_for_each_message_in_its_order() {
    for store in stores().await {
        let streamer = Arc::new(store.streamer.clone());
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let streamer = streamer.clone();
                tokio::spawn(async move {
                    for number in 0..50 {
                        emit(&streamer, "counter", "c", json!({"last": task * 50 + number})).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let replayed = streamer.replay("counter", "c").run().await.unwrap().unwrap();
        assert!(replayed.is_whole());
        assert_eq!(replayed.messages, 400);
        let newest = streamer
            .engine()
            .info(&"counter".into())
            .await
            .unwrap()
            .unwrap()
            .last_entry
            .unwrap();
        let data = newest.fields.iter().find(|(name, _)| name == "data").unwrap().1.clone();
        assert_eq!(replayed.data.to_string().as_bytes(), data);
    }
}
