//! The pending entries list: `acknowledge`, `pending_summary`, `pending`, `read_pending`.

use std::{sync::Arc, time::Duration};

use streamer::{
    EntryId, RangeBound,
    engine::{Engine, EngineErrorKind, EntryEnd, EntrySettlement, PendingFilter, Redelivery},
};

use crate::given::{
    GROUP, HOUR, a_consumer, a_set, a_stream, assert_kind, entries, member, pending_entries, read_ids, set_idle,
};

fn ids_and_deliveries(redelivery: &Redelivery) -> Vec<(EntryId, u64)> {
    redelivery
        .entries
        .iter()
        .map(|again| (again.entry.id, again.deliveries))
        .collect()
}

pub(crate) async fn what_was_read_is_pending_until_acknowledged(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 3).await;
    let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
    assert_eq!(pending.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids);
    assert!(
        pending
            .iter()
            .all(|entry| entry.consumer == "a" && entry.deliveries == 1)
    );
    assert_eq!(engine.acknowledge(&stream, GROUP, &ids[..2]).await.unwrap(), 2);
    let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
    assert_eq!(pending.iter().map(|entry| entry.id).collect::<Vec<_>>(), ids[2..]);
    // Acknowledged is not deleted.
    assert_eq!(engine.len(&stream).await.unwrap(), 3);
}

pub(crate) async fn acknowledging_what_is_not_pending_is_passed_over(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 1).await;
    assert_eq!(
        engine
            .acknowledge(&stream, GROUP, &[ids[0], EntryId::new(1, 1)])
            .await
            .unwrap(),
        1
    );
    assert_eq!(engine.acknowledge(&stream, GROUP, &ids).await.unwrap(), 0);
    assert_eq!(engine.acknowledge(&stream, GROUP, &[]).await.unwrap(), 0);
    assert_eq!(engine.acknowledge(&stream, "nobody", &ids).await.unwrap(), 0);
    assert_eq!(engine.acknowledge(&a_stream(), GROUP, &ids).await.unwrap(), 0);
}

pub(crate) async fn many_streams_are_acknowledged_at_once(engine: Arc<dyn Engine>) {
    let mut settled = Vec::new();
    for _ in 0..5 {
        let (stream, ids) = pending_entries(&engine, "a", 3).await;
        settled.push((stream, ids[1..].to_vec()));
    }
    let key = a_set(&engine, &a_stream()).await;
    // What has no pending entries is ignored, what is no stream is an error, and neither keeps the others.
    settled.insert(1, (a_stream(), vec![EntryId::new(1, 1)]));
    settled.insert(2, (a_stream(), vec![]));
    settled.insert(3, (key.clone(), vec![EntryId::new(1, 1)]));
    let one = |id: &EntryId| EntrySettlement {
        id: *id,
        end: EntryEnd::Acknowledge {
            delete: false,
            had_retry_state: false,
        },
        failures: None,
    };
    let settlements: Vec<_> = settled
        .iter()
        .map(|(stream, ids)| (stream.clone(), ids.iter().map(one).collect()))
        .collect();
    for is_again in [false, true] {
        let answers = engine.settle(Some(&member("a")), &settlements).await;
        for ((stream, ids), answer) in settled.iter().zip(answers) {
            match *stream == key {
                true => assert_kind(answer, EngineErrorKind::WrongType),
                // It tells how many are pending with nobody any more.
                false if is_again => assert_eq!(answer.unwrap(), ids.len()),
                false => assert!(answer.unwrap() <= ids.len()),
            }
        }
    }
    for (stream, _) in [&settled[0], &settled[4], &settled[7]] {
        assert_eq!(engine.pending_summary(stream, GROUP).await.unwrap().count, 1);
    }
}

pub(crate) async fn the_summary_counts_by_consumer(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "b", 2).await;
    let more = entries(&engine, &stream, 1).await;
    read_ids(&mut a_consumer(&engine, &stream, "a").await, 10).await;
    let summary = engine.pending_summary(&stream, GROUP).await.unwrap();
    assert_eq!(summary.count, 3);
    assert_eq!(summary.range, Some((ids[0], more[0])));
    assert_eq!(summary.consumers, [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    engine
        .acknowledge(&stream, GROUP, &[ids[0], ids[1], more[0]])
        .await
        .unwrap();
    let summary = engine.pending_summary(&stream, GROUP).await.unwrap();
    assert_eq!((summary.count, summary.range, summary.consumers.len()), (0, None, 0));
}

pub(crate) async fn the_list_filters_by_range_consumer_and_idle_time(engine: Arc<dyn Engine>) {
    let (stream, mut ids) = pending_entries(&engine, "a", 4).await;
    ids.extend(entries(&engine, &stream, 2).await);
    read_ids(&mut a_consumer(&engine, &stream, "b").await, 10).await;
    set_idle(&engine, &stream, "a", &ids[..2], HOUR * 2).await;

    let listed = async |filter| -> Vec<EntryId> {
        let pending = engine.pending(&stream, GROUP, filter).await.unwrap();
        pending.iter().map(|entry| entry.id).collect()
    };
    let any = PendingFilter::default();
    assert_eq!(listed(any).await, ids);
    assert_eq!(listed(PendingFilter { count: 2, ..any }).await, ids[..2]);
    assert_eq!(
        listed(PendingFilter {
            consumer: Some("b"),
            ..any
        })
        .await,
        ids[4..]
    );
    assert_eq!(
        listed(PendingFilter {
            consumer: Some("nobody"),
            ..any
        })
        .await,
        []
    );
    assert_eq!(listed(PendingFilter { min_idle: HOUR, ..any }).await, ids[..2]);
    let (start, end) = (RangeBound::Exclusive(ids[1]), RangeBound::Inclusive(ids[4]));
    assert_eq!(listed(PendingFilter { start, end, ..any }).await, ids[2..5]);
    assert_eq!(
        listed(PendingFilter {
            count: usize::MAX,
            ..any
        })
        .await,
        ids
    );
    let start = RangeBound::Exclusive(EntryId::MAX);
    assert_eq!(listed(PendingFilter { start, ..any }).await, []);
}

pub(crate) async fn idle_time_grows(engine: Arc<dyn Engine>) {
    let (stream, _) = pending_entries(&engine, "a", 1).await;
    let begin = std::time::Instant::now();
    loop {
        let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
        if pending[0].idle > Duration::from_millis(20) {
            break;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "idle is still {:?}",
            pending[0].idle
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn reading_ones_own_again_counts_a_delivery(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    set_idle(&engine, &stream, "a", &ids, HOUR).await;
    for deliveries in 2..5 {
        let again = engine
            .read_pending(&stream, GROUP, "a", EntryId::MIN, 10)
            .await
            .unwrap();
        assert_eq!(ids_and_deliveries(&again), [(ids[0], deliveries), (ids[1], deliveries)]);
        assert_eq!(again.deleted, []);
    }
    let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
    assert!(
        pending.iter().all(|entry| entry.deliveries == 4 && entry.idle < HOUR),
        "{pending:?}"
    );
}

pub(crate) async fn reading_ones_own_again_pages_by_id(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 5).await;
    let mut seen = Vec::new();
    let mut after = EntryId::MIN;
    loop {
        let page = engine.read_pending(&stream, GROUP, "a", after, 2).await.unwrap();
        let Some(last) = page.entries.last() else { break };
        assert!(page.entries.len() <= 2);
        after = last.entry.id;
        seen.extend(page.entries.iter().map(|again| again.entry.id));
    }
    assert_eq!(seen, ids);
}

pub(crate) async fn reading_ones_own_again_leaves_other_consumers_alone(engine: Arc<dyn Engine>) {
    let (stream, _) = pending_entries(&engine, "a", 2).await;
    let again = engine
        .read_pending(&stream, GROUP, "b", EntryId::MIN, 10)
        .await
        .unwrap();
    assert_eq!(again, Redelivery::default());
    let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
    assert!(
        pending
            .iter()
            .all(|entry| entry.consumer == "a" && entry.deliveries == 1)
    );
}

pub(crate) async fn a_deleted_entry_stays_pending_and_is_named(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 3).await;
    engine.delete(&stream, &ids[1..2]).await.unwrap();
    let again = engine
        .read_pending(&stream, GROUP, "a", EntryId::MIN, 10)
        .await
        .unwrap();
    assert_eq!(ids_and_deliveries(&again), [(ids[0], 2), (ids[2], 2)]);
    assert_eq!(again.deleted, ids[1..2]);
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 3);
    assert_eq!(engine.acknowledge(&stream, GROUP, &ids[1..2]).await.unwrap(), 1);
}

pub(crate) async fn a_missing_group_is_an_error(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    for _ in 0..2 {
        assert_kind(engine.pending_summary(&stream, GROUP).await, EngineErrorKind::NoGroup);
        assert_kind(
            engine.pending(&stream, GROUP, PendingFilter::default()).await,
            EngineErrorKind::NoGroup,
        );
        let again = engine.read_pending(&stream, GROUP, "a", EntryId::MIN, 10).await;
        assert_kind(again, EngineErrorKind::NoGroup);
        entries(&engine, &stream, 1).await;
    }
}
