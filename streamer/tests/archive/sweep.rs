//! Archiving and purging by age.

use std::sync::{Arc, Mutex};

use streamer::{
    EntryId,
    archive::{Fate, Kept, OlderThan, Restore, Sweep, SweepSummary},
};

use crate::{Place, name, on_each_engine};

on_each_engine! {
    archived_messages_leave_the_stream_with_every_byte,
    purged_messages_are_nowhere,
    only_what_is_old_enough_goes_by_its_created_time,
    a_foreign_entry_without_created_is_as_old_as_its_id,
    a_dry_run_changes_nothing_and_tells_the_same,
    what_was_in_both_places_heals,
    two_archivers_on_one_stream_lose_nothing,
    another_message_in_the_archive_s_place_keeps_ours_on_the_stream,
    what_could_not_be_restored_stays_on_the_stream,
    many_pages_go,
    a_stream_that_is_not_there_is_empty,
    one_message_goes_alone,
}

async fn archived_messages_leave_the_stream_with_every_byte(place: Place) {
    place.emit("e", 3).await;
    place
        .add(
            "e",
            &[
                ("_id", "*"),
                ("type", "command"),
                ("created", "5"),
                ("data", "{\"o\":{},\"f\":1.0}"),
                ("hash", "x"),
            ],
        )
        .await;
    let entries = place.on_stream("e").await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = Arc::clone(&told);
    let summary = Sweep::archive(&place.streamer, place.archive.clone())
        .on_message(move |_, id, fate| telling.lock().unwrap().push((id, fate)))
        .run(&name("e"), OlderThan::now())
        .await
        .unwrap();
    assert_eq!((summary.removed, summary.kept()), (4, 0));
    assert_eq!(place.on_stream("e").await, []);
    let archived = place.in_archive().await;
    assert_eq!(archived.len(), 4);
    for (entry, message) in entries.iter().zip(&archived) {
        assert_eq!((entry.id, &entry.fields), (message.id, &message.fields));
        assert_eq!(message.original_ids, []);
    }
    let expected = entries
        .iter()
        .map(|entry| (entry.id, Fate::Archived))
        .collect::<Vec<_>>();
    assert_eq!(*told.lock().unwrap(), expected);
}

async fn purged_messages_are_nowhere(place: Place) {
    place.emit("e", 3).await;
    let summary = Sweep::purge(&place.streamer)
        .run(&name("e"), OlderThan::now())
        .await
        .unwrap();
    assert_eq!(summary.removed, 3);
    assert_eq!(place.on_stream("e").await, []);
    assert_eq!(place.in_archive().await, []);
}

/// Emitters' clocks differ from the one that IDs are made by: age does not follow the order of the stream. A restored
/// message has an old `created` and a new ID; it stays until that is about as old.
async fn only_what_is_old_enough_goes_by_its_created_time(place: Place) {
    const HOUR: u64 = 3_600_000;
    let mut ids = Vec::new();
    for (ms, created) in [
        (100_000, "100"),
        (100_001, "300"),
        (300_000, "200"),
        (300_001, "201"),
        (200_000 + HOUR, "100"),
        (200_001 + HOUR, "100"),
    ] {
        let fields = vec![("created".into(), created.into()), ("data".into(), "{}".into())];
        ids.push(EntryId::new(ms, 0));
        let stream = place.streamer.stream("e");
        stream
            .add_with(fields, EntryId::new(ms, 0), Default::default())
            .await
            .unwrap();
    }
    let sweep = Sweep::archive(&place.streamer, place.archive.clone());
    let summary = sweep.run(&name("e"), OlderThan::moment(200_000)).await.unwrap();
    assert_eq!((summary.removed, summary.too_young), (3, 2));
    assert_eq!(place.ids_on_stream("e").await, [ids[1], ids[3], ids[5]]);
    assert_eq!(place.ids_in_archive().await, [ids[0], ids[2], ids[4]]);

    let summary = sweep.run(&name("e"), OlderThan::moment(200_001)).await.unwrap();
    assert_eq!((summary.removed, summary.too_young), (1, 2));
}

/// In PHP one such entry ends the whole command.
async fn a_foreign_entry_without_created_is_as_old_as_its_id(place: Place) {
    let stream = place.streamer.stream("e");
    let (old, older) = (EntryId::new(200_003, 0), EntryId::new(100_000, 0));
    let created = |text: &'static str| vec![("created".into(), text.into())];
    for (id, fields) in [
        (older, vec![("k".into(), "v".into())]),
        (EntryId::new(200_001, 0), vec![("k".into(), "v".into())]),
        (EntryId::new(200_002, 0), created("not a number")),
        (old, created("100")),
    ] {
        stream.add_with(fields, id, Default::default()).await.unwrap();
    }
    let sweep = Sweep::archive(&place.streamer, place.archive.clone());
    let summary = sweep.run(&name("e"), OlderThan::moment(150_000)).await.unwrap();
    assert_eq!((summary.removed, summary.too_young), (2, 2));
    assert_eq!(place.ids_in_archive().await, [older, old]);
}

async fn a_dry_run_changes_nothing_and_tells_the_same(place: Place) {
    let ids = place.emit("e", 10).await;
    let sweep = Sweep::archive(&place.streamer, place.archive.clone());
    let foretold = sweep.dry_run(true).run(&name("e"), OlderThan::now()).await.unwrap();
    assert_eq!(place.ids_on_stream("e").await, ids);
    assert_eq!(place.in_archive().await, []);
    let sweep = Sweep::archive(&place.streamer, place.archive.clone());
    assert_eq!(sweep.run(&name("e"), OlderThan::now()).await.unwrap(), foretold);
    assert_eq!(foretold.removed, 10);
}

/// As a crash between storing and deleting leaves it.
async fn what_was_in_both_places_heals(place: Place) {
    let ids = place.emit("e", 5).await;
    let entries = place.on_stream("e").await;
    Sweep::archive(&place.streamer, place.archive.clone())
        .run(&name("e"), OlderThan::now())
        .await
        .unwrap();
    let again = crate::Place::embedded().await;
    for entry in entries {
        again
            .streamer
            .stream("e")
            .add_with(entry.fields, entry.id, Default::default())
            .await
            .unwrap();
    }
    let sweep = Sweep::archive(&again.streamer, place.archive.clone());
    assert_eq!(sweep.run(&name("e"), OlderThan::now()).await.unwrap().removed, 5);
    assert_eq!(again.on_stream("e").await, []);
    assert_eq!(place.ids_in_archive().await, ids);
}

/// In PHP a message that two archive at once ends up in neither place.
async fn two_archivers_on_one_stream_lose_nothing(place: Place) {
    let ids = place.emit("e", 2_000).await;
    let (one, two) = (
        Sweep::archive(&place.streamer, place.archive.clone()),
        Sweep::archive(&place.streamer, place.archive.clone()),
    );
    let stream = name("e");
    let (one, two) = tokio::join!(one.run(&stream, OlderThan::now()), two.run(&stream, OlderThan::now()));
    assert!(one.unwrap().removed + two.unwrap().removed >= 2_000);
    assert_eq!(place.on_stream("e").await, []);
    assert_eq!(place.ids_in_archive().await, ids);
}

async fn another_message_in_the_archive_s_place_keeps_ours_on_the_stream(place: Place) {
    let ids = place.emit("e", 3).await;
    let entries = place.on_stream("e").await;
    let other = streamer::archive::ArchivedMessage {
        stream: name("e"),
        id: ids[1],
        original_ids: Vec::new(),
        fields: vec![("another".into(), "message".into())],
    };
    place.archive.create(std::slice::from_ref(&other)).await.unwrap();
    let sweep = Sweep::archive(&place.streamer, place.archive.clone());
    let summary = sweep.run(&name("e"), OlderThan::now()).await.unwrap();
    assert_eq!((summary.removed, summary.conflicts), (2, 1));
    assert_eq!(place.on_stream("e").await, entries[1..2]);
    assert_eq!(place.archive.find(&name("e"), ids[1]).await.unwrap(), Some(other));
}

async fn many_pages_go(place: Place) {
    let ids = place.emit("e", 3_000).await;
    let archiving = || Sweep::archive(&place.streamer, place.archive.clone());
    // Nothing is kept, so this trims; the next one has to delete one by one.
    archiving().run(&name("e"), OlderThan::now()).await.unwrap();
    assert_eq!(place.ids_in_archive().await, ids);
    // Half an hour ahead, as another machine's clock may be; what lies further after its ID is not believed.
    let ahead = std::time::SystemTime::now() + std::time::Duration::from_secs(1_800);
    let ahead = ahead
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .to_string();
    let young = place.add("e", &[("created", ahead.as_str()), ("data", "{}")]).await;
    place.add("e", &[("created", "99999999999"), ("data", "{}")]).await;
    place.emit("e", 2_000).await;
    let summary = archiving().run(&name("e"), OlderThan::now()).await.unwrap();
    assert_eq!((summary.removed, summary.too_young), (2_001, 1));
    assert_eq!(place.ids_on_stream("e").await, [young]);
    // The stream itself, with its groups and its last ID, is still there.
    assert!(place.streamer.stream("e").info().await.unwrap().is_some());
}

async fn a_stream_that_is_not_there_is_empty(place: Place) {
    let summary = Sweep::purge(&place.streamer)
        .run(&name("nowhere"), OlderThan::now())
        .await
        .unwrap();
    assert_eq!(summary, SweepSummary::default());
}

async fn one_message_goes_alone(place: Place) {
    let ids = place.emit("e", 3).await;
    let sweep = Sweep::archive(&place.streamer, place.archive.clone());
    let summary = sweep.one(&name("e"), ids[1]).await.unwrap().unwrap();
    assert_eq!((summary.removed, summary.kept()), (1, 0));
    assert_eq!(place.ids_on_stream("e").await, [ids[0], ids[2]]);
    assert_eq!(place.ids_in_archive().await, [ids[1]]);
    assert_eq!(sweep.one(&name("e"), ids[1]).await.unwrap(), None);
}

/// The entry of a restored message has one field more.
async fn what_could_not_be_restored_stays_on_the_stream(place: Place) {
    let fields = |count: usize| {
        (0..count)
            .map(|n| (format!("field{n}"), n.to_string()))
            .collect::<Vec<_>>()
    };
    let mut ids = Vec::new();
    for count in [3_899, 3_900, 4_000] {
        let fields = fields(count);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        ids.push(place.add("e", &fields).await);
    }
    let limited = place.streamer.engine().most_recorded_fields().is_some();
    let stays = if limited { &ids[1..] } else { &[] };
    let told = Arc::new(Mutex::new(Vec::new()));
    for dry_run in [true, false] {
        let telling = told.clone();
        let sweep = Sweep::archive(&place.streamer, place.archive.clone())
            .dry_run(dry_run)
            .force(true);
        let sweep = sweep.on_message(move |_, id, fate| telling.lock().unwrap().push((id, fate)));
        let summary = sweep.run(&name("e"), OlderThan::now()).await.unwrap();
        assert_eq!(summary.too_many_fields, stays.len() as u64);
        assert_eq!(summary.kept() + summary.removed, 3);
        let told = std::mem::take(&mut *told.lock().unwrap());
        let kept: Vec<_> = told
            .iter()
            .filter(|(_, fate)| *fate == Fate::Kept(Kept::TooManyFields))
            .collect();
        assert_eq!(kept.iter().map(|(id, _)| *id).collect::<Vec<_>>(), stays);
    }
    assert_eq!(place.ids_on_stream("e").await, stays);
    let summary = Restore::new(&place.streamer, place.archive.clone())
        .run(None)
        .await
        .unwrap();
    assert_eq!((summary.restored, summary.failed), (3 - stays.len() as u64, 0));
    assert_eq!(place.on_stream("e").await.len(), 3);
}
