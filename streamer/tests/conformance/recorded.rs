//! Entries that are appended together with a record, and the lists of snapshots that such records make.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use streamer::{
    EntryId, NewId, StreamName,
    engine::{Append, AppendOptions, Appended, Engine, EngineErrorKind, Idempotency, Record},
};

use crate::given::{a_set, a_stream, all, an_append, assert_kind, fields, ids_of, numbered_entries, unique};

/// A stream and a list for records of it, both with one hash tag.
fn names() -> (StreamName, StreamName) {
    let tag = unique("stream");
    (format!("{{{tag}}}").into(), format!("{{{tag}}}-list").into())
}

fn push(list: &StreamName) -> Record {
    Record::Push {
        list: list.clone(),
        before: "<".into(),
        after: ">".into(),
    }
}

/// A message comes back that had the ID `1-0` when it was emitted, and this one in the archive.
fn restored(archived: u64) -> Record {
    let mut ids = vec![EntryId::new(1, 0), EntryId::new(archived, 0)];
    ids.dedup();
    Record::Restored { ids }
}

/// Where the message is that had the ID `1-0`.
async fn became(engine: &Arc<dyn Engine>, stream: &StreamName) -> Option<EntryId> {
    engine.restored_ids(stream, &[EntryId::new(1, 0)]).await.unwrap()[0]
}

async fn elements(engine: &Arc<dyn Engine>, list: &StreamName) -> Vec<Bytes> {
    engine.snapshots(list, 0, 1000).await.unwrap()
}

fn element(id: EntryId) -> Bytes {
    format!("<{id}>").into()
}

/// A list with `count` elements `<1-0>`, `<2-0>`, …
async fn a_list(engine: &Arc<dyn Engine>, count: u64) -> (StreamName, StreamName) {
    let (stream, list) = names();
    for n in 1..=count {
        let append = an_append(&stream, EntryId::new(n, 0));
        engine.append_recorded(append, push(&list)).await.unwrap();
    }
    (stream, list)
}

pub(crate) async fn an_entry_and_its_record_hold_the_same_id(engine: Arc<dyn Engine>) {
    let (stream, list) = names();
    let first = engine
        .append_recorded(an_append(&stream, NewId::Auto), push(&list))
        .await;
    let first = first.unwrap();
    assert!(first.fresh);
    let append = Append {
        fields: fields(&[("n", "2")]),
        ..an_append(&stream, NewId::Auto)
    };
    let second = engine.append_recorded(append, push(&list)).await.unwrap();
    assert_eq!(elements(&engine, &list).await, [element(first.id), element(second.id)]);
    let entries = all(&engine, &stream).await;
    assert_eq!(ids_of(&entries), [first.id, second.id]);
    assert_eq!(entries[1].fields, fields(&[("n", "2")]));
}

pub(crate) async fn what_is_recorded_once_is_appended_once(engine: Arc<dyn Engine>) {
    let (stream, _) = names();
    let first = engine
        .append_recorded(an_append(&stream, NewId::Auto), restored(1))
        .await;
    let first = first.unwrap();
    let again = engine
        .append_recorded(an_append(&stream, NewId::Auto), restored(1))
        .await;
    assert_eq!(
        again.unwrap(),
        Appended {
            id: first.id,
            fresh: false
        }
    );
    let other = engine
        .append_recorded(
            an_append(&stream, NewId::Auto),
            Record::Restored {
                ids: vec![EntryId::new(2, 0)],
            },
        )
        .await;
    assert!(other.unwrap().fresh);
    assert_eq!(engine.len(&stream).await.unwrap(), 2);
    assert_eq!(became(&engine, &stream).await, Some(first.id));
}

pub(crate) async fn many_tasks_append_once(engine: Arc<dyn Engine>) {
    let (stream, _) = names();
    let one = |_| {
        let (engine, append, record) = (engine.clone(), an_append(&stream, NewId::Auto), restored(1));
        tokio::spawn(async move { engine.append_recorded(append, record).await.unwrap() })
    };
    let mut appended = Vec::new();
    for task in (0..16).map(one).collect::<Vec<_>>() {
        appended.push(task.await.unwrap());
    }
    assert_eq!(appended.iter().filter(|appended| appended.fresh).count(), 1);
    let ids: HashSet<EntryId> = appended.iter().map(|appended| appended.id).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(engine.len(&stream).await.unwrap(), 1);
}

pub(crate) async fn a_record_that_cannot_be_written_keeps_the_entry_away(engine: Arc<dyn Engine>) {
    let (stream, list) = names();
    numbered_entries(&engine, &list, 1).await;
    for hash in ["restored", "original_ids"] {
        numbered_entries(&engine, &format!("{stream}:{hash}").into(), 1).await;
        for record in [push(&list), restored(1), restored(2), push(&stream)] {
            let refused = engine.append_recorded(an_append(&stream, NewId::Auto), record).await;
            assert_kind(refused, EngineErrorKind::WrongType);
        }
    }
    assert_eq!(engine.info(&stream).await.unwrap(), None);
    assert_eq!(engine.len(&list).await.unwrap(), 1);
}

pub(crate) async fn an_entry_that_is_refused_leaves_no_record(engine: Arc<dyn Engine>) {
    let (stream, list) = names();
    numbered_entries(&engine, &stream, 5).await;
    for record in [push(&list), restored(1)] {
        let too_small = an_append(&stream, EntryId::new(5, 0));
        let refused = engine.append_recorded(too_small, record.clone()).await;
        assert_kind(refused, EngineErrorKind::IdTooSmall);
        let without_fields = Append {
            fields: Vec::new(),
            ..an_append(&stream, NewId::Auto)
        };
        let refused = engine.append_recorded(without_fields, record).await;
        assert_kind(refused, EngineErrorKind::InvalidInput);
    }
    let missing = Append {
        options: AppendOptions {
            create_stream: false,
            ..AppendOptions::default()
        },
        ..an_append(&names().0, NewId::Auto)
    };
    let nowhere = StreamName::from(format!("{}-list", missing.stream));
    let refused = engine.append_recorded(missing, push(&nowhere)).await;
    assert_kind(refused, EngineErrorKind::NoStream);
    // A stream's name may be taken by something else.
    let set = a_set(&engine, &a_stream()).await;
    let beside = StreamName::from(format!("{set}-list"));
    let refused = engine
        .append_recorded(an_append(&set, NewId::Auto), push(&beside))
        .await;
    assert_kind(refused, EngineErrorKind::WrongType);
    for list in [&list, &nowhere, &beside] {
        assert_eq!(elements(&engine, list).await.len(), 0);
    }
    assert_eq!(became(&engine, &stream).await, None);
    assert_eq!(engine.len(&stream).await.unwrap(), 5);
}

pub(crate) async fn a_list_is_read_in_pages_from_its_oldest_element(engine: Arc<dyn Engine>) {
    let (stream, list) = a_list(&engine, 7).await;
    let ids = |range: std::ops::RangeInclusive<u64>| range.map(|n| element(EntryId::new(n, 0))).collect::<Vec<_>>();
    assert_eq!(elements(&engine, &list).await.len(), 7);
    assert_eq!(engine.snapshots(&list, 0, 3).await.unwrap(), ids(1..=3));
    // What is pushed meanwhile does not move the next page.
    let append = an_append(&stream, EntryId::new(8, 0));
    engine.append_recorded(append, push(&list)).await.unwrap();
    assert_eq!(engine.snapshots(&list, 3, 3).await.unwrap(), ids(4..=6));
    assert_eq!(engine.snapshots(&list, 6, 3).await.unwrap(), ids(7..=8));
    for (start, count) in [(8, 3), (0, 0), (u64::MAX, 3)] {
        assert!(engine.snapshots(&list, start, count).await.unwrap().is_empty());
    }
    assert_eq!(engine.snapshots(&list, 7, usize::MAX).await.unwrap(), ids(8..=8));
}

pub(crate) async fn elements_are_removed_by_their_bytes(engine: Arc<dyn Engine>) {
    let (_, list) = a_list(&engine, 5).await;
    let wanted = [element(EntryId::new(2, 0)), element(EntryId::new(4, 0)), "<4-0".into()];
    assert_eq!(engine.remove_snapshots(&list, &wanted).await.unwrap(), 2);
    let left: Vec<Bytes> = [1, 3, 5].map(|n| element(EntryId::new(n, 0))).into();
    assert_eq!(elements(&engine, &list).await, left);
    assert_eq!(engine.remove_snapshots(&list, &[]).await.unwrap(), 0);
    assert_eq!(engine.remove_snapshots(&list, &left).await.unwrap(), 3);
    // An empty list is no list: its name is free for something else.
    numbered_entries(&engine, &list, 1).await;
}

pub(crate) async fn a_missing_list_is_empty_and_a_stream_is_none(engine: Arc<dyn Engine>) {
    let (stream, list) = names();
    assert!(elements(&engine, &list).await.is_empty());
    assert_eq!(engine.remove_snapshots(&list, &["a".into()]).await.unwrap(), 0);
    numbered_entries(&engine, &stream, 1).await;
    assert_kind(engine.snapshots(&stream, 0, 1).await, EngineErrorKind::WrongType);
    assert_kind(
        engine.remove_snapshots(&stream, &["a".into()]).await,
        EngineErrorKind::WrongType,
    );
}

pub(crate) async fn entries_are_found_by_their_ids_in_the_order_asked(engine: Arc<dyn Engine>) {
    let (stream, _) = names();
    let ids = numbered_entries(&engine, &stream, 4).await;
    engine.delete(&stream, &[ids[1]]).await.unwrap();
    let wanted = [ids[3], EntryId::MIN, ids[1], ids[0], ids[3], EntryId::MAX];
    let found = engine.get_many(&stream, &wanted).await.unwrap();
    let found: Vec<Option<EntryId>> = found.iter().map(|entry| entry.as_ref().map(|entry| entry.id)).collect();
    assert_eq!(found, [Some(ids[3]), None, None, Some(ids[0]), Some(ids[3]), None]);
    assert!(engine.get_many(&stream, &[]).await.unwrap().is_empty());
    assert_eq!(engine.get_many(&names().0, &wanted[..1]).await.unwrap(), [None]);
}

pub(crate) async fn too_many_fields_to_be_recorded_are_refused(engine: Arc<dyn Engine>) {
    let limit = engine.most_recorded_fields();
    let most = limit.unwrap_or(5_000);
    let idempotent = AppendOptions {
        idempotency: Some(Idempotency {
            key: unique("key").into(),
            window: std::time::Duration::from_secs(60),
        }),
        ..AppendOptions::default()
    };
    let (stream, list) = names();
    let append = |count: usize, options: &AppendOptions| Append {
        fields: (0..count).map(|n| (format!("field{n}").into(), "".into())).collect(),
        options: options.clone(),
        ..an_append(&stream, NewId::Auto)
    };
    if limit.is_some() {
        for record in [push(&list), restored(1)] {
            let refused = engine
                .append_recorded(append(most + 1, &AppendOptions::default()), record)
                .await;
            assert_kind(refused, EngineErrorKind::Unsupported);
        }
        assert_kind(
            engine.append(append(most + 1, &idempotent)).await,
            EngineErrorKind::Unsupported,
        );
        assert_eq!(engine.info(&stream).await.unwrap(), None);
    }
    for record in [push(&list), restored(1)] {
        let plain = AppendOptions::default();
        assert!(
            engine
                .append_recorded(append(most, &plain), record)
                .await
                .unwrap()
                .fresh
        );
    }
    engine.append(append(most, &idempotent)).await.unwrap();
    assert_eq!(all(&engine, &stream).await[2].fields.len(), most);
    // Without anything else there is no limit.
    engine.append(append(10_000, &AppendOptions::default())).await.unwrap();
}
