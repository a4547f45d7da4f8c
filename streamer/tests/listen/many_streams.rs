//! Many streams with a backlog, which on a Cluster lie in many slots: what waits anywhere keeps its lease.

use std::{sync::Arc, time::Duration};

use streamer::{ListenError, Listeners, ReceivedMessage, StopHandle, Streamer, extract::State};
use tokio::sync::Semaphore;

use crate::{Running, Seen, assert_each_once, numbered, on_each_engine, pending::Gate, store::Store, until};

on_each_engine!(
    a_pause_amid_many_streams_handles_nothing_twice,
    a_stop_amid_many_streams_leaves_nothing_behind,
    an_error_amid_many_streams_leaves_nothing_behind,
);

const STREAMS: u64 = 12;
const EACH: u64 = 200;
const ALL: u64 = STREAMS * EACH;
const AN_HOUR: Option<Duration> = Some(Duration::from_secs(3_600));

fn name(stream: u64) -> String {
    format!("s{stream}")
}

/// Message `n` is on stream `n / EACH`.
async fn emit_all(streamer: &Streamer) {
    let events = (0..ALL).map(|number| numbered(&name(number / EACH), number));
    streamer.emit_all(events).await.unwrap();
}

fn pending(store: &Store) -> usize {
    (0..STREAMS).map(|stream| store.pending(&name(stream), "g").len()).sum()
}

fn everywhere(seen: &Seen) -> Listeners {
    let mut all = Listeners::new();
    for stream in 0..STREAMS {
        all.add_many(seen.listener(&name(stream)));
    }
    all
}

/// A listener that stops at one message for many reclaim times while another consumer claims whatever is idle.
async fn a_pause_amid_many_streams_handles_nothing_twice(store: Store) {
    async fn slow(message: ReceivedMessage, State((seen, gate)): State<Gate>) {
        seen.add(message);
        if seen.len() as u64 == ALL / 4 {
            gate.acquire().await.unwrap().forget();
        }
    }
    let streamer = store.connect().await;
    emit_all(&streamer).await;
    let (seen, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let mut listeners = Listeners::new();
    for stream in 0..STREAMS {
        listeners.add_many(Listeners::with_state((seen.clone(), gate.clone())).on(name(stream), "slow", slow));
    }
    let reclaim = Duration::from_secs(1);
    let slow = Running::start(streamer.listen(listeners).group("g").batch(64).reclaim(Some(reclaim)));
    until("it pauses", async || seen.len() as u64 == ALL / 4).await;
    let other = Seen::default();
    let listening = store.connect().await.listen(everywhere(&other)).group("g");
    let fast = Running::start(listening.batch(64).reclaim(Some(reclaim)));
    until("the other one handles what the slow one does not have", async || {
        other.len() > 0 && pending(&store) as u64 + seen.len() as u64 + other.len() as u64 - 1 == ALL
    })
    .await;
    // Nothing can be claimed, however often the reclaim time passes.
    let (before, since) = (other.len(), std::time::Instant::now());
    until("many reclaim times have passed", async || since.elapsed() > reclaim * 4).await;
    assert_eq!(other.len(), before);
    gate.add_permits(1);
    until("all are acknowledged", async || pending(&store) == 0).await;
    slow.stop().await;
    fast.stop().await;
    assert_each_once([seen.numbers(), other.numbers()].concat(), 0..ALL);
}

/// Whoever comes next gets the rest at once, although the reclaim time is an hour.
async fn handles_the_rest(store: &Store, begun: &Seen) {
    let successor = Seen::default();
    let listening = store.connect().await.listen(everywhere(&successor)).group("g");
    let running = Running::start(listening.reclaim(AN_HOUR));
    until("the rest is handled", async || {
        (begun.len() + successor.len()) as u64 >= ALL && pending(store) == 0
    })
    .await;
    running.stop().await;
    assert_each_once([begun.numbers(), successor.numbers()].concat(), 0..ALL);
}

async fn a_stop_amid_many_streams_leaves_nothing_behind(store: Store) {
    async fn stops(message: ReceivedMessage, State(seen): State<Seen>, stop: StopHandle) {
        seen.add(message);
        if seen.len() as u64 == ALL / 4 {
            stop.stop();
        }
    }
    let streamer = store.connect().await;
    emit_all(&streamer).await;
    let seen = Seen::default();
    let mut listeners = Listeners::new();
    for stream in 0..STREAMS {
        listeners.add_many(Listeners::with_state(seen.clone()).on(name(stream), "stops", stops));
    }
    streamer
        .listen(listeners)
        .group("g")
        .reclaim(AN_HOUR)
        .run()
        .await
        .unwrap();
    handles_the_rest(&store, &seen).await;
}

/// The same where it ends because a group is gone, which is no reason to keep what is on other streams.
async fn an_error_amid_many_streams_leaves_nothing_behind(store: Store) {
    async fn wait(message: ReceivedMessage, State((seen, gate)): State<Gate>) {
        let number = crate::number(&message);
        // Only after the last message of a stream of its own is there anything to destroy a group for.
        if number >= ALL {
            return;
        }
        seen.add(message);
        if seen.len() as u64 == ALL / 4 {
            gate.acquire().await.unwrap().forget();
        }
    }
    let streamer = store.connect().await;
    emit_all(&streamer).await;
    streamer.emit(&numbered("doomed", ALL)).await.unwrap();
    let (seen, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let mut listeners = Listeners::new();
    for name in (0..STREAMS).map(name).chain(["doomed".to_owned()]) {
        listeners.add_many(Listeners::with_state((seen.clone(), gate.clone())).on(name, "wait", wait));
    }
    let listening = streamer.listen(listeners).group("g").reclaim(AN_HOUR).batch(64);
    let running = Running::start(listening.read_wait(Duration::from_millis(20)));
    until("it pauses", async || seen.len() as u64 == ALL / 4).await;
    store.destroy_group("doomed", "g");
    gate.add_permits(1);
    let error = tokio::time::timeout(crate::store::patience(), running.task)
        .await
        .unwrap();
    let error = error.unwrap().unwrap_err();
    assert!(matches!(error, ListenError::Engine(_)), "{error}");
    handles_the_rest(&store, &seen).await;
}
