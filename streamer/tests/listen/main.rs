//! What listening promises, on every kind of store: each case runs on a plain Redis, over TLS, on a Cluster, at the end of
//! a network with a round trip of 5 ms, and on an embedded file.
#![allow(missing_docs, clippy::unwrap_used)]

mod ending;
mod failed_list;
mod failures;
mod known;
mod order;
mod pending;
mod plain;
mod retries;
mod store;
mod supervision;
mod trouble;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use streamer::{DynamicEvent, EntryId, Listeners, ReceivedMessage, Streamer};

/// Runs each case on each kind of store.
macro_rules! on_each_engine {
    ($($case:ident),* $(,)?) => {
        $crate::on!(redis, Redis, $($case)*);
        $crate::on!(tls, Tls, $($case)*);
        $crate::on!(cluster, Cluster, $($case)*);
        $crate::on!(distant, Distant, $($case)*);
        $crate::on!(embedded, Embedded, $($case)*);
    };
}

macro_rules! on {
    ($module:ident, $topology:ident, $($case:ident)*) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let topology = streamer_test_servers::Topology::$topology;
                crate::store::run(topology, stringify!($case), super::$case).await;
            })*
        }
    };
}
use on;
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
    let waited = tokio::time::timeout(store::patience(), async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain for this: {what}");
}
