//! What was delivered and not settled: taken up, claimed, renewed, given back, cleaned.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use streamer::{
    DynamicEvent, EntryId, Listeners, ReceivedMessage, Report, StopHandle, Streamer,
    engine::{GroupStart, ReadMode, Reader},
    extract::State,
};
use tokio::sync::Semaphore;

use crate::{Seen, emit, on_each_engine, store::Store, until};

on_each_engine!(
    a_consumer_that_starts_again_handles_its_own_pending_messages_first,
    what_is_pending_on_many_streams_is_taken_up_and_claimed,
    what_another_consumer_left_is_claimed_and_handled,
    what_another_consumer_leaves_later_is_claimed_too,
    a_message_being_handled_longer_than_the_reclaim_time_is_not_delivered_twice,
    messages_that_wait_behind_a_slow_one_are_not_delivered_twice,
    pending_messages_whose_entries_are_gone_are_reported_and_cleaned,
    what_was_not_begun_is_handed_back_at_once,
    a_stop_in_the_midst_of_a_backlog_keeps_nothing,
    a_listener_that_becomes_slow_in_a_backlog_keeps_the_claim_on_all_that_was_read,
);

/// Delivers everything on a stream to a consumer that never settles it.
async fn deliver_to(streamer: &Streamer, consumer: &str) -> Vec<EntryId> {
    deliver(streamer, "e", consumer).await
}

async fn deliver(streamer: &Streamer, stream: &str, consumer: &str) -> Vec<EntryId> {
    let _ = streamer
        .engine()
        .create_group(&stream.into(), "g", GroupStart::After(EntryId::MIN), true)
        .await;
    read(&mut reader(streamer, stream, consumer).await).await
}

async fn reader(streamer: &Streamer, stream: &str, consumer: &str) -> Box<dyn Reader> {
    let mode = ReadMode::Group {
        group: "g".into(),
        consumer: consumer.into(),
        streams: vec![stream.into()],
    };
    streamer.engine().reader(mode).await.unwrap()
}

async fn read(reader: &mut Box<dyn Reader>) -> Vec<EntryId> {
    let found = reader.next(10_000, None).await.unwrap();
    found
        .into_iter()
        .flat_map(|batch| batch.entries)
        .map(|entry| entry.id)
        .collect()
}

async fn pending(streamer: &Streamer) -> u64 {
    streamer.engine().pending_summary(&"e".into(), "g").await.unwrap().count
}

async fn a_consumer_that_starts_again_handles_its_own_pending_messages_first(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..250).await;
    assert_eq!(deliver_to(&streamer, "c").await.len(), 250);
    emit(&streamer, "e", 250..300).await;
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .consumer("c")
        .reclaim(None);
    listening.listen_timeout(Duration::from_millis(50)).run().await.unwrap();
    assert!(
        seen.numbers().into_iter().eq(0..300),
        "each once, the pending ones first"
    );
    assert!(seen.attempts()[..250].iter().all(|attempt| *attempt == 2));
    assert!(seen.attempts()[250..].iter().all(|attempt| *attempt == 1));
    assert_eq!(pending(&streamer).await, 0);
}

/// More streams than are asked at once, each with more than one page of them.
async fn what_is_pending_on_many_streams_is_taken_up_and_claimed(store: Store) {
    let streamer = store.connect().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (mut listeners, mut expected) = (Listeners::new(), Vec::new());
    for number in 0..20 {
        let stream = format!("e{number:02}");
        emit(&streamer, &stream, 0..12).await;
        let consumer = if number % 3 == 0 { "dead" } else { "c" };
        let ids = deliver(&streamer, &stream, consumer).await;
        expected.extend(ids.into_iter().map(|id| (stream.clone(), id)));
        let seen = seen.clone();
        listeners.add(stream, "seen", move |message: ReceivedMessage| {
            seen.lock().unwrap().push((message.stream().to_string(), message.id()));
            async {}
        });
    }
    let listening = streamer.listen(listeners).group("g").consumer("c");
    let listening = listening.reclaim(Some(Duration::from_secs(1)));
    let stop = listening.stop_handle();
    let run = tokio::spawn(async move { listening.run().await });
    until("all are handled", async || seen.lock().unwrap().len() >= 240).await;
    stop.stop();
    run.await.unwrap().unwrap();
    let mut seen = seen.lock().unwrap().clone();
    // By stream alone: within each, they came in their order.
    seen.sort_by(|(one, _), (other, _)| one.cmp(other));
    assert_eq!(seen, expected);
}

async fn what_another_consumer_left_is_claimed_and_handled(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..250).await;
    deliver_to(&streamer, "dead").await;
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .reclaim(Some(Duration::from_millis(50)));
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("all were claimed and handled", async || {
        seen.len() >= 250 && pending(&streamer).await == 0
    })
    .await;
    stop.stop();
    running.await.unwrap().unwrap();
    // A scan that meets the reclaim time in its midst claims the later ones first.
    let mut numbers = seen.numbers();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..250));
}

async fn what_another_consumer_leaves_later_is_claimed_too(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let other = store.connect().await;
    let listening = streamer
        .listen(seen.listener("e"))
        .group("g")
        .reclaim(Some(Duration::from_millis(50)));
    let stop = listening.stop_handle();
    let (began, mut begun) = tokio::sync::watch::channel(false);
    let listening = listening.on_report(move |report| {
        if matches!(report, Report::Started { .. }) {
            began.send_replace(true);
        }
    });
    let running = tokio::spawn(listening.run());
    begun.wait_for(|begun| *begun).await.unwrap();
    // The listening may win some of these; the dead consumer wins others, as it reads in the same instant.
    let mut dead = reader(&other, "e", "dead").await;
    let mut lost = 0;
    let mut emitted = 0;
    until("the other consumer got some", async || {
        emit(&streamer, "e", emitted..emitted + 50).await;
        emitted += 50;
        lost += read(&mut dead).await.len();
        lost > 0
    })
    .await;
    until("all were handled", async || {
        seen.len() as u64 >= emitted && pending(&streamer).await == 0
    })
    .await;
    stop.stop();
    running.await.unwrap().unwrap();
    let mut numbers = seen.numbers();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.into_iter().eq(0..emitted));
}

pub(crate) type Gate = (Seen, Arc<Semaphore>);

/// A listener that notes its message, then waits until it is let through.
pub(crate) fn gate(event: &str) -> (Listeners<Gate>, Seen, Arc<Semaphore>) {
    async fn wait(message: ReceivedMessage, State((seen, gate)): State<Gate>) {
        seen.add(message);
        gate.acquire().await.unwrap().forget();
    }
    let (seen, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let listeners = Listeners::with_state((seen.clone(), Arc::clone(&gate))).on(event, "wait", wait);
    (listeners, seen, gate)
}

/// The longest idle time in the group, watched until it has passed the reclaim time many times over.
async fn outlast(streamer: &Streamer, reclaim: Duration) {
    let watch = std::time::Instant::now();
    until("many reclaim times have passed", async || {
        let _ = pending(streamer).await;
        watch.elapsed() > reclaim * 4
    })
    .await;
}

async fn a_message_being_handled_longer_than_the_reclaim_time_is_not_delivered_twice(store: Store) {
    let reclaim = Duration::from_secs(1);
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let (listeners, first, gate) = gate("e");
    let owner = streamer.listen(listeners).group("g").reclaim(Some(reclaim));
    let stop_owner = owner.stop_handle();
    let owner = tokio::spawn(owner.run());
    until("the message is being handled", async || first.len() == 1).await;
    let second = Seen::default();
    let other = store
        .connect()
        .await
        .listen(second.listener("e"))
        .group("g")
        .reclaim(Some(reclaim));
    let stop_other = other.stop_handle();
    let other = tokio::spawn(other.run());
    outlast(&streamer, reclaim).await;
    assert_eq!((first.len(), second.len()), (1, 0));
    gate.add_permits(1);
    until("it is acknowledged", async || pending(&streamer).await == 0).await;
    stop_owner.stop();
    stop_other.stop();
    owner.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert_eq!((first.len(), second.len()), (1, 0));
}

async fn messages_that_wait_behind_a_slow_one_are_not_delivered_twice(store: Store) {
    let reclaim = Duration::from_secs(1);
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let (listeners, first, gate) = gate("e");
    let owner = streamer.listen(listeners).group("g").reclaim(Some(reclaim));
    let stop_owner = owner.stop_handle();
    let owner = tokio::spawn(owner.run());
    until("all were read", async || {
        first.len() == 1 && pending(&streamer).await == 10
    })
    .await;
    let second = Seen::default();
    let other = store
        .connect()
        .await
        .listen(second.listener("e"))
        .group("g")
        .reclaim(Some(reclaim));
    let stop_other = other.stop_handle();
    let other = tokio::spawn(other.run());
    outlast(&streamer, reclaim).await;
    gate.add_permits(10);
    until("all are acknowledged", async || pending(&streamer).await == 0).await;
    stop_owner.stop();
    stop_other.stop();
    owner.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    assert_eq!((first.len(), second.len()), (10, 0));
}

async fn pending_messages_whose_entries_are_gone_are_reported_and_cleaned(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let own = deliver_to(&streamer, "c").await;
    emit(&streamer, "e", 10..20).await;
    let others = deliver_to(&streamer, "dead").await;
    let gone = [own[2], own[3], others[4]];
    streamer.engine().delete(&"e".into(), &gone).await.unwrap();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).group("g").consumer("c");
    let note = Arc::clone(&reported);
    let listening = listening
        .reclaim(Some(Duration::from_millis(30)))
        .on_report(move |report| {
            if let Report::Gone { ids, .. } = report {
                note.lock().unwrap().extend_from_slice(ids);
            }
        });
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("nothing is pending", async || pending(&streamer).await == 0).await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert_eq!(seen.len(), 17);
    assert_eq!(*reported.lock().unwrap(), gone);
}

async fn what_was_not_begun_is_handed_back_at_once(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let (listeners, seen, gate) = gate("e");
    let listening = streamer
        .listen(listeners)
        .group("g")
        .reclaim(Some(Duration::from_secs(3_600)));
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("all were read", async || {
        seen.len() == 1 && pending(&streamer).await == 10
    })
    .await;
    stop.stop();
    gate.add_permits(10);
    running.await.unwrap().unwrap();
    assert_eq!(seen.len(), 1, "only what had begun is finished");
    assert_eq!(pending(&streamer).await, 9);
    // Although the reclaim time is an hour.
    let successor = Seen::default();
    let listening = streamer
        .listen(successor.listener("e"))
        .group("g")
        .reclaim(Some(Duration::from_secs(3_600)));
    listening
        .listen_timeout(Duration::from_millis(100))
        .run()
        .await
        .unwrap();
    assert!(successor.numbers().into_iter().eq(1..10));
}

const BACKLOG: u64 = 3_000;

/// Messages of so many bytes.
async fn emit_backlog(streamer: &Streamer, size: usize) {
    let event = |n: u64| DynamicEvent::new("e", json!({ "n": n, "text": "x".repeat(size) }));
    streamer.emit_all((0..BACKLOG).map(event)).await.unwrap();
}

async fn a_stop_in_the_midst_of_a_backlog_keeps_nothing(store: Store) {
    async fn third_of_all(message: ReceivedMessage, State(seen): State<Seen>, stop: StopHandle) {
        if seen.len() as u64 == BACKLOG / 3 {
            stop.stop();
        }
        seen.add(message);
    }
    let streamer = store.connect().await;
    // So large that the listener waits for them, rather than they for it.
    emit_backlog(&streamer, 10_000).await;
    let seen = Seen::default();
    let listeners = Listeners::with_state(seen.clone()).on("e", "third_of_all", third_of_all);
    let an_hour = Some(Duration::from_secs(3_600));
    streamer
        .listen(listeners)
        .group("g")
        .reclaim(an_hour)
        .run()
        .await
        .unwrap();
    let begun = seen.len() as u64;
    assert_eq!(begun, BACKLOG / 3 + 1);
    let successor = Seen::default();
    let listening = streamer.listen(successor.listener("e")).group("g").reclaim(an_hour);
    listening
        .listen_timeout(Duration::from_millis(100))
        .run()
        .await
        .unwrap();
    assert!(successor.numbers().into_iter().eq(begun..BACKLOG));
}

async fn a_listener_that_becomes_slow_in_a_backlog_keeps_the_claim_on_all_that_was_read(store: Store) {
    type Gate = (Seen, Arc<Semaphore>);
    async fn slow_from_a_third_on(message: ReceivedMessage, State((seen, gate)): State<Gate>) {
        seen.add(message);
        if seen.len() as u64 == BACKLOG / 3 {
            gate.acquire().await.unwrap().forget();
        }
    }
    let streamer = store.connect().await;
    emit_backlog(&streamer, 300).await;
    let (seen, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let listeners =
        Listeners::with_state((seen.clone(), gate.clone())).on("e", "slow_from_a_third_on", slow_from_a_third_on);
    let reclaim = Duration::from_secs(1);
    let listening = streamer.listen(listeners).group("g").consumer("slow");
    let listening = listening.reclaim(Some(reclaim));
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("the listener waits", async || seen.len() as u64 == BACKLOG / 3).await;
    // Another consumer that asks for what is idle finds nothing, however often the reclaim time passes.
    let other = Seen::default();
    let listening = streamer.listen(other.listener("e")).group("g").consumer("other");
    let listening = listening.reclaim(Some(reclaim)).listen_timeout(reclaim * 4);
    listening.run().await.unwrap();
    gate.add_permits(1);
    until("all were handled", async || pending(&streamer).await == 0).await;
    stop.stop();
    running.await.unwrap().unwrap();
    let mut numbers = [seen.numbers(), other.numbers()].concat();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..BACKLOG), "each once");
}
