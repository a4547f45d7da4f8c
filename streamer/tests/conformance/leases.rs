//! How leases are kept, and how consumers come and go: `renew`, `consumer_idle`, `heartbeat`, `sweep`, `leave`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use streamer::{
    EntryId, StreamName,
    engine::{Deferral, Engine, EngineErrorKind, EntryEnd, GroupStart, Member, Missing, PendingFilter, Renewal, Scan},
};

use crate::{
    deliveries::{only, take},
    given::{
        GROUP, HOUR, LONG, a_consumer, a_group, a_stream, an_append, assert_kind, entries, member, numbered_entries,
        pending_entries, pending_of, read_ids, set_idle, settle_all,
    },
};

const NOW: Duration = Duration::ZERO;

async fn renew(engine: &Arc<dyn Engine>, consumer: &str, stream: &StreamName, ids: &[EntryId]) -> Renewal {
    let leases = [(stream.clone(), ids.to_vec())];
    only(engine.renew(&member(consumer), &leases).await).unwrap()
}

async fn names(engine: &Arc<dyn Engine>, stream: &StreamName) -> Vec<String> {
    let consumers = engine.consumers(stream, GROUP).await.unwrap();
    consumers.into_iter().map(|consumer| consumer.name).collect()
}

// ----- renew ----------------------------------------------------------------------------------------------------------

pub(crate) async fn a_renewal_begins_the_idle_time_again_and_counts_nothing(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 3).await;
    set_idle(&engine, &stream, "a", &written, HOUR * 2).await;
    for _ in 0..2 {
        let renewal = renew(&engine, "a", &stream, &[written[0], written[2]]).await;
        assert_eq!(renewal.missing, []);
        assert_eq!(renewal.strangers, written[1..2]);
    }
    let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
    let idle: Vec<bool> = pending.iter().map(|entry| entry.idle > HOUR).collect();
    assert_eq!(idle, [false, true, false]);
    assert!(pending.iter().all(|entry| entry.deliveries == 1));
}

/// The other stream goes on far behind them: they must not be taken for entries of it.
pub(crate) async fn entries_of_a_stream_that_was_removed_are_gone_also_when_there_is_another_one(
    engine: Arc<dyn Engine>,
) {
    let stream = a_stream();
    a_group(&engine, &stream).await;
    let written = numbered_entries(&engine, &stream, 3).await;
    assert_eq!(read_ids(&mut a_consumer(&engine, &stream, "a").await, 3).await, written);
    engine.remove_stream(&stream).await.unwrap();
    a_group(&engine, &stream).await;
    let other = engine
        .append_many(vec![an_append(&stream, EntryId::new(9, 0))])
        .await
        .unwrap();
    let renewal = renew(&engine, "a", &stream, &written).await;
    let gone: Vec<_> = written.iter().map(|id| (*id, Missing::Gone)).collect();
    assert_eq!(renewal.missing, gone);
    assert_eq!(read_ids(&mut a_consumer(&engine, &stream, "a").await, 3).await, other);
}

pub(crate) async fn a_renewal_tells_counts_of_what_was_delivered_more_than_once(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 3).await;
    assert_eq!(renew(&engine, "a", &stream, &written).await.counts, []);
    // Another process that uses the name takes up what is pending.
    take(&engine, "a", Scan::Own, &stream, 2).await;
    let renewal = renew(&engine, "a", &stream, &written).await;
    assert_eq!(renewal.counts, [(written[0], 2), (written[1], 2)]);
    assert_eq!((renewal.missing, renewal.strangers), (vec![], vec![]));
}

pub(crate) async fn a_renewal_tells_what_became_of_each_missing_entry(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 6).await;
    engine.claim(&stream, GROUP, "b", NOW, &written[1..3]).await.unwrap();
    engine.acknowledge(&stream, GROUP, &written[3..4]).await.unwrap();
    // Deleted while it is pending here, pending with another, and pending with nobody.
    engine.acknowledge(&stream, GROUP, &written[5..]).await.unwrap();
    engine
        .delete(&stream, &[written[2], written[4], written[5]])
        .await
        .unwrap();
    let mut renewal = renew(&engine, "a", &stream, &written).await;
    renewal.missing.sort_by_key(|(id, _)| *id);
    let expected = [
        Missing::Claimed,
        Missing::Claimed,
        Missing::Unowned,
        Missing::Gone,
        Missing::Gone,
    ];
    let expected: Vec<_> = written[1..].iter().copied().zip(expected).collect();
    assert_eq!(renewal.missing, expected);
    assert_eq!(renewal.last_delivered_id, written[5]);
    assert!(!renewal.consumer_was_missing);
    // The deleted one is not pending here any more.
    let owners: Vec<_> = pending_of(&engine, &stream)
        .await
        .into_iter()
        .map(|one| one.1)
        .collect();
    assert_eq!(owners, ["a", "b", "b"]);
}

pub(crate) async fn a_renewal_makes_a_consumer_that_was_removed(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 2).await;
    engine.destroy_group(&stream, GROUP).await.unwrap();
    engine
        .create_group(&stream, GROUP, GroupStart::Now, false)
        .await
        .unwrap();
    for was_missing in [true, false] {
        let renewal = renew(&engine, "a", &stream, &written).await;
        let expected: Vec<_> = written.iter().map(|id| (*id, Missing::Unowned)).collect();
        assert_eq!(renewal.missing, expected);
        assert_eq!(renewal.consumer_was_missing, was_missing);
    }
    assert_eq!(names(&engine, &stream).await, ["a"]);
}

pub(crate) async fn a_renewal_after_a_move_back_tells_where_the_group_is(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 3).await;
    engine.destroy_group(&stream, GROUP).await.unwrap();
    a_group(&engine, &stream).await;
    let renewal = renew(&engine, "a", &stream, &written[1..]).await;
    assert_eq!(renewal.missing.len(), 2);
    assert_eq!(
        (renewal.last_delivered_id, renewal.consumer_was_missing),
        (EntryId::MIN, true)
    );
}

pub(crate) async fn thousands_are_renewed_at_once(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 10_000).await;
    set_idle(&engine, &stream, "a", &written[..1], HOUR * 2).await;
    set_idle(&engine, &stream, "a", &written[9999..], HOUR * 2).await;
    let renewal = renew(&engine, "a", &stream, &written).await;
    assert_eq!(renewal, Renewal::default());
    // So many strangers lie between them that not all are named, yet each that was named is renewed.
    let ends = [written[0], written[9999]];
    set_idle(&engine, &stream, "a", &ends, HOUR * 2).await;
    let renewal = renew(&engine, "a", &stream, &ends).await;
    assert_eq!(renewal.missing, []);
    assert_eq!(renewal.strangers[..3], written[1..4]);
    assert_eq!(take(&engine, "b", Scan::Idle(HOUR), &stream, 10).await.entries, []);
}

pub(crate) async fn renewing_in_a_missing_group_is_an_error_of_that_stream(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 1).await;
    let (missing, empty) = (a_stream(), a_stream());
    entries(&engine, &empty, 1).await;
    let leases = [&missing, &stream, &empty].map(|stream| (stream.clone(), written.clone()));
    let mut renewed = engine.renew(&member("a"), &leases).await.into_iter();
    assert_kind(renewed.next().unwrap(), EngineErrorKind::NoGroup);
    assert_eq!(renewed.next().unwrap().unwrap(), Renewal::default());
    assert_kind(renewed.next().unwrap(), EngineErrorKind::NoGroup);
}

// ----- consumers ------------------------------------------------------------------------------------------------------

pub(crate) async fn a_heartbeat_shows_a_quiet_consumer(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    a_group(&engine, &stream).await;
    read_ids(&mut a_consumer(&engine, &stream, "a").await, 1).await;
    let who = member("a");
    let idle = async || {
        let idle = only(engine.consumer_idle(&who, std::slice::from_ref(&stream)).await);
        idle.unwrap()
    };
    if idle().await.is_none() {
        // Nobody made it yet.
        only(engine.heartbeat(&who, std::slice::from_ref(&stream), NOW).await).unwrap();
    }
    let begin = Instant::now();
    while idle().await.unwrap() < Duration::from_millis(50) {
        assert!(begin.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = Instant::now();
    only(
        engine
            .heartbeat(&who, std::slice::from_ref(&stream), Duration::from_millis(1))
            .await,
    )
    .unwrap();
    assert!(idle().await.unwrap() <= before.elapsed() + Duration::from_millis(2));
}

pub(crate) async fn a_heartbeat_delivers_nothing_and_counts_nothing(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 1).await;
    let new = entries(&engine, &stream, 2).await;
    only(engine.heartbeat(&member("a"), std::slice::from_ref(&stream), NOW).await).unwrap();
    assert_eq!(pending_of(&engine, &stream).await, [(written[0], "a".to_owned(), 1)]);
    assert_eq!(read_ids(&mut a_consumer(&engine, &stream, "a").await, 10).await, new);
    let beaten = only(engine.heartbeat(&member("a"), &[a_stream()], NOW).await);
    assert_kind(beaten, EngineErrorKind::NoGroup);
}

pub(crate) async fn an_unknown_consumer_has_no_idle_time(engine: Arc<dyn Engine>) {
    let (stream, _) = pending_entries(&engine, "a", 1).await;
    let missing = a_stream();
    let streams = [stream, missing];
    let mut idle = engine.consumer_idle(&member("nobody"), &streams).await.into_iter();
    assert_eq!(idle.next().unwrap().unwrap(), None);
    assert_kind(idle.next().unwrap(), EngineErrorKind::NoGroup);
    let mut idle = engine.consumer_idle(&member("a"), &streams).await.into_iter();
    assert!(idle.next().unwrap().unwrap().unwrap() < HOUR);
}

/// A name as [`Listening`](streamer::Listening) generates them.
fn generated(n: u64) -> String {
    format!("{GROUP}-Abcdefghijklmn{n:02}")
}

pub(crate) async fn only_dead_consumers_with_generated_names_are_swept(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, &generated(1), 1).await;
    let others = [
        generated(2),
        generated(3),
        "named".to_owned(),
        format!("{GROUP}-Abcdefghijklmno"),
        format!("{GROUP}-Abcdefghijklmno-"),
        format!("{GROUP}-Abcdefghijklmnopq"),
        "others-Abcdefghijklmn01".to_owned(),
    ];
    for consumer in &others {
        let join = [(stream.clone(), streamer::engine::GroupStart::Now)];
        only(engine.join(&member(consumer), &join).await).unwrap();
    }
    let me = member(&generated(2));
    let sweep = async |idle| {
        let swept = engine.sweep(&me, std::slice::from_ref(&stream), idle).await;
        only(swept).unwrap()
    };
    assert!(sweep(HOUR).await.is_empty(), "none was idle for long");
    assert_eq!(sweep(NOW).await, [generated(3)]);
    // Once its last entry was claimed.
    engine.claim(&stream, GROUP, "named", NOW, &written).await.unwrap();
    assert_eq!(sweep(NOW).await, [generated(1)]);
    let mut left = names(&engine, &stream).await;
    let mut expected = others.to_vec();
    expected.remove(1);
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
    assert_eq!(pending_of(&engine, &stream).await.len(), 1);
    let swept = only(engine.sweep(&me, &[a_stream()], NOW).await);
    assert_kind(swept, EngineErrorKind::NoGroup);
}

pub(crate) async fn retry_states_of_what_is_not_pending_are_swept(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 3).await;
    let defer = EntryEnd::Defer(Box::new(Deferral {
        retry_state: "tried".into(),
        delay: NOW,
        idle: NOW,
        count: 1,
    }));
    settle_all(&engine, "a", &stream, &written, &defer).await;
    // By an operator, who knows nothing of retry states.
    engine.acknowledge(&stream, GROUP, &written[..2]).await.unwrap();
    let who = member("b");
    only(engine.sweep(&who, std::slice::from_ref(&stream), HOUR).await).unwrap();
    let back: Vec<_> = written.iter().map(|id| (*id, 1)).collect();
    only(engine.adopt(&member("a"), &[(stream.clone(), back)]).await).unwrap();
    let taken = take(&engine, "a", Scan::Own, &stream, 10).await;
    let states: Vec<_> = taken.entries.into_iter().map(|entry| entry.retry_state).collect();
    assert_eq!(states, [None, None, Some("tried".into())]);
}

pub(crate) async fn a_consumer_leaves_when_it_has_nothing_pending(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 1).await;
    let (other, missing) = (a_stream(), a_stream());
    a_group(&engine, &other).await;
    let streams = [stream.clone(), other, missing];
    let mut left = engine.leave(&member("a"), &streams).await.into_iter();
    assert!(!left.next().unwrap().unwrap());
    assert!(left.next().unwrap().unwrap(), "there was none");
    assert_kind(left.next().unwrap(), EngineErrorKind::NoGroup);
    assert_eq!(pending_of(&engine, &stream).await.len(), 1);
    engine.acknowledge(&stream, GROUP, &written).await.unwrap();
    assert!(only(engine.leave(&member("a"), &streams[..1]).await).unwrap());
    assert!(names(&engine, &stream).await.is_empty());
    let unknown = Member {
        group: "nobody".to_owned(),
        consumer: "a".to_owned(),
    };
    assert_kind(
        only(engine.leave(&unknown, &streams[..1]).await),
        EngineErrorKind::NoGroup,
    );
}
