//! Consumer groups: where they begin, how they move, how they and their consumers end.

use std::sync::Arc;

use streamer::{
    EntryId, NewId, StreamName,
    engine::{Engine, EngineErrorKind, GroupStart},
};

use crate::given::{
    GROUP, a_consumer, a_group, a_stream, an_append, assert_kind, entries, member, pending_entries, read_ids,
};

pub(crate) async fn a_group_from_the_beginning_gets_everything(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 3).await;
    engine
        .create_group(&stream, GROUP, GroupStart::After(EntryId::MIN), false)
        .await
        .unwrap();
    assert_eq!(read_ids(&mut a_consumer(&engine, &stream, "a").await, 10).await, ids);
}

pub(crate) async fn a_group_from_an_id_gets_what_comes_after(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 3).await;
    engine
        .create_group(&stream, GROUP, GroupStart::After(ids[0]), false)
        .await
        .unwrap();
    assert_eq!(
        read_ids(&mut a_consumer(&engine, &stream, "a").await, 10).await,
        ids[1..]
    );
}

pub(crate) async fn a_group_from_now_gets_only_what_is_new(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    entries(&engine, &stream, 3).await;
    engine
        .create_group(&stream, GROUP, GroupStart::Now, false)
        .await
        .unwrap();
    let mut reader = a_consumer(&engine, &stream, "a").await;
    assert_eq!(read_ids(&mut reader, 10).await, []);
    let new = engine.append(an_append(&stream, NewId::Auto)).await.unwrap();
    assert_eq!(read_ids(&mut reader, 10).await, [new]);
}

pub(crate) async fn a_group_that_exists_is_left_as_it_is(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 3).await;
    engine
        .create_group(&stream, GROUP, GroupStart::After(ids[1]), true)
        .await
        .unwrap();
    let again = engine
        .create_group(&stream, GROUP, GroupStart::After(EntryId::MIN), true)
        .await;
    assert_kind(again, EngineErrorKind::GroupExists);
    assert_eq!(engine.groups(&stream).await.unwrap()[0].last_delivered_id, ids[1]);
}

pub(crate) async fn a_group_needs_a_stream_or_makes_it(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let refused = engine.create_group(&stream, GROUP, GroupStart::Now, false).await;
    assert_kind(refused, EngineErrorKind::NoStream);
    engine
        .create_group(&stream, GROUP, GroupStart::Now, true)
        .await
        .unwrap();
    assert_eq!(engine.len(&stream).await.unwrap(), 0);
    assert_eq!(engine.groups(&stream).await.unwrap().len(), 1);
}

pub(crate) async fn moving_a_group_back_delivers_again(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 4).await;
    engine.acknowledge(&stream, GROUP, &ids[..3]).await.unwrap();
    engine
        .set_group_position(&stream, GROUP, GroupStart::After(ids[0]))
        .await
        .unwrap();
    // What is pending stays pending.
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 1);
    assert_eq!(
        read_ids(&mut a_consumer(&engine, &stream, "b").await, 10).await,
        ids[1..]
    );
    engine
        .set_group_position(&stream, GROUP, GroupStart::After(EntryId::MIN))
        .await
        .unwrap();
    engine
        .set_group_position(&stream, GROUP, GroupStart::Now)
        .await
        .unwrap();
    assert_eq!(read_ids(&mut a_consumer(&engine, &stream, "b").await, 10).await, []);
}

pub(crate) async fn moving_a_missing_group_is_an_error(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let moved = engine.set_group_position(&stream, GROUP, GroupStart::Now).await;
    assert_kind(moved, EngineErrorKind::NoGroup);
    entries(&engine, &stream, 1).await;
    let moved = engine.set_group_position(&stream, GROUP, GroupStart::Now).await;
    assert_kind(moved, EngineErrorKind::NoGroup);
}

pub(crate) async fn destroying_tells_whether_it_was_there(engine: Arc<dyn Engine>) {
    let (stream, _) = pending_entries(&engine, "a", 2).await;
    assert!(engine.destroy_group(&stream, GROUP).await.unwrap());
    assert!(!engine.destroy_group(&stream, GROUP).await.unwrap());
    assert!(!engine.destroy_group(&a_stream(), GROUP).await.unwrap());
    assert_eq!(engine.groups(&stream).await.unwrap(), []);
    // A new group of that name begins with nothing pending.
    a_group(&engine, &stream).await;
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 0);
}

async fn leaves(engine: &Arc<dyn Engine>, stream: &StreamName, consumer: &str) -> bool {
    let mut left = engine.leave(&member(consumer), std::slice::from_ref(stream)).await;
    left.remove(0).unwrap()
}

pub(crate) async fn a_consumer_with_pending_entries_is_not_removed(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    engine.acknowledge(&stream, GROUP, &ids[..1]).await.unwrap();
    assert!(!leaves(&engine, &stream, "a").await);
    let consumers = engine.consumers(&stream, GROUP).await.unwrap();
    assert_eq!((consumers.len(), consumers[0].pending), (1, 1));
}

pub(crate) async fn a_consumer_that_is_done_is_removed(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    engine.acknowledge(&stream, GROUP, &ids).await.unwrap();
    assert!(leaves(&engine, &stream, "a").await);
    assert_eq!(engine.consumers(&stream, GROUP).await.unwrap(), []);
    // It is gone also when it never was.
    assert!(leaves(&engine, &stream, "a").await);
}
