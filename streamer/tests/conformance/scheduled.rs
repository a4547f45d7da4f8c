//! Entries that are appended later.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use streamer::{
    Entry, EntryId, Fields, NewId, StreamName, Trim,
    engine::{Append, AppendOptions, Engine, EngineErrorKind, Idempotency, Record},
    message::SCHEDULED_ID,
};

use crate::given::{HOUR, a_stream, all, an_append, assert_kind, fields, numbered_entries, unique};

/// When what is due soon is due: not before a slow machine has scheduled it, since it is appended at once then.
const SOON_MS: u64 = 1000;

fn due(stream: &StreamName, due_ms: u64, value: &str) -> Append {
    Append {
        stream: stream.clone(),
        id: NewId::Auto,
        fields: fields(&[("n", value)]),
        options: AppendOptions {
            due_ms: Some(due_ms),
            ..AppendOptions::default()
        },
    }
}

/// What time it is by the store's clock.
async fn now(engine: &Arc<dyn Engine>, stream: &StreamName) -> u64 {
    let first = engine.first_scheduled(std::slice::from_ref(stream)).await.remove(0);
    first.unwrap().now_ms
}

async fn in_an_hour(engine: &Arc<dyn Engine>, stream: &StreamName) -> u64 {
    now(engine, stream).await + HOUR.as_millis() as u64
}

async fn count(engine: &Arc<dyn Engine>, stream: &StreamName) -> u64 {
    let counted = engine.count_scheduled(std::slice::from_ref(stream)).await.remove(0);
    counted.unwrap()
}

async fn until(engine: &Arc<dyn Engine>, stream: &StreamName, due_ms: u64) {
    while now(engine, stream).await < due_ms {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Appends everything that is due, and tells how many entries that were.
async fn append_all(engine: &Arc<dyn Engine>, stream: &StreamName, most: usize) -> u64 {
    let mut appended = 0;
    loop {
        let done = engine.append_due(stream, most).await.unwrap();
        assert!(done.appended <= most as u64);
        appended += done.appended;
        if !done.next.is_due() {
            return appended;
        }
    }
}

fn values(entries: &[Entry]) -> Vec<Bytes> {
    entries.iter().map(|entry| entry.fields[0].1.clone()).collect()
}

fn scheduled_id(id: EntryId) -> (Bytes, Bytes) {
    (SCHEDULED_ID.into(), id.to_string().into())
}

pub(crate) async fn nothing_is_appended_before_it_is_due(engine: Arc<dyn Engine>) {
    let (stream, other) = (a_stream(), a_stream());
    let later = in_an_hour(&engine, &stream).await;
    let id = engine.append(due(&stream, later, "later")).await.unwrap();
    assert_eq!(id.ms, later);
    let looked = engine.first_scheduled(&[other.clone(), stream.clone()]).await;
    let looked: Vec<_> = looked.into_iter().map(Result::unwrap).collect();
    assert_eq!((looked[0].id, looked[1].id), (None, Some(id)));
    assert!(!looked[1].is_due());
    let done = engine.append_due(&stream, 10).await.unwrap();
    assert_eq!((done.appended, done.next.id), (0, Some(id)));
    assert!(all(&engine, &stream).await.is_empty());
    assert_eq!((count(&engine, &stream).await, count(&engine, &other).await), (1, 0));
    // What comes in between is not held up.
    engine.append(an_append(&stream, NewId::Auto)).await.unwrap();
    assert_eq!(all(&engine, &stream).await.len(), 1);
    let waiting = engine.page_of_scheduled(&stream, None, 10).await.unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!((waiting[0].id, &waiting[0].fields), (id, &fields(&[("n", "later")])));
    assert!(engine.first_scheduled(&[]).await.is_empty());
}

pub(crate) async fn what_is_due_is_appended_once_however_many_try(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let soon = now(&engine, &stream).await + SOON_MS;
    let id = engine.append(due(&stream, soon, "soon")).await.unwrap();
    until(&engine, &stream, soon).await;
    let tries = (0..16).map(|_| {
        let (engine, stream) = (engine.clone(), stream.clone());
        tokio::spawn(async move { engine.append_due(&stream, 10).await.unwrap().appended })
    });
    let mut appended = 0;
    for one in tries.collect::<Vec<_>>() {
        appended += one.await.unwrap();
    }
    assert_eq!(appended, 1);
    let entries = all(&engine, &stream).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].fields, [("n".into(), "soon".into()), scheduled_id(id)]);
    assert!(entries[0].id.ms >= soon && entries[0].id != id);
    assert_eq!(count(&engine, &stream).await, 0);
    assert!(engine.page_of_scheduled(&stream, None, 10).await.unwrap().is_empty());
}

pub(crate) async fn entries_are_appended_in_the_order_in_which_they_are_due(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let begin = now(&engine, &stream).await + SOON_MS;
    let appends = [30, 10, 20, 10, 0, 10].into_iter().enumerate();
    let appends = appends.map(|(n, delay)| due(&stream, begin + delay, &n.to_string()));
    let ids = engine.append_many(appends.collect()).await.unwrap();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    let mut listed = Vec::new();
    loop {
        let page = engine
            .page_of_scheduled(&stream, listed.last().copied(), 4)
            .await
            .unwrap();
        listed.extend(page.iter().map(|entry| entry.id));
        if page.len() < 4 {
            break;
        }
    }
    let expected = [4, 1, 3, 5, 2, 0];
    assert_eq!(listed, expected.map(|n| ids[n]));
    until(&engine, &stream, begin + 30).await;
    assert_eq!(append_all(&engine, &stream, 2).await, 6);
    assert_eq!(values(&all(&engine, &stream).await), expected.map(|n| n.to_string()));
}

pub(crate) async fn a_moment_that_has_passed_appends_at_once(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    for passed in [0, 1, now(&engine, &stream).await] {
        let id = engine.append(due(&stream, passed, "now")).await.unwrap();
        let entries = all(&engine, &stream).await;
        let last = entries.last().unwrap();
        assert_eq!((last.id, &last.fields), (id, &fields(&[("n", "now")])));
    }
    assert_eq!(count(&engine, &stream).await, 0);
}

pub(crate) async fn a_repeated_append_is_scheduled_once(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let once = |due_ms: u64, key: &'static str| Append {
        options: AppendOptions {
            due_ms: Some(due_ms),
            idempotency: Some(Idempotency {
                key: key.into(),
                window: HOUR,
            }),
            ..AppendOptions::default()
        },
        ..an_append(&stream, NewId::Auto)
    };
    let soon = now(&engine, &stream).await + SOON_MS;
    let first = engine.append(once(soon, "a")).await.unwrap();
    assert_eq!(engine.append(once(soon + 10, "a")).await.unwrap(), first);
    assert_eq!(count(&engine, &stream).await, 1);
    until(&engine, &stream, soon).await;
    assert_eq!(append_all(&engine, &stream, 10).await, 1);
    // Also after it was appended, and without a moment.
    assert_eq!(engine.append(once(soon, "a")).await.unwrap(), first);
    let mut at_once = once(0, "a");
    at_once.options.due_ms = None;
    assert_eq!(engine.append(at_once).await.unwrap(), first);
    assert_eq!(
        (count(&engine, &stream).await, all(&engine, &stream).await.len()),
        (0, 1)
    );
    // What was cancelled was scheduled once, too.
    let later = in_an_hour(&engine, &stream).await;
    let cancelled = engine.append(once(later, "b")).await.unwrap();
    assert_eq!(engine.cancel_scheduled(&stream, &[cancelled]).await.unwrap(), 1);
    assert_eq!(engine.append(once(later, "b")).await.unwrap(), cancelled);
    assert_eq!(count(&engine, &stream).await, 0);
}

pub(crate) async fn what_is_cancelled_is_never_appended(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let soon = now(&engine, &stream).await + SOON_MS;
    let mut ids = Vec::new();
    for value in ["a", "b", "c"] {
        ids.push(engine.append(due(&stream, soon, value)).await.unwrap());
    }
    let unknown = EntryId::new(soon, 0);
    assert_eq!(engine.cancel_scheduled(&stream, &[]).await.unwrap(), 0);
    assert_eq!(engine.cancel_scheduled(&a_stream(), &ids).await.unwrap(), 0);
    let cancelled = engine.cancel_scheduled(&stream, &[ids[1], unknown, ids[1]]).await;
    assert_eq!(cancelled.unwrap(), 1);
    until(&engine, &stream, soon).await;
    assert_eq!(append_all(&engine, &stream, 10).await, 2);
    assert_eq!(values(&all(&engine, &stream).await), ["a", "c"]);
    // It is too late for those that were appended.
    assert_eq!(engine.cancel_scheduled(&stream, &ids).await.unwrap(), 0);
    assert_eq!(all(&engine, &stream).await.len(), 2);
}

pub(crate) async fn what_is_scheduled_goes_with_its_stream(engine: Arc<dyn Engine>) {
    for entries in [2, 0] {
        let stream = a_stream();
        numbered_entries(&engine, &stream, entries).await;
        let later = in_an_hour(&engine, &stream).await;
        let id = engine.append(due(&stream, later, "later")).await.unwrap();
        engine.remove_stream(&stream).await.unwrap();
        assert_eq!(count(&engine, &stream).await, 0);
        assert!(engine.page_of_scheduled(&stream, None, 10).await.unwrap().is_empty());
        assert_eq!(engine.cancel_scheduled(&stream, &[id]).await.unwrap(), 0);
    }
}

pub(crate) async fn what_cannot_be_scheduled_is_refused(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let later = in_an_hour(&engine, &stream).await;
    let append = due(&stream, later, "later");
    for id in [NewId::Explicit(EntryId::new(later, 0)), NewId::AutoSequence(later)] {
        let with_id = Append { id, ..append.clone() };
        assert_kind(engine.append(with_id.clone()).await, EngineErrorKind::InvalidInput);
        // In a batch the others are not.
        let batch = engine.append_many(vec![append.clone(), with_id]).await.unwrap_err();
        assert!(batch.results[0].is_ok(), "{:?}", batch.results);
        assert_kind(
            batch.results.into_iter().next_back().unwrap(),
            EngineErrorKind::InvalidInput,
        );
    }
    let too_late = due(&stream, Append::LATEST_DUE_MS + 1, "later");
    assert_kind(engine.append(too_late).await, EngineErrorKind::InvalidInput);
    let list = StreamName::from(format!("{{{stream}}}-list"));
    for record in [
        Record::Push {
            list,
            before: "<".into(),
            after: ">".into(),
        },
        Record::Restored {
            ids: vec![EntryId::new(1, 0)],
        },
    ] {
        let refused = engine.append_recorded(append.clone(), record).await;
        assert_kind(refused, EngineErrorKind::InvalidInput);
    }
    let without_fields = Append {
        fields: Fields::new(),
        ..append.clone()
    };
    assert_kind(engine.append(without_fields).await, EngineErrorKind::InvalidInput);
    let mut to_a_missing_one = due(&a_stream(), later, "later");
    to_a_missing_one.options.create_stream = false;
    let missing = to_a_missing_one.stream.clone();
    assert_kind(engine.append(to_a_missing_one).await, EngineErrorKind::NoStream);
    assert_eq!((count(&engine, &stream).await, count(&engine, &missing).await), (2, 0));
    let set = crate::given::a_set(&engine, &a_stream()).await;
    assert_kind(
        engine.append(due(&set, later, "later")).await,
        EngineErrorKind::WrongType,
    );
    assert_kind(engine.append(due(&set, 0, "now")).await, EngineErrorKind::WrongType);
}

pub(crate) async fn to_a_stream_that_is_there_it_can_be_scheduled_without_making_it(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    numbered_entries(&engine, &stream, 5).await;
    let soon = now(&engine, &stream).await + SOON_MS;
    let mut trimmed = due(&stream, soon, "soon");
    trimmed.options.create_stream = false;
    trimmed.options.trim = Some(Trim::max_len(2).exactly());
    engine.append(trimmed).await.unwrap();
    let mut from = due(&stream, soon, "from");
    from.options.trim = Some(Trim::min_id(EntryId::new(6, 0)).exactly());
    engine.append(from).await.unwrap();
    // The old end is cut when they are appended.
    assert_eq!(all(&engine, &stream).await.len(), 5);
    let waiting = engine.page_of_scheduled(&stream, None, 10).await.unwrap();
    assert_eq!(waiting[1].fields, fields(&[("n", "from")]));
    until(&engine, &stream, soon).await;
    assert_eq!(append_all(&engine, &stream, 1).await, 2);
    assert_eq!(values(&all(&engine, &stream).await), ["soon", "from"]);
}

pub(crate) async fn streams_for_which_something_is_scheduled_are_found(engine: Arc<dyn Engine>) {
    let name = unique("found");
    let tagged = StreamName::from(format!("{{{name}}}:tagged"));
    let bytes = StreamName::from([name.as_bytes(), b"\xff}{"].concat());
    let (waiting, plain) = (StreamName::from(name), a_stream());
    numbered_entries(&engine, &plain, 2).await;
    let later = in_an_hour(&engine, &waiting).await;
    // None of them has an entry.
    let mut ids = Vec::new();
    for stream in [&waiting, &tagged, &bytes] {
        ids.push(engine.append(due(stream, later, "later")).await.unwrap());
    }
    let found = engine.find_scheduled(10_000).await.unwrap();
    assert!(found.complete && found.names.is_sorted(), "{found:?}");
    for stream in [&waiting, &tagged, &bytes] {
        assert!(found.names.contains(stream), "{stream}: {found:?}");
    }
    assert!(!found.names.contains(&plain), "{found:?}");
    let one = engine.find_scheduled(1).await.unwrap();
    assert_eq!((one.names.len(), one.complete), (1, false));
    engine.cancel_scheduled(&waiting, &ids[..1]).await.unwrap();
    let found = engine.find_scheduled(10_000).await.unwrap();
    assert!(
        !found.names.contains(&waiting) && found.names.contains(&tagged),
        "{found:?}"
    );
}

pub(crate) async fn what_is_scheduled_holds_any_bytes(engine: Arc<dyn Engine>) {
    let stream = StreamName::from([unique("bytes").as_bytes(), b"\xff}{"].concat());
    let every: Bytes = (0..=255_u8).collect::<Vec<_>>().into();
    let odd: Fields = vec![
        ("".into(), "".into()),
        ("3:abc".into(), "*".into()),
        ("MAXLEN".into(), "=".into()),
        (every.clone(), every),
        ("twice".into(), "1".into()),
        ("twice".into(), "2".into()),
        ("large".into(), vec![b':'; 100_000].into()),
    ];
    let soon = now(&engine, &stream).await + SOON_MS;
    let append = Append {
        fields: odd.clone(),
        ..due(&stream, soon, "")
    };
    let id = engine.append(append).await.unwrap();
    assert_eq!(engine.page_of_scheduled(&stream, None, 1).await.unwrap()[0].fields, odd);
    until(&engine, &stream, soon).await;
    assert_eq!(append_all(&engine, &stream, 1).await, 1);
    let expected: Fields = odd.into_iter().chain([scheduled_id(id)]).collect();
    assert_eq!(all(&engine, &stream).await[0].fields, expected);
}

pub(crate) async fn who_is_cut_off_while_appending_loses_and_doubles_nothing(engine: Arc<dyn Engine>) {
    const ENTRIES: usize = 300;
    let stream = a_stream();
    let soon = now(&engine, &stream).await + SOON_MS;
    let appends = (0..ENTRIES).map(|n| due(&stream, soon, &n.to_string()));
    engine.append_many(appends.collect()).await.unwrap();
    until(&engine, &stream, soon).await;
    for n in 0..40 {
        let (engine, stream) = (engine.clone(), stream.clone());
        let task = tokio::spawn(async move { engine.append_due(&stream, 5).await.map(drop) });
        for _ in 0..n % 5 {
            tokio::task::yield_now().await;
        }
        task.abort();
        let _ = task.await;
    }
    append_all(&engine, &stream, 50).await;
    // One that was cut off may still be under way at the store; it is done before what is sent after it.
    assert_eq!(count(&engine, &stream).await, 0);
    let expected: Vec<_> = (0..ENTRIES).map(|n| n.to_string()).collect();
    assert_eq!(values(&all(&engine, &stream).await), expected);
}
