//! The life of one message.

use std::sync::Arc;

use serde_json::json;
use streamer::{
    DynamicEvent, EmitOptions, Listeners, Payload, ReceivedMessage, StreamName,
    archive::{ArchiveStorage, MemoryArchive, Sweep},
    inspect::MessageState,
    message::{CAUSATION_ID, CORRELATION_ID},
};

use crate::{Subject, on_all_stores};

async fn a_message_is_waiting_pending_or_settled_in_each_group(subject: Subject) {
    let ids = subject.emit("a", 3).await;
    let stream = StreamName::from("a");
    for group in ["done", "pending", "waiting"] {
        subject.group("a", group).await;
    }
    let all = subject.deliver("a", "done", "d-1", 3).await;
    subject.engine().acknowledge(&stream, "done", &all).await.unwrap();
    subject.deliver("a", "pending", "p-1", 2).await;
    let inspect = subject.streamer.inspect();
    let life = inspect.message(&stream, ids[1], None).await.unwrap();
    let states: Vec<_> = life
        .groups
        .iter()
        .map(|group| (group.name.as_str(), &group.state))
        .collect();
    let [
        ("done", MessageState::Settled),
        ("pending", pending),
        ("waiting", MessageState::Waiting),
    ] = &states[..]
    else {
        panic!("{states:?}")
    };
    assert!(matches!(pending, MessageState::Pending { consumer, deliveries: 1, .. } if consumer == "p-1"));
    assert_eq!(life.message.as_ref().unwrap().get("n"), Some(&json!(1)));
    assert!(life.is_known() && life.age_ms.is_some() && life.refused.is_empty());

    subject.engine().delete(&stream, &ids[..]).await.unwrap();
    let life = inspect.message(&stream, ids[2], None).await.unwrap();
    assert!(life.message.is_none() && !life.is_known());
    let missed: Vec<_> = life
        .groups
        .iter()
        .filter(|group| group.state == MessageState::Missed)
        .collect();
    assert_eq!(missed.len(), 2, "{life:?}");
}

async fn an_event_for_later_is_shown_under_the_id_under_which_it_waits(subject: Subject) {
    subject.emit("a", 1).await;
    subject.group("a", "g").await;
    let event = DynamicEvent::new("a", json!({"cart": 7}));
    let hour = std::time::Duration::from_secs(3600);
    let options = EmitOptions::new()
        .deliver_after(hour)
        .header(CORRELATION_ID, "checkout-7");
    let waiting = subject.streamer.emit_with(&event, options).await.unwrap();
    let stream = StreamName::from("a");
    let inspect = subject.streamer.inspect();
    let life = inspect.message(&stream, waiting, None).await.unwrap();
    assert!(life.is_known() && life.message.is_none(), "{life:?}");
    assert_eq!(life.scheduled.as_ref().unwrap().get("cart"), Some(&json!(7)));
    assert!(life.headers.iter().any(|(_, value)| value == "checkout-7"), "{life:?}");
    // No group has had it.
    assert!(life.groups.is_empty() && life.refused.is_empty(), "{life:?}");
    let near = waiting.previous().unwrap();
    assert!(!inspect.message(&stream, near, None).await.unwrap().is_known());
    assert!(subject.streamer.scheduled("a").cancel(waiting).await.unwrap());
    assert!(!inspect.message(&stream, waiting, None).await.unwrap().is_known());
}

async fn failures_and_the_archive_are_part_of_it(subject: Subject) {
    let id = subject.emit("a", 1).await[0];
    let stream = StreamName::from("a");
    let listeners = Listeners::new().on("a", "broken", |_: ReceivedMessage| async { Err::<(), _>("no paper") });
    let listening = subject
        .streamer
        .listen(listeners)
        .group("g")
        .listen_timeout(std::time::Duration::from_millis(50));
    listening.run().await.unwrap();
    let archive = Arc::new(MemoryArchive::default());
    let as_archive: Arc<dyn ArchiveStorage> = archive.clone();
    let inspect = subject.streamer.inspect();
    let life = inspect.message(&stream, id, Some(archive.as_ref())).await.unwrap();
    assert_eq!(life.failures.len(), 1);
    assert_eq!(
        (life.failures[0].receiver.as_str(), life.failures[0].error.as_str()),
        ("broken", "no paper")
    );
    assert!(life.failures_complete && life.archived.is_none());

    Sweep::archive(&subject.streamer, as_archive)
        .one(&stream, id)
        .await
        .unwrap();
    let life = inspect.message(&stream, id, Some(archive.as_ref())).await.unwrap();
    assert!(life.message.is_none() && life.archived.is_some() && life.is_known());
}

async fn headers_travel_and_tell_what_a_message_caused(subject: Subject) {
    let event = DynamicEvent::new("a", json!({"n": 1}));
    let options = EmitOptions::new()
        .header(CORRELATION_ID, "checkout-17")
        .header("tenant", "é\n7");
    let id = subject.streamer.emit_with(&event, options).await.unwrap();
    let listeners = Listeners::with_state(subject.streamer.clone()).on(
        "a",
        "emits",
        |message: ReceivedMessage,
         _: Payload<serde_json::Value>,
         streamer: streamer::extract::State<streamer::Streamer>| async move {
            let event = DynamicEvent::new("b", json!({}));
            streamer
                .0
                .emit_with(&event, EmitOptions::new().caused_by(&message))
                .await
                .map(drop)
        },
    );
    let listening = subject
        .streamer
        .listen(listeners)
        .group("g")
        .listen_timeout(std::time::Duration::from_millis(50));
    listening.run().await.unwrap();
    let inspect = subject.streamer.inspect();
    let life = inspect.message(&"a".into(), id, None).await.unwrap();
    assert_eq!(
        life.headers,
        [
            (CORRELATION_ID.to_owned(), "checkout-17".to_owned()),
            ("tenant".to_owned(), "é\n7".to_owned())
        ]
    );
    assert!(life.caused.complete, "{life:?}");
    let [(stream, caused)] = &life.caused.messages[..] else {
        panic!("{life:?}")
    };
    assert_eq!(stream, "b");
    let life = inspect.message(&"b".into(), *caused, None).await.unwrap();
    let message = life.message.unwrap();
    assert_eq!(message.header(CAUSATION_ID).unwrap(), format!("a/{id}"));
    assert_eq!(message.header(CORRELATION_ID).unwrap(), "checkout-17");
    // The message itself is as without headers: PHP sees the same fields before them.
    let names: Vec<_> = message.fields().iter().map(|(name, _)| name.clone()).collect();
    let expected = [
        "_id",
        "type",
        "version",
        "name",
        "domain",
        "created",
        "data",
        "hash",
        CORRELATION_ID,
        CAUSATION_ID,
    ];
    assert_eq!(names, expected);

    for name in ["hash", "data", ""] {
        let refused = subject
            .streamer
            .emit_with(&event, EmitOptions::new().header(name, "x"))
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("another name"), "{refused}");
    }
}

on_all_stores! {
    a_message_is_waiting_pending_or_settled_in_each_group
    an_event_for_later_is_shown_under_the_id_under_which_it_waits
    failures_and_the_archive_are_part_of_it
    headers_travel_and_tell_what_a_message_caused
}
