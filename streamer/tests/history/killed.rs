//! Emitters that die: real children, started from this test's own binary.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;
use streamer::{RangeBound, Streamer};

use crate::store::{Store, elements, emit, stores};

const KILLS: u32 = 10;

fn start_child(store: &Store) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["killed::child", "--exact", "--ignored", "--nocapture"]);
    command.env("STORE", &store.url).stdout(Stdio::null()).spawn().unwrap()
}

/// Not a test of its own: what a child process does.
#[tokio::test]
#[ignore = "run by the other tests in a process of its own"]
async fn child() {
    let streamer = Streamer::connect(&std::env::var("STORE").unwrap()).await.unwrap();
    let emitting = |identifier: &'static str| {
        let streamer = streamer.clone();
        tokio::spawn(async move {
            for n in 0.. {
                emit(&streamer, "user", identifier, json!({"n": n})).await;
            }
        })
    };
    for task in ["7", "8", "9"].map(emitting) {
        task.await.unwrap();
    }
}

/// The IDs of all messages.
async fn messages(streamer: &Streamer) -> BTreeSet<String> {
    let (first, last) = (RangeBound::Unbounded, RangeBound::Unbounded);
    let entries = streamer
        .engine()
        .range(&"user".into(), first, last, None, false)
        .await
        .unwrap();
    entries.iter().map(|entry| entry.id.to_string()).collect()
}

/// The IDs of all snapshots.
async fn snapshots(streamer: &Streamer) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for identifier in ["7", "8", "9"] {
        for element in elements(streamer, &format!("user-{identifier}")).await {
            let element: serde_json::Value = serde_json::from_str(&element).unwrap();
            assert!(ids.insert(element["id"].as_str().unwrap().to_owned()));
        }
    }
    ids
}

/// PHP's defect i4, whenever it happens.
#[tokio::test]
async fn killed_at_random_moments_an_emitter_leaves_no_message_without_its_snapshot() {
    for store in stores().await {
        let engine = store.streamer.engine();
        for kill in 1..=KILLS {
            let before = engine.len(&"user".into()).await.unwrap();
            let mut child = start_child(&store);
            while engine.len(&"user".into()).await.unwrap() < before + 20 {
                assert!(child.try_wait().unwrap().is_none());
                tokio::time::sleep(Duration::from_micros(u64::from(kill) * 100)).await;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            // What the child had sent may still arrive: both are read anew until nothing came in between.
            loop {
                let length = engine.len(&"user".into()).await.unwrap();
                let (messages, snapshots) = (messages(&store.streamer).await, snapshots(&store.streamer).await);
                if engine.len(&"user".into()).await.unwrap() == length {
                    assert_eq!(messages, snapshots);
                    break;
                }
            }
        }
    }
}
