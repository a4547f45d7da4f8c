//! `claim`, `auto_claim`, and `renew` between them: how pending entries change hands.
//!
//! Idle times are set, not waited for.

use std::{sync::Arc, time::Duration};

use streamer::{
    EntryId, StreamName,
    engine::{Engine, EngineErrorKind, PendingFilter, Redelivery},
};

use crate::{
    deliveries::only,
    given::{GROUP, HOUR, a_stream, assert_kind, entries, member, pending_entries, set_idle},
};

const NOW: Duration = Duration::ZERO;

fn claimed_ids(redelivery: &Redelivery) -> Vec<EntryId> {
    redelivery.entries.iter().map(|again| again.entry.id).collect()
}

/// Renews leases, and gives those that were renewed.
async fn renewed(engine: &Arc<dyn Engine>, consumer: &str, stream: &StreamName, ids: &[EntryId]) -> Vec<EntryId> {
    let lease = [(stream.clone(), ids.to_vec())];
    let renewal = only(engine.renew(&member(consumer), &lease).await).unwrap();
    let missing: Vec<EntryId> = renewal.missing.iter().map(|(id, _)| *id).collect();
    ids.iter().filter(|id| !missing.contains(id)).copied().collect()
}

async fn owners(engine: &Arc<dyn Engine>, stream: &StreamName) -> Vec<(EntryId, String, u64)> {
    let pending = engine.pending(stream, GROUP, PendingFilter::default()).await.unwrap();
    pending
        .into_iter()
        .map(|entry| (entry.id, entry.consumer, entry.deliveries))
        .collect()
}

pub(crate) async fn a_claim_takes_what_is_idle_and_counts_a_delivery(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 3).await;
    set_idle(&engine, &stream, "a", &ids, HOUR * 2).await;
    let claimed = engine.claim(&stream, GROUP, "b", HOUR, &ids[..2]).await.unwrap();
    assert_eq!(claimed_ids(&claimed), ids[..2]);
    assert!(
        claimed
            .entries
            .iter()
            .all(|again| again.deliveries == 2 && !again.entry.fields.is_empty())
    );
    assert_eq!((claimed.deleted.len(), claimed.next), (0, EntryId::MIN));
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert_eq!(
        owners(&engine, &stream).await,
        [(ids[0], b.clone(), 2), (ids[1], b, 2), (ids[2], a, 1)]
    );
    // Its idle time began anew.
    assert_eq!(
        engine
            .claim(&stream, GROUP, "c", HOUR, &ids[..2])
            .await
            .unwrap()
            .entries,
        []
    );
}

pub(crate) async fn a_claim_leaves_what_is_not_idle_enough(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    set_idle(&engine, &stream, "a", &ids[1..], HOUR * 2).await;
    let claimed = engine.claim(&stream, GROUP, "b", HOUR, &ids).await.unwrap();
    assert_eq!(claimed_ids(&claimed), ids[1..]);
    assert_eq!(claimed.deleted, []);
}

pub(crate) async fn a_claim_passes_over_what_is_not_pending(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    engine.acknowledge(&stream, GROUP, &ids[..1]).await.unwrap();
    let asked = [ids[0], ids[1], EntryId::new(1, 1)];
    let claimed = engine.claim(&stream, GROUP, "b", NOW, &asked).await.unwrap();
    assert_eq!(claimed_ids(&claimed), ids[1..]);
    assert_eq!(claimed.deleted, []);
    assert_eq!(
        engine.claim(&stream, GROUP, "b", NOW, &[]).await.unwrap(),
        Redelivery::default()
    );
}

pub(crate) async fn a_claim_names_deleted_entries_and_drops_them(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 3).await;
    engine.delete(&stream, &ids[1..2]).await.unwrap();
    let claimed = engine.claim(&stream, GROUP, "b", NOW, &ids).await.unwrap();
    assert_eq!(claimed_ids(&claimed), [ids[0], ids[2]]);
    assert_eq!(claimed.deleted, ids[1..2]);
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 2);
}

pub(crate) async fn an_auto_claim_takes_what_is_idle(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 4).await;
    set_idle(&engine, &stream, "a", &ids[1..3], HOUR * 2).await;
    let claimed = engine
        .auto_claim(&stream, GROUP, "b", HOUR, EntryId::MIN, 10)
        .await
        .unwrap();
    assert_eq!(claimed_ids(&claimed), ids[1..3]);
    assert!(claimed.entries.iter().all(|again| again.deliveries == 2));
    assert_eq!(claimed.next, EntryId::MIN);
    let owners: Vec<String> = owners(&engine, &stream)
        .await
        .into_iter()
        .map(|(_, owner, _)| owner)
        .collect();
    assert_eq!(owners, ["a", "b", "b", "a"]);
}

pub(crate) async fn an_auto_claim_goes_on_at_its_cursor(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 7).await;
    let (mut seen, mut from) = (Vec::new(), EntryId::MIN);
    loop {
        let claimed = engine.auto_claim(&stream, GROUP, "b", NOW, from, 3).await.unwrap();
        assert!(claimed.entries.len() <= 3);
        seen.extend(claimed_ids(&claimed));
        from = claimed.next;
        if from == EntryId::MIN {
            break;
        }
    }
    assert_eq!(seen, ids);
}

pub(crate) async fn an_auto_claim_names_deleted_entries_and_drops_them(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 4).await;
    engine.delete(&stream, &[ids[0], ids[2]]).await.unwrap();
    let claimed = engine
        .auto_claim(&stream, GROUP, "b", NOW, EntryId::MIN, 10)
        .await
        .unwrap();
    assert_eq!(claimed_ids(&claimed), [ids[1], ids[3]]);
    assert_eq!(claimed.deleted, [ids[0], ids[2]]);
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 2);
}

pub(crate) async fn an_auto_claim_takes_the_callers_own_too(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    let claimed = engine.auto_claim(&stream, GROUP, "a", NOW, ids[1], 10).await.unwrap();
    assert_eq!(claimed_ids(&claimed), ids[1..]);
}

pub(crate) async fn delivery_counts_are_those_of_the_claimed_entries(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 5).await;
    // The last one was delivered most, the first ones once.
    for _ in 0..3 {
        engine.claim(&stream, GROUP, "a", NOW, &ids[4..]).await.unwrap();
    }
    set_idle(&engine, &stream, "a", &ids[4..], HOUR * 2).await;
    let claimed = engine
        .auto_claim(&stream, GROUP, "b", HOUR, EntryId::MIN, 10)
        .await
        .unwrap();
    assert_eq!(claimed_ids(&claimed), ids[4..]);
    assert_eq!(claimed.entries[0].deliveries, 5);
    let claimed = engine.claim(&stream, GROUP, "c", NOW, &ids[3..]).await.unwrap();
    let deliveries: Vec<u64> = claimed.entries.iter().map(|again| again.deliveries).collect();
    assert_eq!(deliveries, [2, 6]);
}

pub(crate) async fn renewing_keeps_others_from_claiming(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    set_idle(&engine, &stream, "a", &ids, HOUR * 2).await;
    assert_eq!(renewed(&engine, "a", &stream, &ids[..1]).await, ids[..1]);
    let claimed = engine
        .auto_claim(&stream, GROUP, "b", HOUR, EntryId::MIN, 10)
        .await
        .unwrap();
    assert_eq!(claimed_ids(&claimed), ids[1..]);
}

pub(crate) async fn renewing_does_not_count_a_delivery(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 1).await;
    for _ in 0..3 {
        renewed(&engine, "a", &stream, &ids).await;
    }
    assert_eq!(owners(&engine, &stream).await, [(ids[0], "a".to_owned(), 1)]);
}

pub(crate) async fn renewing_leaves_what_another_has_claimed(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    engine.claim(&stream, GROUP, "b", NOW, &ids[..1]).await.unwrap();
    assert_eq!(renewed(&engine, "a", &stream, &ids).await, ids[1..]);
    let (a, b) = ("a".to_owned(), "b".to_owned());
    assert_eq!(owners(&engine, &stream).await, [(ids[0], b, 2), (ids[1], a, 1)]);
    assert_eq!(renewed(&engine, "nobody", &stream, &ids).await, []);
}

pub(crate) async fn renewing_passes_over_what_was_acknowledged(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 2).await;
    engine.acknowledge(&stream, GROUP, &ids[..1]).await.unwrap();
    assert_eq!(renewed(&engine, "a", &stream, &ids).await, ids[1..]);
    assert_eq!(engine.pending_summary(&stream, GROUP).await.unwrap().count, 1);
    assert_eq!(renewed(&engine, "a", &stream, &[]).await, []);
}

pub(crate) async fn a_large_idle_time_hands_over_at_once(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "a", 1).await;
    let refused = engine.claim(&stream, GROUP, "b", HOUR, &ids).await.unwrap();
    assert_eq!(refused, Redelivery::default());
    set_idle(&engine, &stream, "a", &ids, HOUR * 24 * 365).await;
    let claimed = engine.claim(&stream, GROUP, "b", HOUR, &ids).await.unwrap();
    assert_eq!(claimed_ids(&claimed), ids);
    // As far as a time goes.
    set_idle(&engine, &stream, "b", &ids, Duration::MAX).await;
    let claimed = engine
        .auto_claim(&stream, GROUP, "c", HOUR, EntryId::MIN, usize::MAX)
        .await
        .unwrap();
    assert_eq!(claimed_ids(&claimed), ids);
    let refused = engine.claim(&stream, GROUP, "d", Duration::MAX, &ids).await.unwrap();
    assert_eq!(refused, Redelivery::default());
}

pub(crate) async fn a_missing_group_is_an_error(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let id = [EntryId::new(1, 1)];
    for _ in 0..2 {
        assert_kind(
            engine.claim(&stream, GROUP, "a", NOW, &id).await,
            EngineErrorKind::NoGroup,
        );
        let claimed = engine.auto_claim(&stream, GROUP, "a", NOW, EntryId::MIN, 1).await;
        assert_kind(claimed, EngineErrorKind::NoGroup);
        let lease = [(stream.clone(), id.to_vec())];
        assert_kind(only(engine.renew(&member("a"), &lease).await), EngineErrorKind::NoGroup);
        entries(&engine, &stream, 1).await;
    }
}
