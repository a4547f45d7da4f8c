//! What is kept beside the streams: failures, retry states, what was handled, where restored messages are.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use streamer::{
    EntryId, NewId, StreamName,
    engine::{Engine, EngineErrorKind, FailingGroups, FailingListener, FailureRecord, Origin, PendingFilter, Record},
};

use crate::given::{GROUP, a_set, a_stream, an_append, assert_kind, numbered_entries, pending_entries, unique};

/// Records that no other case has. The list is one for all cases, so none of them counts what others have.
fn records(count: usize) -> Vec<FailureRecord> {
    let prefix = unique("member");
    let record = |number| FailureRecord {
        member: format!("{prefix} {number}").into(),
        details: None,
    };
    (0..count).map(record).collect()
}

fn members(records: &[FailureRecord]) -> Vec<Bytes> {
    records.iter().map(|record| record.member.clone()).collect()
}

async fn listed(engine: &Arc<dyn Engine>, count: usize) -> HashSet<Bytes> {
    let (mut listed, mut cursor) = (HashSet::new(), 0);
    loop {
        let (next, page) = engine.page_of_failures(cursor, count).await.unwrap();
        listed.extend(page);
        if next == 0 {
            return listed;
        }
        cursor = next;
    }
}

async fn has_listed(engine: &Arc<dyn Engine>, records: &[FailureRecord], count: usize) -> usize {
    let listed = listed(engine, count).await;
    records.iter().filter(|record| listed.contains(&record.member)).count()
}

// ----- failures -------------------------------------------------------------------------------------------------------

/// No other case keeps or forgets groups.
pub(crate) async fn the_first_group_in_which_a_listener_fails_is_kept(engine: Arc<dyn Engine>) {
    let listener = |stream, receiver| FailingListener { stream, receiver };
    let all = [
        (listener("a", "b"), "g"),
        // Names that are alike when they are put together.
        (listener("a\",\"b", ""), "h"),
        (listener("", "b"), "i"),
        (listener("\u{fffd}\0", "b"), "j"),
    ];
    for (listener, group) in all {
        assert_eq!(engine.failing_groups().await.unwrap().of(listener), None);
        assert_eq!(engine.keep_failing_group(listener, group).await.unwrap(), group);
        assert_eq!(engine.keep_failing_group(listener, "other").await.unwrap(), group);
    }
    let kept = engine.failing_groups().await.unwrap();
    for (listener, group) in all {
        assert_eq!(kept.of(listener), Some(group));
    }
    engine.forget_failing_groups(&[all[0].0, all[2].0]).await.unwrap();
    let kept = engine.failing_groups().await.unwrap();
    assert_eq!(
        all.map(|(listener, _)| kept.of(listener)),
        [None, Some("h"), None, Some("j")]
    );
    assert_eq!(kept.listeners().count(), 2);
    for _ in 0..2 {
        engine
            .forget_failing_groups(&all.map(|(listener, _)| listener))
            .await
            .unwrap();
        assert_eq!(engine.failing_groups().await.unwrap(), FailingGroups::default());
    }
    engine.forget_failing_groups(&[]).await.unwrap();
    let many = (0..3_000).map(|number| number.to_string()).collect::<Vec<_>>();
    for receiver in &many {
        engine
            .keep_failing_group(listener("many", receiver), receiver)
            .await
            .unwrap();
    }
    let kept = engine.failing_groups().await.unwrap();
    for receiver in &many {
        assert_eq!(kept.of(listener("many", receiver)), Some(&**receiver));
    }
    let all = kept.listeners().collect::<Vec<_>>();
    engine.forget_failing_groups(&all).await.unwrap();
    assert_eq!(engine.failing_groups().await.unwrap(), FailingGroups::default());
}

pub(crate) async fn failures_are_listed_until_they_are_removed(engine: Arc<dyn Engine>) {
    let all = records(3);
    engine.add_failures(&all[..2]).await.unwrap();
    engine.add_failures(&all[1..]).await.unwrap();
    assert!(engine.count_failures().await.unwrap() >= 3);
    assert_eq!(has_listed(&engine, &all, 10).await, 3);
    let gone = [all[0].member.clone(), unique("other").into()];
    assert_eq!(engine.remove_failures(&gone).await.unwrap(), 1);
    engine.add_failures(&[]).await.unwrap();
    assert_eq!(engine.remove_failures(&[]).await.unwrap(), 0);
    assert_eq!(has_listed(&engine, &all[1..], 10).await, 2);
    assert_eq!(has_listed(&engine, &all, 10).await, 2);
    assert_eq!(engine.remove_failures(&members(&all)).await.unwrap(), 2);
}

pub(crate) async fn pages_give_every_failure(engine: Arc<dyn Engine>) {
    let all = records(1000);
    engine.add_failures(&all).await.unwrap();
    assert_eq!(has_listed(&engine, &all, 7).await, 1000);
    // What stays comes, whatever goes meanwhile.
    let (mut cursor, mut seen) = engine.page_of_failures(0, 100).await.unwrap();
    engine.remove_failures(&members(&all[500..])).await.unwrap();
    while cursor != 0 {
        let (next, page) = engine.page_of_failures(cursor, 100).await.unwrap();
        seen.extend(page);
        cursor = next;
    }
    let seen: HashSet<Bytes> = seen.into_iter().collect();
    assert!(all[..500].iter().all(|record| seen.contains(&record.member)));
    engine.remove_failures(&members(&all)).await.unwrap();
}

pub(crate) async fn details_stand_beside_their_record(engine: Arc<dyn Engine>) {
    let mut all = records(3);
    all[0].details = Some(r#"{"attempts":2}"#.into());
    all[2].details = Some(r#"{"attempts":3}"#.into());
    engine.add_failures(&all).await.unwrap();
    let wanted = [&all[2], &all[1], &all[0]].map(|record| record.member.clone());
    let details = engine.failure_details(&wanted).await.unwrap();
    assert_eq!(
        details,
        [&all[2], &all[1], &all[0]].map(|record| record.details.clone())
    );
    assert_eq!(engine.failure_details(&[]).await.unwrap(), [] as [Option<Bytes>; 0]);
    // Later details replace earlier ones, and go with their record.
    all[0].details = Some(r#"{"attempts":4}"#.into());
    engine.add_failures(&all[..1]).await.unwrap();
    assert_eq!(
        engine.failure_details(&wanted[2..]).await.unwrap(),
        [all[0].details.clone()]
    );
    engine.remove_failures(&wanted[1..]).await.unwrap();
    let details = engine.failure_details(&wanted).await.unwrap();
    assert_eq!(details, [all[2].details.clone(), None, None]);
    engine.remove_failures(&wanted).await.unwrap();
}

/// Two groups may record the same failure in the same second: both are pending because of it.
pub(crate) async fn groups_of_details_are_united(engine: Arc<dyn Engine>) {
    let with = |details: &str| FailureRecord {
        details: Some(details.to_owned().into()),
        ..records(1).remove(0)
    };
    let odd = r#"a "group" / \u00e9\ud83d\ude00"#;
    let first = with(&format!(
        r#"{{"fields":[["data","1/2"]],"attempts":2,"groups":["a",{odd:?}]}}"#
    ));
    let again = |details: &str| FailureRecord {
        details: Some(details.to_owned().into()),
        ..first.clone()
    };
    engine.add_failures(std::slice::from_ref(&first)).await.unwrap();
    engine
        .add_failures(&[again(r#"{"fields":[["data","1/2"]],"attempts":3,"groups":["b","a"]}"#)])
        .await
        .unwrap();
    let details = async || {
        let details = engine
            .failure_details(std::slice::from_ref(&first.member))
            .await
            .unwrap();
        serde_json::from_slice::<serde_json::Value>(details[0].as_ref().unwrap()).unwrap()
    };
    let united = |details: serde_json::Value| {
        let groups = details["groups"].as_array().unwrap().iter();
        groups
            .map(|group| group.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let details_now = details().await;
    assert_eq!(details_now["attempts"], 3);
    assert_eq!(details_now["fields"], serde_json::json!([["data", "1/2"]]));
    let groups = united(details_now);
    assert_eq!(groups.len(), 3, "{groups:?}");
    let expected: BTreeSet<String> = ["a".to_owned(), "b".to_owned(), odd.to_owned()].into();
    assert_eq!(groups.into_iter().collect::<BTreeSet<_>>(), expected);
    // Many at once lose none.
    let tasks = (0..16).map(|number| {
        let (engine, record) = (engine.clone(), again(&format!(r#"{{"groups":["group {number}"]}}"#)));
        tokio::spawn(async move { engine.add_failures(&[record]).await.unwrap() })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(united(details().await).len(), 3 + 16);
    engine
        .remove_failures(std::slice::from_ref(&first.member))
        .await
        .unwrap();
}

pub(crate) async fn details_without_a_record_are_found_and_removed(engine: Arc<dyn Engine>) {
    let mut all = records(20);
    for record in &mut all {
        record.details = Some(r#"{"attempts":2}"#.into());
    }
    engine.add_failures(&all).await.unwrap();
    let fields: Vec<Bytes> = all
        .iter()
        .map(|record| streamer::failed::details_field(&record.member))
        .collect();
    // Since when each is known to have no record.
    let found = async || {
        let (mut found, mut cursor) = (BTreeMap::new(), None);
        loop {
            let (next, page) = engine.page_of_details(cursor, 3).await.unwrap();
            for one in page.into_iter().filter(|one| fields.contains(&one.field)) {
                let since: &mut Option<u64> = found.entry(one.field).or_default();
                *since = since.or(one.orphaned_since);
            }
            cursor = next;
            if cursor.is_none() {
                return found;
            }
        }
    };
    assert_eq!(
        found().await,
        fields.iter().map(|field| (field.clone(), None)).collect()
    );
    engine.mark_orphaned(&fields[..3], 5).await.unwrap();
    engine.mark_orphaned(&fields[1..4], 7).await.unwrap();
    engine.unmark_orphaned(&fields[..1]).await.unwrap();
    let marked = found().await;
    let since = |place: usize| marked[&fields[place]];
    assert_eq!(
        [since(0), since(1), since(2), since(3), since(4)],
        [None, Some(5), Some(5), Some(7), None]
    );
    assert_eq!(marked.len(), 20);
    assert_eq!(engine.remove_details(&fields).await.unwrap(), 20);
    assert_eq!(engine.remove_details(&fields).await.unwrap(), 0);
    assert!(found().await.is_empty(), "marks are gone, too");
    engine.remove_failures(&members(&all)).await.unwrap();
}

// ----- retry states ---------------------------------------------------------------------------------------------------

pub(crate) async fn a_retry_state_is_replaced_only_if_it_is_the_known_one(engine: Arc<dyn Engine>) {
    let (stream, id) = (a_stream(), EntryId::new(5, 1));
    let (one, two) = (Bytes::from("one"), Bytes::from(""));
    let state = async || engine.retry_state(&stream, GROUP, id).await.unwrap();
    let replace = async |known: Option<&Bytes>, new: Option<&Bytes>| {
        let replaced = engine.replace_retry_state(&stream, GROUP, id, known, new).await;
        replaced.unwrap()
    };
    assert_eq!(state().await, None);
    assert!(!replace(Some(&one), Some(&two)).await);
    assert!(replace(None, None).await);
    assert!(replace(None, Some(&one)).await);
    assert!(!replace(None, Some(&two)).await);
    assert!(!replace(Some(&two), None).await);
    assert_eq!(state().await, Some(one.clone()));
    assert!(replace(Some(&one), Some(&two)).await);
    assert_eq!(state().await, Some(two.clone()));
    assert_eq!(engine.retry_state(&stream, "other", id).await.unwrap(), None);
    assert_eq!(
        engine.retry_state(&stream, GROUP, EntryId::new(5, 2)).await.unwrap(),
        None
    );
    assert!(replace(Some(&two), None).await);
    assert_eq!(state().await, None);
}

pub(crate) async fn what_was_retried_is_acknowledged_if_its_state_is_the_known_one(engine: Arc<dyn Engine>) {
    let (stream, ids) = pending_entries(&engine, "ben", 2).await;
    let (one, two) = (Bytes::from("one"), Bytes::from("two"));
    let acknowledge = async |known: &Bytes| engine.acknowledge_retried(&stream, GROUP, ids[0], known).await.unwrap();
    let pending = async || {
        let pending = engine.pending(&stream, GROUP, PendingFilter::default()).await.unwrap();
        pending.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
    };
    assert!(!acknowledge(&one).await);
    let written = engine
        .replace_retry_state(&stream, GROUP, ids[0], None, Some(&one))
        .await;
    assert!(written.unwrap());
    assert!(!acknowledge(&two).await);
    assert_eq!(pending().await, ids);
    assert!(acknowledge(&one).await);
    assert_eq!(pending().await, [ids[1]]);
    assert_eq!(engine.retry_state(&stream, GROUP, ids[0]).await.unwrap(), None);
    // The group need not be there.
    let elsewhere = a_stream();
    let written = engine
        .replace_retry_state(&elsewhere, GROUP, ids[0], None, Some(&one))
        .await;
    assert!(written.unwrap());
    let acknowledged = engine.acknowledge_retried(&elsewhere, GROUP, ids[0], &one).await;
    assert!(acknowledged.unwrap());
}

// ----- handled --------------------------------------------------------------------------------------------------------

pub(crate) async fn what_was_handled_is_marked_for_each_group(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids: Vec<EntryId> = (1..=100).map(|ms| EntryId::new(ms, 3)).collect();
    let marked = async |group: Option<&str>, count: usize| {
        let (mut marked, mut cursor) = (BTreeSet::new(), 0);
        loop {
            let (next, page) = engine.page_of_handled(&stream, group, cursor, count).await.unwrap();
            marked.extend(page);
            cursor = next;
            if cursor == 0 {
                return marked.into_iter().collect::<Vec<_>>();
            }
        }
    };
    assert_eq!(marked(Some(GROUP), 10).await, []);
    engine.add_handled(&stream, Some(GROUP), &ids[..60]).await.unwrap();
    engine.add_handled(&stream, Some(GROUP), &ids[40..]).await.unwrap();
    engine.add_handled(&stream, Some(GROUP), &[]).await.unwrap();
    engine.add_handled(&stream, None, &ids[..1]).await.unwrap();
    assert_eq!(marked(Some(GROUP), 7).await, ids);
    assert_eq!(marked(None, 7).await, ids[..1]);
    assert_eq!(marked(Some("other"), 7).await, []);
    assert_eq!(engine.remove_handled(&stream, Some(GROUP), &[]).await.unwrap(), 0);
    assert_eq!(
        engine.remove_handled(&stream, Some(GROUP), &ids[1..]).await.unwrap(),
        99
    );
    assert_eq!(engine.remove_handled(&stream, Some(GROUP), &ids).await.unwrap(), 1);
    assert_eq!(marked(Some(GROUP), 7).await, []);
    assert_eq!(marked(None, 7).await, ids[..1]);
}

// ----- origins --------------------------------------------------------------------------------------------------------

/// A message that had these IDs comes back; gives its new ID, and whether it came back now.
async fn restore(engine: &Arc<dyn Engine>, stream: &StreamName, ids: &[EntryId]) -> (EntryId, bool) {
    let record = Record::Restored { ids: ids.to_vec() };
    let appended = engine
        .append_recorded(an_append(stream, NewId::Auto), record)
        .await
        .unwrap();
    (appended.id, appended.fresh)
}

async fn lost(engine: &Arc<dyn Engine>, stream: &StreamName) -> (Vec<Origin>, Vec<EntryId>) {
    let (mut lost, mut earlier, mut cursor) = (BTreeSet::new(), BTreeSet::new(), None);
    loop {
        let (next, page) = engine.page_of_lost(stream, cursor, 3).await.unwrap();
        lost.extend(page.into_iter().map(|origin| (origin.first, origin.current)));
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    loop {
        let (next, page) = engine.page_of_lost_earlier_ids(stream, cursor, 3).await.unwrap();
        earlier.extend(page);
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    let origin = |(first, current)| Origin { first, current };
    (lost.into_iter().map(origin).collect(), earlier.into_iter().collect())
}

/// However often a message is archived and restored, one field leads from its first ID to its current one.
pub(crate) async fn a_first_id_leads_to_the_current_one(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let mut ids = vec![EntryId::new(1, 0)];
    for _ in 0..5 {
        let (id, fresh) = restore(&engine, &stream, &ids).await;
        assert!(fresh);
        // Whoever else had the message in hand learns that it is back; also later, when it was archived and is back again.
        for length in 1..=ids.len() {
            assert_eq!(restore(&engine, &stream, &ids[..length]).await, (id, false));
        }
        assert_eq!(engine.restored_ids(&stream, &ids[..1]).await.unwrap(), [Some(id)]);
        let between = engine.restored_ids(&stream, &ids[1..]).await.unwrap();
        assert_eq!(between, vec![None; ids.len() - 1]);
        let earlier = engine.earlier_ids(&stream, &[id]).await.unwrap();
        assert_eq!(earlier, [(ids.len() > 1).then(|| ids.clone())]);
        ids.push(id);
    }
    let current = *ids.last().unwrap();
    assert_eq!(engine.len(&stream).await.unwrap(), 5);
    assert_eq!(lost(&engine, &stream).await, (vec![], vec![]));
    engine.delete(&stream, &ids).await.unwrap();
    let origin = Origin { first: ids[0], current };
    assert_eq!(lost(&engine, &stream).await, (vec![origin], vec![current]));
    assert_eq!(engine.forget_earlier_ids(&stream, &ids).await.unwrap(), 1);
    assert_eq!(engine.forget_earlier_ids(&stream, &[]).await.unwrap(), 0);
    assert_eq!(engine.earlier_ids(&stream, &[current]).await.unwrap(), [None]);
}

pub(crate) async fn what_was_restored_once_more_is_not_forgotten(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let firsts: Vec<EntryId> = (1..=10).map(|ms| EntryId::new(ms, 0)).collect();
    let mut current = Vec::new();
    for first in &firsts {
        current.push(restore(&engine, &stream, &[*first]).await.0);
    }
    engine.delete(&stream, &current).await.unwrap();
    let origins = firsts.iter().zip(&current);
    let origins: Vec<Origin> = origins
        .map(|(first, current)| Origin {
            first: *first,
            current: *current,
        })
        .collect();
    assert_eq!(lost(&engine, &stream).await.0, origins);
    let (again, _) = restore(&engine, &stream, &[firsts[0], current[0]]).await;
    assert_eq!(lost(&engine, &stream).await.0, origins[1..]);
    assert_eq!(engine.forget_restored(&stream, &origins).await.unwrap(), 9);
    assert_eq!(engine.forget_restored(&stream, &[]).await.unwrap(), 0);
    assert_eq!(lost(&engine, &stream).await.0, []);
    let left = engine.restored_ids(&stream, &firsts[..2]).await.unwrap();
    assert_eq!(left, [Some(again), None]);
}

pub(crate) async fn a_restored_message_has_had_an_id(engine: Arc<dyn Engine>) {
    let refused = engine
        .append_recorded(
            an_append(&a_stream(), NewId::Auto),
            Record::Restored { ids: Vec::new() },
        )
        .await;
    assert_kind(refused, EngineErrorKind::InvalidInput);
}

/// As the other keys, these may hold something else.
pub(crate) async fn another_kind_of_key_is_an_error(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    for beside in ["retry:g", "handled:g", "restored", "original_ids"] {
        numbered_entries(&engine, &format!("{{{stream}}}:{beside}").into(), 1).await;
    }
    let id = EntryId::new(1, 0);
    assert_kind(engine.retry_state(&stream, "g", id).await, EngineErrorKind::WrongType);
    let written = engine
        .replace_retry_state(&stream, "g", id, None, Some(&"x".into()))
        .await;
    assert_kind(written, EngineErrorKind::WrongType);
    assert_kind(
        engine.add_handled(&stream, Some("g"), &[id]).await,
        EngineErrorKind::WrongType,
    );
    let page = engine.page_of_handled(&stream, Some("g"), 0, 10).await;
    assert_kind(page, EngineErrorKind::WrongType);
    assert_kind(engine.restored_ids(&stream, &[id]).await, EngineErrorKind::WrongType);
    assert_kind(engine.earlier_ids(&stream, &[id]).await, EngineErrorKind::WrongType);
    assert_kind(engine.page_of_lost(&stream, None, 10).await, EngineErrorKind::WrongType);
    let set = a_set(&engine, &stream).await;
    assert_kind(engine.snapshots(&set, 0, 1).await, EngineErrorKind::WrongType);
}
