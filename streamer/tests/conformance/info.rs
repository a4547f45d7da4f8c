//! `info`, `full_info`, `groups`, `consumers`, `last_id`, `location`, `warnings`.

use std::{sync::Arc, time::Duration};

use streamer::{
    EntryId,
    engine::{Engine, EngineErrorKind, GroupStart},
};

use crate::given::{
    GROUP, a_consumer, a_group, a_stream, all, assert_kind, entries, is_7_0, numbered_entries, pending_entries,
    read_ids,
};

pub(crate) async fn a_missing_stream_has_no_info(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    assert_eq!(engine.info(&stream).await.unwrap(), None);
    assert_eq!(engine.full_info(&stream, 10).await.unwrap(), None);
    assert_eq!(engine.groups(&stream).await.unwrap(), []);
}

pub(crate) async fn a_stream_tells_its_length_and_ends(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 3).await;
    a_group(&engine, &stream).await;
    let stored = all(&engine, &stream).await;
    let info = engine.info(&stream).await.unwrap().unwrap();
    assert_eq!((info.length, info.last_id, info.groups), (3, ids[2], 1));
    assert_eq!(info.first_entry.as_ref(), stored.first());
    assert_eq!(info.last_entry.as_ref(), stored.last());
}

pub(crate) async fn the_last_id_outlives_its_entry(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 2).await;
    assert_eq!(engine.last_id(&stream).await.unwrap(), ids[1]);
    engine.delete(&stream, &ids).await.unwrap();
    assert_eq!(engine.last_id(&stream).await.unwrap(), ids[1]);
    let info = engine.info(&stream).await.unwrap().unwrap();
    assert_eq!((info.length, info.first_entry, info.last_entry), (0, None, None));
}

pub(crate) async fn a_stream_counts_what_was_ever_added(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = numbered_entries(&engine, &stream, 5).await;
    engine.delete(&stream, &ids[1..3]).await.unwrap();
    let info = engine.info(&stream).await.unwrap().unwrap();
    assert_eq!(info.length, 3);
    assert_eq!(info.entries_added.unwrap_or(5), 5);
    assert_eq!(info.max_deleted_id.unwrap_or(ids[2]), ids[2]);
}

pub(crate) async fn groups_tell_lag_and_entries_read(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 5).await;
    a_group(&engine, &stream).await;
    read_ids(&mut a_consumer(&engine, &stream, "a").await, 3).await;
    engine.acknowledge(&stream, GROUP, &ids[..1]).await.unwrap();
    let groups = engine.groups(&stream).await.unwrap();
    let group = &groups[0];
    assert_eq!((group.name.as_str(), group.consumers, group.pending), (GROUP, 1, 2));
    assert_eq!(group.last_delivered_id, ids[2]);
    let known = is_7_0(&engine, &stream).await;
    let known = |number: u64| known.then_some(number);
    assert_eq!((group.entries_read, group.lag), (known(3), known(2)));
    read_ids(&mut a_consumer(&engine, &stream, "b").await, 10).await;
    let group = &engine.groups(&stream).await.unwrap()[0];
    assert_eq!(
        (group.consumers, group.entries_read, group.lag),
        (2, known(5), known(0))
    );
    engine
        .set_group_position(&stream, GROUP, GroupStart::After(EntryId::MIN))
        .await
        .unwrap();
    assert_eq!(engine.groups(&stream).await.unwrap()[0].lag, known(5));
}

pub(crate) async fn consumers_tell_what_is_pending(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 3).await;
    read_ids(&mut a_consumer(&engine, &stream, "b").await, 1).await;
    engine.acknowledge(&stream, GROUP, &ids[..1]).await.unwrap();
    let mut consumers = engine.consumers(&stream, GROUP).await.unwrap();
    consumers.sort_by(|one, other| one.name.cmp(&other.name));
    // Redis 7.0 makes a consumer only when it gets something; 7.2 at its first attempt.
    assert_eq!((consumers[0].name.as_str(), consumers[0].pending), ("a", 2));
    assert!(consumers[0].idle < Duration::from_secs(60));
    assert!(
        consumers[1..]
            .iter()
            .all(|consumer| consumer.name == "b" && consumer.pending == 0)
    );
}

pub(crate) async fn consumers_of_a_missing_group_are_an_error(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    assert_kind(engine.consumers(&stream, GROUP).await, EngineErrorKind::NoGroup);
    entries(&engine, &stream, 1).await;
    assert_kind(engine.consumers(&stream, GROUP).await, EngineErrorKind::NoGroup);
}

pub(crate) async fn full_info_tells_it_all(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 3).await;
    engine.acknowledge(&stream, GROUP, &ids[..1]).await.unwrap();
    let full = engine.full_info(&stream, 1).await.unwrap().unwrap();
    assert_eq!((full.length, full.last_id), (3, ids[2]));
    assert_eq!(full.entries, all(&engine, &stream).await[..1]);
    let group = &full.groups[0];
    assert_eq!(
        (group.group.name.as_str(), group.group.pending, group.group.consumers),
        (GROUP, 2, 1)
    );
    assert_eq!(group.group.last_delivered_id, ids[2]);
    assert_eq!(group.group.lag, is_7_0(&engine, &stream).await.then_some(0));
    assert_eq!(group.pending.len(), 1);
    let pending = &group.pending[0];
    assert_eq!(
        (pending.id, pending.consumer.as_str(), pending.deliveries),
        (ids[1], "a", 1)
    );
    assert!(pending.idle < Duration::from_secs(60), "{:?}", pending.idle);
    assert_eq!((group.consumers[0].name.as_str(), group.consumers[0].pending), ("a", 2));
    assert!(group.consumers[0].idle < Duration::from_secs(60));
    let full = engine.full_info(&stream, 10).await.unwrap().unwrap();
    assert_eq!((full.entries.len(), full.groups[0].pending.len()), (3, 2));
}

pub(crate) async fn a_location_and_warnings_can_be_asked_for(engine: Arc<dyn Engine>) {
    assert!(!engine.location().is_empty());
    assert_eq!(engine.warnings().await.unwrap(), [""; 0]);
}
