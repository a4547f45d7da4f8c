//! The storage contract: one suite, run unchanged on each driver.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use streamer::{
    EntryId, StreamName,
    archive::{ArchiveStorage, ArchivedMessage, Stored},
};

/// Each case on a driver; `$open` gives two handles on one new, empty archive, as two processes would have.
macro_rules! storage_suite {
    ($driver:ident, $open:path) => {
        mod $driver {
            crate::storage::cases! { $open;
                what_goes_in_comes_out
                storing_again_changes_nothing
                another_message_under_the_same_id_is_a_conflict
                two_at_once_store_each_message_once
                everything_comes_in_order_of_stream_and_id
                a_stream_s_messages_come_alone
                pages_go_on_where_they_ended
                a_page_of_large_messages_is_short
                messages_may_be_deleted_while_they_are_read
                deleting_tells_what_was_there
                many_are_found_and_deleted_at_once
                migrating_again_changes_nothing
                counting_ends_at_its_bound
            }
        }
    };
}
macro_rules! cases {
    ($open:path; $($case:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (archive, other, _keep) = $open().await;
            crate::storage::$case(archive, other).await;
        })*
    };
}
pub(crate) use {cases, storage_suite};

type Archive = Arc<dyn ArchiveStorage>;

fn message(stream: impl Into<StreamName>, ms: u64, seq: u64) -> ArchivedMessage {
    ArchivedMessage {
        stream: stream.into(),
        id: EntryId::new(ms, seq),
        original_ids: Vec::new(),
        fields: vec![
            ("type".into(), "event".into()),
            ("data".into(), format!("{{\"n\":{ms}}}").into()),
        ],
    }
}

/// Every stream and ID, in the order in which they come.
async fn keys(archive: &Archive) -> Vec<(StreamName, EntryId)> {
    let all = archive.all().map_ok(|message| (message.stream, message.id));
    all.try_collect().await.unwrap()
}

pub(crate) async fn what_goes_in_comes_out(archive: Archive, other: Archive) {
    let names = ["order.placed", "", "ä'\"\\%_", "a\0b"].map(StreamName::from);
    let names = names.into_iter().chain([StreamName::from(vec![0xff, 0, b'/'])]);
    for (number, stream) in names.enumerate() {
        let message = ArchivedMessage {
            stream: stream.clone(),
            id: EntryId::new(u64::MAX - 1, number as u64),
            original_ids: vec![EntryId::new(1, 2), EntryId::new(3, u64::MAX)],
            fields: vec![
                ("data".into(), "{\"a\":1.0,\"o\":{},\"s\":\"\\u00e9\\/\"}".into()),
                (Bytes::from_static(&[0xfe, 0]), Bytes::from_static(&[0, 0xff, b'\n'])),
                ("data".into(), "é\0\n".into()),
                (Bytes::new(), Bytes::new()),
            ],
        };
        assert_eq!(
            archive.create(std::slice::from_ref(&message)).await.unwrap(),
            [Stored::New]
        );
        assert_eq!(other.find(&stream, message.id).await.unwrap(), Some(message.clone()));
        let listed = other.of_stream(stream).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(listed, [message]);
    }
    assert_eq!(archive.find(&"nowhere".into(), EntryId::new(1, 0)).await.unwrap(), None);
}

pub(crate) async fn storing_again_changes_nothing(archive: Archive, other: Archive) {
    let (first, second) = (message("s", 1, 0), message("s", 2, 0));
    assert_eq!(
        archive.create(std::slice::from_ref(&first)).await.unwrap(),
        [Stored::New]
    );
    let both = [first.clone(), second.clone()];
    assert_eq!(other.create(&both).await.unwrap(), [Stored::AlreadyThere, Stored::New]);
    assert_eq!(archive.create(&both).await.unwrap(), [Stored::AlreadyThere; 2]);
    assert_eq!(archive.all().try_collect::<Vec<_>>().await.unwrap(), both);
    assert_eq!(archive.create(&[]).await.unwrap(), []);
}

pub(crate) async fn another_message_under_the_same_id_is_a_conflict(archive: Archive, other: Archive) {
    let first = message("s", 1, 0);
    let impostor = ArchivedMessage {
        fields: vec![("data".into(), "other".into())],
        ..first.clone()
    };
    archive.create(std::slice::from_ref(&first)).await.unwrap();
    let lots = other.create(&[impostor, message("s", 2, 0)]).await.unwrap();
    assert_eq!(lots, [Stored::Conflict, Stored::New]);
    assert_eq!(archive.find(&first.stream, first.id).await.unwrap(), Some(first));
}

pub(crate) async fn two_at_once_store_each_message_once(archive: Archive, other: Archive) {
    let messages = (1..=200).map(|ms| message("s", ms, 0)).collect::<Vec<_>>();
    let (one, two) = tokio::join!(archive.create(&messages), other.create(&messages));
    for (one, two) in one.unwrap().into_iter().zip(two.unwrap()) {
        assert!([one, two].contains(&Stored::New) && ![one, two].contains(&Stored::Conflict));
    }
    assert_eq!(keys(&archive).await.len(), 200);
}

pub(crate) async fn everything_comes_in_order_of_stream_and_id(archive: Archive, other: Archive) {
    let mut all = Vec::new();
    // 10-0 comes after 9-0, and a stream's name is no prefix that mixes.
    for stream in ["a", "a.b", "ab", "b", "B"] {
        for (ms, seq) in [(9, 0), (10, 0), (10, 2), (10, 10), (1 << 40, 0)] {
            all.push(message(stream, ms, seq));
        }
    }
    let mut shuffled = all.clone();
    shuffled.reverse();
    shuffled.rotate_left(7);
    for some in shuffled.chunks(4) {
        archive.create(some).await.unwrap();
    }
    all.sort_by_key(|message| (message.stream.clone(), message.id));
    assert_eq!(other.all().try_collect::<Vec<_>>().await.unwrap(), all);
}

pub(crate) async fn a_stream_s_messages_come_alone(archive: Archive, other: Archive) {
    let messages = ["a", "b", "ba"].map(|stream| message(stream, 5, 0));
    archive.create(&messages).await.unwrap();
    let of_b = other.of_stream("b".into()).try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(of_b, messages[1..2]);
    assert_eq!(other.of_stream("c".into()).try_next().await.unwrap(), None);
}

pub(crate) async fn pages_go_on_where_they_ended(archive: Archive, _other: Archive) {
    let messages = ["a", "b"]
        .into_iter()
        .flat_map(|stream| (1..=5).map(move |ms| message(stream, ms, 0)));
    let messages = messages.collect::<Vec<_>>();
    archive.create(&messages).await.unwrap();
    let mut seen = Vec::<ArchivedMessage>::new();
    loop {
        let after = seen.last().map(|message| (message.stream.clone(), message.id));
        let after = after.as_ref().map(|(stream, id)| (stream, *id));
        let page = archive.page(None, after, 3).await.unwrap();
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, messages);
    let stream = StreamName::from("a");
    let rest = archive
        .page(Some(&stream), Some((&stream, EntryId::new(3, 0))), 10)
        .await
        .unwrap();
    assert_eq!(rest, messages[3..5]);
}

pub(crate) async fn a_page_of_large_messages_is_short(archive: Archive, _other: Archive) {
    let large = |ms| ArchivedMessage {
        fields: vec![("data".into(), "x".repeat(5 << 20).into())],
        ..message("s", ms, 0)
    };
    for ms in 1..=4 {
        archive.create(&[large(ms)]).await.unwrap();
    }
    let page = archive.page(None, None, 100).await.unwrap();
    assert!((1..=2).contains(&page.len()), "{} of 5 MiB each", page.len());
    assert_eq!(keys(&archive).await.len(), 4);
}

pub(crate) async fn messages_may_be_deleted_while_they_are_read(archive: Archive, other: Archive) {
    let messages = (1..=600).map(|ms| message("s", ms, 0)).collect::<Vec<_>>();
    archive.create(&messages).await.unwrap();
    let mut all = archive.all().try_ready_chunks(20);
    let mut seen = 0;
    while let Some(some) = all.try_next().await.unwrap() {
        // What was in memory already may still come; no other message may be missed. Several at once: an object store lists
        // the stream for each call.
        let ids = some.iter().map(|message| message.id).collect::<Vec<_>>();
        let were_there = other.delete_many(&some[0].stream, &ids).await.unwrap();
        assert!(were_there.iter().all(|was_there| *was_there));
        seen += some.len();
    }
    assert_eq!(seen, 600);
    assert_eq!(keys(&other).await, []);
}

pub(crate) async fn deleting_tells_what_was_there(archive: Archive, other: Archive) {
    archive
        .create(&[message("a", 1, 0), message("a", 2, 0), message("b", 1, 0)])
        .await
        .unwrap();
    assert!(other.delete(&"a".into(), EntryId::new(1, 0)).await.unwrap());
    assert!(!archive.delete(&"a".into(), EntryId::new(1, 0)).await.unwrap());
    archive.create(&[message("a", 3, 0)]).await.unwrap();
    assert_eq!(other.delete_stream(&"a".into()).await.unwrap(), 2);
    assert_eq!(archive.delete_stream(&"a".into()).await.unwrap(), 0);
    assert_eq!(keys(&archive).await, [("b".into(), EntryId::new(1, 0))]);
    // And it may come again.
    assert_eq!(archive.create(&[message("a", 1, 0)]).await.unwrap(), [Stored::New]);
}

pub(crate) async fn many_are_found_and_deleted_at_once(archive: Archive, other: Archive) {
    let messages = (1..=20).map(|ms| message("a", ms * 40_000_000, 0)).collect::<Vec<_>>();
    archive.create(&messages).await.unwrap();
    archive.create(&[message("b", 40_000_000, 0)]).await.unwrap();
    let stream = StreamName::from("a");
    let absent = EntryId::new(7, 7);
    let mut ids = messages.iter().rev().map(|message| message.id).collect::<Vec<_>>();
    ids.insert(3, absent);
    let found = other.find_many(&stream, &ids).await.unwrap();
    let found_ids = found.iter().map(|message| message.as_ref().map(|message| message.id));
    let expected = ids.iter().map(|id| (*id != absent).then_some(*id));
    assert!(found_ids.eq(expected));
    let (some, rest) = ids.split_at(9);
    let were_there = other.delete_many(&stream, some).await.unwrap();
    assert!(were_there.into_iter().eq(some.iter().map(|id| *id != absent)));
    assert_eq!(
        archive.delete_many(&stream, some).await.unwrap(),
        vec![false; some.len()]
    );
    let left = archive.find_many(&stream, &ids).await.unwrap();
    assert_eq!(left.iter().flatten().count(), rest.len());
    assert_eq!(
        archive.delete_many(&stream, rest).await.unwrap(),
        vec![true; rest.len()]
    );
    assert_eq!(keys(&other).await, [("b".into(), EntryId::new(40_000_000, 0))]);
    assert_eq!(archive.delete_many(&stream, &[]).await.unwrap(), [] as [bool; 0]);
}

pub(crate) async fn migrating_again_changes_nothing(archive: Archive, other: Archive) {
    archive.create(&[message("a", 1, 0)]).await.unwrap();
    other.migrate().await.unwrap();
    assert_eq!(keys(&archive).await.len(), 1);
}

pub(crate) async fn counting_ends_at_its_bound(archive: Archive, other: Archive) {
    let messages = (0..7)
        .map(|n| message(format!("s{}", n % 3), n + 1, 0))
        .collect::<Vec<_>>();
    archive.create(&messages).await.unwrap();
    match other.count(100).await.unwrap() {
        Some(count) => {
            assert_eq!(count, 7);
            assert_eq!(other.count(5).await.unwrap(), Some(5));
            other.delete_stream(&"s0".into()).await.unwrap();
            assert_eq!(archive.count(100).await.unwrap(), Some(4));
        }
        // To count objects is to list them.
        None => assert!(
            ["file:", "s3:", "az:", "gs:"]
                .iter()
                .any(|scheme| archive.location().starts_with(scheme)),
            "{}",
            archive.location()
        ),
    }
}
