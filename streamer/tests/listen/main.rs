//! What listening promises, on every kind of store: each case runs on a plain Redis, over TLS, on a Cluster, at the end of
//! a network with a round trip of 5 ms, and on an embedded file; as a user with exactly the documented permissions. With
//! `STREAMER_TEST_TOPOLOGY=sentinel` what runs on a plain Redis runs behind a Sentinel.
#![allow(missing_docs, clippy::unwrap_used)]

mod consumers;
mod costs;
mod counts;
mod database_file;
mod device;
mod ending;
mod fail_over;
mod failed_list;
mod failures;
mod full;
mod known;
mod ledger;
mod many_streams;
mod narrow;
mod order;
mod orphans;
mod panics;
mod pending;
mod plain;
mod processes;
mod quiet;
mod retries;
mod retry_order;
mod scheduled;
mod store;
mod supervision;
mod times;
mod trouble;
mod trouble_apart;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use streamer::{
    DynamicEvent, EntryId, KeepAlive, ListenError, Listeners, Listening, ReceivedMessage, StopHandle, Streamer, Summary,
};
use tokio::task::JoinHandle;

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
        async fn note(message: ReceivedMessage, streamer::extract::State(seen): streamer::extract::State<Seen>) {
            seen.add(message);
        }
        Listeners::with_state(self.clone()).on(event, "note", note)
    }
}

/// What kinds of reports came, in order.
#[derive(Clone, Debug, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    /// A listening that tells here what happens.
    fn by(&self, listening: Listening) -> Listening {
        let told = self.clone();
        listening.on_report(move |report| {
            // The variant's name.
            let text = format!("{report:?}");
            let kind = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            told.0.lock().unwrap().push(kind.to_owned());
        })
    }

    fn has(&self, kind: &str) -> bool {
        self.0.lock().unwrap().iter().any(|one| one == kind)
    }
}

/// A listening that runs by itself.
struct Running {
    stop: StopHandle,
    task: JoinHandle<Result<Summary, ListenError>>,
}

impl Running {
    fn start(listening: Listening) -> Self {
        Self {
            stop: listening.stop_handle(),
            task: tokio::spawn(listening.run()),
        }
    }

    fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Stops it in order.
    async fn stop(self) -> Summary {
        self.stop.stop();
        self.task.await.unwrap().unwrap()
    }
}

/// Each number of these once, in any order.
#[track_caller]
fn assert_each_once(numbers: impl IntoIterator<Item = u64>, expected: std::ops::Range<u64>) {
    let mut numbers = numbers.into_iter().collect::<Vec<_>>();
    numbers.sort_unstable();
    let missing = expected
        .clone()
        .filter(|number| !numbers.contains(number))
        .collect::<Vec<_>>();
    let twice = numbers
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect::<Vec<_>>();
    assert!(
        missing.is_empty() && numbers.len() as u64 == expected.end - expected.start,
        "missing: {missing:?}; more than once: {twice:?}"
    );
}

/// Whether each number of these is there.
fn all_there(numbers: impl IntoIterator<Item = u64>, expected: std::ops::Range<u64>) -> bool {
    let numbers = numbers.into_iter().collect::<BTreeSet<_>>();
    expected.into_iter().all(|number| numbers.contains(&number))
}

/// Comes back quickly.
fn quick() -> KeepAlive {
    KeepAlive {
        first_delay: Duration::from_millis(10),
        longest_delay: Duration::from_millis(100),
        max_attempts: None,
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
