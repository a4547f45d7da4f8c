//! Order across retries: what waits for a retry holds up what comes after it, and nothing else.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use streamer::{
    DynamicEvent, ListenError, ListenerError, Listeners, OrderKey, ReceivedMessage, RetryPolicy, StartAt, Streamer,
    Workers, extract::State, failed::FailedFilter,
};

use crate::{Running, emit, number, on_each_engine, store::Store, until};

on_each_engine!(
    a_key_waits_for_its_retry_and_other_keys_go_on,
    a_stream_waits_for_its_retry_and_other_streams_go_on,
    what_failed_for_good_holds_up_nothing,
    what_is_held_is_released_and_goes_on_in_order_elsewhere,
    a_killed_process_leaves_what_it_held_in_order,
    what_is_held_is_bounded,
    what_keeps_no_order_is_refused,
);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The stream, the key, the number and the attempt.
type OneAttempt = (String, String, u64, u64);

/// What was tried, in order.
#[derive(Clone, Default)]
struct Tried {
    attempts: Arc<Mutex<Vec<OneAttempt>>>,
    /// Whether what fails succeeds at last.
    repaired: Arc<AtomicBool>,
}

impl Tried {
    fn all(&self) -> Vec<OneAttempt> {
        self.attempts.lock().unwrap().clone()
    }

    fn of_key(&self, key: &str) -> Vec<(u64, u64)> {
        let all = self.all();
        let of_key = all.iter().filter(|(_, of, ..)| of == key);
        of_key.map(|(_, _, number, attempt)| (*number, *attempt)).collect()
    }

    fn of_stream(&self, stream: &str) -> Vec<(u64, u64)> {
        let all = self.all();
        let of_stream = all.iter().filter(|(of, ..)| of == stream);
        of_stream.map(|(_, _, number, attempt)| (*number, *attempt)).collect()
    }
}

/// Fails as long as it is not repaired, where the payload says so.
async fn tries(message: ReceivedMessage, State(tried): State<Tried>) -> Result<(), ListenerError> {
    let key = message
        .get("key")
        .and_then(|key| key.as_str())
        .unwrap_or_default()
        .to_owned();
    let (number, attempt) = (number(&message), message.attempt());
    let stream = message.stream().to_string();
    tried.attempts.lock().unwrap().push((stream, key, number, attempt));
    let fails = message.get("fails").and_then(serde_json::Value::as_bool) == Some(true);
    match fails && !tried.repaired.load(Ordering::SeqCst) {
        true => Err(ListenerError::new("not yet")),
        false => Ok(()),
    }
}

fn listeners(tried: &Tried, attempts: u64, delay: Duration) -> Listeners {
    let listeners = Listeners::with_state(tried.clone());
    let listeners = listeners.on("e", "tries", tries).on("f", "tries", tries);
    listeners.retry(&RetryPolicy::fixed(attempts, delay)).without_state()
}

async fn emit_keyed(streamer: &Streamer, stream: &str, events: &[(u64, &str, bool)]) {
    let events = events
        .iter()
        .map(|(n, key, fails)| DynamicEvent::new(stream, json!({"n": n, "key": key, "fails": fails})));
    streamer.emit_all(events.collect::<Vec<_>>()).await.unwrap();
}

async fn a_key_waits_for_its_retry_and_other_keys_go_on(store: Store) {
    let streamer = store.connect().await;
    let events: Vec<_> = (0..60).map(|n| (n, ["a", "b", "c"][n as usize % 3], n == 3)).collect();
    emit_keyed(&streamer, "e", &events).await;
    let tried = Tried::default();
    let listening = streamer
        .listen(listeners(&tried, 50, ms(20)))
        .events(["e"])
        .group("g")
        // One worker has several keys.
        .workers(Workers::PerKey(2, OrderKey::path("key")))
        .retry_in_order(true);
    let listening = Running::start(listening);
    until(
        "the others are handled, and the retry has come more than once",
        async || tried.of_key("b").len() == 20 && tried.of_key("c").len() == 20 && tried.of_key("a").len() >= 4,
    )
    .await;
    // Message 0, and attempts at message 3: all after it wait.
    assert!(
        tried.of_key("a")[1..].iter().all(|(n, _)| *n == 3),
        "{:?}",
        tried.of_key("a")
    );
    tried.repaired.store(true, Ordering::SeqCst);
    until("all are handled", async || {
        tried.of_key("a").last().is_some_and(|(n, _)| *n == 57)
    })
    .await;
    until("all are settled", async || store.pending("e", "g").is_empty()).await;
    let summary = listening.stop().await;
    let of_key = tried.of_key("a");
    let retried = of_key.iter().filter(|(n, _)| *n == 3).map(|(_, attempt)| *attempt);
    assert!(retried.clone().eq(1..=retried.clone().count() as u64), "{of_key:?}");
    let mut order: Vec<_> = of_key.iter().map(|(n, _)| *n).collect();
    order.dedup();
    assert!(order.into_iter().eq((0..20).map(|n| n * 3)), "{of_key:?}");
    for key in ["b", "c"] {
        assert!(tried.of_key(key).windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
    assert_eq!(summary.messages, 60 + retried.count() as u64 - 1);
    assert_eq!(streamer.failed().count().await.unwrap(), 0);
}

async fn a_stream_waits_for_its_retry_and_other_streams_go_on(store: Store) {
    let streamer = store.connect().await;
    emit_keyed(&streamer, "e", &[(0, "a", true), (1, "b", false), (2, "c", false)]).await;
    let tried = Tried::default();
    let listening = streamer
        .listen(listeners(&tried, 500, ms(10)))
        .group("g")
        .retry_in_order(true);
    let listening = Running::start(listening);
    until("it was tried", async || tried.of_stream("e").len() >= 3).await;
    emit_keyed(&streamer, "f", &[(0, "a", false), (1, "b", false)]).await;
    until("the other stream goes on", async || tried.of_stream("f").len() == 2).await;
    assert!(tried.of_stream("e").iter().all(|(n, _)| *n == 0));
    tried.repaired.store(true, Ordering::SeqCst);
    until("all are settled", async || {
        tried.of_stream("e").last() == Some(&(2, 1)) && store.pending("e", "g").is_empty()
    })
    .await;
    listening.stop().await;
    let mut order: Vec<_> = tried.of_stream("e").iter().map(|(n, _)| *n).collect();
    order.dedup();
    assert_eq!(order, [0, 1, 2]);
}

async fn what_failed_for_good_holds_up_nothing(store: Store) {
    let streamer = store.connect().await;
    emit_keyed(
        &streamer,
        "e",
        &[(0, "a", true), (1, "a", true), (2, "a", false), (3, "a", true)],
    )
    .await;
    let tried = Tried::default();
    let listening = streamer
        .listen(listeners(&tried, 3, ms(5)))
        .group("g")
        .retry_in_order(true)
        .listen_timeout(ms(100));
    let summary = listening.run().await.unwrap();
    let expected = [0, 0, 0, 1, 1, 1, 2, 3, 3, 3];
    assert_eq!(tried.all().iter().map(|(_, _, n, _)| *n).collect::<Vec<_>>(), expected);
    assert_eq!((summary.messages, summary.failed), (10, 9));
    assert!(store.pending("e", "g").is_empty());
    let mut listing = streamer.failed().list(FailedFilter::all());
    let page = listing.next_page().await.unwrap().unwrap();
    assert_eq!(page.len(), 3);
}

/// One ends while it holds messages; the next one waits for what is left of the delay, and goes on in order.
async fn what_is_held_is_released_and_goes_on_in_order_elsewhere(store: Store) {
    let streamer = store.connect().await;
    let events: Vec<_> = (0..20).map(|n| (n, "a", n == 2)).collect();
    emit_keyed(&streamer, "e", &events).await;
    let tried = Tried::default();
    let listening = |tried: &Tried, delay| {
        streamer
            .listen(listeners(tried, 10, delay))
            .group("g")
            .retry_in_order(true)
            .reclaim(Some(ms(60_000)))
    };
    let first = Running::start(listening(&tried, ms(700)));
    until("one is held", async || tried.all().len() == 3).await;
    first.stop().await;
    assert_eq!(tried.all().len(), 3);
    tried.repaired.store(true, Ordering::SeqCst);
    let second = Running::start(listening(&tried, ms(5)));
    until("all are settled", async || {
        tried.all().len() == 21 && store.pending("e", "g").is_empty()
    })
    .await;
    second.stop().await;
    let order: Vec<_> = tried.all().iter().map(|(_, _, n, attempt)| (*n, *attempt)).collect();
    let expected = [(0, 1), (1, 1), (2, 1), (2, 2)]
        .into_iter()
        .chain((3..20).map(|n| (n, 1)));
    assert!(expected.eq(order.iter().copied()), "{order:?}");
}

/// A future that is dropped settles and releases nothing, as a process that dies.
async fn a_killed_process_leaves_what_it_held_in_order(store: Store) {
    let streamer = store.connect().await;
    let events: Vec<_> = (0..20).map(|n| (n, "a", n == 2)).collect();
    emit_keyed(&streamer, "e", &events).await;
    let tried = Tried::default();
    let listening = |tried: &Tried| {
        streamer
            .listen(listeners(tried, 10, ms(300)))
            .group("g")
            .consumer("c")
            .retry_in_order(true)
    };
    let first = tokio::spawn(listening(&tried).run());
    until("one is held", async || {
        tried.all().len() == 3 && store.pending("e", "g").len() == 18
    })
    .await;
    first.abort();
    let _ = first.await;
    tried.repaired.store(true, Ordering::SeqCst);
    let second = Running::start(listening(&tried));
    until("all are settled", async || {
        tried.all().len() >= 21 && store.pending("e", "g").is_empty()
    })
    .await;
    second.stop().await;
    // Its retry state may have been on its way; then it is tried as if for the first time.
    let order: Vec<_> = tried.all().iter().map(|(_, _, n, _)| *n).collect();
    assert!(
        [0, 1, 2].into_iter().chain(2..20).eq(order.iter().copied()),
        "{order:?}"
    );
}

async fn what_is_held_is_bounded(store: Store) {
    const MESSAGES: u64 = 2_000;
    let streamer = store.connect().await;
    emit_keyed(&streamer, "e", &[(0, "a", true)]).await;
    emit(&streamer, "e", 1..MESSAGES).await;
    let tried = Tried::default();
    let listening = streamer
        .listen(listeners(&tried, 10_000, ms(5)))
        .group("g")
        .retry_in_order(true)
        .batch(20);
    let listening = Running::start(listening);
    until("it was tried often", async || tried.all().len() >= 50).await;
    let pending = store.pending("e", "g").len();
    assert!(pending <= 200, "{pending} are in flight");
    assert!(tried.all().iter().all(|(_, _, n, _)| *n == 0));
    tried.repaired.store(true, Ordering::SeqCst);
    until("all are settled", async || {
        tried.all().last().is_some_and(|(_, _, n, _)| *n == MESSAGES - 1) && store.pending("e", "g").is_empty()
    })
    .await;
    listening.stop().await;
    let mut order: Vec<_> = tried.all().iter().map(|(_, _, n, _)| *n).collect();
    order.dedup();
    assert!(order.into_iter().eq(0..MESSAGES));
}

async fn what_keeps_no_order_is_refused(store: Store) {
    let streamer = store.connect().await;
    let tried = Tried::default();
    let listening = || streamer.listen(listeners(&tried, 3, ms(5))).retry_in_order(true);
    let refused = [
        (listening().start(StartAt::Beginning).run().await, "needs a group"),
        (
            listening().group("g").workers(Workers::AtOnce(4)).run().await,
            "keep no order",
        ),
        (
            listening().group("g").always_acknowledge(false).run().await,
            "always_acknowledge",
        ),
    ];
    for (refused, told) in refused {
        assert!(
            matches!(&refused, Err(ListenError::InvalidOption(text)) if text.contains(told)),
            "{refused:?}"
        );
    }
}
