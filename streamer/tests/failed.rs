//! The failed list's records, in a store and out of it.
#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use sha2::{Digest, Sha256};
use streamer::{
    EntryId, Fields, StreamName, Streamer,
    engine::EngineErrorKind,
    failed::{self, FailedFilter, FailedMessage},
};
use streamer_test_servers::RedisServer;

async fn store() -> (RedisServer, Streamer) {
    let server = RedisServer::start();
    let streamer = Streamer::connect(&server.url()).await.unwrap();
    (server, streamer)
}

fn failure(receiver: &str, error: impl AsRef<[u8]>) -> FailedMessage {
    FailedMessage::new(EntryId::new(5, 0), &"order.placed".into(), receiver, error)
}

#[test]
fn the_date_is_utc_in_whole_seconds_without_a_zone() {
    let before = jiff::Timestamp::now().as_second();
    let failed = failure("receipt", "no paper");
    let date: jiff::civil::DateTime = failed.date.parse().unwrap();
    let seconds = jiff::tz::TimeZone::UTC.to_timestamp(date).unwrap().as_second();
    assert!((before..=before + 60).contains(&seconds), "{}", failed.date);
    assert_eq!((failed.date.len(), failed.date.as_bytes()[10]), (19, b' '));
}

#[test]
fn what_is_not_utf_8_is_recorded_all_the_same() {
    let failed = FailedMessage::new(
        EntryId::new(5, 0),
        &StreamName::from(b"caf\xe9".to_vec()),
        "r",
        b"\xff!",
    );
    assert_eq!(
        (failed.stream.as_str(), failed.error.as_str()),
        ("caf\u{fffd}", "\u{fffd}!")
    );
    let start = br#"{"id":"5-0","stream":"caf\ufffd","receiver":"r","error":"\ufffd!","date":""#;
    assert!(failed.to_member().starts_with(start));
}

#[test]
fn a_member_without_our_keys_is_read_by_position_as_php_does() {
    let read = |member: &str| FailedMessage::from_member(member.as_bytes());
    let listed = read(r#"["1-0","s","r","e","2021-12-12 12:12:12"]"#).unwrap();
    assert_eq!(
        (listed.id.as_str(), listed.date.as_str()),
        ("1-0", "2021-12-12 12:12:12")
    );
    for renamed in [
        r#"{"a":"1-0","b":"s","c":"r","d":"e"}"#,
        r#"{"d":"1-0","c":"s","b":"r","a":"e"}"#,
    ] {
        let renamed = read(renamed).unwrap();
        assert_eq!((renamed.id.as_str(), renamed.stream.as_str()), ("1-0", "s"));
        assert_eq!((renamed.receiver.as_str(), renamed.error.as_str()), ("r", "e"));
        assert_eq!(renamed.date, "");
    }
    assert_eq!(read(r#"{"id":5,"stream":"s","receiver":"r"}"#).unwrap().id, "5");
}

#[test]
fn a_member_that_is_no_record_is_an_error_that_shows_it() {
    for member in [
        "",
        "no json",
        "7",
        "[]",
        r#"["1-0","s","r"]"#,
        r#"{"id":[],"stream":{},"receiver":null}"#,
    ] {
        let error = FailedMessage::from_member(member.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(member), "{error}");
    }
    assert!(FailedMessage::from_member("[".repeat(100_000).as_bytes()).is_err());
    assert!(FailedMessage::from_member(b"\xff").is_err());
}

#[tokio::test]
async fn a_record_is_in_the_set_that_php_reads_until_it_is_removed() {
    let (server, streamer) = store().await;
    let engine = streamer.engine().as_ref();
    let failures = [failure("receipt", "no paper"), failure("audit", "no ink")];
    failed::record(engine, &failures).await.unwrap();
    failed::record(engine, &failures).await.unwrap();
    failed::record(engine, &[]).await.unwrap();
    assert_eq!(server.command(&["SCARD", "failed_stream"]).trim(), "2");
    let member = String::from_utf8(failures[0].to_member().to_vec()).unwrap();
    assert_eq!(server.command(&["SISMEMBER", "failed_stream", &member]).trim(), "1");
    assert_eq!(failed::details(engine, &failures[0]).await.unwrap(), None);
    failed::forget(engine, &[failures[0].to_member()]).await.unwrap();
    assert_eq!(server.command(&["SCARD", "failed_stream"]).trim(), "1");
}

#[tokio::test]
async fn the_fields_of_what_cannot_be_decoded_are_kept_beside_its_record() {
    let (server, streamer) = store().await;
    let engine = streamer.engine().as_ref();
    let fields: Fields = vec![
        ("name".into(), "order.placed".into()),
        ("data".into(), Bytes::from_static(b"\xff\x00")),
    ];
    let failed = failure("receipt", "not JSON");
    failed::record_undecodable(engine, std::slice::from_ref(&failed), &fields)
        .await
        .unwrap();
    assert_eq!(server.command(&["SCARD", "failed_stream"]).trim(), "1");

    let field = hex::encode(Sha256::digest(failed.to_member()));
    assert_eq!(
        server.command(&["HGET", "failed_stream:details", &field]).trim(),
        r#"{"fields":[["name","order.placed"],["data",{"base64":"/wA="}]]}"#
    );
    assert_eq!(failed::details(engine, &failed).await.unwrap().unwrap().fields, fields);

    server.command(&["HSET", "failed_stream:details", &field, "{}"]);
    let corrupt = failed::details(engine, &failed).await.unwrap_err();
    assert_eq!(corrupt.kind(), EngineErrorKind::Corrupt);

    failed::forget(engine, &[failed.to_member()]).await.unwrap();
    assert_eq!(
        server
            .command(&["EXISTS", "failed_stream", "failed_stream:details"])
            .trim(),
        "0"
    );
}

#[tokio::test]
async fn failures_are_sorted_by_date_and_id_also_where_they_do_not_fit_into_memory() {
    let streamer = Streamer::connect("memory:").await.unwrap();
    // About 20 MB, more than is kept in memory.
    let long = "x".repeat(10_000);
    let failures = (0..2_000_u64).map(|n| FailedMessage {
        date: format!("2026-11-{:02} 00:00:00", 1 + n * 7 % 28),
        ..FailedMessage::new(EntryId::new(n * 13 % 2_000, 0), &"a".into(), "r", format!("{n} {long}"))
    });
    let failures = failures.collect::<Vec<_>>();
    failed::record(streamer.engine().as_ref(), &failures).await.unwrap();
    let mut sorted = streamer.failed().sorted(FailedFilter::all());
    let mut seen = Vec::new();
    while let Some(page) = sorted.next_page().await.unwrap() {
        seen.extend(page.into_iter().map(|listed| {
            let failed = listed.record.unwrap();
            (failed.date, failed.id.parse::<EntryId>().unwrap(), failed.error.len())
        }));
    }
    assert_eq!(seen.len(), 2_000);
    assert!(seen.is_sorted());
    assert!(seen.iter().all(|(_, _, length)| *length > 10_000));
    let mut first = streamer.failed().sorted(FailedFilter::all()).limit(3);
    let page = first.next_page().await.unwrap().unwrap();
    assert_eq!(page.len(), 3);
    assert_eq!(page[0].record.as_ref().unwrap().date, seen[0].0);
    assert!(first.next_page().await.unwrap().is_none());
    assert_eq!(
        streamer
            .failed()
            .summary(FailedFilter::all())
            .await
            .unwrap()
            .kinds
            .len(),
        1
    );
}

/// All failures that pages show, and how many parts began.
async fn by_pages(streamer: &Streamer, filter: FailedFilter, limit: usize, part: u64) -> (Vec<FailedMessage>, usize) {
    let (mut seen, mut parts, mut from) = (Vec::new(), 0, Some(failed::Position::default()));
    while let Some(position) = from {
        parts += usize::from(position.begins_part());
        // A page is a request of its own: what it begins with comes as text.
        let position = position.to_string().parse().unwrap();
        let newest = streamer.failed().newest(filter.clone()).limit(limit).part(part);
        let mut matching = 0;
        let page = newest.from(position).page(|_| matching += 1).await.unwrap();
        assert_eq!(page.matching, matching);
        assert!(page.failures.len() <= limit);
        let records = page.failures.iter().map(|listed| listed.record.clone().unwrap());
        seen.extend(records);
        from = page.next;
    }
    (seen, parts)
}

#[tokio::test]
async fn pages_go_from_the_newest_failure_to_the_oldest_and_leave_none_out() {
    let (_server, redis) = store().await;
    for streamer in [redis, Streamer::connect("memory:").await.unwrap()] {
        let failures = (0..2_000_u64).map(|n| FailedMessage {
            date: format!("2026-11-{:02} 00:00:{:02}", 1 + n * 7 % 28, n % 3),
            ..FailedMessage::new(EntryId::new(n * 13 % 500, 0), &"a".into(), "r", format!("error {n}"))
        });
        let mut failures = failures.collect::<Vec<_>>();
        failed::record(streamer.engine().as_ref(), &failures).await.unwrap();
        let (seen, parts) = by_pages(&streamer, FailedFilter::all(), 150, 100_000).await;
        assert_eq!((seen.len(), parts), (2_000, 1));
        let key = |failed: &FailedMessage| (failed.date.clone(), failed.id.parse::<EntryId>().unwrap());
        assert!(seen.is_sorted_by_key(|failed| std::cmp::Reverse(key(failed))));

        // A list that is longer than a part: in order within each part, and none is left out.
        let (mut seen, parts) = by_pages(&streamer, FailedFilter::all(), 150, 600).await;
        assert!(parts > 1, "{parts}");
        let by_error = |failed: &FailedMessage| failed.error.clone();
        seen.sort_by_key(by_error);
        seen.dedup();
        failures.sort_by_key(by_error);
        assert_eq!(seen, failures);

        let (seen, _) = by_pages(&streamer, FailedFilter::all().error("error 7"), 20, 100_000).await;
        assert_eq!(seen.len(), 111);
        assert!(seen.iter().all(|failed| failed.error.starts_with("error 7")));
    }
}

#[tokio::test]
async fn a_page_has_what_is_kept_beside_failures_and_ends_with_what_cannot_be_read() {
    let (server, streamer) = store().await;
    let engine = streamer.engine().as_ref();
    let failed = failure("receipt", "no paper");
    failed::record(engine, std::slice::from_ref(&failed)).await.unwrap();
    let listener = streamer::engine::FailingListener {
        stream: &failed.stream,
        receiver: &failed.receiver,
    };
    engine.keep_failing_group(listener, "billing").await.unwrap();
    server.command(&["SADD", "failed_stream", "no json"]);
    let page = streamer
        .failed()
        .newest(FailedFilter::all())
        .page(|_| {})
        .await
        .unwrap();
    let shown = page
        .failures
        .iter()
        .map(|listed| (listed.record.is_ok(), listed.details.group.as_deref()));
    assert_eq!(shown.collect::<Vec<_>>(), [(true, Some("billing")), (false, None)]);
    assert!(page.complete && page.next.is_none());
}
