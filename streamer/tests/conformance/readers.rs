//! Readers: what they deliver, how they wait, how waits end.

use std::{collections::HashMap, sync::Arc, time::Duration};

use streamer::{
    EntryId, NewId, StreamName,
    engine::{Append, Engine, EngineErrorKind, GroupStart, ReadMode, Reader},
};
use tokio::time::timeout;

use crate::given::{
    GROUP, LONG, a_consumer, a_group, a_stream, an_append, assert_kind, entries, fields, ids_of, ids_read,
    numbered_entries, pending_entries, read_ids,
};

async fn plain(engine: &Arc<dyn Engine>, positions: &[(&StreamName, EntryId)]) -> Box<dyn Reader> {
    let positions = positions.iter().map(|(stream, id)| ((*stream).clone(), *id)).collect();
    engine.reader(ReadMode::Plain(positions)).await.unwrap()
}

pub(crate) async fn a_plain_reader_begins_after_its_position(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = numbered_entries(&engine, &stream, 5).await;
    let mut reader = plain(&engine, &[(&stream, ids[1])]).await;
    assert_eq!(read_ids(&mut reader, 2).await, ids[2..4]);
    assert_eq!(read_ids(&mut reader, 2).await, ids[4..]);
    assert_eq!(read_ids(&mut reader, 2).await, []);
}

pub(crate) async fn a_message_arriving_between_two_reads_is_not_lost(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let mut reader = plain(&engine, &[(&stream, EntryId::MIN)]).await;
    for _ in 0..20 {
        let id = engine.append(an_append(&stream, NewId::Auto)).await.unwrap();
        assert_eq!(ids_read(&reader.next(10, Some(LONG)).await.unwrap()), [id]);
    }
}

pub(crate) async fn a_quiet_stream_beside_a_busy_one_keeps_its_place(engine: Arc<dyn Engine>) {
    let (busy, quiet) = (a_stream(), a_stream());
    let mut reader = plain(&engine, &[(&busy, EntryId::MIN), (&quiet, EntryId::MIN)]).await;
    for _ in 0..5 {
        let ids = entries(&engine, &busy, 3).await;
        assert_eq!(read_ids(&mut reader, 10).await, ids);
    }
    let late = entries(&engine, &quiet, 1).await;
    let read = reader.next(10, Some(LONG)).await.unwrap();
    assert_eq!((read.len(), &read[0].stream), (1, &quiet));
    assert_eq!(ids_of(&read[0].entries), late);
}

pub(crate) async fn count_limits_each_stream(engine: Arc<dyn Engine>) {
    let streams = [a_stream(), a_stream()];
    for stream in &streams {
        numbered_entries(&engine, stream, 3).await;
    }
    let mut reader = plain(&engine, &[(&streams[0], EntryId::MIN), (&streams[1], EntryId::MIN)]).await;
    let mut counts = [0, 0];
    while counts != [3, 3] {
        for read in reader.next(2, Some(LONG)).await.unwrap() {
            assert!((1..=2).contains(&read.entries.len()));
            let index = streams.iter().position(|stream| *stream == read.stream).unwrap();
            for entry in read.entries {
                counts[index] += 1;
                assert_eq!(entry.id, EntryId::new(counts[index], 0));
            }
        }
    }
}

pub(crate) async fn without_a_wait_a_reader_returns_at_once(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    a_group(&engine, &stream).await;
    let mut reader = a_consumer(&engine, &stream, "a").await;
    assert_eq!(timeout(LONG, reader.next(10, None)).await.unwrap().unwrap(), []);
}

pub(crate) async fn a_wait_ends_by_itself(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let mut reader = plain(&engine, &[(&stream, EntryId::MIN)]).await;
    for wait in [Duration::from_millis(30), Duration::from_micros(1), Duration::ZERO] {
        assert_eq!(timeout(LONG, reader.next(10, Some(wait))).await.unwrap().unwrap(), []);
    }
    let id = engine.append(an_append(&stream, NewId::Auto)).await.unwrap();
    assert_eq!(read_ids(&mut reader, 10).await, [id]);
}

pub(crate) async fn a_waiting_plain_reader_wakes_on_an_append(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let now = entries(&engine, &stream, 1).await[0];
    let mut reader = plain(&engine, &[(&stream, now)]).await;
    let waiting = tokio::spawn(async move { reader.next(usize::MAX, Some(Duration::MAX)).await.unwrap() });
    tokio::task::yield_now().await;
    let id = engine.append(an_append(&stream, NewId::Auto)).await.unwrap();
    assert_eq!(ids_read(&timeout(LONG, waiting).await.unwrap().unwrap()), [id]);
}

pub(crate) async fn a_waiting_group_reader_wakes_on_an_append(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    a_group(&engine, &stream).await;
    let mut reader = a_consumer(&engine, &stream, "a").await;
    let waiting = tokio::spawn(async move { reader.next(10, Some(LONG * 10)).await.unwrap() });
    tokio::task::yield_now().await;
    let id = engine.append(an_append(&stream, NewId::Auto)).await.unwrap();
    assert_eq!(ids_read(&timeout(LONG, waiting).await.unwrap().unwrap()), [id]);
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 1);
}

pub(crate) async fn a_reader_waits_for_a_stream_that_is_not_there_yet(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let mut reader = plain(&engine, &[(&stream, EntryId::MIN)]).await;
    assert_eq!(read_ids(&mut reader, 10).await, []);
    let ids = entries(&engine, &stream, 2).await;
    assert_eq!(read_ids(&mut reader, 10).await, ids);
}

pub(crate) async fn an_interrupter_ends_a_wait(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    a_group(&engine, &stream).await;
    for _ in 0..20 {
        let mut reader = a_consumer(&engine, &stream, "a").await;
        let interrupter = reader.interrupter();
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(async move {
            let next = reader.next(10, Some(LONG * 10));
            begun.send(()).unwrap();
            (next.await.unwrap(), reader)
        });
        has_begun.await.unwrap();
        tokio::task::yield_now().await;
        interrupter.interrupt();
        let (read, mut reader) = timeout(LONG, waiting).await.unwrap().unwrap();
        assert_eq!(read, []);
        // The reader is as good as before.
        let ids = entries(&engine, &stream, 1).await;
        let read = async {
            loop {
                let read = reader.next(10, Some(LONG)).await.unwrap();
                if !read.is_empty() {
                    break ids_read(&read);
                }
            }
        };
        assert_eq!(timeout(LONG, read).await.unwrap(), ids);
    }
}

pub(crate) async fn an_interrupter_called_early_does_not_end_a_later_wait(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let mut reader = plain(&engine, &[(&stream, EntryId::MIN)]).await;
    reader.interrupter().interrupt();
    let waiting = tokio::spawn(async move { reader.next(10, Some(LONG * 10)).await.unwrap() });
    tokio::task::yield_now().await;
    let ids = entries(&engine, &stream, 1).await;
    assert_eq!(ids_read(&timeout(LONG, waiting).await.unwrap().unwrap()), ids);
}

pub(crate) async fn two_consumers_divide_the_entries(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    a_group(&engine, &stream).await;
    let ids = entries(&engine, &stream, 100).await;
    let drain = |mut reader: Box<dyn Reader>| {
        tokio::spawn(async move {
            let mut read = Vec::new();
            loop {
                let more = read_ids(&mut reader, 7).await;
                if more.is_empty() {
                    return read;
                }
                read.extend(more);
            }
        })
    };
    let a = drain(a_consumer(&engine, &stream, "a").await);
    let b = drain(a_consumer(&engine, &stream, "b").await);
    let mut together = a.await.unwrap();
    together.extend(b.await.unwrap());
    together.sort();
    assert_eq!(together, ids);
}

pub(crate) async fn a_group_reader_gets_no_pending_entries(engine: Arc<dyn Engine>) {
    let (stream, _) = pending_entries(&engine, "a", 2).await;
    assert_eq!(read_ids(&mut a_consumer(&engine, &stream, "a").await, 10).await, []);
    // Nor what it claimed: that came with the claim.
    let claimed = engine
        .auto_claim(&stream, GROUP, "b", Duration::ZERO, EntryId::MIN, 10)
        .await
        .unwrap();
    assert_eq!(claimed.entries.len(), 2);
    assert_eq!(read_ids(&mut a_consumer(&engine, &stream, "b").await, 10).await, []);
}

pub(crate) async fn a_group_reader_reads_many_streams(engine: Arc<dyn Engine>) {
    let streams = [a_stream(), a_stream(), a_stream()];
    for stream in &streams {
        a_group(&engine, stream).await;
    }
    let mode = ReadMode::Group {
        group: GROUP.to_owned(),
        consumer: "a".to_owned(),
        streams: streams.to_vec(),
    };
    let mut reader = engine.reader(mode).await.unwrap();
    let mut missing = Vec::new();
    for stream in &streams {
        missing.extend(
            entries(&engine, stream, 3)
                .await
                .into_iter()
                .map(|id| (stream.clone(), id)),
        );
    }
    while !missing.is_empty() {
        for read in timeout(LONG, reader.next(2, Some(LONG))).await.unwrap().unwrap() {
            for entry in read.entries {
                let next = missing.iter().position(|(stream, _)| *stream == read.stream).unwrap();
                assert_eq!(missing.remove(next), (read.stream.clone(), entry.id));
            }
        }
    }
}

pub(crate) async fn many_streams_with_a_backlog_are_all_read_to_their_end(engine: Arc<dyn Engine>) {
    let streams: Vec<StreamName> = (0..13).map(|_| a_stream()).collect();
    let mut written = HashMap::new();
    for (number, stream) in streams.iter().enumerate() {
        a_group(&engine, stream).await;
        // The first has a few, the last many.
        written.insert(stream.clone(), entries(&engine, stream, 1 + number * 3).await);
    }
    let plain = ReadMode::Plain(streams.iter().map(|stream| (stream.clone(), EntryId::MIN)).collect());
    let group = ReadMode::Group {
        group: GROUP.to_owned(),
        consumer: "a".to_owned(),
        streams: streams.clone(),
    };
    for mode in [plain, group] {
        let mut reader = engine.reader(mode).await.unwrap();
        let mut found: HashMap<StreamName, Vec<EntryId>> = HashMap::new();
        while found != written {
            let read = timeout(LONG, reader.next(3, Some(LONG))).await.unwrap().unwrap();
            assert!(!read.is_empty(), "it ended with {found:?} of {written:?}");
            for read in read {
                assert!(read.entries.len() <= 3, "{read:?}");
                found.entry(read.stream).or_default().extend(ids_of(&read.entries));
            }
        }
        assert_eq!(reader.next(3, None).await.unwrap(), []);
        // None is left out for ever.
        for stream in &streams {
            let new = entries(&engine, stream, 1).await;
            let read = timeout(LONG, reader.next(3, Some(LONG))).await.unwrap().unwrap();
            assert_eq!((read.len(), &read[0].stream, ids_read(&read)), (1, stream, new.clone()));
            written.entry(stream.clone()).or_default().extend(new);
        }
    }
}

pub(crate) async fn nothing_that_was_read_ahead_is_left_out(engine: Arc<dyn Engine>) {
    let (stream, fill) = (a_stream(), "x".repeat(2000));
    a_group(&engine, &stream).await;
    let append = |_| Append {
        fields: fields(&[("fill", &fill)]),
        ..an_append(&stream, NewId::Auto)
    };
    let ids = engine.append_many((0..500).map(append).collect()).await.unwrap();
    let mut reader = a_consumer(&engine, &stream, "a").await;
    assert_eq!(ids_read(&reader.rest().await.unwrap()), []);
    reader.read_ahead(true);
    let mut read = Vec::new();
    for _ in 0..3 {
        read.extend(ids_read(&reader.next(60, None).await.unwrap()));
    }
    read.extend(ids_read(&reader.rest().await.unwrap()));
    assert_eq!(read, ids[..read.len()]);
    let delivered = engine.pending_summary(&stream, GROUP).await.unwrap().count;
    assert_eq!(delivered, read.len() as u64, "what is pending was given to somebody");
    // It goes on from there, and its end is an end.
    while read.len() < ids.len() {
        read.extend(ids_read(&reader.next(60, None).await.unwrap()));
    }
    assert_eq!(read, ids);
    assert_eq!(ids_read(&reader.next(60, None).await.unwrap()), []);
    assert_eq!(ids_read(&reader.rest().await.unwrap()), []);
}

pub(crate) async fn a_missing_group_is_an_error(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let mut reader = a_consumer(&engine, &stream, "a").await;
    assert_kind(reader.next(10, None).await, EngineErrorKind::NoGroup);
    engine
        .create_group(&stream, GROUP, GroupStart::Now, true)
        .await
        .unwrap();
    engine.destroy_group(&stream, GROUP).await.unwrap();
    let mut reader = a_consumer(&engine, &stream, "a").await;
    assert_kind(reader.next(10, Some(LONG)).await, EngineErrorKind::NoGroup);
}
