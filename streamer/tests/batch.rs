//! Listeners of batches: one call for many messages, an outcome for each.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use streamer::{
    DynamicEvent, Event, Gather, Listeners, NamedEvent as _, Payload, ReceivedMessage, RetryPolicy, StartAt, Streamer,
    Workers, failed::FailedFilter,
};
use streamer_test_servers::RedisServer;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "order.placed")]
struct OrderPlaced {
    id: u64,
}

/// The orders of each call of the function.
type Calls = Arc<Mutex<Vec<Vec<u64>>>>;

/// What the listener returns: an outcome for each order.
type Outcomes = std::future::Ready<Vec<Result<(), String>>>;

/// A listener that notes its calls, and gives what `outcome` makes of each order.
fn noting(
    calls: &Calls,
    outcome: fn(u64) -> Result<(), String>,
) -> impl Fn(Vec<(Payload<OrderPlaced>, ReceivedMessage)>) -> Outcomes + use<> {
    let calls = Arc::clone(calls);
    move |orders| {
        let ids: Vec<u64> = orders.iter().map(|(order, _)| order.id).collect();
        calls.lock().unwrap().push(ids.clone());
        std::future::ready(ids.into_iter().map(outcome).collect())
    }
}

/// Listens until everything is handled; nothing may be left pending.
async fn drain(streamer: &Streamer, listeners: Listeners, workers: Workers) -> streamer::Summary {
    let listening = streamer
        .listen(listeners)
        .group("g")
        .start(StartAt::Beginning)
        .workers(workers);
    let summary = listening
        .listen_timeout(Duration::from_millis(200))
        .run()
        .await
        .unwrap();
    let groups = streamer.engine().groups(&OrderPlaced::NAME.into()).await.unwrap();
    assert_eq!(groups[0].pending, 0);
    summary
}

async fn failed_orders(streamer: &Streamer) -> Vec<(String, String)> {
    let mut listing = streamer.failed().list(FailedFilter::all());
    let mut failed = Vec::new();
    while let Some(page) = listing.next_page().await.unwrap() {
        let records = page.into_iter().map(|listed| listed.record.unwrap());
        failed.extend(records.map(|record| (record.receiver, record.error)));
    }
    failed.sort();
    failed
}

async fn each_message_has_its_outcome(url: &str) {
    let streamer = Streamer::connect(url).await.unwrap();
    streamer.emit_all((1..=40).map(|id| OrderPlaced { id })).await.unwrap();
    // It gives no order, so it fails alone.
    streamer
        .emit(&DynamicEvent::new(OrderPlaced::NAME, serde_json::json!({"id": "no"})))
        .await
        .unwrap();
    let calls = Calls::default();
    let outcome = |id: u64| match id {
        13 | 14 => Err(format!("order {id} is refused")),
        _ => Ok(()),
    };
    let listeners = Listeners::new().on_batch(
        OrderPlaced::NAME,
        "index",
        Gather::new(8, Duration::from_millis(50)),
        noting(&calls, outcome),
    );
    let summary = drain(&streamer, listeners, Workers::AtOnce(16)).await;
    assert_eq!((summary.messages, summary.processed, summary.failed), (41, 38, 3));

    let calls = calls.lock().unwrap().clone();
    assert!(calls.iter().all(|orders| (1..=8).contains(&orders.len())), "{calls:?}");
    assert!(
        calls.iter().any(|orders| orders.len() == 8),
        "nothing was gathered: {calls:?}"
    );
    let mut all = calls.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=40).collect::<Vec<_>>(), "each order is in one batch");
    let failed = failed_orders(&streamer).await;
    assert_eq!(failed.len(), 3, "{failed:?}");
    for text in ["order 13 is refused", "order 14 is refused", "id"] {
        assert!(
            failed
                .iter()
                .any(|(receiver, error)| receiver == "index" && error.contains(text)),
            "{failed:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_batch_has_its_outcome_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    each_message_has_its_outcome(&format!("sqlite://{}/test.db", folder.path().display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_of_a_batch_has_its_outcome_on_redis() {
    each_message_has_its_outcome(&RedisServer::start().url()).await;
}

#[tokio::test]
async fn a_batch_that_does_not_fill_goes_after_its_linger_and_in_order_it_has_one_message() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    streamer.emit_all((1..=3).map(|id| OrderPlaced { id })).await.unwrap();
    let calls = Calls::default();
    let gather = Gather::new(100, Duration::from_millis(1));
    let listeners = Listeners::new().on_batch(OrderPlaced::NAME, "index", gather, noting(&calls, |_| Ok(())));
    let summary = drain(&streamer, listeners, Workers::InOrder).await;
    assert_eq!(summary.processed, 3);
    assert_eq!(*calls.lock().unwrap(), [[1], [2], [3]]);
}

#[tokio::test]
async fn only_what_failed_of_a_batch_is_tried_again() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    streamer.emit_all((1..=4).map(|id| OrderPlaced { id })).await.unwrap();
    let calls = Calls::default();
    let outcome = |id: u64| if id == 3 { Err("not yet".to_owned()) } else { Ok(()) };
    let listeners = Listeners::new()
        .on_batch(
            OrderPlaced::NAME,
            "index",
            Gather::new(4, Duration::from_secs(5)),
            noting(&calls, outcome),
        )
        .retry(&RetryPolicy::fixed(2, Duration::from_millis(1)));
    // The second attempt of order 3 has no others to be gathered with: it goes by its linger, unless it is cut short.
    let listeners = listeners.timeout(Duration::from_millis(500));
    let summary = drain(&streamer, listeners, Workers::AtOnce(4)).await;
    assert_eq!(summary.processed, 3);
    let mut first = calls.lock().unwrap()[0].clone();
    first.sort_unstable();
    assert_eq!(first, [1, 2, 3, 4]);
    let failed = failed_orders(&streamer).await;
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].1.contains("took longer than 500 ms"), "{failed:?}");
}

#[tokio::test]
async fn a_panic_and_a_wrong_number_of_outcomes_fail_every_message_of_the_batch() {
    for (wrong, text) in [
        (false, "panicked: out of paper"),
        (true, "the listener gave 1 outcomes for 2 messages"),
    ] {
        let streamer = Streamer::connect("memory:").await.unwrap();
        streamer.emit_all((1..=2).map(|id| OrderPlaced { id })).await.unwrap();
        let print = move |_: Vec<ReceivedMessage>| async move {
            assert!(wrong, "out of paper");
            vec![Ok::<(), String>(())]
        };
        let gather = Gather::new(2, Duration::from_secs(60));
        let listeners = Listeners::new().on_batch(OrderPlaced::NAME, "print", gather, print);
        let summary = drain(&streamer, listeners, Workers::AtOnce(2)).await;
        assert_eq!((summary.processed, summary.failed), (0, 2));
        let failed = failed_orders(&streamer).await;
        assert!(
            failed.len() == 2 && failed.iter().all(|(_, error)| error == text),
            "{failed:?}"
        );
    }
}
