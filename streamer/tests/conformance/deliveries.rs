//! How a consumer joins a group, and gets what is pending in it: `join`, `take`, `take_due`, `begin`, `adopt`.
//!
//! Idle times are set, not waited for.

use std::{sync::Arc, time::Duration};

use streamer::{
    EntryId, StreamName,
    engine::{
        Deferral, DueEntries, Engine, EngineErrorKind, EngineResult, EntryEnd, GroupStart, Joined, PendingFilter, Scan,
        TakeRequest, Taken,
    },
};

use crate::given::{
    GROUP, HOUR, a_group, a_set, a_stream, assert_kind, entries, member, pending_entries, pending_of, set_idle,
    settle_all,
};

const NOW: Duration = Duration::ZERO;

pub(crate) fn only<T>(answers: Vec<EngineResult<T>>) -> EngineResult<T> {
    assert_eq!(answers.len(), 1, "one answer for each stream");
    answers.into_iter().next().unwrap()
}

pub(crate) async fn take(
    engine: &Arc<dyn Engine>,
    consumer: &str,
    scan: Scan,
    stream: &StreamName,
    count: usize,
) -> Taken {
    let request = TakeRequest {
        stream: stream.clone(),
        from: EntryId::MIN,
    };
    only(engine.take(&member(consumer), scan, &[request], count).await).unwrap()
}

/// IDs with their counts before.
fn counts(taken: &Taken) -> Vec<(EntryId, u64)> {
    let one = |entry: &streamer::engine::TakenEntry| (entry.entry.id, entry.count_before);
    taken.entries.iter().map(one).collect()
}

fn ids(taken: &Taken) -> Vec<EntryId> {
    counts(taken).into_iter().map(|(id, _)| id).collect()
}

async fn idle_for_long(engine: &Arc<dyn Engine>, stream: &StreamName, consumer: &str, ids: &[EntryId]) {
    let idle = HOUR * 2;
    set_idle(engine, stream, consumer, ids, idle).await;
}

// ----- join -----------------------------------------------------------------------------------------------------------

pub(crate) async fn joining_creates_what_is_missing(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let start = GroupStart::After(EntryId::MIN);
    let joined = only(engine.join(&member("a"), &[(stream.clone(), start)]).await);
    let created = Joined {
        created: true,
        last_delivered_id: EntryId::MIN,
    };
    assert_eq!(joined.unwrap(), created);
    assert_eq!(engine.consumers(&stream, GROUP).await.unwrap()[0].name, "a");
    let last = entries(&engine, &stream, 3).await[2];
    let other = streamer::engine::Member {
        group: "audit".to_owned(),
        consumer: "b".to_owned(),
    };
    let joined = only(engine.join(&other, &[(stream.clone(), GroupStart::Now)]).await).unwrap();
    assert_eq!((joined.created, joined.last_delivered_id), (true, last));
}

pub(crate) async fn joining_leaves_a_group_that_exists_as_it_is(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    for start in [GroupStart::Now, GroupStart::After(EntryId::MIN)] {
        for consumer in ["a", "b"] {
            let joined = only(engine.join(&member(consumer), &[(stream.clone(), start)]).await).unwrap();
            assert_eq!((joined.created, joined.last_delivered_id), (false, ids[1]));
        }
    }
    let known = engine.consumers(&stream, GROUP).await.unwrap();
    let known: Vec<_> = known
        .iter()
        .map(|consumer| (&consumer.name[..], consumer.pending))
        .collect();
    assert_eq!(known, [("a", 2), ("b", 0)]);
}

pub(crate) async fn joining_many_streams_answers_for_each(engine: Arc<dyn Engine>) {
    let (there, ids) = pending_entries(&engine, "a", 1).await;
    let (missing, no_stream) = (a_stream(), a_set(&engine, &a_stream()).await);
    let start = GroupStart::After(EntryId::MIN);
    let streams = [&there, &no_stream, &missing].map(|stream| (stream.clone(), start));
    let mut joined = engine.join(&member("a"), &streams).await.into_iter();
    assert_eq!(joined.next().unwrap().unwrap().last_delivered_id, ids[0]);
    assert_kind(joined.next().unwrap(), EngineErrorKind::WrongType);
    assert!(joined.next().unwrap().unwrap().created);
    assert!(engine.join(&member("a"), &[]).await.is_empty());
}

pub(crate) async fn last_ids_are_those_of_each_stream(engine: Arc<dyn Engine>) {
    let (there, missing) = (a_stream(), a_stream());
    let no_stream = a_set(&engine, &a_stream()).await;
    let written = entries(&engine, &there, 2).await;
    engine.delete(&there, &written).await.unwrap();
    let mut last = engine.last_ids(&[there, missing, no_stream]).await.into_iter();
    assert_eq!(last.next().unwrap().unwrap(), written[1]);
    assert_eq!(last.next().unwrap().unwrap(), EntryId::MIN);
    assert_kind(last.next().unwrap(), EngineErrorKind::WrongType);
}

pub(crate) async fn every_stream_is_in_one_shard(engine: Arc<dyn Engine>) {
    let streams: Vec<StreamName> = ["{a}.1", "{a}.2", "b", "c"].map(Into::into).into();
    let shards = engine.shards(&streams);
    let mut all: Vec<usize> = shards.concat();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    let with_first = shards.iter().find(|shard| shard.contains(&0)).unwrap();
    assert!(with_first.contains(&1), "one hash tag is one shard");
    assert!(engine.shards(&[]).concat().is_empty());
}

// ----- take -----------------------------------------------------------------------------------------------------------

pub(crate) async fn own_entries_are_taken_whatever_their_idle_time(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 3).await;
    idle_for_long(&engine, &stream, "a", &written[..1]).await;
    engine.claim(&stream, GROUP, "b", NOW, &written[1..2]).await.unwrap();
    let taken = take(&engine, "a", Scan::Own, &stream, 10).await;
    assert_eq!(counts(&taken), [(written[0], 1), (written[2], 1)]);
    assert!(taken.entries.iter().all(|entry| !entry.entry.fields.is_empty()));
    assert!(taken.entries.iter().all(|entry| entry.retry_state.is_none()));
    assert_eq!((taken.next, taken.gone), (None, Vec::new()));
    let taken = take(&engine, "nobody", Scan::Own, &stream, 10).await;
    assert_eq!(taken, Taken::default());
}

pub(crate) async fn idle_entries_of_anybody_are_taken(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 4).await;
    engine.claim(&stream, GROUP, "b", NOW, &written[3..]).await.unwrap();
    idle_for_long(&engine, &stream, "a", &written[1..2]).await;
    idle_for_long(&engine, &stream, "b", &written[3..]).await;
    let taken = take(&engine, "b", Scan::Idle(HOUR), &stream, 10).await;
    assert_eq!(counts(&taken), [(written[1], 1), (written[3], 2)]);
    let pending = pending_of(&engine, &stream).await;
    let expected = [("a", 1), ("b", 2), ("a", 1), ("b", 2)].map(|(owner, count)| (owner.to_owned(), count));
    assert_eq!(
        pending
            .into_iter()
            .map(|(_, owner, count)| (owner, count))
            .collect::<Vec<_>>(),
        expected
    );
    // Their idle time began again.
    assert_eq!(
        take(&engine, "c", Scan::Idle(HOUR), &stream, 10).await,
        Taken::default()
    );
}

pub(crate) async fn taking_counts_only_the_first_two_deliveries(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 1).await;
    let release = EntryEnd::Release { count: 0 };
    settle_all(&engine, "a", &stream, &written, &release).await;
    for before in [0, 1, 2, 2, 2] {
        let taken = take(&engine, "a", Scan::Own, &stream, 10).await;
        assert_eq!(counts(&taken), [(written[0], before)]);
    }
    assert_eq!(pending_of(&engine, &stream).await[0].2, 2);
}

pub(crate) async fn what_is_taken_in_pages_is_taken_once(engine: Arc<dyn Engine>) {
    for scan in [Scan::Own, Scan::Idle(HOUR)] {
        let (stream, written) = pending_entries(&engine, "a", 7).await;
        idle_for_long(&engine, &stream, "a", &written).await;
        let (mut seen, mut from) = (Vec::new(), EntryId::MIN);
        loop {
            let request = TakeRequest {
                stream: stream.clone(),
                from,
            };
            let taken = only(engine.take(&member("a"), scan, &[request], 3).await).unwrap();
            assert!(taken.entries.len() <= 3);
            seen.extend(ids(&taken));
            let Some(next) = taken.next else { break };
            assert!(next > from);
            from = next;
        }
        assert_eq!(seen, written, "{scan:?}");
    }
}

pub(crate) async fn taking_begins_at_an_id_inclusive(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 3).await;
    let request = TakeRequest {
        stream: stream.clone(),
        from: written[1],
    };
    let taken = only(engine.take(&member("a"), Scan::Own, &[request], 10).await).unwrap();
    assert_eq!(ids(&taken), written[1..]);
    let request = TakeRequest {
        stream,
        from: EntryId::MAX,
    };
    let taken = only(engine.take(&member("a"), Scan::Own, &[request], 10).await).unwrap();
    assert_eq!(taken, Taken::default());
}

pub(crate) async fn a_deleted_entry_is_acknowledged_and_named(engine: Arc<dyn Engine>) {
    for scan in [Scan::Own, Scan::Idle(HOUR)] {
        let (stream, written) = pending_entries(&engine, "a", 4).await;
        idle_for_long(&engine, &stream, "a", &written).await;
        engine.delete(&stream, &[written[0], written[2]]).await.unwrap();
        let taken = take(&engine, "a", scan, &stream, 10).await;
        assert_eq!(ids(&taken), [written[1], written[3]]);
        assert_eq!(taken.gone, [written[0], written[2]]);
        assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 2);
        assert!(take(&engine, "a", scan, &stream, 10).await.gone.is_empty());
    }
}

/// It is in the memory of who has it, who will tell that it is gone from the stream.
pub(crate) async fn a_deleted_entry_that_is_not_idle_is_left_to_its_consumer(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 2).await;
    engine.delete(&stream, &written[..1]).await.unwrap();
    assert_eq!(
        take(&engine, "b", Scan::Idle(HOUR), &stream, 10).await,
        Taken::default()
    );
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 2);
}

pub(crate) async fn many_streams_are_taken_from_at_once(engine: Arc<dyn Engine>) {
    let (one, of_one) = pending_entries(&engine, "a", 2).await;
    let (other, of_other) = pending_entries(&engine, "a", 1).await;
    let missing = a_stream();
    let requests = [&one, &missing, &other].map(|stream| TakeRequest {
        stream: stream.clone(),
        from: EntryId::MIN,
    });
    let mut taken = engine.take(&member("a"), Scan::Own, &requests, 10).await.into_iter();
    assert_eq!(ids(&taken.next().unwrap().unwrap()), of_one);
    assert_kind(taken.next().unwrap(), EngineErrorKind::NoGroup);
    assert_eq!(ids(&taken.next().unwrap().unwrap()), of_other);
}

pub(crate) async fn thousands_are_taken_at_once(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 9000).await;
    let defer = |state: &str| {
        EntryEnd::Defer(Box::new(Deferral {
            retry_state: state.to_owned().into(),
            delay: NOW,
            idle: HOUR * 2,
            count: 1,
        }))
    };
    settle_all(&engine, "a", &stream, &written, &defer("state")).await;
    engine.delete(&stream, &written[5..8]).await.unwrap();
    let taken = take(&engine, "b", Scan::Idle(HOUR), &stream, 10_000).await;
    assert_eq!((taken.entries.len(), &taken.gone[..]), (8997, &written[5..8]));
    assert!(
        taken
            .entries
            .iter()
            .all(|entry| entry.retry_state.as_deref() == Some(b"state"))
    );
}

// ----- take_due -------------------------------------------------------------------------------------------------------

pub(crate) async fn what_is_due_comes_with_its_retry_state_and_counts_an_attempt(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 4).await;
    let defer = EntryEnd::Defer(Box::new(Deferral {
        retry_state: "tried".into(),
        delay: HOUR,
        idle: NOW,
        count: 3,
    }));
    settle_all(&engine, "a", &stream, &written[..2], &defer).await;
    engine.claim(&stream, GROUP, "b", NOW, &written[3..]).await.unwrap();
    engine.delete(&stream, &written[1..2]).await.unwrap();
    let due = DueEntries {
        stream: stream.clone(),
        ids: written.clone(),
    };
    let taken = only(engine.take_due(&member("a"), std::slice::from_ref(&due)).await).unwrap();
    assert_eq!(counts(&taken), [(written[0], 3), (written[2], 1)]);
    let states: Vec<_> = taken.entries.iter().map(|entry| entry.retry_state.clone()).collect();
    assert_eq!(states, [Some("tried".into()), None]);
    assert_eq!(taken.gone, written[1..2]);
    let pending: Vec<_> = pending_of(&engine, &stream)
        .await
        .into_iter()
        .map(|one| one.2)
        .collect();
    assert_eq!(pending, [4, 2, 2]);
    let again = only(engine.take_due(&member("a"), &[due]).await).unwrap();
    assert_eq!(counts(&again), [(written[0], 4), (written[2], 2)]);
}

pub(crate) async fn what_is_due_in_a_missing_group_is_an_error(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let due = DueEntries {
        stream: stream.clone(),
        ids: vec![EntryId::new(1, 1)],
    };
    for _ in 0..2 {
        assert_kind(
            only(engine.take_due(&member("a"), std::slice::from_ref(&due)).await),
            EngineErrorKind::NoGroup,
        );
        entries(&engine, &stream, 1).await;
    }
}

// ----- begin ----------------------------------------------------------------------------------------------------------

pub(crate) async fn an_attempt_that_begins_is_counted_and_renewed(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 2).await;
    idle_for_long(&engine, &stream, "a", &written).await;
    assert!(engine.begin(&member("a"), &stream, written[0], 7).await.unwrap());
    let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
    assert_eq!((pending[0].deliveries, pending[1].deliveries), (7, 1));
    assert!(pending[0].idle < HOUR && pending[1].idle > HOUR);
}

pub(crate) async fn an_attempt_of_what_another_has_does_not_begin(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 2).await;
    engine.claim(&stream, GROUP, "b", NOW, &written[..1]).await.unwrap();
    engine.acknowledge(&stream, GROUP, &written[1..]).await.unwrap();
    for id in &written {
        assert!(!engine.begin(&member("a"), &stream, *id, 7).await.unwrap());
    }
    assert_eq!(pending_of(&engine, &stream).await, [(written[0], "b".to_owned(), 2)]);
    let begun = engine.begin(&member("a"), &a_stream(), written[0], 7).await;
    assert_kind(begun, EngineErrorKind::NoGroup);
}

/// It is handled from memory.
pub(crate) async fn an_attempt_of_a_deleted_entry_begins(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 1).await;
    engine.delete(&stream, &written).await.unwrap();
    assert!(engine.begin(&member("a"), &stream, written[0], 7).await.unwrap());
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 1);
}

// ----- adopt ----------------------------------------------------------------------------------------------------------

pub(crate) async fn what_is_pending_with_nobody_is_adopted(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", 5).await;
    engine.destroy_group(&stream, GROUP).await.unwrap();
    let start = GroupStart::After(written[1]);
    engine.create_group(&stream, GROUP, start, false).await.unwrap();
    engine.delete(&stream, &written[2..3]).await.unwrap();
    // Of another, and beyond what the group was delivered.
    let other = [(stream.clone(), vec![(written[3], 1)])];
    only(engine.adopt(&member("b"), &other).await).unwrap();
    let wanted: Vec<_> = written.iter().copied().zip([1, 2, 3, 4, 5]).collect();
    for _ in 0..2 {
        only(engine.adopt(&member("a"), &[(stream.clone(), wanted.clone())]).await).unwrap();
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let expected = [
            (written[0], a.clone(), 1),
            (written[1], a.clone(), 2),
            (written[3], b, 1),
            (written[4], a, 5),
        ];
        assert_eq!(pending_of(&engine, &stream).await, expected);
    }
    let groups = engine.groups(&stream).await.unwrap();
    assert_eq!(groups[0].last_delivered_id, written[1]);
    let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
    assert!(pending.iter().all(|entry| entry.idle < HOUR));
}

pub(crate) async fn a_missing_group_adopts_nothing(engine: Arc<dyn Engine>) {
    let (stream, there) = (a_stream(), a_stream());
    a_group(&engine, &there).await;
    let streams = [&stream, &there].map(|stream| (stream.clone(), vec![(EntryId::new(1, 1), 1)]));
    let mut adopted = engine.adopt(&member("a"), &streams).await.into_iter();
    assert_kind(adopted.next().unwrap(), EngineErrorKind::NoGroup);
    adopted.next().unwrap().unwrap();
    assert!(pending_of(&engine, &there).await.is_empty());
}
