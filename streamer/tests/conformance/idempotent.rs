//! Appends with an idempotency key.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use streamer::{
    EntryId, NewId, RangeBound, StreamName,
    engine::{Append, AppendOptions, Engine, EngineErrorKind, Idempotency, Record},
};

const WINDOW: Duration = Duration::from_secs(600);

fn once(stream: &str, key: impl Into<Bytes>, value: &'static str) -> Append {
    Append {
        stream: stream.into(),
        id: NewId::Auto,
        fields: vec![("data".into(), value.into())],
        options: AppendOptions {
            idempotency: Some(Idempotency {
                key: key.into(),
                window: WINDOW,
            }),
            ..AppendOptions::default()
        },
    }
}

async fn values(engine: &dyn Engine, stream: &str) -> Vec<Bytes> {
    let all = RangeBound::Unbounded;
    let entries = engine.range(&stream.into(), all, all, None, false).await.unwrap();
    entries.into_iter().map(|entry| entry.fields[0].1.clone()).collect()
}

pub(crate) async fn a_repeated_append_gives_the_first_entry(engine: Arc<dyn Engine>) {
    let first = engine.append(once("once.a", "k", "1")).await.unwrap();
    let second = engine.append(once("once.a", "k", "2")).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(values(&*engine, "once.a").await, ["1"]);
    // Also when the entry itself is gone.
    engine.delete(&"once.a".into(), &[first]).await.unwrap();
    assert_eq!(engine.append(once("once.a", "k", "3")).await.unwrap(), first);
    assert_eq!(values(&*engine, "once.a").await, [""; 0]);
}

pub(crate) async fn keys_and_streams_do_not_mix(engine: Arc<dyn Engine>) {
    for (stream, key) in [("once.b", "k"), ("once.b", "l"), ("once.c", "k"), ("once.c", "l")] {
        engine.append(once(stream, key, "1")).await.unwrap();
    }
    let without = Append {
        options: AppendOptions::default(),
        ..once("once.b", "k", "2")
    };
    engine.append(without).await.unwrap();
    assert_eq!(values(&*engine, "once.b").await, ["1", "1", "2"]);
    assert_eq!(values(&*engine, "once.c").await.len(), 2);
}

pub(crate) async fn many_tasks_append_one_entry(engine: Arc<dyn Engine>) {
    let appends = (0..32).map(|_| {
        let engine = engine.clone();
        tokio::spawn(async move { engine.append(once("once.d", "k", "1")).await.unwrap() })
    });
    let mut ids = Vec::new();
    for append in appends.collect::<Vec<_>>() {
        ids.push(append.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(values(&*engine, "once.d").await.len(), 1);
}

pub(crate) async fn a_batch_appends_each_key_once_and_keeps_its_order(engine: Arc<dyn Engine>) {
    let earlier = engine.append(once("once.e", "b", "b")).await.unwrap();
    let plain = |value| Append {
        options: AppendOptions::default(),
        ..once("once.e", "", value)
    };
    let batch = vec![
        plain("first"),
        once("once.e", "a", "a"),
        once("once.e", "b", "again"),
        once("once.e", "a", "again"),
        plain("last"),
    ];
    let ids = engine.append_many(batch).await.unwrap();
    assert_eq!(ids[2], earlier);
    assert_eq!(ids[1], ids[3]);
    assert!(ids[0] < ids[1] && ids[1] < ids[4], "{ids:?}");
    assert_eq!(values(&*engine, "once.e").await, ["b", "first", "a", "last"]);
}

pub(crate) async fn a_record_is_written_with_the_first_entry_only(engine: Arc<dyn Engine>) {
    let list = StreamName::from("{once.f}:list");
    let record = || Record::Push {
        list: list.clone(),
        before: "<".into(),
        after: ">".into(),
    };
    let first = engine
        .append_recorded(once("once.f", "k", "1"), record())
        .await
        .unwrap();
    let second = engine
        .append_recorded(once("once.f", "k", "1"), record())
        .await
        .unwrap();
    assert_eq!((first.fresh, second.fresh, first.id), (true, false, second.id));
    assert_eq!(values(&*engine, "once.f").await.len(), 1);
    let elements = engine.snapshots(&list, 0, 10).await.unwrap();
    assert_eq!(elements, [format!("<{}>", first.id)]);
}

pub(crate) async fn a_window_that_is_over_lets_the_next_append_through(engine: Arc<dyn Engine>) {
    let append = || {
        let mut append = once("once.g", "k", "1");
        append.options.idempotency.as_mut().unwrap().window = Duration::from_millis(5);
        append
    };
    let first = engine.append(append()).await.unwrap();
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let mut next: EntryId = first;
    while next == first {
        assert!(tokio::time::Instant::now() < until, "the window of 5 ms is never over");
        next = engine.append(append()).await.unwrap();
    }
    assert!(next > first);
}

pub(crate) async fn what_was_refused_is_not_remembered(engine: Arc<dyn Engine>) {
    let mut append = once("once.h", "k", "1");
    append.options.create_stream = false;
    let refused = engine.append(append).await.unwrap_err();
    assert_eq!(refused.kind(), EngineErrorKind::NoStream);
    engine.append(once("once.h", "k", "2")).await.unwrap();
    assert_eq!(values(&*engine, "once.h").await, ["2"]);
}

pub(crate) async fn a_key_of_any_bytes_is_a_key_and_a_long_or_empty_one_is_refused(engine: Arc<dyn Engine>) {
    let bytes = vec![0, 255, b'\r', b'\n', b'}'];
    let first = engine.append(once("once.i", bytes.clone(), "1")).await.unwrap();
    assert_eq!(engine.append(once("once.i", bytes, "1")).await.unwrap(), first);
    let longest = vec![b'x'; Idempotency::LONGEST_KEY];
    engine.append(once("once.i", longest.clone(), "2")).await.unwrap();
    let too_long = [longest, vec![b'x']].concat();
    for wrong in [too_long, Vec::new()] {
        let refused = engine.append(once("once.i", wrong, "3")).await.unwrap_err();
        assert_eq!(refused.kind(), EngineErrorKind::InvalidInput);
    }
    assert_eq!(values(&*engine, "once.i").await, ["1", "2"]);
}
