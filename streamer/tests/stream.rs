//! Streams, groups and consumers by hand.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use futures_util::TryStreamExt;
use streamer::{
    Entry, EntryId, Fields, StreamName, Streamer, Trim,
    engine::{AppendOptions, EngineErrorKind, GroupStart, PendingFilter, StreamEntries},
    stream::{Range, Stream},
};
use streamer_test_servers::{Options, RedisServer};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(10);

async fn store() -> (RedisServer, Streamer) {
    let server = RedisServer::start();
    let streamer = Streamer::connect(&server.url()).await.unwrap();
    (server, streamer)
}

fn fields(value: u64) -> Fields {
    vec![("n".into(), value.to_string().into())]
}

fn id(ms: u64) -> EntryId {
    EntryId::new(ms, 0)
}

fn ids(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.ms).collect()
}

/// A stream with the IDs 1-0, 2-0, ….
async fn filled(streamer: &Streamer, name: &str, entries: u64) -> Stream {
    let stream = streamer.stream(name);
    for n in 1..=entries {
        stream
            .add_with(fields(n), id(n), AppendOptions::default())
            .await
            .unwrap();
    }
    stream
}

#[tokio::test]
async fn a_stream_is_written_read_and_looked_at() {
    let (_server, streamer) = store().await;
    let stream = streamer.stream("s");
    assert!(stream.is_empty().await.unwrap());
    assert_eq!(stream.info().await.unwrap(), None);
    assert_eq!(stream.last_id().await.unwrap(), EntryId::MIN);

    let stream = filled(&streamer, "s", 5).await;
    assert_eq!(ids(&stream.read(id(2), 2).await.unwrap()), [3, 4]);
    assert_eq!(stream.read(id(5), 2).await.unwrap(), []);
    assert_eq!(stream.delete(&[id(1), id(9)]).await.unwrap(), 1);
    assert_eq!(stream.trim(Trim::max_len(3).exactly()).await.unwrap(), 1);
    assert_eq!(stream.len().await.unwrap(), 3);
    let automatic = stream.add(fields(6)).await.unwrap();
    assert_eq!(stream.last_id().await.unwrap(), automatic);
    let info = stream.info().await.unwrap().unwrap();
    assert_eq!((info.length, info.first_entry.unwrap().id), (4, id(3)));
    assert_eq!(stream.full_info(1).await.unwrap().unwrap().entries.len(), 1);
}

#[tokio::test]
async fn the_next_entry_is_waited_for() {
    let (_server, streamer) = store().await;
    let stream = filled(&streamer, "s", 2).await;
    assert_eq!(ids(&stream.wait_after(id(1), 10, LONG).await.unwrap()), [2]);
    assert_eq!(stream.wait_after(id(2), 10, SHORT).await.unwrap(), []);
    let waiting = tokio::spawn({
        let stream = stream.clone();
        async move { stream.wait_after(id(2), 10, LONG).await.unwrap() }
    });
    stream
        .add_with(fields(3), id(3), AppendOptions::default())
        .await
        .unwrap();
    assert_eq!(ids(&waiting.await.unwrap()), [3]);
}

#[tokio::test]
async fn a_range_comes_in_pages_both_ways() {
    let (_server, streamer) = store().await;
    let stream = filled(&streamer, "s", 10).await;
    let read = async |range: Range, page: usize| {
        let entries: Vec<_> = stream
            .range(range)
            .page_size(page)
            .entries()
            .try_collect()
            .await
            .unwrap();
        ids(&entries)
    };
    for page in [1, 3, 5, 10, 100] {
        assert_eq!(read(Range::all(), page).await, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(
            read(Range::all().newest_first(), page).await,
            [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]
        );
        assert_eq!(read(Range::all().from(id(3)).to(id(5)), page).await, [3, 4, 5]);
        assert_eq!(read(Range::all().after(id(3)).before(id(6)), page).await, [4, 5]);
        assert_eq!(
            read(Range::all().newest_first().to(id(8)).limit(4), page).await,
            [8, 7, 6, 5]
        );
        assert_eq!(read(Range::all().limit(0), page).await, [0_u64; 0]);
        assert_eq!(read(Range::all().from(id(11)), page).await, [0_u64; 0]);
    }
    let mut pages = stream.range(Range::all().limit(7)).page_size(4);
    let mut sizes = Vec::new();
    for _ in 0..4 {
        sizes.push(pages.next_page().await.unwrap().len());
    }
    assert_eq!(sizes, [4, 3, 0, 0]);
}

#[tokio::test]
async fn a_consumer_reads_claims_and_acknowledges() {
    let (_server, streamer) = store().await;
    let stream = streamer.stream("s");
    let missing = stream.create_group("g", GroupStart::Now, false).await.unwrap_err();
    assert_eq!(missing.kind(), EngineErrorKind::NoStream);
    assert!(!stream.group_exists("g").await.unwrap());
    stream
        .create_group("g", GroupStart::After(EntryId::MIN), true)
        .await
        .unwrap();
    assert!(stream.group_exists("g").await.unwrap());
    assert!(!stream.group_exists("h").await.unwrap());
    filled(&streamer, "s", 4).await;

    let (one, two) = (stream.consumer("g", "one"), stream.consumer("g", "two"));
    assert_eq!(ids(&one.read_new(3, None).await.unwrap()), [1, 2, 3]);
    assert_eq!(ids(&two.read_new(3, Some(LONG)).await.unwrap()), [4]);
    assert_eq!(two.read_new(3, Some(SHORT)).await.unwrap(), []);

    assert_eq!(one.acknowledge(&[id(1), id(4)]).await.unwrap(), 2);
    let own = one.own_pending(EntryId::MIN, 10).await.unwrap();
    let redelivered: Vec<_> = own.entries.iter().map(|of| (of.entry.id.ms, of.deliveries)).collect();
    assert_eq!(redelivered, [(2, 2), (3, 2)]);

    assert_eq!(
        two.claim(Duration::ZERO, &[id(2)]).await.unwrap().entries[0].entry.id,
        id(2)
    );
    assert_eq!(two.claim(LONG, &[id(3)]).await.unwrap().entries, []);
    assert_eq!(
        two.auto_claim(Duration::ZERO, id(3), 10).await.unwrap().entries[0]
            .entry
            .id,
        id(3)
    );
    assert_eq!(one.pending(PendingFilter::default()).await.unwrap(), []);
    let pending = two
        .pending(PendingFilter {
            count: 1,
            ..PendingFilter::default()
        })
        .await
        .unwrap();
    assert_eq!((pending.len(), pending[0].id), (1, id(2)));
    assert_eq!(stream.pending("g", PendingFilter::default()).await.unwrap().len(), 2);
    assert_eq!(
        stream.pending_summary("g").await.unwrap().consumers,
        [("two".to_owned(), 2)]
    );
    assert_eq!(stream.consumers("g").await.unwrap().len(), 2);
    assert_eq!(stream.acknowledge("g", &[id(2), id(3)]).await.unwrap(), 2);
    assert_eq!(stream.groups().await.unwrap()[0].pending, 0);
    assert_eq!(
        (two.group(), two.name(), two.stream().name()),
        ("g", "two", &StreamName::from("s"))
    );
}

fn by_stream(read: &[StreamEntries]) -> Vec<(String, Vec<u64>)> {
    let mut read: Vec<_> = read
        .iter()
        .map(|of| (of.stream.to_string(), ids(&of.entries)))
        .collect();
    read.sort();
    read
}

#[tokio::test]
async fn many_streams_are_written_and_read_at_once() {
    let (server, streamer) = store().await;
    let streams = streamer.streams(["a", "b"]);
    assert_eq!(streams.read(EntryId::MIN, 10, None).await.unwrap(), []);
    let added = streams.add(&fields(1), AppendOptions::default()).await.unwrap();
    assert_eq!((added.len(), streams.names().len()), (2, 2));
    let read = streams.read(EntryId::MIN, 10, Some(LONG)).await.unwrap();
    assert_eq!(
        by_stream(&read),
        [("a".into(), vec![added[0].ms]), ("b".into(), vec![added[1].ms])]
    );

    server.command(&["SET", "c", "x"]);
    let lots = streamer
        .streams(["a", "c"])
        .add(&fields(2), AppendOptions::default())
        .await
        .unwrap_err()
        .results;
    assert!(lots[0].is_ok());
    assert_eq!(lots[1].as_ref().unwrap_err().kind(), EngineErrorKind::WrongType);
}

#[tokio::test]
async fn a_quiet_stream_beside_a_busy_one_loses_nothing() {
    let (_server, streamer) = store().await;
    filled(&streamer, "busy", 1).await;
    filled(&streamer, "quiet", 1).await;
    let mut follow = streamer.streams(["busy", "quiet"]).follow().await.unwrap();
    let add = async |stream: &str, ms: u64| {
        streamer
            .stream(stream)
            .add_with(fields(ms), id(ms), AppendOptions::default())
            .await
            .unwrap();
    };
    for ms in 2..20 {
        add("busy", ms).await;
        assert_eq!(
            by_stream(&follow.next(10, Some(LONG)).await.unwrap()),
            [("busy".into(), vec![ms])]
        );
    }
    add("quiet", 2).await;
    add("busy", 20).await;
    let mut read = Vec::new();
    while read.len() < 2 {
        read.extend(by_stream(&follow.next(10, Some(LONG)).await.unwrap()));
    }
    read.sort();
    assert_eq!(read, [("busy".into(), vec![20]), ("quiet".into(), vec![2])]);
    assert_eq!(follow.next(10, Some(SHORT)).await.unwrap(), []);
    let not_in_a_group = follow.acknowledge(&"busy".into(), &[id(2)]).await.unwrap_err();
    assert_eq!(not_in_a_group.kind(), EngineErrorKind::InvalidInput);
}

#[tokio::test]
async fn reading_goes_on_where_it_was_after_the_server_was_away() {
    let mut server = Options::default().append_only().start();
    let streamer = Streamer::connect(&server.url()).await.unwrap();
    filled(&streamer, "s", 3).await;
    let mut follow = streamer.streams(["s"]).follow_from(id(1));
    assert_eq!(
        by_stream(&follow.next(10, None).await.unwrap()),
        [("s".into(), vec![2, 3])]
    );
    server.stop();
    assert!(follow.next(10, None).await.is_err());
    server.restart();
    let stream = streamer.stream("s");
    let mut added = stream.add_with(fields(4), id(4), AppendOptions::default()).await;
    while added.as_ref().is_err_and(|error| error.kind().is_transient()) {
        added = stream.add_with(fields(4), id(4), AppendOptions::default()).await;
    }
    added.unwrap();
    let read = loop {
        match follow.next(10, Some(LONG)).await {
            Ok(read) => break read,
            Err(error) => assert!(error.kind().is_transient(), "{error}"),
        }
    };
    assert_eq!(by_stream(&read), [("s".into(), vec![4])]);
}

#[tokio::test]
async fn many_streams_are_consumed_in_a_group() {
    let (_server, streamer) = store().await;
    let streams = streamer.streams(["a", "b"]);
    for name in streams.names() {
        let stream = streamer.stream(name);
        stream
            .create_group("g", GroupStart::After(EntryId::MIN), true)
            .await
            .unwrap();
    }
    filled(&streamer, "a", 3).await;
    filled(&streamer, "b", 1).await;
    let mut one = streams.consumer("g", "one");
    let mut two = streams.consumer("g", "two");
    assert_eq!(
        by_stream(&one.next(2, None).await.unwrap()),
        [("a".into(), vec![1, 2]), ("b".into(), vec![1])]
    );
    assert_eq!(by_stream(&two.next(2, None).await.unwrap()), [("a".into(), vec![3])]);
    assert_eq!(one.acknowledge(&"a".into(), &[id(1), id(2)]).await.unwrap(), 2);
    assert_eq!(streamer.stream("a").pending_summary("g").await.unwrap().count, 1);
}
