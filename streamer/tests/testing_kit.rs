//! What the testing kit promises to those who test their listeners with it.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use streamer::{
    DynamicEvent, Event, Listeners, NamedEvent as _, Payload, RetryPolicy, StopHandle, Streamer, extract::State,
    failed::FailedMessage, testing,
};

#[derive(Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed")]
struct OrderPlaced {
    id: u64,
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "receipt.sent")]
struct ReceiptSent {
    order: u64,
}

async fn receipt(Payload(order): Payload<OrderPlaced>, streamer: Streamer) -> Result<(), streamer::EmitError> {
    streamer.emit(&ReceiptSent { order: order.id }).await?;
    Ok(())
}

async fn stock(Payload(order): Payload<OrderPlaced>) -> Result<(), String> {
    Err(format!("order {} is out of stock", order.id))
}

/// What a failed test would show.
async fn panic_text(checked: impl Future<Output = ()>) -> String {
    let panic = AssertUnwindSafe(checked).catch_unwind().await.unwrap_err();
    let text = panic.downcast_ref::<String>().cloned();
    text.unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

#[tokio::test]
async fn what_was_emitted_is_seen_as_its_type_in_order() {
    let streamer = testing::streamer().await;
    for id in 1..=3 {
        streamer.emit(&OrderPlaced { id }).await.unwrap();
    }
    let ids = testing::emitted::<OrderPlaced>(&streamer).await;
    assert_eq!(ids, [1, 2, 3].map(|id| OrderPlaced { id }));
    testing::assert_emitted(&streamer, |order: &OrderPlaced| order.id == 2).await;
    testing::assert_nothing_emitted(&streamer, "receipt.sent").await;
}

#[tokio::test]
async fn two_stores_see_nothing_of_each_other() {
    let (one, other) = (testing::streamer().await, testing::streamer().await);
    one.emit(&OrderPlaced { id: 1 }).await.unwrap();
    assert_eq!(testing::messages(&one, "order.placed").await.len(), 1);
    testing::assert_nothing_emitted(&other, "order.placed").await;
}

#[tokio::test]
async fn a_failed_assertion_says_where_it_stands_and_shows_what_was_emitted() {
    let streamer = testing::streamer().await;
    let (line, missing) = (
        line!(),
        testing::assert_emitted(&streamer, |order: &OrderPlaced| order.id == 9),
    );
    let text = panic_text(missing).await;
    assert!(
        text.ends_with("no 'order.placed' was emitted that is as expected; none was emitted at all"),
        "{text}"
    );
    let here = format!("{}:{}", file!(), line + 1);
    assert!(text.starts_with(&here), "{text}");

    let id = streamer.emit(&OrderPlaced { id: 1 }).await.unwrap();
    let text = panic_text(testing::assert_emitted(&streamer, |order: &OrderPlaced| order.id == 9)).await;
    assert!(
        text.ends_with(&format!("1 was emitted:\n  {id} {{\"id\":1}}")),
        "{text}"
    );
    let text = panic_text(testing::assert_nothing_emitted(&streamer, "order.placed")).await;
    let end = format!("nothing should be emitted as 'order.placed', but 1 was emitted:\n  {id} {{\"id\":1}}");
    assert!(text.ends_with(&end), "{text}");
}

#[tokio::test]
async fn each_listeners_outcome_is_seen_and_what_they_emitted() {
    let listeners = Listeners::new()
        .on(OrderPlaced::NAME, "receipt", receipt)
        .on(OrderPlaced::NAME, "stock", stock);
    let delivery = testing::deliver(&listeners, &OrderPlaced { id: 7 }).await;
    assert_eq!(delivery.outcome("receipt"), Ok(()));
    assert_eq!(delivery.outcome("stock"), Err("order 7 is out of stock"));
    testing::assert_emitted(delivery.streamer(), |sent: &ReceiptSent| sent.order == 7).await;

    let text = panic_text(async { delivery.assert_handled() }).await;
    assert!(text.contains("order 7 is out of stock"), "{text}");
    let text = panic_text(async { delivery.outcome("invoice").unwrap() }).await;
    assert!(text.contains("no listener 'invoice'"), "{text}");
}

#[tokio::test]
async fn a_failure_is_on_the_failed_list_as_in_real_listening() {
    let listeners = Listeners::new().on(OrderPlaced::NAME, "stock", stock);
    let delivery = testing::deliver(&listeners, &OrderPlaced { id: 7 }).await;
    let engine = delivery.streamer().engine();
    let (_, members) = engine.page_of_failures(0, 10).await.unwrap();
    let failed = FailedMessage::from_member(&members[0]).unwrap();
    assert_eq!((members.len(), failed.id), (1, delivery.id().to_string()));
    assert_eq!(failed.error, "order 7 is out of stock");
}

#[tokio::test]
async fn panics_and_time_outs_are_failures_and_state_is_shared() {
    async fn count(State(count): State<Arc<AtomicU32>>) {
        count.fetch_add(1, Ordering::Relaxed);
    }
    async fn hang() {
        std::future::pending::<()>().await;
    }
    async fn fall() -> Result<(), String> {
        panic!("fell over")
    }
    let counted = Arc::new(AtomicU32::new(0));
    let listeners = Listeners::with_state(Arc::clone(&counted))
        .on("tick", "count", count)
        .on("tick", "hang", hang)
        .on("tick", "fall", fall)
        .timeout(Duration::from_millis(50));
    let delivery = testing::deliver(&listeners, &DynamicEvent::new("tick", serde_json::json!({}))).await;
    assert_eq!(delivery.outcome("count"), Ok(()));
    assert!(delivery.outcome("hang").is_err());
    assert!(delivery.outcome("fall").unwrap_err().contains("fell over"));
    assert_eq!((counted.load(Ordering::Relaxed), delivery.outcomes().len()), (1, 3));
}

#[tokio::test]
async fn a_listener_may_emit_its_own_event_or_stop_the_listening() {
    async fn again(Payload(order): Payload<OrderPlaced>, streamer: Streamer, stop: StopHandle) {
        stop.stop();
        streamer.emit(&OrderPlaced { id: order.id + 1 }).await.unwrap();
    }
    let listeners = Listeners::new().on(OrderPlaced::NAME, "again", again);
    let delivery = testing::deliver(&listeners, &OrderPlaced { id: 1 }).await;
    delivery.assert_handled();
    let orders = testing::emitted::<OrderPlaced>(delivery.streamer()).await;
    assert_eq!(orders, [1, 2].map(|id| OrderPlaced { id }));
}

#[tokio::test]
async fn an_event_without_a_listener_is_named() {
    let listeners = Listeners::new().on(OrderPlaced::NAME, "stock", stock);
    let text = panic_text(async {
        testing::deliver(&listeners, &ReceiptSent { order: 1 }).await;
    })
    .await;
    assert!(text.contains("'receipt.sent'"), "{text}");
}

#[tokio::test]
async fn a_listener_that_is_tried_again_is_waited_for() {
    async fn second_time(State(tries): State<Arc<AtomicU32>>) -> Result<(), &'static str> {
        match tries.fetch_add(1, Ordering::Relaxed) {
            0 => Err("not yet"),
            _ => Ok(()),
        }
    }
    let tries = Arc::new(AtomicU32::new(0));
    let policy = RetryPolicy::exponential(3, Duration::from_millis(20), Duration::from_millis(20));
    let listeners = Listeners::with_state(Arc::clone(&tries))
        .on("tick", "second_time", second_time)
        .retry(&policy);
    let delivery = testing::deliver(&listeners, &DynamicEvent::new("tick", serde_json::json!({}))).await;
    assert_eq!(
        (delivery.outcome("second_time"), tries.load(Ordering::Relaxed)),
        (Ok(()), 2)
    );
}

#[tokio::test]
async fn retries_that_are_hours_apart_run_at_once_and_their_delays_are_told() {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    async fn fourth_time(message: streamer::ReceivedMessage) -> Result<(), streamer::ListenerError> {
        match message.attempt() {
            2 => Err(streamer::ListenerError::new("asked to wait").retry_after(HOUR)),
            ..4 => Err(streamer::ListenerError::new("not yet")),
            _ => Ok(()),
        }
    }
    async fn never(State(tries): State<Arc<AtomicU32>>) -> Result<(), &'static str> {
        tries.fetch_add(1, Ordering::Relaxed);
        Err("never")
    }
    async fn at_once() {}
    let tries = Arc::new(AtomicU32::new(0));
    let policy = RetryPolicy::exponential(4, HOUR / 4, HOUR / 2).jitter(false);
    let listeners = Listeners::with_state(Arc::clone(&tries))
        .on("tick", "fourth_time", fourth_time)
        .on("tick", "never", never)
        .on("tick", "at_once", at_once)
        .retry(&policy);
    let delivery = testing::deliver(&listeners, &DynamicEvent::new("tick", serde_json::json!({}))).await;
    assert_eq!(delivery.outcome("fourth_time"), Ok(()));
    assert_eq!(delivery.delays("fourth_time"), [HOUR / 4, HOUR, HOUR / 2]);
    // Four attempts, and then the failed list.
    assert_eq!(
        (delivery.outcome("never"), tries.load(Ordering::Relaxed)),
        (Err("never"), 4)
    );
    assert_eq!(delivery.delays("never"), [HOUR / 4, HOUR / 2, HOUR / 2]);
    assert!(delivery.delays("at_once").is_empty());
    let text = panic_text(async { drop(delivery.delays("invoice")) }).await;
    assert!(text.contains("no listener 'invoice'"), "{text}");
}

#[tokio::test]
async fn listeners_get_messages_that_are_no_json_or_do_not_fit_as_from_another_producer() {
    let streamer = testing::streamer().await;
    async fn log(message: streamer::ReceivedMessage) -> Result<(), String> {
        message.data().map(drop).map_err(|error| error.to_string())
    }
    let listeners = Listeners::new()
        .on_event("receipt", receipt)
        .on(OrderPlaced::NAME, "log", log);
    let broken = testing::deliver_text(&streamer, &listeners, OrderPlaced::NAME, r#"{"id":"#).await;
    broken.assert_failed("receipt", "cannot be decoded");
    broken.assert_failed("log", "cannot be decoded");
    broken.assert_emitted::<ReceiptSent>(&[]).await;
    let another_type = testing::deliver_text(&streamer, &listeners, OrderPlaced::NAME, r#"{"id":"seven"}"#).await;
    another_type.assert_failed("receipt", "`id`");
    assert_eq!(another_type.outcome("log"), Ok(()));
    let fits = testing::deliver_text(&streamer, &listeners, OrderPlaced::NAME, r#"{"id":7,"currency":"NOK"}"#).await;
    fits.assert_handled();
    fits.assert_emitted(&[ReceiptSent { order: 7 }]).await;
}

#[tokio::test]
async fn events_of_one_store_are_delivered_one_after_the_other_and_what_each_led_to_is_told_apart() {
    let streamer = testing::streamer().await;
    let listeners = Listeners::new().on_event("receipt", receipt);
    // What was on the stream before is not delivered with it.
    streamer.emit(&OrderPlaced { id: 99 }).await.unwrap();
    streamer.emit(&ReceiptSent { order: 98 }).await.unwrap();
    for id in 1..=3 {
        let delivery = testing::deliver_on(&streamer, &listeners, &OrderPlaced { id }).await;
        assert_eq!(delivery.outcomes().len(), 1, "each event is delivered once");
        delivery.assert_emitted(&[ReceiptSent { order: id }]).await;
        let sent = delivery.emitted::<ReceiptSent>().await;
        assert_eq!(sent.iter().map(|sent| sent.order).collect::<Vec<_>>(), [id]);
        assert!(
            delivery.messages(OrderPlaced::NAME).await.is_empty(),
            "the event itself is not what listeners emitted"
        );
    }
    let all = testing::emitted::<ReceiptSent>(&streamer).await;
    assert_eq!(all.iter().map(|sent| sent.order).collect::<Vec<_>>(), [98, 1, 2, 3]);
}

#[tokio::test]
async fn a_listener_that_knows_an_event_by_what_an_earlier_one_left_can_be_tested() {
    async fn once(Payload(order): Payload<OrderPlaced>, streamer: Streamer) -> Result<(), String> {
        let sent = testing::emitted::<ReceiptSent>(&streamer).await;
        match sent.iter().any(|sent| sent.order == order.id) {
            true => Err(format!("order {} has its receipt", order.id)),
            false => streamer
                .emit(&ReceiptSent { order: order.id })
                .await
                .map(drop)
                .map_err(|error| error.to_string()),
        }
    }
    let streamer = testing::streamer().await;
    let listeners = Listeners::new().on_event("once", once);
    let order = OrderPlaced { id: 7 };
    testing::deliver_on(&streamer, &listeners, &order)
        .await
        .assert_handled();
    let again = testing::deliver_on(&streamer, &listeners, &order).await;
    again.assert_failed("once", "order 7 has its receipt");
    again.assert_emitted::<ReceiptSent>(&[]).await;
    let text = panic_text(async { again.assert_failed("once", "out of stock") }).await;
    assert!(
        text.contains("should have failed with 'out of stock':\n  once: failed: order 7 has its receipt"),
        "{text}"
    );
}

#[tokio::test]
async fn a_failed_assertion_shows_field_by_field_what_was_emitted_otherwise() {
    #[derive(Serialize, Deserialize, Event)]
    #[event(name = "invoice.sent")]
    struct Invoice {
        order: u64,
        lines: Vec<String>,
    }
    async fn invoice(Payload(order): Payload<OrderPlaced>, streamer: Streamer) -> Result<(), streamer::EmitError> {
        for lines in [vec!["tea".to_owned()], Vec::new()] {
            streamer.emit(&Invoice { order: order.id, lines }).await?;
        }
        Ok(())
    }
    let listeners = Listeners::new().on_event("invoice", invoice);
    let delivery = testing::deliver(&listeners, &OrderPlaced { id: 7 }).await;
    let expected = |order, line: &str| Invoice {
        order,
        lines: vec![line.to_owned()],
    };
    let text = panic_text(delivery.assert_emitted(&[expected(8, "cup")])).await;
    for difference in [
        "'invoice.sent' was not emitted as expected:",
        "\n  event 1, order: expected 8, and it is 7",
        "\n  event 1, lines[0]: expected \"cup\", and it is \"tea\"",
        "\n  event 2: none was expected, and there is {\"order\":7,\"lines\":[]}",
    ] {
        assert!(text.contains(difference), "{text}");
    }
    let three = [
        expected(7, "tea"),
        Invoice {
            order: 7,
            lines: vec![],
        },
        expected(9, "pot"),
    ];
    let text = panic_text(delivery.assert_emitted(&three)).await;
    assert!(
        text.contains("\n  event 3: expected {\"order\":9,\"lines\":[\"pot\"]}, and there is none"),
        "{text}"
    );
    delivery.assert_emitted(&three[..2]).await;
}
