//! One file, many processes, nothing lost.

use std::{
    io::BufRead,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    time::Duration,
};

use futures_util::future::join_all;
use streamer::{
    EntryId, NewId, Trim,
    engine::{
        Append, EmbeddedEngine, Engine, EngineError, EngineErrorKind, GroupAdmin, GroupStart, GroupStore, Handled,
        PendingFilter, ReadMode,
    },
};

use crate::{
    other_process::{another_process, role, said, start},
    place::{LONG, Place, an_append, assert_intact, consumer, ids, last_id, length, stream},
};

#[track_caller]
fn refused(result: Result<EmbeddedEngine, EngineError>, kind: EngineErrorKind, named: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    for text in named {
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn a_commit_of_another_process_wakes_a_waiting_reader() {
    let place = Place::new();
    let engine = place.open().await;
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(stream(), EntryId::MIN)]))
        .await
        .unwrap();
    let waiting = tokio::spawn(async move { reader.next(1, Some(LONG * 10)).await });
    let (mut child, output) = start(another_process("append once", &place.url()));
    let woken = tokio::time::timeout(LONG, waiting).await.expect("the reader slept on");
    let read = woken.unwrap().unwrap();
    let told: Vec<String> = output.lines().map_while(Result::ok).collect();
    assert!(child.wait().unwrap().success());
    let told: Vec<&str> = told.iter().filter_map(|line| said(line)).collect();
    assert_eq!(told, [read[0].entries[0].id.to_string()]);
}

#[tokio::test]
async fn processes_that_create_one_file_at_once_all_succeed() {
    let place = Place::new();
    let children: Vec<_> = (0..5)
        .map(|_| start(another_process("append 100", &place.url())))
        .collect();
    let mut told = Vec::new();
    for (mut child, output) in children {
        let lines = output.lines().map_while(Result::ok);
        told.extend(lines.filter_map(|line| said(&line)?.parse::<EntryId>().ok()));
        assert!(child.wait().unwrap().success());
    }
    told.sort();
    assert_eq!(told.len(), 500);
    assert_eq!(ids(&place.open().await).await, told);
    assert_intact(&place.file());
}

#[tokio::test]
async fn consumers_in_two_processes_divide_the_entries() {
    let place = Place::new();
    let engine = place.open().await;
    let start_of_all = GroupStart::After(EntryId::MIN);
    engine
        .create_group(&stream(), "workers", start_of_all, true)
        .await
        .unwrap();
    let (mut child, output) = start(another_process("read", &place.url()));
    let mut reader = consumer(&engine, "here").await;
    let mut seen = Vec::new();
    for _ in 0..100 {
        engine.append_many(vec![an_append(10); 10]).await.unwrap();
        for read in reader.next(3, None).await.unwrap() {
            let read: Vec<EntryId> = read.entries.iter().map(|entry| entry.id).collect();
            engine.acknowledge(&stream(), "workers", &read).await.unwrap();
            seen.extend(read);
        }
    }
    // The last one ends the other process, which gets the rest.
    let last = Append {
        id: NewId::Explicit(EntryId::MAX),
        ..an_append(1)
    };
    engine.append(last).await.unwrap();
    let lines = output.lines().map_while(Result::ok);
    seen.extend(lines.filter_map(|line| said(&line)?.parse::<EntryId>().ok()));
    assert!(child.wait().unwrap().success());
    seen.sort();
    assert_eq!(seen, ids(&engine).await, "each entry once");
    assert_eq!(engine.pending_summary(&stream(), "workers").await.unwrap().count, 0);
}

#[tokio::test]
async fn a_process_killed_amid_appends_loses_nothing_it_was_answered() {
    let place = Place::new();
    for _ in 0..3 {
        let (mut child, output) = start(another_process("append for ever", &place.url()));
        let mut lines = output.lines();
        let mut answered: Vec<EntryId> = Vec::new();
        while answered.len() < 1000 {
            let line = lines.next().unwrap().unwrap();
            answered.extend(said(&line).and_then(|said| said.parse::<EntryId>().ok()));
        }
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        // A line that was cut short names no ID, or another: only whole ones count.
        let rest = lines.map_while(Result::ok).collect::<Vec<_>>();
        answered.extend(
            rest.iter()
                .rev()
                .skip(1)
                .filter_map(|line| said(line)?.parse::<EntryId>().ok()),
        );
        let kept = ids(&place.open().await).await;
        let lost: Vec<_> = answered.iter().filter(|id| kept.binary_search(id).is_err()).collect();
        assert!(lost.is_empty(), "{lost:?}");
        assert_intact(&place.file());
    }
}

// ----- commits --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn concurrent_appends_share_commits() {
    let place = Place::new();
    let engine = place.open().await;
    let before = engine.commits();
    let appends = (0..500).map(|_| engine.append(an_append(100)));
    let given: Vec<EntryId> = join_all(appends).await.into_iter().map(Result::unwrap).collect();
    let commits = engine.commits() - before;
    assert!(commits <= 100, "500 appends took {commits} commits");
    assert_eq!(ids(&engine).await.len(), given.len());
}

/// The log is copied into the file while there are commits, and begins anew.
#[tokio::test]
async fn the_log_stays_small_while_everybody_appends() {
    const TASKS: usize = 64;
    const EACH: usize = 400;
    let place = Place::new();
    let engine = place.open().await;
    let log = place.directory.path().join("events.db-wal");
    let append_all = async || {
        for _ in 0..EACH {
            engine.append(an_append(2000)).await.unwrap();
        }
        log.metadata().unwrap().len()
    };
    let sizes = join_all((0..TASKS).map(|_| append_all())).await;

    let written = (TASKS * EACH * 2000) as u64;
    let largest = sizes.into_iter().max().unwrap();
    assert!(largest < written / 2, "the log has {largest} bytes of {written}");
    assert_eq!(ids(&engine).await.len(), TASKS * EACH);
    drop(engine);
    place.closed().await;
    assert_intact(&place.file());
}

#[tokio::test]
async fn a_refused_operation_does_not_hurt_its_neighbours() {
    let engine = EmbeddedEngine::open("memory:").await.unwrap();
    let append = |n: u64| Append {
        // Each ID twice: the second is refused.
        id: NewId::Explicit(EntryId::new(1 + n / 2, 0)),
        ..an_append(10)
    };
    let results = join_all((0..100).map(|n| engine.append(append(n)))).await;
    let kinds = results
        .iter()
        .filter_map(|result| result.as_ref().err().map(EngineError::kind));
    assert_eq!(kinds.collect::<Vec<_>>(), [EngineErrorKind::IdTooSmall; 50]);
    let info = engine.info(&stream()).await.unwrap().unwrap();
    assert_eq!((info.length, info.entries_added), (50, Some(50)));
}

// ----- the file -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn what_was_written_is_there_when_the_file_is_opened_again() {
    let place = Place::new();
    let engine = place.open().await;
    let start_of_all = GroupStart::After(EntryId::MIN);
    engine
        .create_group(&stream(), "workers", start_of_all, true)
        .await
        .unwrap();
    let given = engine.append_many(vec![an_append(10); 3]).await.unwrap();
    consumer(&engine, "ben").await.next(2, None).await.unwrap();
    engine.add_handled(&stream(), None, &[given[0]]).await.unwrap();
    let before = (
        engine.info(&stream()).await.unwrap(),
        engine.groups(&stream()).await.unwrap(),
    );
    drop(engine);

    let engine = EmbeddedEngine::open(&format!("{}?synchronous=full", place.url()))
        .await
        .unwrap();
    let after = (
        engine.info(&stream()).await.unwrap(),
        engine.groups(&stream()).await.unwrap(),
    );
    assert_eq!(before, after);
    let pending = engine
        .pending(&stream(), "workers", PendingFilter::default())
        .await
        .unwrap();
    let pending: Vec<_> = pending
        .iter()
        .map(|entry| (entry.id, &entry.consumer[..], entry.deliveries))
        .collect();
    assert_eq!(pending, [(given[0], "ben", 1), (given[1], "ben", 1)]);
    assert_eq!(
        engine.page_of_handled(&stream(), None, 0, 10).await.unwrap(),
        (0, vec![given[0]])
    );
}

#[tokio::test]
async fn the_last_handle_closes_the_file() {
    let place = Place::new();
    let engine = place.open().await;
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(stream(), EntryId::MIN)]))
        .await
        .unwrap();
    engine.append(an_append(10)).await.unwrap();
    drop(engine);
    assert_eq!(reader.next(1, None).await.unwrap().len(), 1, "a reader is a handle too");
    reader.next(1, Some(Duration::from_millis(20))).await.unwrap();
    drop(reader);
    place.closed().await;
    assert_intact(&place.file());
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
    let place = Place::new();
    drop(place.open().await);
    place.closed().await;
    let connection = rusqlite::Connection::open(place.file()).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = delete; UPDATE streamer_meta SET layout = 99")
        .unwrap();
    drop(connection);
    let before = std::fs::read(place.file()).unwrap();
    refused(
        EmbeddedEngine::open(&place.url()).await,
        EngineErrorKind::Unsupported,
        &["events.db", "99"],
    );
    assert_eq!(std::fs::read(place.file()).unwrap(), before);
}

#[tokio::test]
async fn what_is_no_database_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let letter = "Dear reader, ".repeat(1000);
    std::fs::write(place.file(), &letter).unwrap();
    let opened = EmbeddedEngine::open(&place.url()).await;
    refused(
        opened,
        EngineErrorKind::InvalidInput,
        &["events.db", "not a SQLite database"],
    );
    assert_eq!(std::fs::read_to_string(place.file()).unwrap(), letter);
}

#[tokio::test]
async fn a_place_where_no_file_can_be_is_named() {
    let place = Place::new();
    let directory = place.directory.path().display();
    for (url, text) in [
        (
            format!("sqlite://{directory}/missing/events.db"),
            "missing is missing: create it",
        ),
        (format!("sqlite://{directory}"), "is a directory"),
    ] {
        refused(EmbeddedEngine::open(&url).await, EngineErrorKind::InvalidInput, &[text]);
    }
}

#[tokio::test]
async fn a_file_that_may_not_be_written_is_refused() {
    let place = Place::new();
    drop(place.open().await);
    place.closed().await;
    // Where anybody can run it.
    let program = place.directory.path().join("program");
    // By a process of its own: what another thread starts at that moment would have it open for writing, and such a program
    // cannot be run.
    let mut copy = Command::new("cp");
    copy.args([&std::env::current_exe().unwrap(), &program]);
    assert!(copy.status().unwrap().success());
    let may = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    may(&place.file(), 0o444);
    may(place.directory.path(), 0o555);
    let new = format!("sqlite://{}/new.db", place.directory.path().display());
    for url in [place.url(), new] {
        let mut command = another_process("open", &url);
        // Root may write everything, so somebody else has to try.
        if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
            command = role(Command::new(&program), "open", &url);
            command.uid(65_534).gid(65_534);
        }
        let output = start(command).1.lines().map_while(Result::ok).collect::<Vec<_>>();
        let told: Vec<&str> = output.iter().filter_map(|line| said(line)).collect();
        assert!(told.len() == 1 && told[0].starts_with("Permission "), "{output:?}");
        assert!(told[0].contains(".db"), "{output:?}");
    }
    may(place.directory.path(), 0o755);
}

#[tokio::test]
async fn a_store_that_is_only_looked_at_is_not_made() {
    let place = Place::new();
    let missing = EmbeddedEngine::open_to_read(&place.url()).await;
    refused(missing, EngineErrorKind::Unavailable, &["events.db does not exist"]);
    assert!(!place.file().exists());
    let id = place.open().await.append(an_append(10)).await.unwrap();
    let engine = EmbeddedEngine::open_to_read(&place.url()).await.unwrap();
    assert_eq!(last_id(&engine, &stream()).await, id);
}

#[tokio::test]
async fn a_full_store_says_so_and_works_again_when_there_is_room() {
    let place = Place::new();
    let url = format!("{}?max_size=400000", place.url());
    let engine = EmbeddedEngine::open(&url).await.unwrap();
    let mut written = Vec::new();
    let error = loop {
        match engine.append(an_append(1000)).await {
            Ok(id) => written.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), EngineErrorKind::Full, "{error}");
    assert!(error.to_string().contains("events.db"), "{error}");
    assert_eq!(ids(&engine).await, written, "all or nothing");

    engine.trim(&stream(), Trim::max_len(10).exactly()).await.unwrap();
    // One that does not fit, among others that do.
    let sizes = [10, 10, 1_000_000, 10, 10];
    let results = join_all(sizes.map(|size| engine.append(an_append(size)))).await;
    let fitted: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(fitted, [true, true, false, true, true], "{results:?}");
    let info = engine.info(&stream()).await.unwrap().unwrap();
    assert_eq!((info.length, ids(&engine).await.len()), (14, 14));
    assert_intact(&place.file());
}

#[tokio::test]
async fn a_writer_that_waits_too_long_for_another_process_is_told_so() {
    let place = Place::new();
    let engine = EmbeddedEngine::open(&format!("{}?busy_timeout=20", place.url()))
        .await
        .unwrap();
    engine.append(an_append(10)).await.unwrap();
    let other = rusqlite::Connection::open(place.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = engine.append(an_append(10)).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}");
    assert_eq!(length(&engine, &stream()).await.unwrap(), 1, "who looks does not wait");
    other.execute_batch("ROLLBACK").unwrap();
    engine.append(an_append(10)).await.unwrap();
}
