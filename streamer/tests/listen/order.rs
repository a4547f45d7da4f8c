//! In a group: dividing the work, at once, in order, in order per key.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use streamer::{DynamicEvent, Listeners, OrderKey, Payload, ReceivedMessage, StartAt, Workers, extract::State};
use tokio::sync::Barrier;

use crate::{Seen, emit, on_each_engine, store::Store, until};

on_each_engine!(
    a_group_handles_every_message_in_order_and_acknowledges_it,
    consumers_of_a_group_divide_the_work,
    two_groups_each_get_every_message,
    a_new_group_can_begin_now,
    workers_handle_messages_at_once,
    workers_per_key_keep_each_keys_order,
    several_streams_are_listened_to_at_once,
);

async fn a_group_handles_every_message_in_order_and_acknowledges_it(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..2_000).await;
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .listen_timeout(Duration::from_millis(100));
    let summary = listening.run().await.unwrap();
    assert_eq!((summary.messages, summary.processed, summary.failed), (2_000, 2_000, 0));
    assert!(seen.numbers().into_iter().eq(0..2_000));
    let groups = streamer.engine().groups(&"e".into()).await.unwrap();
    // Redis 6.2 knows of no lag.
    let info = streamer.engine().info(&"e".into()).await.unwrap().unwrap();
    let lag = info.entries_added.map(|_| 0);
    assert_eq!((groups[0].pending, groups[0].lag), (0, lag));
    assert_eq!(
        groups[0].consumers, 0,
        "a consumer with nothing pending goes when it ends"
    );
}

async fn consumers_of_a_group_divide_the_work(store: Store) {
    const MESSAGES: u64 = 3_000;
    let streamer = store.connect().await;
    let (all, parts) = (Seen::default(), [Seen::default(), Seen::default(), Seen::default()]);
    let mut running = Vec::new();
    for part in &parts {
        async fn note(message: ReceivedMessage, State((all, part)): State<(Seen, Seen)>) {
            all.add(message.clone());
            part.add(message);
            tokio::task::yield_now().await;
        }
        let listeners = Listeners::with_state((all.clone(), part.clone())).on("e", "note", note);
        let listening = store.connect().await.listen(listeners).group("g").batch(10);
        running.push((listening.stop_handle(), tokio::spawn(listening.run())));
    }
    let mut emitted = 0;
    until("each got some", async || {
        emit(&streamer, "e", emitted..emitted + 100).await;
        emitted += 100;
        parts.iter().all(|part| part.len() > 0)
    })
    .await;
    emit(&streamer, "e", emitted..emitted.max(MESSAGES)).await;
    let total = emitted.max(MESSAGES);
    until("all were handled", async || all.len() as u64 >= total).await;
    for (stop, running) in running {
        stop.stop();
        running.await.unwrap().unwrap();
    }
    let mut numbers = all.numbers();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..total), "each message goes to one consumer");
}

async fn two_groups_each_get_every_message(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..100).await;
    for group in ["one", "two"] {
        let seen = Seen::default();
        let listening = streamer
            .listen(seen.listener("e"))
            .group(group)
            .listen_timeout(Duration::from_millis(50));
        listening.run().await.unwrap();
        assert!(seen.numbers().into_iter().eq(0..100));
    }
}

async fn a_new_group_can_begin_now(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..100).await;
    let seen = Seen::default();
    let listen = || {
        streamer
            .listen(seen.listener("e"))
            .group("late")
            .listen_timeout(Duration::from_millis(50))
    };
    listen().start(StartAt::Now).run().await.unwrap();
    assert_eq!(seen.len(), 0);
    emit(&streamer, "e", 100..110).await;
    // The group exists now, and goes on where it stands.
    listen().start(StartAt::Now).run().await.unwrap();
    assert!(seen.numbers().into_iter().eq(100..110));
}

async fn workers_handle_messages_at_once(store: Store) {
    /// Only gets on when four are here at once.
    async fn meet(State(barrier): State<Arc<Barrier>>) {
        barrier.wait().await;
    }
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..40).await;
    let listeners = Listeners::with_state(Arc::new(Barrier::new(4))).on("e", "meet", meet);
    let listening = streamer.listen(listeners).group("g").workers(Workers::AtOnce(4));
    let summary = listening
        .listen_timeout(Duration::from_millis(100))
        .run()
        .await
        .unwrap();
    assert_eq!(summary.processed, 40);
}

async fn workers_per_key_keep_each_keys_order(store: Store) {
    #[derive(serde::Deserialize)]
    struct Step {
        order: u64,
        step: u64,
    }
    #[derive(Clone, Default)]
    struct Orders {
        steps: Arc<std::sync::Mutex<HashMap<u64, Vec<u64>>>>,
        running: Arc<AtomicUsize>,
        most: Arc<AtomicUsize>,
    }
    async fn note(Payload(step): Payload<Step>, State(orders): State<Orders>) {
        orders
            .most
            .fetch_max(orders.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        for _ in 0..step.order % 5 {
            tokio::task::yield_now().await;
        }
        orders
            .steps
            .lock()
            .unwrap()
            .entry(step.order)
            .or_default()
            .push(step.step);
        orders.running.fetch_sub(1, Ordering::SeqCst);
    }
    let streamer = store.connect().await;
    let steps = (0..50).flat_map(|step| (0..40).map(move |order| (order, step)));
    let events = steps.map(|(order, step)| DynamicEvent::new("e", json!({ "order": order, "step": step })));
    streamer.emit_all(events).await.unwrap();
    let orders = Orders::default();
    let listeners = Listeners::with_state(orders.clone()).on("e", "note", note);
    let listening = streamer
        .listen(listeners)
        .group("g")
        .workers(Workers::PerKey(4, OrderKey::path("order")));
    let summary = listening
        .listen_timeout(Duration::from_millis(100))
        .run()
        .await
        .unwrap();
    assert_eq!(summary.processed, 2_000);
    let steps = orders.steps.lock().unwrap();
    assert!(steps.values().all(|steps| steps.iter().copied().eq(0..50)), "{steps:?}");
    assert!(
        orders.most.load(Ordering::SeqCst) > 1,
        "different keys are handled at once"
    );
}

async fn several_streams_are_listened_to_at_once(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let mut listeners = Listeners::new();
    for number in 0..20 {
        listeners.add_many(seen.listener(&format!("stream-{number}")));
    }
    let listening = streamer.listen(listeners).group("g");
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    for number in 0..20 {
        emit(&streamer, &format!("stream-{number}"), 0..30).await;
    }
    until("all arrived", async || seen.len() == 600).await;
    stop.stop();
    running.await.unwrap().unwrap();
}
