//! Thousands at once: a script can hand at most about 8,000 values to one command, and a caller must not notice.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use streamer::{
    EntryId, StreamName,
    engine::{Append, Deferral, DueEntries, Engine, EntryEnd, GroupStart, Record, Scan},
};

use crate::{
    deliveries::{only, take},
    given::{
        GROUP, HOUR, a_consumer, a_group, a_stream, all, an_append, entries, fields, member, pending_entries,
        pending_of, read_ids, settle_all,
    },
};

const THOUSANDS: usize = 9_000;

pub(crate) async fn thousands_are_adopted_at_once(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    a_group(&engine, &stream).await;
    let written = entries(&engine, &stream, THOUSANDS).await;
    let adopted = written.iter().map(|id| (*id, 3)).collect();
    only(engine.adopt(&member("a"), &[(stream.clone(), adopted)]).await).unwrap();
    let expected: Vec<_> = written.iter().map(|id| (*id, "a".to_owned(), 3)).collect();
    assert!(pending_of(&engine, &stream).await == expected);
}

pub(crate) async fn thousands_are_due_at_once(engine: Arc<dyn Engine>) {
    let (stream, written) = pending_entries(&engine, "a", THOUSANDS).await;
    let defer = EntryEnd::Defer(Box::new(Deferral {
        retry_state: "tried".into(),
        delay: HOUR,
        idle: Duration::ZERO,
        count: 1,
    }));
    settle_all(&engine, "a", &stream, &written, &defer).await;
    let due = DueEntries {
        stream: stream.clone(),
        ids: written.clone(),
    };
    let taken = only(engine.take_due(&member("a"), &[due]).await).unwrap();
    assert!(taken.entries.iter().map(|entry| entry.entry.id).eq(written));
    let tried = |entry: &streamer::engine::TakenEntry| entry.retry_state.as_deref() == Some(b"tried");
    assert!(taken.entries.iter().all(tried));
}

pub(crate) async fn an_entry_with_thousands_of_fields_is_delivered_again(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    a_group(&engine, &stream).await;
    let names: Vec<String> = (0..10_000).map(|n| format!("field{n}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|name| (&name[..], "value")).collect();
    let append = Append {
        fields: fields(&pairs),
        ..an_append(&stream, EntryId::new(1, 0))
    };
    let id = engine.append(append).await.unwrap();
    assert_eq!(read_ids(&mut a_consumer(&engine, &stream, "a").await, 10).await, [id]);
    let written = &all(&engine, &stream).await[0];
    assert_eq!(written.fields.len(), 10_000);
    let taken = take(&engine, "b", Scan::Idle(Duration::ZERO), &stream, 10).await;
    assert!(taken.entries[0].entry == *written);
    let claimed = engine.claim(&stream, GROUP, "c", Duration::ZERO, &[id]).await.unwrap();
    assert!(claimed.entries[0].entry == *written);
    let claimed = engine
        .auto_claim(&stream, GROUP, "d", Duration::ZERO, EntryId::MIN, 10)
        .await;
    assert!(claimed.unwrap().entries[0].entry == *written);
}

pub(crate) async fn a_stream_with_thousands_of_groups_is_removed(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = entries(&engine, &stream, 1).await;
    let groups: Vec<String> = (0..THOUSANDS / 2).map(|n| format!("group{n}")).collect();
    let create = |group: &String| {
        let (engine, stream, group) = (engine.clone(), stream.clone(), group.clone());
        async move { engine.create_group(&stream, &group, GroupStart::Now, false).await }
    };
    for created in join_all(groups.iter().map(create)).await {
        created.unwrap();
    }
    let last = groups.last().map(String::as_str);
    engine.add_handled(&stream, last, &ids).await.unwrap();
    assert!(engine.remove_stream(&stream).await.unwrap());
    assert!(engine.groups(&stream).await.unwrap().is_empty());
    assert_eq!(engine.page_of_handled(&stream, last, 0, 10).await.unwrap(), (0, vec![]));
}

pub(crate) async fn a_message_that_was_restored_thousands_of_times_is_restored(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let restore = |ids: &[EntryId]| {
        let record = Record::Restored { ids: ids.to_vec() };
        engine.append_recorded(an_append(&stream, streamer::NewId::Auto), record)
    };
    let ids: Vec<EntryId> = (1..=THOUSANDS as u64).map(|ms| EntryId::new(ms, 0)).collect();
    let appended = restore(&ids).await.unwrap();
    assert!(appended.fresh);
    assert!(engine.earlier_ids(&stream, &[appended.id]).await.unwrap() == [Some(ids.clone())]);
    assert_eq!(
        engine.restored_ids(&stream, &ids[..1]).await.unwrap(),
        [Some(appended.id)]
    );
    assert_eq!(on_stream(&engine, &stream).await, [appended.id]);
}

async fn on_stream(engine: &Arc<dyn Engine>, stream: &StreamName) -> Vec<EntryId> {
    crate::given::ids_of(&all(engine, stream).await)
}
