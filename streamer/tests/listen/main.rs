//! What listening promises, on every engine: each case runs on a real Redis and on an embedded file.
#![allow(missing_docs, clippy::unwrap_used)]

mod ending;
mod failed_list;
mod failures;
mod order;
mod pending;
mod plain;
mod retries;
mod store;
mod trouble;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use streamer::{DynamicEvent, EntryId, Listeners, ReceivedMessage, Streamer};

/// Runs each case on each engine.
macro_rules! on_each_engine {
    ($($case:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::store::Store::redis()).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::store::Store::embedded()).await;
            })*
        }
    };
}
use on_each_engine;

/// Messages that a listener saw, in order.
#[derive(Clone, Debug, Default)]
struct Seen(Arc<Mutex<Vec<ReceivedMessage>>>);

impl Seen {
    fn add(&self, message: ReceivedMessage) {
        self.0.lock().unwrap().push(message);
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn ids(&self) -> Vec<EntryId> {
        self.0.lock().unwrap().iter().map(ReceivedMessage::id).collect()
    }

    /// The `n` of each message's payload.
    fn numbers(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(number).collect()
    }

    fn attempts(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(ReceivedMessage::attempt).collect()
    }

    /// Listeners of one event, of which the only one notes what it sees.
    fn listener(&self, event: &str) -> Listeners<Seen> {
        async fn note(message: ReceivedMessage, streamer::State(seen): streamer::State<Seen>) {
            seen.add(message);
        }
        Listeners::with_state(self.clone()).on(event, "note", note)
    }
}

fn number(message: &ReceivedMessage) -> u64 {
    message.get("n").and_then(serde_json::Value::as_u64).unwrap()
}

fn numbered(event: &str, number: u64) -> DynamicEvent {
    DynamicEvent::new(event, json!({ "n": number }))
}

async fn emit(streamer: &Streamer, event: &str, numbers: std::ops::Range<u64>) -> Vec<EntryId> {
    streamer
        .emit_all(numbers.map(|number| numbered(event, number)))
        .await
        .unwrap()
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited a minute for this: {what}");
}
