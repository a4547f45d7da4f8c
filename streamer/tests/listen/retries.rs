//! Trying a listener again before its message lands in the failed list.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use streamer::{
    EndReason, EntryId, ListenerError, Listeners, Listening, NewId, Payload, ReceivedMessage, Report, RetryPolicy,
    StartAt, Streamer, Workers,
    engine::{Append, AppendOptions},
    extract::State,
    failed::FailedFilter,
};

use crate::{emit, failed_list::list, number, on_each_engine, store::Store, until};

on_each_engine!(
    a_message_that_waits_for_its_next_attempt_blocks_no_other,
    after_its_last_attempt_a_message_is_listed_once,
    a_permanent_error_is_listed_at_once,
    a_failure_that_is_listed_is_not_tried_again_for_anothers_sake,
    no_attempt_comes_before_it_is_due_even_when_the_lease_is_shorter,
    a_restarted_consumer_waits_on,
    without_a_group_attempts_are_made_in_memory,
    without_a_group_what_still_waits_at_the_end_is_listed,
    a_retry_by_hand_settles_what_was_kept_pending,
);

/// What a listener did: the number of the message, its delivery count, and when.
#[derive(Clone, Default)]
struct Tries {
    made: Arc<Mutex<Vec<(u64, u64, Instant)>>>,
    others: Arc<Mutex<Vec<u64>>>,
    mended: Arc<AtomicBool>,
}

impl Tries {
    fn of(&self, number: u64) -> usize {
        self.made
            .lock()
            .unwrap()
            .iter()
            .filter(|(one, ..)| *one == number)
            .count()
    }

    fn numbers(&self) -> Vec<u64> {
        self.made.lock().unwrap().iter().map(|(number, ..)| *number).collect()
    }

    /// `stubborn` fails at message 0 until it is mended, `works` never.
    fn listeners(&self, policy: &RetryPolicy) -> Listeners<Tries> {
        async fn works(message: ReceivedMessage, State(tries): State<Tries>) {
            tries.others.lock().unwrap().push(number(&message));
        }
        async fn stubborn(message: ReceivedMessage, State(tries): State<Tries>) -> Result<(), ListenerError> {
            let number = number(&message);
            tries
                .made
                .lock()
                .unwrap()
                .push((number, message.attempt(), Instant::now()));
            match number == 0 && !tries.mended.load(Ordering::SeqCst) {
                true => Err(ListenerError::new("not yet")),
                false => Ok(()),
            }
        }
        Listeners::with_state(self.clone())
            .on("e", "works", works)
            .on("e", "stubborn", stubborn)
            .retry(policy)
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn pending(streamer: &Streamer) -> u64 {
    streamer.engine().pending_summary(&"e".into(), "g").await.unwrap().count
}

/// Whether the store keeps what listeners achieved with a message.
async fn has_progress(streamer: &Streamer, id: EntryId) -> bool {
    let kept = streamer.engine().retry_state(&"e".into(), "g", id).await;
    kept.unwrap().is_some()
}

/// Listens until something is so.
async fn listen_until(listening: Listening, what: &str, so: impl AsyncFnMut() -> bool) {
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until(what, so).await;
    stop.stop();
    running.await.unwrap().unwrap();
}

async fn a_message_that_waits_for_its_next_attempt_blocks_no_other(store: Store) {
    let streamer = store.connect().await;
    let ids = emit(&streamer, "e", 0..20).await;
    let tries = Tries::default();
    let listeners = tries.listeners(&RetryPolicy::fixed(1_000, ms(50)));
    let later = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&later);
    let listening = streamer.listen(listeners).group("g").on_report(move |report| {
        if let Report::RetryLater { attempt, .. } = report {
            told.lock().unwrap().push(*attempt);
        }
    });
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("all others are done, and it was tried three times", async || {
        tries.numbers().contains(&19) && tries.of(0) >= 3
    })
    .await;
    assert_eq!(pending(&streamer).await, 1, "it stays pending");
    tries.mended.store(true, Ordering::SeqCst);
    until("it is settled", async || pending(&streamer).await == 0).await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert_eq!(list(&streamer, FailedFilter::all()).await, []);
    let mut others = tries.others.lock().unwrap().clone();
    others.sort_unstable();
    assert!(
        others.into_iter().eq(0..20),
        "a listener that succeeded does not run again"
    );
    let later = later.lock().unwrap().clone();
    assert!(later.iter().copied().eq(1..=later.len() as u64), "{later:?}");
    assert!(!has_progress(&streamer, ids[0]).await);
}

async fn after_its_last_attempt_a_message_is_listed_once(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..3).await;
    let tries = Tries::default();
    let policy = RetryPolicy::exponential(4, ms(10), ms(40));
    let listening = streamer
        .listen(tries.listeners(&policy))
        .group("g")
        .workers(Workers::AtOnce(2));
    listen_until(listening, "it is listed and acknowledged", async || {
        streamer.failed().count().await.unwrap() == 1 && pending(&streamer).await == 0
    })
    .await;
    assert_eq!(tries.of(0), 4);
    let listed = list(&streamer, FailedFilter::all()).await;
    let failed = listed[0].record.as_ref().unwrap();
    assert_eq!((&*failed.receiver, &*failed.error), ("stubborn", "not yet"));
    assert_eq!(listed[0].details.attempts, 4);
}

async fn a_permanent_error_is_listed_at_once(store: Store) {
    #[derive(serde::Deserialize)]
    struct Other {
        _missing: u64,
    }
    async fn permanent(State(tries): State<Tries>) -> Result<(), ListenerError> {
        tries.others.lock().unwrap().push(1);
        Err(ListenerError::permanent("never"))
    }
    async fn declined(State(tries): State<Tries>) -> Result<(), &'static str> {
        tries.others.lock().unwrap().push(2);
        Err("card declined")
    }
    async fn mismatch(Payload(_): Payload<Other>) {}
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let tries = Tries::default();
    let policy = RetryPolicy::fixed(5, ms(10)).permanent_if(|error| error.to_string().contains("declined"));
    let listeners = Listeners::with_state(tries.clone())
        .on("e", "permanent", permanent)
        .on("e", "declined", declined)
        .on("e", "mismatch", mismatch)
        .retry(&policy);
    let listening = streamer.listen(listeners).group("g");
    listen_until(listening, "all are listed and it is acknowledged", async || {
        streamer.failed().count().await.unwrap() == 3 && pending(&streamer).await == 0
    })
    .await;
    assert_eq!(*tries.others.lock().unwrap(), [1, 2]);

    // What is no JSON is no better the next time.
    let broken = Append {
        stream: "e".into(),
        id: NewId::Auto,
        fields: vec![("data".into(), "{".into())],
        options: AppendOptions::default(),
    };
    let id = streamer.engine().append(broken).await.unwrap();
    let listeners = Listeners::with_state(tries.clone())
        .on("e", "permanent", permanent)
        .retry(&policy);
    let listening = streamer.listen(listeners).group("g");
    listen_until(listening, "it is listed", async || {
        list(&streamer, FailedFilter::all().id(id.to_string())).await.len() == 1
    })
    .await;
}

async fn a_failure_that_is_listed_is_not_tried_again_for_anothers_sake(store: Store) {
    async fn hopeless(State(tries): State<Tries>) -> Result<(), ListenerError> {
        tries.others.lock().unwrap().push(7);
        Err(ListenerError::permanent("never"))
    }
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let tries = Tries::default();
    let policy = RetryPolicy::fixed(100, ms(20));
    let mut listeners = Listeners::with_state(tries.clone()).on("e", "hopeless", hopeless);
    listeners.add_many(tries.listeners(&RetryPolicy::none()));
    let listeners = listeners.retry_for("stubborn", &policy);
    let listening = streamer.listen(listeners).group("g");
    listen_until(
        listening,
        "it was tried three times, then mended and settled",
        async || {
            if tries.of(0) >= 3 {
                tries.mended.store(true, Ordering::SeqCst);
            }
            tries.of(0) >= 3 && pending(&streamer).await == 0
        },
    )
    .await;
    let listed = list(&streamer, FailedFilter::all()).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].record.as_ref().unwrap().receiver, "hopeless");
    assert_eq!(*tries.others.lock().unwrap(), [7, 0], "each of the others ran once");
}

async fn no_attempt_comes_before_it_is_due_even_when_the_lease_is_shorter(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let tries = Tries::default();
    let delay = ms(400);
    let listen = || {
        let listeners = tries.listeners(&RetryPolicy::fixed(3, delay));
        streamer.listen(listeners).group("g").reclaim(Some(ms(100)))
    };
    // A second consumer claims whatever is left idle for longer than the lease.
    let other = listen();
    let stop_other = other.stop_handle();
    let other = tokio::spawn(other.run());
    listen_until(listen(), "it is listed", async || {
        streamer.failed().count().await.unwrap() == 1 && pending(&streamer).await == 0
    })
    .await;
    stop_other.stop();
    other.await.unwrap().unwrap();
    let made = tries.made.lock().unwrap().clone();
    assert_eq!(
        made.len(),
        3,
        "deliveries that came too early are no attempts: {made:?}"
    );
    for pair in made.windows(2) {
        assert!(pair[1].2 - pair[0].2 >= delay, "{made:?}");
    }
    assert_eq!(list(&streamer, FailedFilter::all()).await[0].details.attempts, 3);
}

async fn a_restarted_consumer_waits_on(store: Store) {
    let streamer = store.connect().await;
    let ids = emit(&streamer, "e", 0..1).await;
    let tries = Tries::default();
    let delay = ms(600);
    let listen = || {
        let listeners = tries.listeners(&RetryPolicy::fixed(2, delay));
        streamer.listen(listeners).group("g").consumer("c").reclaim(None)
    };
    listen_until(listen(), "it waits", async || {
        tries.of(0) == 1 && has_progress(&streamer, ids[0]).await
    })
    .await;
    // It takes up its own pending message at once, and sees that it is not due.
    listen_until(listen(), "it is listed", async || {
        streamer.failed().count().await.unwrap() == 1 && pending(&streamer).await == 0
    })
    .await;
    let made = tries.made.lock().unwrap().clone();
    assert_eq!(made.len(), 2, "{made:?}");
    assert!(made[1].2 - made[0].2 >= delay, "{made:?}");
}

async fn without_a_group_attempts_are_made_in_memory(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let tries = Tries::default();
    let listeners = tries.listeners(&RetryPolicy::fixed(3, ms(30)));
    let listening = streamer.listen(listeners).start(StartAt::Beginning);
    let summary = listening.listen_timeout(ms(100)).run().await.unwrap();
    assert_eq!(summary.ended, EndReason::Quiet);
    assert_eq!(tries.of(0), 3);
    let attempts = tries.made.lock().unwrap().clone();
    let attempts = attempts
        .iter()
        .filter(|(one, ..)| *one == 0)
        .map(|(_, attempt, _)| *attempt);
    assert!(attempts.eq(1..=3));
    assert_eq!(tries.others.lock().unwrap().len(), 10);
    let listed = list(&streamer, FailedFilter::all()).await;
    assert_eq!((listed.len(), listed[0].details.attempts), (1, 3));
}

async fn without_a_group_what_still_waits_at_the_end_is_listed(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let tries = Tries::default();
    let listeners = tries.listeners(&RetryPolicy::fixed(3, Duration::from_secs(3_600)));
    let listening = streamer.listen(listeners).start(StartAt::Beginning);
    listen_until(listening, "it was tried", async || tries.of(0) == 1).await;
    assert_eq!(list(&streamer, FailedFilter::all()).await.len(), 1);
}

async fn a_retry_by_hand_settles_what_was_kept_pending(store: Store) {
    async fn refuses(State(tries): State<Tries>) -> Result<(), &'static str> {
        match tries.mended.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err("no paper"),
        }
    }
    let streamer = store.connect().await;
    let ids = emit(&streamer, "e", 0..1).await;
    let tries = Tries::default();
    let listeners = || tries.listeners(&RetryPolicy::none()).on("e", "refuses", refuses);
    let listen = || {
        let listening = streamer.listen(listeners()).group("g").consumer("c");
        listening.always_acknowledge(false).reclaim(None)
    };
    listen_until(listen(), "both failures are listed", async || {
        streamer.failed().count().await.unwrap() == 2 && has_progress(&streamer, ids[0]).await
    })
    .await;
    assert_eq!(list(&streamer, FailedFilter::all()).await[0].details.groups, ["g"]);

    // One fails again, one is mended: it stays pending.
    tries.mended.store(true, Ordering::SeqCst);
    let retry = |receiver: &str| {
        let filter = FailedFilter::all().receiver(receiver);
        streamer.failed().retry(filter, listeners()).run()
    };
    assert_eq!(retry("refuses").await.unwrap().retried, 1);
    assert_eq!(pending(&streamer).await, 1);
    tries.mended.store(false, Ordering::SeqCst);
    assert_eq!(retry("stubborn").await.unwrap().failed_again, 1);
    assert_eq!(pending(&streamer).await, 1);
    tries.mended.store(true, Ordering::SeqCst);
    assert_eq!(retry("stubborn").await.unwrap().retried, 1);
    assert_eq!(
        (pending(&streamer).await, streamer.failed().count().await.unwrap()),
        (0, 0)
    );

    // Nothing runs again, and nothing is left of it.
    let before = tries.others.lock().unwrap().len();
    listen().listen_timeout(ms(100)).run().await.unwrap();
    assert_eq!((before, tries.others.lock().unwrap().len(), tries.of(0)), (1, 1, 3));
    assert!(!has_progress(&streamer, ids[0]).await);
}
