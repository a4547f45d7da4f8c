//! `append`, `append_many`, `delete`.

use std::{collections::HashSet, sync::Arc};

use streamer::{
    EntryId, NewId, Trim,
    engine::{Append, AppendOptions, Engine, EngineErrorKind},
};

use crate::given::{a_stream, all, an_append, assert_kind, entries, fields, ids_of, is_7_0};

pub(crate) async fn ids_only_grow(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let mut last = EntryId::MIN;
    for _ in 0..50 {
        let id = engine.append(an_append(&stream, NewId::Auto)).await.unwrap();
        assert!(id > last, "{id} after {last}");
        last = id;
    }
    // Also when an explicit ID went ahead of the clock.
    let ahead = EntryId::new(last.ms + 1_000_000, 5);
    engine.append(an_append(&stream, ahead)).await.unwrap();
    assert!(engine.append(an_append(&stream, NewId::Auto)).await.unwrap() > ahead);
}

pub(crate) async fn appends_of_many_tasks_all_arrive(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let appends = (0..200).map(|_| {
        let (engine, append) = (engine.clone(), an_append(&stream, NewId::Auto));
        tokio::spawn(async move { engine.append(append).await.unwrap() })
    });
    let mut given = HashSet::new();
    for task in appends.collect::<Vec<_>>() {
        given.insert(task.await.unwrap());
    }
    let stored: HashSet<EntryId> = ids_of(&all(&engine, &stream).await).into_iter().collect();
    assert_eq!(stored, given);
    assert_eq!(stored.len(), 200);
}

pub(crate) async fn an_explicit_id_is_kept(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    for id in [EntryId::new(0, 1), EntryId::new(5, 3), EntryId::new(5, 4), EntryId::MAX] {
        assert_eq!(engine.append(an_append(&stream, id)).await.unwrap(), id);
    }
    assert_eq!(all(&engine, &stream).await.len(), 4);
}

pub(crate) async fn an_id_not_greater_than_the_last_is_refused(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let id = EntryId::new(5, 5);
    engine.append(an_append(&stream, id)).await.unwrap();
    for refused in [id, EntryId::new(5, 4), EntryId::new(4, 9)] {
        assert_kind(
            engine.append(an_append(&stream, refused)).await,
            EngineErrorKind::IdTooSmall,
        );
    }
    assert_eq!(all(&engine, &stream).await.len(), 1);
}

pub(crate) async fn zero_is_no_id(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    assert_kind(
        engine.append(an_append(&stream, EntryId::MIN)).await,
        EngineErrorKind::IdTooSmall,
    );
}

pub(crate) async fn a_deleted_last_entry_still_bars_its_id(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let id = EntryId::new(5, 5);
    engine.append(an_append(&stream, id)).await.unwrap();
    assert_eq!(engine.delete(&stream, &[id]).await.unwrap(), 1);
    assert_kind(engine.append(an_append(&stream, id)).await, EngineErrorKind::IdTooSmall);
}

pub(crate) async fn the_engine_numbers_entries_of_a_given_millisecond(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    engine.append(an_append(&stream, EntryId::new(6, 9))).await.unwrap();
    if !is_7_0(&engine, &stream).await {
        let numbered = engine.append(an_append(&stream, NewId::AutoSequence(7))).await;
        return assert_kind(numbered, EngineErrorKind::Unsupported);
    }
    for seq in 0..3 {
        let id = engine.append(an_append(&stream, NewId::AutoSequence(7))).await.unwrap();
        assert_eq!(id, EntryId::new(7, seq));
    }
    assert_kind(
        engine.append(an_append(&stream, NewId::AutoSequence(6))).await,
        EngineErrorKind::IdTooSmall,
    );
}

pub(crate) async fn without_create_stream_a_missing_stream_is_an_error(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let options = AppendOptions {
        create_stream: false,
        ..AppendOptions::default()
    };
    let append = || Append {
        options: options.clone(),
        ..an_append(&stream, NewId::Auto)
    };
    assert_kind(engine.append(append()).await, EngineErrorKind::NoStream);
    assert_eq!(engine.info(&stream).await.unwrap(), None);
    entries(&engine, &stream, 1).await;
    engine.append(append()).await.unwrap();
}

pub(crate) async fn an_entry_without_fields_is_refused(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let empty = || Append {
        fields: Vec::new(),
        ..an_append(&stream, NewId::Auto)
    };
    assert_kind(engine.append(empty()).await, EngineErrorKind::InvalidInput);
    let error = engine
        .append_many(vec![an_append(&stream, NewId::Auto), empty()])
        .await
        .unwrap_err();
    assert!(error.results[0].is_ok());
    assert_eq!(
        error.results[1].as_ref().unwrap_err().kind(),
        EngineErrorKind::InvalidInput
    );
}

pub(crate) async fn a_batch_keeps_its_order(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 500).await;
    let stored = all(&engine, &stream).await;
    assert_eq!(ids_of(&stored), ids);
    for (n, entry) in stored.iter().enumerate() {
        assert_eq!(entry.fields, fields(&[("n", &n.to_string())]));
    }
    assert_eq!(engine.append_many(Vec::new()).await.unwrap(), []);
}

pub(crate) async fn a_batch_of_short_and_long_entries_keeps_them_all(engine: Arc<dyn Engine>) {
    let streams = [a_stream(), a_stream()];
    // An engine may write short ones together; every seventh is longer than a page of a file.
    let text = |n: usize| match n % 7 {
        0 => n.to_string().repeat(4000),
        _ => n.to_string().repeat(n),
    };
    let append = |n: usize| Append {
        fields: fields(&[("n", &text(n))]),
        ..an_append(&streams[n % 2], EntryId::new(n as u64 + 1, 0))
    };
    engine.append_many((0..90).map(append).collect()).await.unwrap();
    for (index, stream) in streams.iter().enumerate() {
        let stored = all(&engine, stream).await;
        assert_eq!(stored.len(), 45);
        for (entry, n) in stored.iter().zip((index..90).step_by(2)) {
            assert_eq!(entry.id, EntryId::new(n as u64 + 1, 0));
            assert_eq!(entry.fields, fields(&[("n", &text(n))]));
        }
    }
}

pub(crate) async fn an_append_of_a_batch_trims_what_came_before_it(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let trim = Trim::max_len(3).exactly();
    let append = |n: u64| Append {
        options: AppendOptions {
            trim: n.is_multiple_of(25).then_some(trim),
            ..AppendOptions::default()
        },
        ..an_append(&stream, EntryId::new(n, 0))
    };
    engine.append_many((1..=60).map(append).collect()).await.unwrap();
    let ids = ids_of(&all(&engine, &stream).await);
    assert_eq!(ids, (48..=60).map(|n| EntryId::new(n, 0)).collect::<Vec<_>>());
    assert_eq!(engine.info(&stream).await.unwrap().unwrap().length, 13);
}

pub(crate) async fn a_batch_over_many_streams_gives_ids_in_order(engine: Arc<dyn Engine>) {
    let streams = [a_stream(), a_stream(), a_stream()];
    let id = |n: usize| EntryId::new(n as u64 + 1, 0);
    let batch = (0..30).map(|n| an_append(&streams[n % 3], id(n))).collect();
    assert_eq!(
        engine.append_many(batch).await.unwrap(),
        (0..30).map(id).collect::<Vec<_>>()
    );
    for (index, stream) in streams.iter().enumerate() {
        let expected: Vec<EntryId> = (index..30).step_by(3).map(id).collect();
        assert_eq!(ids_of(&all(&engine, stream).await), expected);
    }
}

pub(crate) async fn a_batch_tells_each_ones_lot(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let (first, second) = (EntryId::new(5, 0), EntryId::new(6, 0));
    let batch = [first, EntryId::new(4, 0), second].map(|id| an_append(&stream, id));
    let error = engine.append_many(batch.to_vec()).await.unwrap_err();
    assert_eq!(error.results.len(), 3);
    assert_eq!(*error.results[0].as_ref().unwrap(), first);
    assert_eq!(
        error.results[1].as_ref().unwrap_err().kind(),
        EngineErrorKind::IdTooSmall
    );
    assert_eq!(*error.results[2].as_ref().unwrap(), second);
    assert_eq!(ids_of(&all(&engine, &stream).await), [first, second]);
}

pub(crate) async fn an_append_can_trim_in_the_same_step(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let options = AppendOptions {
        trim: Some(Trim::max_len(2).exactly()),
        ..AppendOptions::default()
    };
    for n in 1..=5 {
        engine
            .append(Append {
                options: options.clone(),
                ..an_append(&stream, EntryId::new(n, 0))
            })
            .await
            .unwrap();
    }
    assert_eq!(
        ids_of(&all(&engine, &stream).await),
        [EntryId::new(4, 0), EntryId::new(5, 0)]
    );
    let options = AppendOptions {
        trim: Some(Trim::min_id(EntryId::new(5, 0)).exactly()),
        ..AppendOptions::default()
    };
    engine
        .append(Append {
            options,
            ..an_append(&stream, EntryId::new(6, 0))
        })
        .await
        .unwrap();
    assert_eq!(
        ids_of(&all(&engine, &stream).await),
        [EntryId::new(5, 0), EntryId::new(6, 0)]
    );
}

pub(crate) async fn deleting_tells_how_many_were_there(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 3).await;
    assert_eq!(
        engine
            .delete(&stream, &[ids[0], ids[2], EntryId::new(1, 1)])
            .await
            .unwrap(),
        2
    );
    assert_eq!(engine.delete(&stream, &ids).await.unwrap(), 1);
    assert_eq!(engine.delete(&stream, &[]).await.unwrap(), 0);
    assert_eq!(engine.delete(&a_stream(), &ids).await.unwrap(), 0);
    assert_eq!(engine.len(&stream).await.unwrap(), 0);
}
