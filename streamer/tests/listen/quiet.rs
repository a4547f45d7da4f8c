//! When a listening with a `listen_timeout` ends: after a read that found nothing, with nothing in flight, and with no
//! retry that waits.

use std::time::Duration;

use streamer::{EndReason, ListenerError, Listeners, ReceivedMessage, RetryPolicy, StartAt, extract::State};

use crate::{Seen, assert_each_once, emit, on, on_each_engine, store::Store};

on_each_engine!(
    slow_listeners_are_not_quiet,
    a_retry_that_waits_is_not_quiet,
    without_a_group_a_retry_that_waits_is_not_quiet,
);
on!(slow_network, Distant, a_slow_network_is_not_quiet a_slow_network_is_not_quiet_without_a_group);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Each message takes longer than the listening waits for another, and reading waits for the listener.
async fn slow_listeners_are_not_quiet(store: Store) {
    async fn slow(message: ReceivedMessage, State(seen): State<Seen>) {
        tokio::time::sleep(ms(30)).await;
        seen.add(message);
    }
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..40).await;
    let seen = Seen::default();
    let listeners = Listeners::with_state(seen.clone()).on("e", "slow", slow);
    let listening = streamer.listen(listeners).group("g").batch(2).listen_timeout(ms(10));
    let summary = listening.run().await.unwrap();
    assert_each_once(seen.numbers(), 0..40);
    assert_eq!((summary.messages, summary.ended), (40, EndReason::Quiet));
    assert!(store.pending("e", "g").is_empty());
}

/// Fails at the first attempt.
fn fails_once(seen: &Seen) -> Listeners {
    async fn fails_once(message: ReceivedMessage, State(seen): State<Seen>) -> Result<(), ListenerError> {
        let attempt = message.attempt();
        seen.add(message);
        match attempt {
            1 => Err(ListenerError::new("not yet")),
            _ => Ok(()),
        }
    }
    let listeners = Listeners::with_state(seen.clone()).on("e", "fails_once", fails_once);
    listeners.retry(&RetryPolicy::fixed(3, ms(400))).without_state()
}

async fn a_retry_that_waits_is_not_quiet(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..3).await;
    let seen = Seen::default();
    let listening = streamer.listen(fails_once(&seen)).group("g").listen_timeout(ms(50));
    listening.run().await.unwrap();
    assert_eq!(seen.attempts(), [1, 1, 1, 2, 2, 2]);
    assert!(store.pending("e", "g").is_empty());
    assert_eq!(streamer.failed().count().await.unwrap(), 0);
}

async fn without_a_group_a_retry_that_waits_is_not_quiet(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..3).await;
    let seen = Seen::default();
    let listening = streamer.listen(fails_once(&seen)).start(StartAt::Beginning);
    listening.listen_timeout(ms(50)).run().await.unwrap();
    assert_eq!(seen.attempts(), [1, 1, 1, 2, 2, 2]);
    assert_eq!(streamer.failed().count().await.unwrap(), 0);
}

/// What takes a round trip takes longer than the listening waits for a message.
async fn a_slow_network_is_not_quiet(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..20).await;
    store.network().unwrap().set_round_trip(ms(400));
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).group("g").listen_timeout(ms(50));
    assert_eq!(listening.run().await.unwrap().ended, EndReason::Quiet);
    assert_each_once(seen.numbers(), 0..20);
}

async fn a_slow_network_is_not_quiet_without_a_group(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..20).await;
    store.network().unwrap().set_round_trip(ms(400));
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).start(StartAt::Beginning);
    let ended = listening.listen_timeout(ms(50)).run().await.unwrap().ended;
    assert_eq!(ended, EndReason::Quiet);
    assert_each_once(seen.numbers(), 0..20);
}
