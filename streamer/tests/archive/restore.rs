//! The way back.

use std::sync::{Arc, Mutex};

use streamer::{
    EntryId, ReceivedMessage,
    archive::{OlderThan, Restore, Sweep},
    engine::{Append, AppendOptions, Record},
};

use crate::{Place, name, on_each_engine};

on_each_engine! {
    a_restored_message_is_back_with_its_old_id_beside_its_new_one,
    type_and_payload_come_back_as_they_were,
    every_id_that_a_message_had_is_remembered,
    a_foreign_entry_comes_back_with_its_own_fields,
    one_failure_does_not_stop_the_rest,
    a_message_in_both_places_is_on_the_stream_once_after_a_restore,
    a_restore_that_was_cut_short_does_not_double_the_message,
    nor_does_it_when_the_message_was_archived_again_meanwhile,
    two_restores_at_once_double_nothing,
    a_stream_or_a_message_can_be_restored_alone,
}

async fn archive_all(place: &Place, stream: &str) {
    let sweep = Sweep::archive(&place.streamer, place.archive.clone());
    sweep.run(&name(stream), OlderThan::now()).await.unwrap();
}

fn restore(place: &Place) -> Restore {
    Restore::new(&place.streamer, place.archive.clone())
}

async fn on_stream(place: &Place, stream: &str) -> Vec<ReceivedMessage> {
    let entries = place.on_stream(stream).await.into_iter();
    entries
        .map(|entry| ReceivedMessage::new(name(stream), entry, 1))
        .collect()
}

async fn a_restored_message_is_back_with_its_old_id_beside_its_new_one(place: Place) {
    let ids = place.emit("e", 3).await;
    let before = place.on_stream("e").await;
    archive_all(&place, "e").await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let restore =
        restore(&place).on_message(move |message, new| telling.lock().unwrap().push((message.id, new.unwrap())));
    let summary = restore.run(None).await.unwrap();
    assert_eq!((summary.restored, summary.failed), (3, 0));
    assert_eq!(place.in_archive().await, []);
    let back = on_stream(&place, "e").await;
    assert_eq!(
        *told.lock().unwrap(),
        ids.iter()
            .copied()
            .zip(back.iter().map(ReceivedMessage::id))
            .collect::<Vec<_>>()
    );
    for ((old, id), new) in before.iter().zip(&ids).zip(&back) {
        assert!(new.id() > *ids.last().unwrap());
        assert_eq!(new.original_id(), Some(*id));
        let mut fields = new.fields().clone();
        assert_eq!(fields.remove(1), ("original_id".into(), id.to_string().into()));
        assert_eq!(fields, old.fields);
    }
}

/// PHP makes an `event` of everything, and encodes the payload anew: `{}` becomes `[]`, with another hash.
async fn type_and_payload_come_back_as_they_were(place: Place) {
    let data = "{\"f\":1.0,\"o\":{},\"big\":1.0e+100,\"nested\":{\"0\":\"a\",\"1\":\"b\"}}";
    for kind in ["event", "notification", "command", "anything"] {
        let envelope = streamer::message::Envelope {
            name: "e".into(),
            kind: kind.into(),
            domain: "shop".into(),
            original_id: None,
            created: 5,
            data: data.into(),
        };
        place.streamer.stream("e").add(envelope.encode()).await.unwrap();
    }
    let before = on_stream(&place, "e").await;
    for _ in 0..2 {
        archive_all(&place, "e").await;
        restore(&place).run(None).await.unwrap();
    }
    let after = on_stream(&place, "e").await;
    assert_eq!(after.len(), 4);
    for (before, after) in before.iter().zip(&after) {
        for field in ["_id", "type", "version", "name", "domain", "created", "data", "hash"] {
            assert_eq!(before.field(field), after.field(field), "{field}");
        }
    }
}

/// PHP overwrites `original_id` at the second time, and the first is lost.
async fn every_id_that_a_message_had_is_remembered(place: Place) {
    let mut ids = place.emit("e", 1).await;
    for _ in 0..4 {
        archive_all(&place, "e").await;
        let archived = place.in_archive().await.remove(0);
        assert_eq!(archived.id, *ids.last().unwrap());
        assert_eq!(archived.original_ids, ids[..ids.len() - 1]);
        restore(&place).run(None).await.unwrap();
        let back = on_stream(&place, "e").await.remove(0);
        // On the wire there is one, as PHP has it.
        assert_eq!(back.original_id(), ids.last().copied());
        assert_eq!(
            back.fields().iter().filter(|(name, _)| name == "original_id").count(),
            1
        );
        ids.push(back.id());
    }
}

async fn a_foreign_entry_comes_back_with_its_own_fields(place: Place) {
    let id = place.add("e", &[("k", "v"), ("k", "w")]).await;
    archive_all(&place, "e").await;
    restore(&place).run(None).await.unwrap();
    let back = on_stream(&place, "e").await.remove(0);
    assert_eq!(back.original_id(), Some(id));
    assert_eq!(back.fields()[1..], [("k".into(), "v".into()), ("k".into(), "w".into())]);
    assert_eq!(back.data().unwrap(), &serde_json::json!({"k": "w"}));
}

async fn one_failure_does_not_stop_the_rest(place: Place) {
    let b = "{b}:handled";
    for stream in ["a", b, "c"] {
        // By hand: emitting refuses the name.
        for _ in 0..2 {
            place
                .add(stream, &[("name", stream), ("data", "{}"), ("created", "1")])
                .await;
        }
        archive_all(&place, stream).await;
    }
    let engine = place.streamer.engine();
    // Something else has taken the name of one stream.
    engine.remove_stream(&name(b)).await.unwrap();
    engine
        .add_handled(&name("b"), None, &[EntryId::new(1, 0)])
        .await
        .unwrap();
    let summary = restore(&place).run(None).await.unwrap();
    let failed = 2;
    assert_eq!((summary.restored, summary.failed), (6 - failed, failed));
    assert_eq!(place.in_archive().await.len() as u64, failed);
    assert_eq!(place.on_stream("c").await.len(), 2);
}

/// As a crash between storing and deleting leaves it. In PHP a restore then doubles the message.
async fn a_message_in_both_places_is_on_the_stream_once_after_a_restore(place: Place) {
    let ids = place.emit("e", 2).await;
    let messages = place
        .on_stream("e")
        .await
        .into_iter()
        .map(|entry| streamer::archive::ArchivedMessage {
            stream: name("e"),
            id: entry.id,
            original_ids: Vec::new(),
            fields: entry.fields,
        });
    place.archive.create(&messages.collect::<Vec<_>>()).await.unwrap();
    restore(&place).run(None).await.unwrap();
    assert_eq!(place.in_archive().await, []);
    let back = on_stream(&place, "e").await;
    assert_eq!(
        back.iter().filter_map(ReceivedMessage::original_id).collect::<Vec<_>>(),
        ids
    );
    assert_eq!(back.len(), 2);
}

/// What a restore that dies after the append leaves behind: the entry, its record, and the archived message.
async fn restore_cut_short(place: &Place, stream: &str) -> EntryId {
    let archived = place.in_archive().await.remove(0);
    let mut fields = archived.fields.clone();
    fields.insert(1, ("original_id".into(), archived.id.to_string().into()));
    let append = Append {
        stream: name(stream),
        id: Default::default(),
        fields,
        options: AppendOptions::default(),
    };
    let mut ids = archived.original_ids;
    ids.push(archived.id);
    let record = Record::Restored { ids };
    let appended = place.streamer.engine().append_recorded(append, record).await.unwrap();
    assert!(appended.fresh);
    appended.id
}

async fn a_restore_that_was_cut_short_does_not_double_the_message(place: Place) {
    let ids = place.emit("e", 1).await;
    archive_all(&place, "e").await;
    let new = restore_cut_short(&place, "e").await;
    assert_eq!(restore(&place).one(&name("e"), ids[0]).await.unwrap(), Some(new));
    assert_eq!(place.ids_on_stream("e").await, [new]);
    assert_eq!(place.in_archive().await, []);
}

async fn nor_does_it_when_the_message_was_archived_again_meanwhile(place: Place) {
    let ids = place.emit("e", 1).await;
    archive_all(&place, "e").await;
    let new = restore_cut_short(&place, "e").await;
    archive_all(&place, "e").await;
    let archived = place.in_archive().await;
    assert_eq!(archived.len(), 1, "the copy that the restore left behind is gone");
    assert_eq!((archived[0].id, &archived[0].original_ids), (new, &ids));
    assert_eq!(restore(&place).run(None).await.unwrap().restored, 1);
    assert_eq!(place.on_stream("e").await.len(), 1);
}

async fn two_restores_at_once_double_nothing(place: Place) {
    let ids = place.emit("e", 300).await;
    archive_all(&place, "e").await;
    let (one, two) = (restore(&place), restore(&place));
    let (one, two) = tokio::join!(one.run(None), two.run(None));
    assert!(one.unwrap().restored + two.unwrap().restored >= 300);
    let mut back = on_stream(&place, "e")
        .await
        .iter()
        .filter_map(ReceivedMessage::original_id)
        .collect::<Vec<_>>();
    back.sort_unstable();
    assert_eq!(back, ids);
    assert_eq!(place.in_archive().await, []);
}

async fn a_stream_or_a_message_can_be_restored_alone(place: Place) {
    let a = place.emit("a", 3).await;
    place.emit("b", 3).await;
    archive_all(&place, "a").await;
    archive_all(&place, "b").await;
    assert!(restore(&place).one(&name("a"), a[1]).await.unwrap().is_some());
    assert_eq!(restore(&place).one(&name("a"), a[1]).await.unwrap(), None);
    assert_eq!(place.on_stream("a").await.len(), 1);
    assert_eq!(restore(&place).run(Some(&name("b"))).await.unwrap().restored, 3);
    assert_eq!(place.ids_in_archive().await, [a[0], a[2]]);
}
