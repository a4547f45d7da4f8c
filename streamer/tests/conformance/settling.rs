//! How deliveries end: `settle`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use streamer::{
    EntryId, StreamName,
    engine::{Deferral, Engine, EngineErrorKind, EntryEnd, EntrySettlement, FailureChange, FailureRecord, Scan},
};

use crate::{
    deliveries::{only, take},
    given::{
        GROUP, HOUR, a_set, a_stream, all, assert_kind, entries, ids_of, is_listed, member, pending_entries,
        pending_of, settle_all, unique,
    },
};

const NOW: Duration = Duration::ZERO;

fn end(id: EntryId, end: EntryEnd) -> EntrySettlement {
    EntrySettlement {
        id,
        end,
        failures: None,
    }
}

fn acknowledge(delete: bool) -> EntryEnd {
    EntryEnd::Acknowledge {
        delete,
        had_retry_state: false,
    }
}

fn defer(retry_state: &str, idle: Duration, count: u64) -> EntryEnd {
    EntryEnd::Defer(Box::new(Deferral {
        retry_state: Bytes::copy_from_slice(retry_state.as_bytes()),
        delay: NOW,
        idle,
        count,
    }))
}

/// A member of the failed list that no other case has.
fn a_record() -> Bytes {
    Bytes::from(unique("{\"id\":\"1-1\"}"))
}

fn failing(id: EntryId, member: &Bytes, end: EntryEnd) -> EntrySettlement {
    let added = FailureRecord {
        member: member.clone(),
        details: None,
    };
    EntrySettlement {
        id,
        end,
        failures: Some(Box::new(FailureChange {
            add: vec![added],
            remove: Vec::new(),
        })),
    }
}

async fn settle(engine: &Arc<dyn Engine>, consumer: &str, stream: &StreamName, ends: Vec<EntrySettlement>) {
    let settled = engine.settle(Some(&member(consumer)), &[(stream.clone(), ends)]).await;
    only(settled).unwrap();
}

async fn details(engine: &Arc<dyn Engine>, member: &Bytes) -> Option<Value> {
    let held = engine.failure_details(std::slice::from_ref(member)).await.unwrap();
    let held = held.into_iter().next().unwrap()?;
    Some(serde_json::from_slice(&held).unwrap())
}

/// Idle times and counts of what is pending, by ID.
async fn kept(engine: &Arc<dyn Engine>, stream: &StreamName) -> Vec<(EntryId, bool, u64)> {
    let pending = engine
        .pending(stream, GROUP, streamer::engine::PendingFilter::default())
        .await
        .unwrap();
    let one = |entry: streamer::engine::PendingEntry| (entry.id, entry.idle >= HOUR, entry.deliveries);
    pending.into_iter().map(one).collect()
}

pub(crate) async fn what_is_acknowledged_is_not_pending_any_more(engine: Arc<dyn Engine>) {
    let (one, of_one) = pending_entries(&engine, "a", 3).await;
    let (other, of_other) = pending_entries(&engine, "a", 2).await;
    let nothing = a_stream();
    let settlements = [
        (
            one.clone(),
            vec![end(of_one[0], acknowledge(false)), end(of_one[2], acknowledge(true))],
        ),
        (nothing, Vec::new()),
        (
            other.clone(),
            of_other.iter().map(|id| end(*id, acknowledge(false))).collect(),
        ),
    ];
    for _ in 0..2 {
        for settled in engine.settle(Some(&member("a")), &settlements).await {
            settled.unwrap();
        }
        assert_eq!(pending_of(&engine, &one).await, [(of_one[1], "a".to_owned(), 1)]);
        assert!(pending_of(&engine, &other).await.is_empty());
        assert_eq!(ids_of(&all(&engine, &one).await), of_one[..2]);
        assert_eq!(ids_of(&all(&engine, &other).await), of_other);
    }
}

/// As `XACK` does not look at the owner.
pub(crate) async fn what_another_has_is_acknowledged_too(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 2).await;
    engine.claim(&stream, GROUP, "b", NOW, &written[..1]).await.unwrap();
    settle(&engine, "a", &stream, vec![end(written[0], acknowledge(false))]).await;
    assert_eq!(pending_of(&engine, &stream).await, [(written[1], "a".to_owned(), 1)]);
}

pub(crate) async fn a_failure_is_listed_and_its_message_settled(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 4).await;
    let records = [a_record(), a_record(), a_record(), a_record()];
    let ends = vec![
        failing(written[0], &records[0], acknowledge(false)),
        failing(written[1], &records[1], acknowledge(true)),
        failing(written[2], &records[2], defer("tried", NOW, 3)),
        failing(written[3], &records[3], EntryEnd::Forget),
    ];
    for _ in 0..2 {
        settle(&engine, "a", &stream, ends.clone()).await;
        for record in &records {
            assert!(is_listed(&engine, record).await);
            assert_eq!(details(&engine, record).await, None);
        }
        assert_eq!(
            kept(&engine, &stream).await,
            [(written[2], false, 3), (written[3], false, 1)]
        );
        assert_eq!(
            ids_of(&all(&engine, &stream).await),
            [written[0], written[2], written[3]]
        );
    }
}

pub(crate) async fn an_obsolete_failure_goes_with_its_details(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 1).await;
    let (old, kept, new) = (a_record(), a_record(), a_record());
    let with_details = |member: &Bytes| FailureRecord {
        member: member.clone(),
        details: Some(Bytes::from(r#"{"attempts":2}"#)),
    };
    let change = |add: Vec<FailureRecord>, remove: Vec<Bytes>| EntrySettlement {
        id: written[0],
        end: EntryEnd::Forget,
        failures: Some(Box::new(FailureChange { add, remove })),
    };
    let first = change(vec![with_details(&old), with_details(&kept)], Vec::new());
    settle(&engine, "a", &stream, vec![first]).await;
    assert_eq!(details(&engine, &old).await, Some(json!({"attempts": 2})));
    for _ in 0..2 {
        settle(
            &engine,
            "a",
            &stream,
            vec![change(vec![with_details(&new)], vec![old.clone()])],
        )
        .await;
        assert!(!is_listed(&engine, &old).await);
        assert_eq!(details(&engine, &old).await, None);
        for member in [&kept, &new] {
            assert!(is_listed(&engine, member).await);
            assert_eq!(details(&engine, member).await, Some(json!({"attempts": 2})));
        }
    }
}

pub(crate) async fn groups_of_the_same_failure_are_united(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 1).await;
    let record = a_record();
    let fields = json!([["name", "ü/\\\"\n"], ["", ""]]);
    let mut expected = json!({"fields": fields, "attempts": 3});
    let recorded = async |text: &Value, expected: &Value| {
        let added = FailureRecord {
            member: record.clone(),
            details: Some(text.to_string().into()),
        };
        let mut failing = end(written[0], EntryEnd::Forget);
        failing.failures = Some(Box::new(FailureChange {
            add: vec![added],
            remove: Vec::new(),
        }));
        settle(&engine, "a", &stream, vec![failing]).await;
        let mut held = details(&engine, &record).await.unwrap();
        if let Some(Value::Array(groups)) = held.get_mut("groups") {
            groups.sort_by_key(ToString::to_string);
        }
        assert_eq!(held, *expected);
    };
    recorded(&expected.clone(), &expected).await;
    expected["groups"] = json!(["b/ü\"\\"]);
    recorded(&expected.clone(), &expected).await;
    expected["attempts"] = json!(1_234_567_890_123_u64);
    let mut other = expected.clone();
    other["groups"] = json!(["a", "b/ü\"\\"]);
    let text = json!({"fields": fields, "attempts": 1_234_567_890_123_u64, "groups": ["a"]});
    recorded(&text, &other).await;
    // None are named: those that are there stay.
    recorded(&json!({}), &json!({"groups": ["a", "b/ü\"\\"]})).await;
    recorded(&json!({"groups": []}), &json!({"groups": ["a", "b/ü\"\\"]})).await;
}

pub(crate) async fn a_deferred_message_stays_pending_with_its_retry_state(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 4).await;
    let ends = vec![
        end(written[3], defer("late", HOUR * 2, 1)),
        end(written[0], defer("soon", NOW, 5)),
        end(written[2], defer("", HOUR * 2, 5)),
        end(written[1], defer("any \0 bytes", HOUR * 3, 0)),
    ];
    settle(&engine, "a", &stream, ends).await;
    let expected = [
        (written[0], false, 5),
        (written[1], true, 0),
        (written[2], true, 5),
        (written[3], true, 1),
    ];
    assert_eq!(kept(&engine, &stream).await, expected);
    let taken = take(&engine, "b", Scan::Own, &stream, 10).await;
    assert_eq!(taken.entries, []);
    let taken = take(&engine, "a", Scan::Own, &stream, 10).await;
    let states: Vec<_> = taken.entries.iter().map(|entry| entry.retry_state.as_deref()).collect();
    assert_eq!(states, [Some(&b"soon"[..]), Some(b"any \0 bytes"), None, Some(b"late")]);
    // Acknowledged with its retry state, or without: then it is left to a sweep.
    let with_state = EntryEnd::Acknowledge {
        delete: false,
        had_retry_state: true,
    };
    settle(
        &engine,
        "a",
        &stream,
        vec![end(written[0], with_state), end(written[1], acknowledge(false))],
    )
    .await;
    let back = written[..2].iter().map(|id| (*id, 1)).collect();
    only(engine.adopt(&member("a"), &[(stream.clone(), back)]).await).unwrap();
    let taken = take(&engine, "a", Scan::Own, &stream, 10).await;
    assert_eq!(taken.entries[0].retry_state, None);
    assert_eq!(taken.entries[3].retry_state.as_deref(), Some(&b"late"[..]));
}

pub(crate) async fn a_released_message_can_be_taken_at_once_with_its_old_count(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 3).await;
    let ends = vec![
        end(written[0], EntryEnd::Release { count: 0 }),
        end(written[1], EntryEnd::Release { count: 4 }),
    ];
    settle(&engine, "a", &stream, ends).await;
    let taken = take(&engine, "b", Scan::Idle(HOUR), &stream, 10).await;
    let counts: Vec<_> = taken
        .entries
        .iter()
        .map(|entry| (entry.entry.id, entry.count_before))
        .collect();
    assert_eq!(counts, [(written[0], 0), (written[1], 4)]);
}

pub(crate) async fn what_another_has_is_neither_deferred_nor_released(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 3).await;
    engine.claim(&stream, GROUP, "b", NOW, &written[..2]).await.unwrap();
    engine.acknowledge(&stream, GROUP, &written[2..]).await.unwrap();
    let ends = vec![
        end(written[0], defer("mine", HOUR * 2, 9)),
        end(written[1], EntryEnd::Release { count: 9 }),
        end(written[2], defer("mine", HOUR * 2, 9)),
    ];
    settle(&engine, "a", &stream, ends).await;
    assert_eq!(
        kept(&engine, &stream).await,
        [(written[0], false, 2), (written[1], false, 2)]
    );
    let taken = take(&engine, "b", Scan::Own, &stream, 10).await;
    assert!(taken.entries.iter().all(|entry| entry.retry_state.is_none()));
}

pub(crate) async fn a_deleted_entry_that_is_deferred_or_released_is_named_later(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 2).await;
    engine.delete(&stream, &written).await.unwrap();
    let ends = vec![
        end(written[0], defer("tried", NOW, 1)),
        end(written[1], EntryEnd::Release { count: 0 }),
    ];
    settle(&engine, "a", &stream, ends).await;
    assert_eq!(take(&engine, "a", Scan::Own, &stream, 10).await.gone, written);
}

pub(crate) async fn without_a_group_only_records_and_deletions_have_an_effect(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let written = entries(&engine, &stream, 5).await;
    let (one, other) = (a_record(), a_record());
    let ends = vec![
        end(written[0], acknowledge(true)),
        end(written[1], acknowledge(false)),
        failing(written[2], &one, acknowledge(true)),
        failing(written[3], &other, acknowledge(false)),
        end(written[4], EntryEnd::Release { count: 0 }),
    ];
    only(engine.settle(None, &[(stream.clone(), ends)]).await).unwrap();
    assert!(is_listed(&engine, &one).await && is_listed(&engine, &other).await);
    assert_eq!(
        ids_of(&all(&engine, &stream).await),
        [written[1], written[3], written[4]]
    );
    assert!(engine.groups(&stream).await.unwrap().is_empty());
}

pub(crate) async fn settling_in_a_missing_group(engine: Arc<dyn Engine>) {
    let id = EntryId::new(1, 1);
    let empty = a_stream();
    entries(&engine, &empty, 1).await;
    for stream in [a_stream(), empty] {
        let record = a_record();
        let settle = async |ends| {
            let settled = engine.settle(Some(&member("a")), &[(stream.clone(), ends)]).await;
            only(settled)
        };
        settle(vec![end(id, acknowledge(true))]).await.unwrap();
        settle(vec![failing(id, &record, acknowledge(false))]).await.unwrap();
        assert!(is_listed(&engine, &record).await);
        for what in [defer("x", NOW, 1), EntryEnd::Release { count: 1 }] {
            let settled = settle(vec![end(id, what)]).await;
            assert_kind(settled, EngineErrorKind::NoGroup);
        }
    }
}

/// Neither holds up the messages of other streams.
pub(crate) async fn what_is_refused_on_one_stream_leaves_the_others(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 1).await;
    let no_stream = a_set(&engine, &a_stream()).await;
    let streams = [&no_stream, &stream, &a_stream()]
        .map(|stream| (stream.clone(), vec![end(written[0], EntryEnd::Release { count: 3 })]));
    let mut settled = engine.settle(Some(&member("a")), &streams).await.into_iter();
    assert_kind(settled.next().unwrap(), EngineErrorKind::WrongType);
    settled.next().unwrap().unwrap();
    assert_kind(settled.next().unwrap(), EngineErrorKind::NoGroup);
    assert_eq!(pending_of(&engine, &stream).await, [(written[0], "a".to_owned(), 3)]);
}

pub(crate) async fn thousands_are_settled_at_once(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 9000).await;
    let record = a_record();
    let records: Vec<Bytes> = (0..9000)
        .map(|n| Bytes::from(format!("{} {n}", String::from_utf8_lossy(&record))))
        .collect();
    let both = |n: usize, id: EntryId, what: EntryEnd| match n % 2 {
        0 => end(id, what),
        _ => failing(id, &records[n], what),
    };
    let all_of = |what: &EntryEnd| {
        let one = |(n, id): (usize, &EntryId)| both(n, *id, what.clone());
        written.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    settle(&engine, "a", &stream, all_of(&defer("tried", HOUR * 2, 3))).await;
    assert_eq!(
        take(&engine, "a", Scan::Idle(HOUR), &stream, 9000).await.entries.len(),
        9000
    );
    settle_all(&engine, "a", &stream, &written, &EntryEnd::Release { count: 1 }).await;
    let settled = EntryEnd::Acknowledge {
        delete: true,
        had_retry_state: true,
    };
    settle(&engine, "a", &stream, all_of(&settled)).await;
    assert!(pending_of(&engine, &stream).await.is_empty());
    assert_eq!(engine.len(&stream).await.unwrap(), 0);
    for n in [1, 8999] {
        assert!(is_listed(&engine, &records[n]).await);
    }
    let mut obsolete = end(written[0], EntryEnd::Forget);
    obsolete.failures = Some(Box::new(FailureChange {
        add: Vec::new(),
        remove: records.clone(),
    }));
    settle(&engine, "a", &stream, vec![obsolete]).await;
    for n in [1, 8999] {
        assert!(!is_listed(&engine, &records[n]).await);
    }
}

/// What is kept beside a stream is in its slot of a cluster, whatever its name is.
pub(crate) async fn streams_of_any_name_are_settled(engine: Arc<dyn Engine>) {
    let unique = unique("stream").into_bytes();
    for odd in [&b"\xfe\0"[..], b"}", b"{}", b"{a", b"}{b}", b"{}{c}"] {
        let stream = StreamName::from([odd, &unique].concat());
        let start = streamer::engine::GroupStart::After(EntryId::MIN);
        only(engine.join(&member("a"), &[(stream.clone(), start)]).await).unwrap();
        let written = entries(&engine, &stream, 2).await;
        let adopted = written.iter().map(|id| (*id, 1)).collect();
        only(engine.adopt(&member("a"), &[(stream.clone(), adopted)]).await).unwrap();
        let ends = vec![
            end(written[0], acknowledge(true)),
            end(written[1], defer("tried", NOW, 1)),
        ];
        settle(&engine, "a", &stream, ends).await;
        let taken = take(&engine, "a", Scan::Own, &stream, 10).await;
        let states: Vec<_> = taken.entries.iter().map(|entry| entry.retry_state.as_deref()).collect();
        assert_eq!(states, [Some(&b"tried"[..])], "{stream}");
    }
}
