//! A file that is deleted, or replaced by a backup, while it is open: nothing is acknowledged that went into the file that
//! nobody finds any more, and everybody goes on with the file that is there.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EntryId, KeepAlive, Listeners, ReceivedMessage, Report, Streamer,
    engine::{EmbeddedEngine, Engine, EngineErrorKind, GroupAdmin, GroupStart, GroupStore, ReadMode, Reader},
    extract::State,
};

use crate::place::{LONG, Place, an_append, assert_intact, consumer, ids, length, stream};

fn delete(place: &Place) {
    for name in ["events.db", "events.db-wal", "events.db-shm"] {
        _ = fs::remove_file(place.directory.path().join(name));
    }
}

/// Puts another store, with one entry, where the first one is.
async fn replace_by_a_backup(place: &Place) -> Vec<EntryId> {
    let backup = Place::new();
    let engine = backup.open().await;
    engine.append(an_append(10)).await.unwrap();
    let kept = ids(&engine).await;
    drop(engine);
    backup.closed().await;
    let beside = place.directory.path().join("backup.db");
    fs::copy(backup.file(), &beside).unwrap();
    delete(place);
    fs::rename(beside, place.file()).unwrap();
    kept
}

#[tokio::test]
async fn an_append_into_a_deleted_file_is_not_acknowledged_and_the_next_one_makes_a_new_file() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append(an_append(10)).await.unwrap();
    delete(&place);
    let error = engine.append(an_append(10)).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Moved, "{error}");
    assert!(error.kind().is_transient());
    assert!(error.to_string().contains("events.db"), "{error}");
    let id = engine.append(an_append(10)).await.unwrap();
    assert_eq!(ids(&place.open().await).await, [id], "another process finds it");
    assert_eq!(ids(&engine).await, [id]);
    assert_intact(&place.file());
}

#[tokio::test]
async fn an_append_after_the_file_was_replaced_goes_into_the_file_that_is_there() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append_many(vec![an_append(10); 3]).await.unwrap();
    let mut expected = replace_by_a_backup(&place).await;
    let error = engine.append(an_append(10)).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Moved, "{error}");
    expected.push(engine.append(an_append(10)).await.unwrap());
    assert_eq!(ids(&place.open().await).await, expected);
    drop(engine);
    place.closed().await;
    assert_intact(&place.file());
}

/// The file stays the same one: its content is replaced, and its log removed.
#[tokio::test]
async fn a_backup_that_is_written_over_the_file_is_noticed_and_stays_as_it_was() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append_many(vec![an_append(10); 3]).await.unwrap();
    let backup = Place::new();
    let other = backup.open().await;
    let mut expected = other.append_many(vec![an_append(1000); 20]).await.unwrap();
    drop(other);
    backup.closed().await;
    for name in ["events.db-wal", "events.db-shm"] {
        fs::remove_file(place.directory.path().join(name)).unwrap();
    }
    fs::copy(backup.file(), place.file()).unwrap();
    let error = engine.append(an_append(10)).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Moved, "{error}");
    expected.push(engine.append(an_append(10)).await.unwrap());
    assert_eq!(ids(&engine).await, expected);
    drop(engine);
    place.closed().await;
    assert_intact(&place.file());
    assert_eq!(ids(&place.open().await).await, expected);
}

#[tokio::test]
async fn who_only_looks_is_told_too() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append_many(vec![an_append(10); 3]).await.unwrap();
    let expected = replace_by_a_backup(&place).await;
    let error = length(&engine, &stream()).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Moved, "{error}");
    assert_eq!(ids(&engine).await, expected);
    // The writing connection follows without an error of its own.
    engine.append(an_append(10)).await.unwrap();
    assert_eq!(ids(&place.open().await).await.len(), 2);
}

async fn a_wait_ends(mut reader: Box<dyn Reader>, place: &Place) {
    let waiting = tokio::spawn(async move { reader.next(10, Some(LONG * 10)).await });
    tokio::task::yield_now().await;
    delete(place);
    let told = tokio::time::timeout(LONG, waiting).await.expect("the reader waits on");
    let error = told.unwrap().unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Moved, "{error}");
}

#[tokio::test]
async fn a_reader_that_waits_is_told() {
    let place = Place::new();
    let engine = place.open().await;
    let plain = ReadMode::Plain(vec![(stream(), EntryId::MIN)]);
    a_wait_ends(engine.reader(plain).await.unwrap(), &place).await;

    let start = GroupStart::After(EntryId::MIN);
    engine.create_group(&stream(), "workers", start, true).await.unwrap();
    a_wait_ends(consumer(&engine, "ann").await, &place).await;
}

#[tokio::test]
async fn each_reader_is_told_also_when_somebody_else_has_noticed() {
    let place = Place::new();
    let engine = place.open().await;
    let plain = ReadMode::Plain(vec![(stream(), EntryId::MIN)]);
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(engine.reader(plain.clone()).await.unwrap());
    }
    delete(&place);
    engine.append(an_append(10)).await.unwrap_err();
    engine.append(an_append(10)).await.unwrap();
    for mut reader in readers {
        assert_eq!(reader.next(1, None).await.unwrap_err().kind(), EngineErrorKind::Moved);
    }
    let mut reader = engine.reader(plain).await.unwrap();
    assert_eq!(reader.next(1, None).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_while_the_file_is_deleted_is_in_the_new_file() {
    const TASKS: usize = 16;
    let place = Place::new();
    let engine = place.open().await;
    let deleted = AtomicBool::new(false);
    let append_some = async || {
        let mut acknowledged = Vec::new();
        while acknowledged.len() < 50 {
            let after = deleted.load(Ordering::Acquire);
            match engine.append(an_append(100)).await {
                Ok(id) if after => acknowledged.push(id),
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), EngineErrorKind::Moved, "{error}"),
            }
        }
        acknowledged
    };
    let delete_it = async {
        engine.append(an_append(10)).await.unwrap();
        delete(&place);
        deleted.store(true, Ordering::Release);
    };
    let (acknowledged, ()) = tokio::join!(join_all((0..TASKS).map(|_| append_some())), delete_it);
    let kept = ids(&place.open().await).await;
    let mut acknowledged = acknowledged.into_iter().flatten();
    assert!(acknowledged.all(|id| kept.binary_search(&id).is_ok()));
    assert_intact(&place.file());
}

// ----- listening ------------------------------------------------------------------------------------------------------

type Seen = Arc<Mutex<Vec<u64>>>;

fn listeners(seen: &Seen) -> Listeners<Seen> {
    async fn note(message: ReceivedMessage, State(seen): State<Seen>) {
        let number = message.get("n").and_then(Value::as_u64).unwrap();
        seen.lock().unwrap().push(number);
    }
    Listeners::with_state(seen.clone()).on("orders", "note", note)
}

async fn emit(url: &str, number: u64) {
    let streamer = Streamer::connect(url).await.unwrap();
    streamer
        .emit(&DynamicEvent::new("orders", json!({ "n": number })))
        .await
        .unwrap();
}

async fn until(what: &str, so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited for this: {what}");
}

fn quick() -> KeepAlive {
    KeepAlive {
        first_delay: Duration::from_millis(10),
        longest_delay: Duration::from_millis(50),
        ..KeepAlive::default()
    }
}

async fn a_listening_goes_on_with_the_new_file(group: Option<&str>) {
    let place = Place::new();
    let streamer = Streamer::connect(&place.url()).await.unwrap();
    let (seen, interrupted) = (Seen::default(), Arc::new(Mutex::new(Vec::new())));
    let noted = interrupted.clone();
    let mut listening = streamer.listen(listeners(&seen)).keep_alive(quick());
    if let Some(group) = group {
        listening = listening.group(group);
    }
    let listening = listening.on_report(move |report| match report {
        Report::Started { .. } => noted.lock().unwrap().push("started".to_owned()),
        Report::Interrupted { error, .. } => noted.lock().unwrap().push(error.to_string()),
        _ => {}
    });
    let stop = listening.stop_handle();
    let running = tokio::spawn(listening.run());
    until("it listens", || !interrupted.lock().unwrap().is_empty()).await;
    emit(&place.url(), 1).await;
    until("the first is handled", || *seen.lock().unwrap() == [1]).await;
    delete(&place);
    until("it is interrupted", || interrupted.lock().unwrap().len() > 1).await;
    assert!(interrupted.lock().unwrap()[1].contains("deleted or replaced"));
    emit(&place.url(), 2).await;
    until("the second is handled", || *seen.lock().unwrap() == [1, 2]).await;
    stop.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_keep_alive_a_group_goes_on_with_the_new_file() {
    a_listening_goes_on_with_the_new_file(Some("workers")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_keep_alive_a_listening_without_a_group_goes_on_with_the_new_file() {
    a_listening_goes_on_with_the_new_file(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keep_alive_the_listening_ends_with_a_clear_error() {
    let place = Place::new();
    let streamer = Streamer::connect(&place.url()).await.unwrap();
    let seen = Seen::default();
    let running = tokio::spawn(streamer.listen(listeners(&seen)).group("workers").run());
    emit(&place.url(), 1).await;
    until("the first is handled", || *seen.lock().unwrap() == [1]).await;
    delete(&place);
    let ended = tokio::time::timeout(LONG, running)
        .await
        .expect("it listens on")
        .unwrap();
    let error = ended.unwrap_err();
    assert_eq!(error.engine_kind(), Some(EngineErrorKind::Moved), "{error}");
    assert!(error.to_string().contains("deleted or replaced"), "{error}");
}

#[tokio::test]
async fn a_directory_that_is_gone_for_a_while_is_no_end() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append(an_append(10)).await.unwrap();
    let away = place.directory.path().with_extension("away");
    fs::rename(place.directory.path(), &away).unwrap();
    let kinds = async |engine: &EmbeddedEngine| engine.append(an_append(10)).await.unwrap_err().kind();
    assert_eq!(kinds(&engine).await, EngineErrorKind::Moved);
    assert_eq!(kinds(&engine).await, EngineErrorKind::Unavailable);
    fs::rename(&away, place.directory.path()).unwrap();
    engine.append(an_append(10)).await.unwrap();
    // The file is the same one, so what was refused while it was away may be in it.
    assert!(ids(&engine).await.len() >= 2);
    assert!(Path::new(&place.file()).exists());
}
