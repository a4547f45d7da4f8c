//! What failing costs, in round trips: by the batch, not by the message.

use std::time::Duration;

use streamer::{ListenerError, Listeners, ReceivedMessage, RetryPolicy, extract::State};

use crate::{Running, Seen, emit, on, store::Store, until};

on!(
    round_trips,
    Distant,
    failures_cost_round_trips_by_the_batch
    retries_cost_round_trips_by_the_batch
);

const MESSAGES: u64 = 2_000;

fn failing(seen: &Seen, times: u64) -> Listeners<Seen> {
    async fn fails(message: ReceivedMessage, State(seen): State<Seen>) -> Result<(), ListenerError> {
        seen.add(message);
        Err(ListenerError::new("no"))
    }
    async fn fails_once(message: ReceivedMessage, State(seen): State<Seen>) -> Result<(), ListenerError> {
        let attempt = message.attempt();
        seen.add(message);
        match attempt {
            1 => Err(ListenerError::new("no")),
            _ => Ok(()),
        }
    }
    let listeners = Listeners::with_state(seen.clone());
    match times {
        1 => listeners.on("e", "fails_once", fails_once),
        _ => listeners.on("e", "fails", fails),
    }
}

async fn failures_cost_round_trips_by_the_batch(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let before = store.network().unwrap().round_trips();
    let seen = Seen::default();
    let running = Running::start(streamer.listen(failing(&seen, 2)).group("g"));
    until("all are listed", async || {
        seen.len() as u64 == MESSAGES
            && store.command(&["SCARD", "failed_stream"]) == MESSAGES.to_string()
            && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
    let round_trips = store.network().unwrap().round_trips() - before;
    assert!(
        round_trips < MESSAGES / 10,
        "{round_trips} round trips for {MESSAGES} failures"
    );
}

async fn retries_cost_round_trips_by_the_batch(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let before = store.network().unwrap().round_trips();
    let seen = Seen::default();
    let listeners = failing(&seen, 1).retry(&RetryPolicy::fixed(3, Duration::from_millis(300)));
    let running = Running::start(streamer.listen(listeners).group("g"));
    until("all are handled at the second attempt", async || {
        seen.len() as u64 == 2 * MESSAGES && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
    assert_eq!(store.command(&["SCARD", "failed_stream"]), "0");
    let round_trips = store.network().unwrap().round_trips() - before;
    assert!(
        round_trips < MESSAGES / 4,
        "{round_trips} round trips for {MESSAGES} retries"
    );
}
