//! Which consumers stay in a group, and two that use one name.

use std::time::Duration;

use streamer::{ListenError, OnNameInUse};

use crate::{
    Running, Seen, Told, all_there, assert_each_once, emit, on_each_engine, pending::gate, quick, store::Store, until,
};

on_each_engine!(
    consumers_of_dead_processes_are_removed_when_nothing_is_pending_with_them,
    a_consumer_with_a_name_and_a_quiet_live_one_stay,
    two_processes_with_one_name_are_noticed,
    of_two_that_start_at_once_with_one_name_the_later_one_ends_where_that_is_asked_for,
    an_operator_who_acknowledges_what_is_in_flight_is_not_taken_for_a_second_process,
);

const RECLAIM: Option<Duration> = Some(Duration::from_millis(100));

async fn consumers_of_dead_processes_are_removed_when_nothing_is_pending_with_them(store: Store) {
    let streamer = store.connect().await;
    for dead in 0..3 {
        emit(&streamer, "e", dead * 10..(dead + 1) * 10).await;
        let (listeners, seen, _gate) = gate("e");
        let listening = streamer.listen(listeners).group("g");
        let running = Running::start(listening.reclaim(Some(Duration::from_secs(3_600))));
        until("it has some", async || seen.len() == 1).await;
        // As a process that is killed leaves it.
        running.stop.abort();
        running.task.await.unwrap().unwrap();
        assert_eq!(store.consumers("e", "g").len() as u64, dead + 1);
    }
    let seen = Seen::default();
    let running = Running::start(streamer.listen(seen.listener("e")).group("g").reclaim(RECLAIM));
    until("all is handled, and only the live consumer is left", async || {
        seen.len() >= 30 && store.pending("e", "g").is_empty() && store.consumers("e", "g").len() == 1
    })
    .await;
    assert!(running.is_running());
    running.stop().await;
    assert_each_once(seen.numbers(), 0..30);
    assert_eq!(store.consumers("e", "g"), []);
}

async fn a_consumer_with_a_name_and_a_quiet_live_one_stay(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let listen = || {
        streamer
            .listen(seen.listener("e"))
            .group("g")
            .reclaim(RECLAIM)
            .keep_alive(quick())
    };
    let live = [Running::start(listen()), Running::start(listen())];
    until("both are there", async || store.consumers("e", "g").len() == 2).await;
    let names = store.consumers("e", "g");
    // Those of processes that are gone: one with a name that somebody chose, one with a name that was made up.
    for consumer in ["payroll", "g-0123456789abcdef"] {
        store.create_consumer("e", "g", consumer);
    }
    let has = |consumer: &str| store.consumers("e", "g").iter().any(|(name, _)| name == consumer);
    until("the consumer that nobody named is removed", async || {
        !has("g-0123456789abcdef")
    })
    .await;
    // The others have been quiet for longer.
    assert!(has("payroll"));
    assert!(
        names.iter().all(|(name, _)| has(name)),
        "{:?}",
        store.consumers("e", "g")
    );
    emit(&streamer, "e", 0..10).await;
    until("they go on", async || seen.len() == 10).await;
    for running in live {
        running.stop().await;
    }
}

async fn two_processes_with_one_name_are_noticed(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let told = [Told::default(), Told::default()];
    let mut running = Vec::new();
    let mut gates = Vec::new();
    for (told, start) in told.iter().zip(0..) {
        let (listeners, seen, gate) = gate("e");
        let listening = store.connect().await.listen(listeners).group("g").consumer("billing-1");
        running.push(Running::start(
            told.by(listening.reclaim(Some(Duration::from_millis(300)))),
        ));
        // The second may take up what the first has, or find nothing.
        until("it is there", async || told.has("Started")).await;
        if start == 0 {
            until("it has some", async || seen.len() == 1).await;
        }
        gates.push(gate);
    }
    emit(&streamer, "e", 10..20).await;
    until("somebody says so", async || {
        told.iter().any(|told| told.has("NameInUse"))
    })
    .await;
    for gate in gates {
        gate.add_permits(100);
    }
    for running in running {
        running.stop().await;
    }
}

/// Neither can see the other one before it has joined the group.
async fn of_two_that_start_at_once_with_one_name_the_later_one_ends_where_that_is_asked_for(store: Store) {
    let seen = Seen::default();
    let mut listenings = Vec::new();
    for _ in 0..2 {
        let streamer = store.connect().await;
        let listening = streamer.listen(seen.listener("e")).group("g").consumer("billing-1");
        let listening = listening.reclaim(Some(Duration::from_secs(1))).keep_alive(quick());
        listenings.push(listening.on_name_in_use(OnNameInUse::Refuse));
    }
    let mut running = listenings.into_iter().map(Running::start).collect::<Vec<_>>();
    let streamer = store.connect().await;
    let mut emitted = 0;
    until("one ends", async || {
        emit(&streamer, "e", emitted..emitted + 5).await;
        emitted += 5;
        running.iter().any(|one| !one.is_running())
    })
    .await;
    let ended = running.iter().position(|one| !one.is_running()).unwrap();
    let error = running.remove(ended).task.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ListenError::NameInUse { consumer, .. } if consumer == "billing-1"),
        "{error}"
    );
    until("the other one handles the rest", async || {
        all_there(seen.numbers(), 0..emitted) && store.pending("e", "g").is_empty()
    })
    .await;
    assert!(running[0].is_running());
    running.remove(0).stop().await;
}

async fn an_operator_who_acknowledges_what_is_in_flight_is_not_taken_for_a_second_process(store: Store) {
    let streamer = store.connect().await;
    let (listeners, seen, gate) = gate("e");
    let told = Told::default();
    // With a reclaim time, a renewal that comes first makes the message pending again.
    let listening = streamer
        .listen(listeners)
        .group("g")
        .consumer("billing-1")
        .reclaim(None);
    let running = Running::start(told.by(listening));
    let ids = emit(&streamer, "e", 0..1).await;
    until("it has begun", async || seen.len() == 1).await;
    let acknowledged = streamer.engine().acknowledge(&"e".into(), "g", &ids).await.unwrap();
    assert_eq!(acknowledged, 1);
    gate.add_permits(100);
    emit(&streamer, "e", 1..2).await;
    until("it goes on", async || {
        seen.len() == 2 && store.pending("e", "g").is_empty()
    })
    .await;
    let summary = running.stop().await;
    assert_eq!(summary.processed, 2);
    assert!(!told.has("NameInUse"));
}
