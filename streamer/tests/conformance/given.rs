//! What cases begin with: streams, entries, groups and readers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use streamer::{
    Entry, EntryId, Fields, NewId, RangeBound, StreamName,
    engine::{
        Append, AppendOptions, Deferral, Engine, EngineErrorKind, EngineResult, EntryEnd, EntrySettlement, GroupStart,
        Member, PendingEntry, PendingFilter, ReadMode, Reader, StreamEntries,
    },
};

pub(crate) const GROUP: &str = "workers";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// A wait that a test does not expect to see the end of.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// A name that no other case has.
pub(crate) fn unique(name: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{name}.{}.{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

pub(crate) fn a_stream() -> StreamName {
    StreamName::from(unique("stream"))
}

pub(crate) fn fields(pairs: &[(&str, &str)]) -> Fields {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    pairs.iter().map(|(name, value)| (bytes(name), bytes(value))).collect()
}

pub(crate) fn an_append(stream: &StreamName, id: impl Into<NewId>) -> Append {
    Append {
        stream: stream.clone(),
        id: id.into(),
        fields: fields(&[("name", "value")]),
        options: AppendOptions::default(),
    }
}

/// Appends entries with IDs of the engine's own, whose field `n` counts from 0.
pub(crate) async fn entries(engine: &Arc<dyn Engine>, stream: &StreamName, count: usize) -> Vec<EntryId> {
    let append = |n: usize| Append {
        fields: fields(&[("n", &n.to_string())]),
        ..an_append(stream, NewId::Auto)
    };
    engine.append_many((0..count).map(append).collect()).await.unwrap()
}

/// Appends entries `1-0`, `2-0`, … `count-0`.
pub(crate) async fn numbered_entries(engine: &Arc<dyn Engine>, stream: &StreamName, count: u64) -> Vec<EntryId> {
    let append = |n| an_append(stream, EntryId::new(n, 0));
    engine.append_many((1..=count).map(append).collect()).await.unwrap()
}

/// A key that is no stream: that of a set beside a stream.
pub(crate) async fn a_set(engine: &Arc<dyn Engine>, beside: &StreamName) -> StreamName {
    engine.add_handled(beside, None, &[EntryId::new(1, 0)]).await.unwrap();
    format!("{{{beside}}}:handled").into()
}

pub(crate) async fn a_group(engine: &Arc<dyn Engine>, stream: &StreamName) {
    engine
        .create_group(stream, GROUP, GroupStart::After(EntryId::MIN), true)
        .await
        .unwrap();
}

pub(crate) async fn a_consumer(engine: &Arc<dyn Engine>, stream: &StreamName, consumer: &str) -> Box<dyn Reader> {
    let mode = ReadMode::Group {
        group: GROUP.to_owned(),
        consumer: consumer.to_owned(),
        streams: vec![stream.clone()],
    };
    engine.reader(mode).await.unwrap()
}

/// A stream with `count` entries, all pending with `consumer`.
pub(crate) async fn pending_entries(
    engine: &Arc<dyn Engine>,
    consumer: &str,
    count: usize,
) -> (StreamName, Vec<EntryId>) {
    let stream = a_stream();
    a_group(engine, &stream).await;
    let written = entries(engine, &stream, count).await;
    let read = read_ids(&mut a_consumer(engine, &stream, consumer).await, count).await;
    assert_eq!(read, written);
    (stream, written)
}

/// The IDs that a reader has at once.
pub(crate) async fn read_ids(reader: &mut Box<dyn Reader>, count: usize) -> Vec<EntryId> {
    ids_read(&reader.next(count, None).await.unwrap())
}

pub(crate) fn ids_read(read: &[StreamEntries]) -> Vec<EntryId> {
    read.iter().flat_map(|stream| ids_of(&stream.entries)).collect()
}

pub(crate) fn ids_of(entries: &[Entry]) -> Vec<EntryId> {
    entries.iter().map(|entry| entry.id).collect()
}

pub(crate) async fn all(engine: &Arc<dyn Engine>, stream: &StreamName) -> Vec<Entry> {
    engine
        .range(stream, RangeBound::Unbounded, RangeBound::Unbounded, None, false)
        .await
        .unwrap()
}

#[track_caller]
pub(crate) fn assert_kind<T: std::fmt::Debug>(result: EngineResult<T>, kind: EngineErrorKind) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
}

/// Whether the server knows what is told of Redis 7.0; the floor is 6.2.
pub(crate) async fn is_7_0(engine: &Arc<dyn Engine>, stream: &StreamName) -> bool {
    let info = engine.info(stream).await.unwrap().unwrap();
    info.entries_added.is_some()
}

// ----- the verbs of a delivery ----------------------------------------------------------------------------------------

/// A consumer of [`GROUP`].
pub(crate) fn member(consumer: &str) -> Member {
    Member {
        group: GROUP.to_owned(),
        consumer: consumer.to_owned(),
    }
}

/// What is pending: each entry, who has it, and its delivery count.
pub(crate) async fn pending_of(engine: &Arc<dyn Engine>, stream: &StreamName) -> Vec<(EntryId, String, u64)> {
    let all = PendingFilter {
        count: usize::MAX,
        ..PendingFilter::default()
    };
    let pending = engine.pending(stream, GROUP, all).await.unwrap();
    let one = |entry: PendingEntry| (entry.id, entry.consumer, entry.deliveries);
    pending.into_iter().map(one).collect()
}

/// Sets the idle time of those of `ids` that are pending with this consumer, and gives them.
pub(crate) async fn set_idle(
    engine: &Arc<dyn Engine>,
    stream: &StreamName,
    consumer: &str,
    ids: &[EntryId],
    idle: Duration,
) -> Vec<EntryId> {
    let pending = pending_of(engine, stream).await.into_iter();
    let own = pending.filter(|(id, owner, _)| owner == consumer && ids.contains(id));
    let (mut settlements, mut kept) = (Vec::new(), Vec::new());
    for (id, _, count) in own {
        let end = EntryEnd::Defer(Box::new(Deferral {
            retry_state: Bytes::new(),
            delay: Duration::ZERO,
            idle,
            count,
        }));
        settlements.push(EntrySettlement {
            id,
            end,
            failures: None,
        });
        kept.push(id);
    }
    let settlements = [(stream.clone(), settlements)];
    for settled in engine.settle(Some(&member(consumer)), &settlements).await {
        settled.unwrap();
    }
    kept
}

/// Ends deliveries of one stream in the same way.
pub(crate) async fn settle_all(
    engine: &Arc<dyn Engine>,
    consumer: &str,
    stream: &StreamName,
    ids: &[EntryId],
    end: &EntryEnd,
) {
    let one = |id: &EntryId| EntrySettlement {
        id: *id,
        end: end.clone(),
        failures: None,
    };
    let settlements = [(stream.clone(), ids.iter().map(one).collect())];
    for settled in engine.settle(Some(&member(consumer)), &settlements).await {
        settled.unwrap();
    }
}

/// Whether the failed list has this member.
pub(crate) async fn is_listed(engine: &Arc<dyn Engine>, member: &Bytes) -> bool {
    let mut cursor = 0;
    loop {
        let (next, page) = engine.page_of_failures(cursor, 1000).await.unwrap();
        if page.contains(member) {
            return true;
        }
        cursor = next;
        if cursor == 0 {
            return false;
        }
    }
}
