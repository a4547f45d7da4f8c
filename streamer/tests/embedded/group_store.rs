//! What the verbs of a delivery promise on the embedded engine beyond what every store does.

use std::time::Duration;

use bytes::Bytes;
use streamer::{
    EntryId, NewId,
    engine::{
        Append, AppendOptions, Deferral, EmbeddedEngine, Engine, EngineErrorKind, EntryEnd, EntrySettlement,
        FailureChange, FailureRecord, Failures, GroupAdmin, GroupStart, GroupStore, Handled, Joined, Member, Missing,
        PendingFilter, ReadMode, RetryStates, Scan, TakeRequest, Taken,
    },
};

use crate::place::{Place, stream};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs a statement as another program would.
fn sql(place: &Place, sql: &str) -> usize {
    rusqlite::Connection::open(place.file())
        .unwrap()
        .execute(sql, [])
        .unwrap()
}

fn member(consumer: &str) -> Member {
    Member {
        group: "workers".to_owned(),
        consumer: consumer.to_owned(),
    }
}

fn generated(letter: char) -> String {
    format!("workers-{}", letter.to_string().repeat(16))
}

async fn append(engine: &EmbeddedEngine, count: usize) -> Vec<EntryId> {
    let one = |n: usize| Append {
        stream: stream(),
        id: NewId::Auto,
        fields: vec![("n".into(), n.to_string().into())],
        options: AppendOptions::default(),
    };
    engine.append_many((0..count).map(one).collect()).await.unwrap()
}

async fn join(engine: &EmbeddedEngine, consumer: &str) -> Joined {
    let streams = [(stream(), GroupStart::After(EntryId::MIN))];
    engine.join(&member(consumer), &streams).await.remove(0).unwrap()
}

/// Entries that are pending with a consumer, delivered once.
async fn delivered(engine: &EmbeddedEngine, consumer: &str, count: usize) -> Vec<EntryId> {
    join(engine, consumer).await;
    append(engine, count).await;
    let mode = ReadMode::Group {
        group: "workers".to_owned(),
        consumer: consumer.to_owned(),
        streams: vec![stream()],
    };
    let mut reader = engine.reader(mode).await.unwrap();
    let read = reader.next(count, None).await.unwrap();
    read[0].entries.iter().map(|entry| entry.id).collect()
}

async fn pending(engine: &EmbeddedEngine) -> Vec<(EntryId, String, u64)> {
    let pending = engine.pending(&stream(), "workers", PendingFilter::default()).await;
    let pending = pending.unwrap().into_iter();
    pending.map(|one| (one.id, one.consumer, one.deliveries)).collect()
}

async fn take(engine: &EmbeddedEngine, consumer: &str, scan: Scan, count: usize) -> Taken {
    let request = TakeRequest {
        stream: stream(),
        from: EntryId::MIN,
    };
    let taken = engine.take(&member(consumer), scan, &[request], count).await;
    taken.into_iter().next().unwrap().unwrap()
}

async fn settle(engine: &EmbeddedEngine, consumer: &str, settlements: Vec<EntrySettlement>) {
    let settled = engine.settle(Some(&member(consumer)), &[(stream(), settlements)]).await;
    settled.into_iter().next().unwrap().unwrap();
}

fn end(id: EntryId, end: EntryEnd) -> EntrySettlement {
    EntrySettlement {
        id,
        end,
        failures: None,
    }
}

fn failing(id: EntryId, member: &str) -> EntrySettlement {
    EntrySettlement {
        failures: Some(Box::new(FailureChange {
            add: vec![FailureRecord {
                member: Bytes::copy_from_slice(member.as_bytes()),
                details: None,
            }],
            remove: Vec::new(),
        })),
        ..end(id, acknowledged())
    }
}

fn acknowledged() -> EntryEnd {
    EntryEnd::Acknowledge {
        delete: false,
        had_retry_state: false,
    }
}

fn ids(taken: &Taken) -> Vec<EntryId> {
    taken.entries.iter().map(|one| one.entry.id).collect()
}

// ----- cost -----------------------------------------------------------------------------------------------------------

/// Payloads that cannot be decoded are the proof that they are not.
fn spoil_payloads(place: &Place, but: &[EntryId]) {
    let connection = rusqlite::Connection::open(place.file()).unwrap();
    connection.execute("CREATE TEMP TABLE sound (id BLOB)", []).unwrap();
    for id in but {
        let bytes = [id.ms.to_be_bytes(), id.seq.to_be_bytes()].concat();
        connection.execute("INSERT INTO sound VALUES (?)", [bytes]).unwrap();
    }
    let spoil = "UPDATE streamer_entries SET fields = x'ff' WHERE id NOT IN (SELECT id FROM sound)";
    assert!(connection.execute(spoil, []).unwrap() > 0);
}

#[tokio::test]
async fn a_scan_for_idle_entries_reads_the_payloads_of_what_it_takes_and_no_others() {
    let place = Place::new();
    let engine = place.open().await;
    let all = delivered(&engine, "a", 50).await;
    let released = vec![
        end(all[20], EntryEnd::Release { count: 1 }),
        end(all[40], EntryEnd::Release { count: 1 }),
    ];
    settle(&engine, "a", released).await;
    spoil_payloads(&place, &[all[20]]);
    let taken = take(&engine, "b", Scan::Idle(HOUR), 1).await;
    assert_eq!(ids(&taken), [all[20]]);
    assert_eq!(taken.next, Some(all[40]));
}

#[tokio::test]
async fn a_renewal_reads_no_payload() {
    let place = Place::new();
    let engine = place.open().await;
    let all = delivered(&engine, "a", 5).await;
    engine.delete(&stream(), &all[..1]).await.unwrap();
    spoil_payloads(&place, &[]);
    let renewed = engine.renew(&member("a"), &[(stream(), all.clone())]).await;
    assert_eq!(renewed[0].as_ref().unwrap().missing, [(all[0], Missing::Gone)]);
}

#[tokio::test]
async fn a_scan_meets_every_entry_that_it_looks_for_however_many_others_there_are() {
    let place = Place::new();
    let engine = place.open().await;
    let all = delivered(&engine, "a", 45_000).await;
    for index in [30_000, 44_999] {
        settle(&engine, "a", vec![end(all[index], EntryEnd::Release { count: 1 })]).await;
    }
    // What is idle is its own from then on.
    for scan in [Scan::Idle(HOUR), Scan::Own] {
        let (mut from, mut seen) = (Some(EntryId::MIN), Vec::new());
        while let Some(next) = from {
            let request = TakeRequest {
                stream: stream(),
                from: next,
            };
            let taken = engine.take(&member("b"), scan, &[request], 10).await;
            let taken = taken.into_iter().next().unwrap().unwrap();
            seen.extend(ids(&taken));
            assert!(taken.next.is_none_or(|further| further > next));
            from = taken.next;
        }
        assert_eq!(seen, [all[30_000], all[44_999]], "{scan:?}");
    }
}

// ----- quiet listening ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_finds_nothing_writes_nothing() {
    let place = Place::new();
    let engine = place.open().await;
    let all = delivered(&engine, "a", 3).await;
    let before = engine.commits();
    join(&engine, "a").await;
    assert_eq!(take(&engine, "b", Scan::Idle(HOUR), 10).await, Taken::default());
    assert_eq!(take(&engine, "b", Scan::Own, 10).await, Taken::default());
    let streams = [stream()];
    engine.heartbeat(&member("a"), &streams, HOUR).await.remove(0).unwrap();
    assert_eq!(
        engine
            .sweep(&member("a"), &streams, Duration::ZERO)
            .await
            .remove(0)
            .unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(engine.commits(), before);
    // But it does write where there is something to write.
    assert_eq!(ids(&take(&engine, "a", Scan::Own, 10).await), all);
    assert_eq!(engine.commits(), before + 1);
}

#[tokio::test]
async fn a_quiet_consumer_shows_itself_and_is_not_swept() {
    let place = Place::new();
    let engine = place.open().await;
    let (quiet, gone) = (generated('q'), generated('g'));
    for consumer in [&quiet, &gone, &"named".to_owned(), &"me".to_owned()] {
        join(&engine, consumer).await;
    }
    sql(&place, "UPDATE streamer_consumers SET seen_ms = seen_ms - 7200000");
    let streams = [stream()];
    engine
        .heartbeat(&member(&quiet), &streams, HOUR)
        .await
        .remove(0)
        .unwrap();
    let swept = engine.sweep(&member("me"), &streams, HOUR).await.remove(0).unwrap();
    assert_eq!(swept, [gone]);
    let idle = engine.consumer_idle(&member(&quiet), &streams).await.remove(0).unwrap();
    assert!(idle.unwrap() < HOUR);
    let left = engine.consumers(&stream(), "workers").await.unwrap();
    let left: Vec<_> = left.into_iter().map(|consumer| consumer.name).collect();
    assert_eq!(left, ["me", "named", &quiet]);
}

// ----- one transaction ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn many_settlements_are_one_transaction() {
    let place = Place::new();
    let engine = place.open().await;
    let all = delivered(&engine, "a", 6).await;
    let before = engine.commits();
    let deferral = Deferral {
        retry_state: "{}".into(),
        delay: HOUR,
        idle: Duration::ZERO,
        count: 1,
    };
    let settlements = vec![
        end(all[0], acknowledged()),
        failing(all[1], "one"),
        failing(all[2], "two"),
        end(all[3], EntryEnd::Defer(Box::new(deferral))),
        end(all[4], EntryEnd::Release { count: 0 }),
    ];
    settle(&engine, "a", settlements).await;
    assert_eq!(engine.commits(), before + 1);
    assert_eq!(engine.count_failures().await.unwrap(), 2);
    let a = "a".to_owned();
    assert_eq!(
        pending(&engine).await,
        [(all[3], a.clone(), 1), (all[4], a.clone(), 0), (all[5], a, 1)]
    );
    let again = take(&engine, "b", Scan::Own, 10).await;
    assert_eq!(again, Taken::default());
    let released = take(&engine, "b", Scan::Idle(HOUR), 10).await;
    assert_eq!((ids(&released), released.entries[0].count_before), (vec![all[4]], 0));
    let own = take(&engine, "a", Scan::Own, 10).await;
    let states: Vec<_> = own.entries.iter().map(|one| one.retry_state.clone()).collect();
    assert_eq!(states, [Some(Bytes::from("{}")), None]);
}

#[tokio::test]
async fn a_record_that_cannot_be_written_holds_up_its_own_message_only() {
    let place = Place::new();
    let engine = place.open().await;
    let all = delivered(&engine, "a", 2).await;
    let append = Append {
        stream: "failed_stream".into(),
        id: NewId::Auto,
        fields: vec![("no".into(), "set".into())],
        options: AppendOptions::default(),
    };
    engine.append(append).await.unwrap();
    let settlements = vec![end(all[0], acknowledged()), failing(all[1], "one")];
    let settled = engine.settle(Some(&member("a")), &[(stream(), settlements)]).await;
    assert_eq!(settled[0].as_ref().unwrap_err().kind(), EngineErrorKind::WrongType);
    assert_eq!(pending(&engine).await, [(all[1], "a".to_owned(), 1)]);
}

#[tokio::test]
async fn a_stream_goes_with_what_its_groups_kept_beside_it() {
    let place = Place::new();
    let engine = place.open().await;
    let all = delivered(&engine, "a", 1).await;
    let deferral = Deferral {
        retry_state: "{}".into(),
        delay: HOUR,
        idle: Duration::ZERO,
        count: 1,
    };
    settle(&engine, "a", vec![end(all[0], EntryEnd::Defer(Box::new(deferral)))]).await;
    for group in [Some("workers"), None] {
        engine.add_handled(&stream(), group, &all).await.unwrap();
    }
    let state = "{}".into();
    let written = engine
        .replace_retry_state(&"orders2".into(), "workers", all[0], None, Some(&state))
        .await;
    assert!(written.unwrap());
    let connection = rusqlite::Connection::open(place.file()).unwrap();
    connection
        .execute_batch(
            "INSERT INTO streamer_keys (name, kind) VALUES (CAST('{orders}:handled;not' AS BLOB), 1);
             INSERT INTO streamer_members (key, member) VALUES (last_insert_rowid(), CAST('1-0' AS BLOB));",
        )
        .unwrap();
    assert!(engine.remove_stream(&stream()).await.unwrap());
    let mut names = connection
        .prepare("SELECT CAST(name AS TEXT) FROM streamer_keys ORDER BY name")
        .unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let names: Vec<_> = names.map(Result::unwrap).collect();
    assert_eq!(names, ["{orders2}:retry:workers", "{orders}:handled;not"]);
    let count = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM streamer_hash_fields"), 1);
    assert_eq!(count("SELECT count(*) FROM streamer_members"), 1);
}
