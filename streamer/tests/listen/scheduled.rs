//! Events that are emitted for later: any listening moves them to their stream when they are due.

use std::collections::BTreeSet;

use serde_json::json;
use streamer::{
    DynamicEvent, EmitOptions, EntryId, Moment, ReceivedMessage, StartAt, Streamer, extract::State,
    message::SCHEDULED_ID,
};

use crate::{Running, Seen, assert_each_once, number, on_each_engine, store::Store, until};

on_each_engine!(
    events_come_when_they_are_due_and_in_that_order,
    what_became_due_while_nobody_listened_comes_with_the_next_listening,
    many_listenings_move_each_event_once,
    a_stream_that_is_something_else_holds_up_no_other,
    each_of_many_streams_has_its_turn,
);

async fn emit_later(streamer: &Streamer, event: &str, number: u64, due: Moment) -> EntryId {
    let event = DynamicEvent::new(event, json!({"n": number}));
    let options = EmitOptions::new().deliver_at(due).header("tenant", "north");
    streamer.emit_with(&event, options).await.unwrap()
}

fn ahead(ms: u64) -> Moment {
    Moment::from_unix_ms(Moment::now().unix_ms() + ms)
}

async fn events_come_when_they_are_due_and_in_that_order(store: Store) {
    let streamer = store.connect().await;
    let seen = Seen::default();
    let mut listenings = Vec::new();
    for listening in [
        streamer.listen(seen.listener("e")).group("g"),
        streamer.listen(seen.listener("e")).start(StartAt::Beginning),
    ] {
        listenings.push(Running::start(listening));
    }
    let mut ids = Vec::new();
    for (number, due) in [(2, ahead(700)), (0, ahead(300)), (1, ahead(500))] {
        ids.push((number, emit_later(&streamer, "e", number, due).await));
    }
    // One that is not due for long.
    let later = emit_later(&streamer, "e", 3, ahead(3_600_000)).await;
    until("both have all that is due", async || seen.len() == 6).await;
    for listening in listenings {
        listening.stop().await;
    }
    let mut numbers = seen.numbers();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 0, 1, 1, 2, 2]);
    let messages = seen.0.lock().unwrap().clone();
    let mut on_the_stream: Vec<_> = messages.iter().map(|message| (message.id(), number(message))).collect();
    on_the_stream.sort_unstable();
    on_the_stream.dedup();
    assert_eq!(on_the_stream.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 1, 2]);
    for message in &messages {
        let (_, scheduled) = ids.iter().find(|(n, _)| *n == number(message)).unwrap();
        assert!(
            message.id().ms >= scheduled.ms,
            "{} came before {scheduled}",
            message.id()
        );
        assert_eq!(message.header(SCHEDULED_ID).unwrap(), scheduled.to_string());
        assert_eq!(message.header("tenant").unwrap(), "north");
    }
    let waiting = streamer.scheduled("e").page(None, 10).await.unwrap();
    assert_eq!(waiting.iter().map(|entry| entry.id).collect::<Vec<_>>(), [later]);
}

async fn what_became_due_while_nobody_listened_comes_with_the_next_listening(store: Store) {
    let streamer = store.connect().await;
    for number in 0..300 {
        emit_later(&streamer, "e", number, ahead(100)).await;
    }
    until("all are due", async || {
        let waiting = streamer.scheduled("e").page(None, 300).await.unwrap();
        waiting.last().is_some_and(|last| last.id.ms < Moment::now().unix_ms())
    })
    .await;
    assert_eq!(streamer.stream("e").len().await.unwrap(), 0);
    let seen = Seen::default();
    let listening = Running::start(streamer.listen(seen.listener("e")).group("g"));
    until("all have come", async || seen.len() == 300).await;
    listening.stop().await;
    assert_eq!(seen.numbers(), (0..300).collect::<Vec<_>>());
    assert_eq!(streamer.scheduled("e").count().await.unwrap(), 0);
}

async fn many_listenings_move_each_event_once(store: Store) {
    const EVENTS: u64 = 500;
    let streamer = store.connect().await;
    let seen = Seen::default();
    let mut listenings = Vec::new();
    for _ in 0..4 {
        // Each with a connection of its own.
        let streamer = store.connect().await;
        listenings.push(Running::start(streamer.listen(seen.listener("e")).group("g")));
    }
    let due = ahead(400);
    let mut ids = BTreeSet::new();
    for number in 0..EVENTS {
        ids.insert(emit_later(&streamer, "e", number, due).await);
    }
    assert_eq!(ids.len() as u64, EVENTS);
    until("all have come", async || seen.len() as u64 >= EVENTS).await;
    for listening in listenings {
        listening.stop().await;
    }
    assert_each_once(seen.numbers(), 0..EVENTS);
    assert_eq!(streamer.stream("e").len().await.unwrap(), EVENTS);
}

async fn a_stream_that_is_something_else_holds_up_no_other(store: Store) {
    let streamer = store.connect().await;
    // The history of a resource has the name of the event 'e-7'.
    let changed = DynamicEvent::new("e", json!({"n": 1}));
    let with_history = EmitOptions::new().identifier("7");
    if streamer.emit_with(&changed, with_history).await.is_err() {
        // A cluster has the two in different slots.
        return;
    }
    let due = ahead(200);
    emit_later(&streamer, "f", 2, due).await;
    let refused = streamer
        .emit_with(&DynamicEvent::new("e-7", json!({})), EmitOptions::new().deliver_at(due))
        .await;
    assert!(refused.is_err());
    let seen = Seen::default();
    let listening = Running::start(streamer.listen(seen.listener("f")).group("g"));
    until("the event has come", async || seen.numbers() == [2]).await;
    let unlistened = streamer.engine().append_due(&"e-7".into(), 10).await;
    assert!(unlistened.is_err());
    let ended = listening.stop().await;
    assert_eq!(ended.messages, 1);
}

async fn each_of_many_streams_has_its_turn(store: Store) {
    // More than one look asks for.
    const STREAMS: u64 = 130;
    let streamer = store.connect().await;
    let seen = Seen::default();
    let event = |number: u64| format!("{{e}}{number}");
    let mut listeners = seen.listener(&event(0));
    for number in 1..STREAMS {
        async fn note(message: ReceivedMessage, State(seen): State<Seen>) {
            seen.add(message);
        }
        listeners = listeners.on(event(number), "note", note);
    }
    emit_later(&streamer, &event(0), STREAMS, ahead(0)).await;
    let listening = Running::start(streamer.listen(listeners).group("g"));
    // By then the first look, which asks for all, may be over.
    until("the listening has begun", async || seen.len() == 1).await;
    for number in 0..STREAMS {
        emit_later(&streamer, &event(number), number, ahead(300)).await;
    }
    until("all have come", async || seen.len() as u64 == STREAMS + 1).await;
    listening.stop().await;
    assert_each_once(seen.numbers(), 0..STREAMS + 1);
}
