//! A process that is killed between any two steps of its deliveries leaves a store in which each of them happened as a
//! whole or not at all.
//!
//! The sequence number of an entry's ID says how its delivery ends, so that what is left can be judged by itself.

use std::{collections::BTreeSet, io::BufRead};

use bytes::Bytes;
use streamer::{
    EntryId, NewId,
    engine::{
        Append, Deferral, EmbeddedEngine, Engine, EntryEnd, EntrySettlement, FailureChange, FailureRecord, Failures,
        GroupAdmin, GroupStart, GroupStore, Member, Scan, TakeRequest,
    },
};

use crate::{
    other_process::{another_process, said, say, start},
    place::{LONG, Place, an_append, assert_intact, consumer, ids, stream},
};

const ACKNOWLEDGED: u64 = 0;
const DELETED: u64 = 1;
const FAILED: u64 = 2;
const DEFERRED: u64 = 3;
const RELEASED: u64 = 4;
const ENDS: u64 = 5;

fn member() -> Member {
    Member {
        group: "workers".to_owned(),
        consumer: "ann".to_owned(),
    }
}

fn record(id: EntryId) -> Bytes {
    id.to_string().into()
}

fn settlement(id: EntryId, has_state: bool) -> EntrySettlement {
    let acknowledge = |delete| EntryEnd::Acknowledge {
        delete,
        had_retry_state: has_state,
    };
    let end = match id.seq {
        DELETED => acknowledge(true),
        DEFERRED if !has_state => EntryEnd::Defer(Box::new(Deferral {
            retry_state: "{}".into(),
            delay: LONG,
            idle: LONG,
            count: 1,
        })),
        RELEASED if !has_state => EntryEnd::Release { count: 0 },
        _ => acknowledge(false),
    };
    let failures = (id.seq == FAILED).then(|| {
        let add = vec![FailureRecord {
            member: record(id),
            details: Some("{\"attempts\":2}".into()),
        }];
        Box::new(FailureChange {
            add,
            remove: Vec::new(),
        })
    });
    EntrySettlement { id, end, failures }
}

/// What the other process does, until it is killed. It says what it was answered.
pub(crate) async fn deliver_for_ever(engine: &EmbeddedEngine) {
    let streams = [(stream(), GroupStart::After(EntryId::MIN))];
    engine.join(&member(), &streams).await.remove(0).unwrap();
    let mut last = engine.last_ids(&[stream()]).await.remove(0).unwrap().ms;
    loop {
        let append = |n| Append {
            id: NewId::Explicit(EntryId::new(last + 1 + n, n % ENDS)),
            ..an_append(50)
        };
        engine.append_many((0..20).map(append).collect()).await.unwrap();
        last += 20;
        let read = consumer(engine, "ann").await.next(20, None).await.unwrap();
        let read: Vec<EntryId> = read[0].entries.iter().map(|entry| entry.id).collect();
        engine
            .renew(&member(), &[(stream(), read.clone())])
            .await
            .remove(0)
            .unwrap();
        engine.begin(&member(), &stream(), read[0], 3).await.unwrap();
        let settlements = read.iter().map(|id| settlement(*id, false)).collect();
        engine
            .settle(Some(&member()), &[(stream(), settlements)])
            .await
            .remove(0)
            .unwrap();
        read.iter().for_each(say);
        // What was deferred and released long ago is taken and ended.
        let request = TakeRequest {
            stream: stream(),
            from: EntryId::MIN,
        };
        let taken = engine
            .take(&member(), Scan::Own, &[request], 5)
            .await
            .remove(0)
            .unwrap();
        let settlements = taken
            .entries
            .iter()
            .map(|one| settlement(one.entry.id, one.retry_state.is_some()));
        let settlements = settlements.collect();
        engine
            .settle(Some(&member()), &[(stream(), settlements)])
            .await
            .remove(0)
            .unwrap();
    }
}

#[tokio::test]
async fn each_delivery_has_ended_as_a_whole_or_not_at_all() {
    let place = Place::new();
    for round in 0..6 {
        let (mut child, output) = start(another_process("deliver for ever", &place.url()));
        let mut lines = output.lines();
        let mut settled: BTreeSet<EntryId> = BTreeSet::new();
        while settled.len() < 200 + 17 * round {
            let line = lines.next().unwrap().unwrap();
            settled.extend(said(&line).and_then(|said| said.parse::<EntryId>().ok()));
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        check(&place, &settled).await;
    }
}

async fn check(place: &Place, settled: &BTreeSet<EntryId>) {
    let engine = place.open().await;
    assert_intact(&place.file());
    let on_stream: BTreeSet<EntryId> = ids(&engine).await.into_iter().collect();
    let everything = streamer::engine::PendingFilter {
        count: usize::MAX,
        ..Default::default()
    };
    let pending = engine.pending(&stream(), "workers", everything).await.unwrap();
    let pending: BTreeSet<EntryId> = pending.into_iter().map(|entry| entry.id).collect();
    let delivered = engine.groups(&stream()).await.unwrap()[0].last_delivered_id;
    let (_, failed) = engine.page_of_failures(0, 1_000_000).await.unwrap();
    let failed: BTreeSet<Bytes> = failed.into_iter().collect();

    for id in settled {
        match id.seq {
            ACKNOWLEDGED => assert!(!pending.contains(id), "{id}"),
            DELETED => assert!(!pending.contains(id) && !on_stream.contains(id), "{id}"),
            FAILED => assert!(!pending.contains(id) && failed.contains(&record(*id)), "{id}"),
            _ => {}
        }
    }
    // The numbers of all that was ever appended have no gap.
    let last = engine.last_ids(&[stream()]).await.remove(0).unwrap().ms;
    for ms in 1..=last.min(delivered.ms) {
        let id = EntryId::new(ms, (ms - 1) % 20 % ENDS);
        match id.seq {
            DELETED => assert_eq!(pending.contains(&id), on_stream.contains(&id), "{id}"),
            FAILED => assert_ne!(pending.contains(&id), failed.contains(&record(id)), "{id}"),
            _ => assert!(on_stream.contains(&id), "{id}"),
        }
    }
    let states = Place::retry_states(place);
    assert!(states.iter().all(|id| pending.contains(id)), "{states:?}");
    let details = rusqlite::Connection::open(place.file()).unwrap();
    let details: i64 = details
        .query_row(
            "SELECT count(*) FROM streamer_hash_fields WHERE key = (SELECT id FROM streamer_keys WHERE name = CAST('failed_stream:details' AS BLOB))",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(details as usize, failed.len());
}

impl Place {
    fn retry_states(&self) -> Vec<EntryId> {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        let mut states = connection
            .prepare(
                "SELECT CAST(name AS TEXT) FROM streamer_hash_fields \
                 WHERE key = (SELECT id FROM streamer_keys WHERE name = CAST('{orders}:retry:workers' AS BLOB))",
            )
            .unwrap();
        let states = states.query_map([], |row| row.get::<_, String>(0)).unwrap();
        states.map(|state| state.unwrap().parse().unwrap()).collect()
    }
}
