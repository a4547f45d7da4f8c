//! Operators remove groups, consumers, entries and streams while live consumers have messages in flight.

use std::time::Duration;

use crate::{
    Running, Seen, Told, all_there, assert_each_once, emit, on_each_engine, pending::gate, quick, store::Store, until,
};

on_each_engine!(
    a_destroyed_group_loses_nothing_that_live_consumers_have,
    a_deleted_consumer_loses_nothing_that_it_has,
    what_is_trimmed_while_it_waits_is_handled,
    what_a_deleted_stream_had_in_flight_is_handled,
);

const RECLAIM: Option<Duration> = Some(Duration::from_millis(300));

/// Another consumer makes the group again, behind what this one has in flight.
async fn a_destroyed_group_loses_nothing_that_live_consumers_have(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..16).await;
    let (listeners, slow, gate) = gate("e");
    let told = Told::default();
    let listening = streamer.listen(listeners).group("g").consumer("slow");
    let slow_runs = Running::start(told.by(listening.reclaim(RECLAIM).keep_alive(quick())));
    until("all were read", async || {
        slow.len() == 1 && store.pending("e", "g").len() == 16
    })
    .await;

    let other = store.connect().await;
    let fast = Seen::default();
    let listening = other.listen(fast.listener("e")).group("g").consumer("fast");
    let fast_runs = Running::start(listening.reclaim(RECLAIM).keep_alive(quick()));
    // Both read now; what matters is that the fast one gets some.
    let mut emitted = 16;
    until("the other consumer handled some", async || {
        emit(&streamer, "e", emitted..emitted + 1).await;
        emitted += 1;
        fast.len() >= 4
    })
    .await;

    store.destroy_group("e", "g");
    let waits_again = || store.pending("e", "g").iter().any(|pending| pending.consumer == "slow");
    until("the slow consumer noticed", async || {
        waits_again() || told.has("LeaseLost")
    })
    .await;
    gate.add_permits(10_000);
    let handled = || [slow.numbers(), fast.numbers()].concat();
    until("every message is handled", async || all_there(handled(), 0..emitted)).await;
    until("nothing is pending", async || store.pending("e", "g").is_empty()).await;
    assert!(slow_runs.is_running() && fast_runs.is_running());
    slow_runs.stop().await;
    fast_runs.stop().await;
}

async fn a_deleted_consumer_loses_nothing_that_it_has(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let (listeners, seen, gate) = gate("e");
    let told = Told::default();
    let listening = streamer.listen(listeners).group("g").consumer("c");
    let running = Running::start(told.by(listening.reclaim(RECLAIM)));
    until("all were read", async || {
        seen.len() == 1 && store.pending("e", "g").len() == 10
    })
    .await;
    store.delete_consumer("e", "g", "c");
    until("it noticed", async || {
        !store.pending("e", "g").is_empty() || told.has("LeaseLost")
    })
    .await;
    gate.add_permits(100);
    until("all are handled", async || {
        seen.len() >= 10 && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
    assert_each_once(seen.numbers(), 0..10);
}

/// Whether something came that is no part of ordinary work.
fn noticed(told: &Told) -> bool {
    let ordinary = ["Started", "Processed", "Interrupted", "Resumed"];
    told.0
        .lock()
        .unwrap()
        .iter()
        .any(|kind| !ordinary.contains(&kind.as_str()))
}

async fn what_is_trimmed_while_it_waits_is_handled(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let (listeners, seen, gate) = gate("e");
    let told = Told::default();
    let listening = streamer.listen(listeners).group("g");
    let running = Running::start(told.by(listening.reclaim(RECLAIM)));
    until("all were read", async || {
        seen.len() == 1 && store.pending("e", "g").len() == 10
    })
    .await;
    store.trim("e");
    until("it noticed", async || noticed(&told)).await;
    gate.add_permits(100);
    until("all are handled", async || {
        seen.len() >= 10 && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
    assert_each_once(seen.numbers(), 0..10);
}

async fn what_a_deleted_stream_had_in_flight_is_handled(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let (listeners, seen, gate) = gate("e");
    let told = Told::default();
    let listening = streamer.listen(listeners).group("g").keep_alive(quick());
    let running = Running::start(told.by(listening.reclaim(RECLAIM)));
    until("all were read", async || {
        seen.len() == 1 && store.pending("e", "g").len() == 10
    })
    .await;
    streamer.engine().remove_stream(&"e".into()).await.unwrap();
    emit(&streamer, "e", 10..20).await;
    until("it noticed", async || noticed(&told)).await;
    gate.add_permits(100);
    let handled = until("all are handled", async || {
        all_there(seen.numbers(), 0..20) && store.pending("e", "g").is_empty()
    });
    if tokio::time::timeout(crate::store::patience() / 2, handled)
        .await
        .is_err()
    {
        panic!(
            "handled {:?}, pending {:?}, told {:?}",
            seen.numbers(),
            store.pending("e", "g"),
            told.0.lock().unwrap()
        );
    }
    running.stop().await;
    assert_each_once(seen.numbers(), 0..20);
}
