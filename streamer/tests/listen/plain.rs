//! Listening without a group.

use std::time::Duration;

use streamer::{EndReason, EntryId, Listeners, ReceivedMessage, StartAt, StopHandle};

use crate::{Seen, emit, number, numbered, on_each_engine, store::Store, until};

on_each_engine!(
    every_message_of_100_000_arrives_in_order_while_reads_time_out,
    a_listening_from_the_beginning_sees_what_was_there,
    a_listening_from_now_does_not_see_what_was_there,
    a_listening_after_an_id_goes_on_there,
    a_quiet_stream_beside_a_busy_one_loses_nothing,
    it_ends_when_it_was_quiet_for_long_enough,
);

/// laravel-streamer asks for `$` at every read and loses what arrives in between.
async fn every_message_of_100_000_arrives_in_order_while_reads_time_out(store: Store) {
    const MESSAGES: u64 = 100_000;
    async fn check(
        message: ReceivedMessage,
        stop: StopHandle,
        streamer::extract::State(seen): streamer::extract::State<Seen>,
    ) {
        if number(&message) == MESSAGES - 1 {
            stop.stop();
        }
        seen.add(message);
    }
    let streamer = store.connect().await;
    let seen = Seen::default();
    let listeners = Listeners::with_state(seen.clone()).on("busy", "check", check);
    let (began, mut begun) = tokio::sync::watch::channel(false);
    let listening = streamer
        .listen(listeners)
        .read_wait(Duration::from_millis(1))
        .on_report(move |report| {
            if matches!(report, streamer::Report::Started { .. }) {
                began.send_replace(true);
            }
        });
    let emitter = store.connect().await;
    let emitting = async move {
        begun.wait_for(|begun| *begun).await.unwrap();
        // One at a time and in small batches, so that many reads find nothing and many find some.
        for start in (0..MESSAGES).step_by(200) {
            emitter.emit(&numbered("busy", start)).await.unwrap();
            emit(&emitter, "busy", start + 1..start + 200).await;
        }
    };
    let (summary, ()) = tokio::join!(listening.run(), emitting);
    assert_eq!(summary.unwrap().messages, MESSAGES);
    assert!(
        seen.numbers().into_iter().eq(0..MESSAGES),
        "some are missing, double or out of order"
    );
}

async fn a_listening_from_the_beginning_sees_what_was_there(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).start(StartAt::Beginning);
    let summary = listening.listen_timeout(Duration::from_millis(50)).run().await.unwrap();
    assert_eq!((summary.messages, summary.ended), (10, EndReason::Quiet));
    assert!(seen.numbers().into_iter().eq(0..10));
}

async fn a_listening_from_now_does_not_see_what_was_there(store: Store) {
    let streamer = store.connect().await;
    emit(&streamer, "e", 0..10).await;
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e"));
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    let mut next = 100;
    until("a message arrives", async || {
        emit(&streamer, "e", next..next + 1).await;
        next += 1;
        seen.len() > 0
    })
    .await;
    stop.stop();
    running.await.unwrap().unwrap();
    assert!(seen.numbers().into_iter().all(|number| number >= 100));
}

async fn a_listening_after_an_id_goes_on_there(store: Store) {
    let streamer = store.connect().await;
    let ids = emit(&streamer, "e", 0..10).await;
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).start(StartAt::After(ids[6]));
    listening.listen_timeout(Duration::from_millis(50)).run().await.unwrap();
    assert_eq!(seen.ids(), ids[7..]);

    // `0` is an ID like any other.
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).start(StartAt::After(EntryId::MIN));
    listening.listen_timeout(Duration::from_millis(50)).run().await.unwrap();
    assert_eq!(seen.ids(), ids);
}

async fn a_quiet_stream_beside_a_busy_one_loses_nothing(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let mut listeners = seen.listener("busy");
    listeners.add_many(seen.listener("quiet"));
    let listening = streamer
        .listen(listeners)
        .start(StartAt::Beginning)
        .read_wait(Duration::from_millis(1));
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    for round in 0..20 {
        emit(&streamer, "busy", round * 50..(round + 1) * 50).await;
        emit(&streamer, "quiet", round..round + 1).await;
    }
    until("all arrived", async || seen.len() == 20 * 51).await;
    stop.stop();
    running.await.unwrap().unwrap();
}

async fn it_ends_when_it_was_quiet_for_long_enough(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let listening = streamer
        .listen(seen.listener("e"))
        .listen_timeout(Duration::from_millis(20));
    assert_eq!(listening.run().await.unwrap().ended, EndReason::Quiet);
}
