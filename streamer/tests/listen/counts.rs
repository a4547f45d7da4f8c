//! Only attempts that began count.

use std::time::Duration;

use streamer::{ListenerError, Listeners, Listening, ReceivedMessage, extract::State, failed::FailedFilter};

use crate::{
    Running, Seen, assert_each_once, emit, failed_list::list, on_each_engine, pending::gate, store::Store, until,
};

on_each_engine!(
    clean_stops_count_as_no_attempts,
    clean_stops_of_a_consumer_with_a_name_count_as_no_attempts,
);

const STOPS: u64 = 3;
const MESSAGES: u64 = 8;

async fn clean_stops_count_as_no_attempts(store: Store) {
    stops(store, |listening| listening).await;
}

async fn clean_stops_of_a_consumer_with_a_name_count_as_no_attempts(store: Store) {
    stops(store, |listening| listening.consumer("c")).await;
}

/// Each start handles one message and gives the others back. At the end they fail, for the first time.
async fn stops(store: Store, with: impl Fn(Listening) -> Listening) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..MESSAGES).await;
    let listen = |listeners: Listeners| {
        let listening = streamer.listen(listeners).group("g");
        with(listening.reclaim(Some(Duration::from_secs(3_600))))
    };
    for stop in 0..STOPS {
        let (listeners, seen, gate) = gate("e");
        let running = Running::start(listen(listeners.without_state()));
        until("all that is left is here, and one was begun", async || {
            seen.len() == 1 && store.pending("e", "g").len() as u64 == MESSAGES - stop
        })
        .await;
        running.stop.stop();
        gate.add_permits(1);
        running.stop().await;
        assert_eq!((seen.numbers(), seen.attempts()), (vec![stop], vec![1]));
    }

    async fn fails(message: ReceivedMessage, State(seen): State<Seen>) -> Result<(), ListenerError> {
        seen.add(message);
        Err(ListenerError::new("no"))
    }
    let seen = Seen::default();
    let listeners = Listeners::with_state(seen.clone()).on("e", "fails", fails);
    let running = Running::start(listen(listeners.without_state()));
    until("the rest is listed", async || {
        streamer.failed().count().await.unwrap() == MESSAGES - STOPS && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
    assert_each_once(
        seen.numbers().into_iter().map(|number| number - STOPS),
        0..MESSAGES - STOPS,
    );
    assert!(
        seen.attempts().iter().all(|attempt| *attempt == 1),
        "{:?}",
        seen.attempts()
    );
    let listed = list(&streamer, FailedFilter::all()).await;
    assert!(listed.iter().all(|failure| failure.details.attempts == 1), "{listed:?}");
}
