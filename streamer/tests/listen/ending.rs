//! How a listening ends, and what it leaves.

use std::{sync::Arc, time::Duration};

use streamer::{EndReason, ListenError, Listeners, ReceivedMessage, StopHandle, Streamer, Workers, extract::State};
use tokio::sync::Semaphore;

use crate::{Seen, emit, number, numbered, on_each_engine, store::Store, until};

on_each_engine!(
    a_listener_can_end_the_listening_and_it_can_begin_again,
    a_listener_can_emit,
    what_runs_is_finished_and_acknowledged_before_the_end,
    after_the_grace_period_it_ends_and_nothing_unfinished_is_acknowledged,
    an_abort_acknowledges_nothing_that_was_not_handled,
    options_that_make_no_sense_are_refused,
    it_ends_after_so_many_messages_and_the_others_go_back,
    it_runs_in_a_task_of_its_own_and_tells_when_it_is_ready,
    it_ends_when_a_future_of_the_application_is_ready,
);

async fn pending(streamer: &Streamer) -> u64 {
    streamer.engine().pending_summary(&"e".into(), "g").await.unwrap().count
}

async fn a_listener_can_end_the_listening_and_it_can_begin_again(store: Store) {
    async fn third(message: ReceivedMessage, State(seen): State<Seen>, stop: StopHandle) {
        if number(&message) == 2 {
            stop.stop();
        }
        seen.add(message);
    }
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let seen = Seen::default();
    let listeners = Listeners::with_state(seen.clone()).on("e", "third", third);
    let listen = || streamer.listen(listeners.clone()).group("g");
    let summary = listen().run().await.unwrap();
    assert_eq!((summary.messages, summary.ended), (3, EndReason::Stopped));
    assert_eq!(seen.len(), 3);
    let summary = listen().listen_timeout(Duration::from_millis(100)).run().await.unwrap();
    assert_eq!(summary.messages, 7);
    assert!(seen.numbers().into_iter().eq(0..10));
}

async fn a_listener_can_emit(store: Store) {
    async fn pass_on(message: ReceivedMessage, streamer: Streamer) -> Result<(), streamer::EmitError> {
        streamer.emit(&numbered("next", number(&message))).await?;
        Ok(())
    }
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..50).await;
    let listening = streamer.listen(Listeners::new().on("e", "pass_on", pass_on)).group("g");
    listening
        .listen_timeout(Duration::from_millis(100))
        .run()
        .await
        .unwrap();
    assert_eq!(streamer.engine().len(&"next".into()).await.unwrap(), 50);
}

type Gate = (Seen, Arc<Semaphore>);

/// A listener that waits until it is let through.
fn gated() -> (Listeners<Gate>, Seen, Arc<Semaphore>) {
    async fn wait(message: ReceivedMessage, State((begun, gate)): State<Gate>) {
        begun.add(message);
        gate.acquire().await.unwrap().forget();
    }
    let (begun, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let listeners = Listeners::with_state((begun.clone(), Arc::clone(&gate))).on("e", "wait", wait);
    (listeners, begun, gate)
}

async fn what_runs_is_finished_and_acknowledged_before_the_end(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..1).await;
    let (listeners, begun, gate) = gated();
    let listening = streamer.listen(listeners).group("g").consumer("c");
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("it is being handled", async || begun.len() == 1).await;
    stop.stop();
    assert!(!running.is_finished());
    gate.add_permits(1);
    let summary = running.await.unwrap().unwrap();
    assert_eq!((summary.processed, summary.ended), (1, EndReason::Stopped));
    assert_eq!(pending(&streamer).await, 0);
    assert_eq!(streamer.engine().consumers(&"e".into(), "g").await.unwrap(), []);
}

async fn after_the_grace_period_it_ends_and_nothing_unfinished_is_acknowledged(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..3).await;
    let (listeners, begun, _gate) = gated();
    let listening = streamer.listen(listeners).group("g").grace(Duration::from_millis(20));
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("it is being handled", async || begun.len() == 1).await;
    stop.stop();
    let summary = running.await.unwrap().unwrap();
    assert_eq!((summary.processed, summary.ended), (0, EndReason::Aborted));
    assert_eq!(pending(&streamer).await, 3);
}

async fn an_abort_acknowledges_nothing_that_was_not_handled(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..5).await;
    let (listeners, begun, gate) = gated();
    let listening = streamer.listen(listeners).group("g");
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    gate.add_permits(2);
    until("two are settled, the third is being handled", async || {
        begun.len() == 3 && pending(&streamer).await == 3
    })
    .await;
    stop.abort();
    assert_eq!(running.await.unwrap().unwrap().ended, EndReason::Aborted);
    assert_eq!(pending(&streamer).await, 3);
}

async fn options_that_make_no_sense_are_refused(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let listen = || streamer.listen(seen.listener("e"));
    assert!(matches!(
        streamer.listen(Listeners::new()).run().await,
        Err(ListenError::NoEvents)
    ));
    assert!(
        matches!(listen().events(["other"]).run().await, Err(ListenError::NoListeners(name)) if name == "other".into())
    );
    for refused in [
        listen().consumer("c"),
        listen().group(""),
        listen().batch(0),
        listen().group("g").reclaim(Some(Duration::from_millis(1))),
    ] {
        assert!(matches!(refused.run().await, Err(ListenError::InvalidOption(_))));
    }
}

/// What was read beyond them can be claimed at once.
async fn it_ends_after_so_many_messages_and_the_others_go_back(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..100).await;
    let seen = Seen::default();
    for workers in [Workers::InOrder, Workers::AtOnce(4)] {
        let listening = streamer.listen(seen.listener("e")).group("g").workers(workers);
        let summary = listening.stop_after(30).run().await.unwrap();
        assert_eq!((summary.messages, summary.ended), (30, EndReason::Enough));
    }
    let listening = streamer.listen(seen.listener("e")).group("g");
    let summary = listening
        .listen_timeout(Duration::from_millis(100))
        .run()
        .await
        .unwrap();
    assert_eq!((summary.messages, summary.ended), (40, EndReason::Quiet));
    let mut numbers = seen.numbers();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..100), "each once");
}

async fn it_runs_in_a_task_of_its_own_and_tells_when_it_is_ready(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    // Without a group, and from now on: only who is ready gets what comes.
    let running = streamer.listen(seen.listener("e")).spawn();
    assert!(running.ready().await);
    emit(&streamer, "e", 0..3).await;
    until("all came", async || seen.len() == 3).await;
    running.stop();
    let summary = running.join().await.unwrap();
    assert_eq!((summary.messages, summary.ended), (3, EndReason::Stopped));

    let running = streamer.listen(Listeners::new()).spawn();
    assert!(!running.ready().await, "it has no events");
    assert!(matches!(running.join().await, Err(ListenError::NoEvents)));
}

async fn it_ends_when_a_future_of_the_application_is_ready(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let (end, _) = tokio::sync::watch::channel(false);
    let ended = async |mut ended: tokio::sync::watch::Receiver<bool>| {
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let listen = |event: &str| {
        let listening = streamer.listen(seen.listener(event)).group("g");
        listening.stop_when(ended(end.subscribe())).spawn()
    };
    let running = [listen("a"), listen("b")];
    for running in &running {
        assert!(running.ready().await);
    }
    end.send(true).unwrap();
    for running in running {
        assert_eq!(running.join().await.unwrap().ended, EndReason::Stopped);
    }
}
