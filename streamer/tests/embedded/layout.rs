//! What lies in the file: beside what belongs to an application, and after files of an earlier version.

use std::io::BufRead;

use rusqlite::Connection;
use streamer::{
    EntryId,
    engine::{EmbeddedEngine, Engine, EngineErrorKind, Failures, GroupAdmin, GroupStore, PendingFilter, ReadMode},
};

use crate::{
    other_process::{another_process, said, start},
    place::{Place, an_append, assert_intact, consumer, ids, stream},
};

/// Makes a file as version 0.1 did.
fn file_of_layout_1(place: &Place) -> Connection {
    let connection = Connection::open(place.file()).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.execute_batch(include_str!("layout1.sql")).unwrap();
    connection
}

fn names(connection: &Connection) -> Vec<String> {
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
        .unwrap();
    let names = names.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Its triggers, too, are those of this version.
#[tokio::test]
async fn a_file_with_the_indexes_of_an_earlier_version_has_those_of_this_one_after_it_was_opened() {
    let place = Place::new();
    let first = place.open().await.append(an_append(1)).await.unwrap();
    place.closed().await;
    let connection = Connection::open(place.file()).unwrap();
    let before = names(&connection);
    let outdated = "DROP INDEX streamer_expiry_of_appended_once; DROP TRIGGER streamer_outbox_emit; \
                    CREATE INDEX streamer_pending_of_consumer ON streamer_pending (consumer, id)";
    connection.execute_batch(outdated).unwrap();
    drop(connection);
    let engine = place.open().await;
    assert_eq!(ids(&engine).await, [first]);
    assert_eq!(names(&Connection::open(place.file()).unwrap()), before);
}

#[tokio::test]
async fn a_view_whose_trigger_is_of_an_earlier_version_has_that_of_this_one_after_the_file_was_opened() {
    let place = Place::new();
    let first = place.open().await.append(an_append(1)).await.unwrap();
    place.closed().await;
    let connection = Connection::open(place.file()).unwrap();
    let before = names(&connection);
    let earlier = "DROP TRIGGER streamer_outbox_emit; \
                   CREATE TRIGGER streamer_outbox_emit INSTEAD OF INSERT ON streamer_outbox BEGIN SELECT 1; END";
    connection.execute_batch(earlier).unwrap();
    drop(connection);
    let engine = place.open().await;
    let connection = Connection::open(place.file()).unwrap();
    assert_eq!(names(&connection), before);
    let insert = "INSERT INTO streamer_outbox (event_id, shard, ordering_key, stream, fields, created_ms) \
                  SELECT '01890a5d-ac96-774b-bcce-b302099a8057', 0, 'a', ?, fields, 1 FROM streamer_entries";
    connection.execute(insert, [stream().as_bytes()]).unwrap();
    assert_eq!(ids(&engine).await.len(), 2);
    assert_eq!(ids(&engine).await[0], first);
}

#[tokio::test]
async fn a_file_of_the_layout_before_keeps_all_that_is_in_it() {
    let place = Place::new();
    drop(file_of_layout_1(&place));
    for _ in 0..2 {
        let engine = place.open().await;
        let info = engine.info(&stream()).await.unwrap().unwrap();
        assert_eq!((info.length, info.entries_added), (3, Some(4)));
        assert_eq!(
            (info.last_id, info.max_deleted_id),
            (EntryId::new(5, 10), Some(EntryId::new(4, 0)))
        );
        assert_eq!(
            ids(&engine).await,
            [EntryId::new(1, 0), EntryId::new(2, 0), EntryId::new(5, 10)]
        );
        let last = engine.info(&"last".into()).await.unwrap().unwrap().last_id;
        assert_eq!(last, EntryId::new(u64::MAX, 1 << 63));
        let group = engine.groups(&stream()).await.unwrap().remove(0);
        assert_eq!(
            (&group.name[..], group.last_delivered_id),
            ("workers", EntryId::new(2, 0))
        );
        assert_eq!((group.entries_read, group.pending), (Some(2), 1));
        let pending = engine
            .pending(&stream(), "workers", PendingFilter::default())
            .await
            .unwrap();
        assert_eq!(
            (pending[0].id, &pending[0].consumer[..], pending[0].deliveries),
            (EntryId::new(2, 0), "ben", 3)
        );
        assert_eq!(engine.page_of_failures(0, 10).await.unwrap().1, ["a failure"]);
    }
    let engine = place.open().await;
    let read = consumer(&engine, "ben").await.next(10, None).await.unwrap();
    assert_eq!(read[0].entries[0].id, EntryId::new(5, 10));
    let next = engine.append(an_append(10)).await.unwrap();
    assert!(next > EntryId::new(5, 10), "{next}");
    drop(engine);
    place.closed().await;

    assert_intact(&place.file());
    let connection = Connection::open(place.file()).unwrap();
    let unprefixed: Vec<_> = names(&connection)
        .into_iter()
        .filter(|name| !name.starts_with("streamer_"))
        .collect();
    assert!(unprefixed.is_empty(), "{unprefixed:?}");
    assert_eq!(number(&connection, "SELECT count(*) FROM streamer_hash_fields"), 1);
    assert_eq!(number(&connection, "SELECT count(*) FROM streamer_elements"), 1);
    assert_eq!(
        number(&connection, "PRAGMA user_version"),
        0,
        "an application begins to count here"
    );

    // It is laid out as a new file is.
    let new = Place::new();
    drop(new.open().await);
    new.closed().await;
    assert_eq!(names(&connection), names(&Connection::open(new.file()).unwrap()));
}

#[tokio::test]
async fn an_application_that_has_counted_its_migrations_in_a_file_of_the_layout_before_keeps_its_number() {
    let place = Place::new();
    let connection = file_of_layout_1(&place);
    connection
        .execute_batch("PRAGMA user_version = 7; CREATE TABLE diary (text)")
        .unwrap();
    drop(connection);
    let engine = place.open().await;
    assert_eq!(ids(&engine).await.len(), 3);
    let connection = Connection::open(place.file()).unwrap();
    assert_eq!(number(&connection, "PRAGMA user_version"), 7);
    assert_eq!(number(&connection, "SELECT count(*) FROM diary"), 0);
}

#[tokio::test]
async fn processes_that_open_a_file_of_the_layout_before_at_once_all_succeed() {
    let place = Place::new();
    drop(file_of_layout_1(&place));
    let children: Vec<_> = (0..4)
        .map(|_| start(another_process("append 100", &place.url())))
        .collect();
    let mut told = 0;
    for (mut child, output) in children {
        told += output
            .lines()
            .map_while(Result::ok)
            .filter(|line| said(line).is_some())
            .count();
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(told, 400);
    assert_eq!(ids(&place.open().await).await.len(), 403);
    assert_intact(&place.file());
}

#[tokio::test]
async fn an_application_s_tables_and_its_numbers_stay_as_they_are() {
    let place = Place::new();
    let application = Connection::open(place.file()).unwrap();
    application
        .execute_batch(
            "CREATE TABLE keys (id INTEGER PRIMARY KEY, text); CREATE TABLE groups (name); INSERT INTO keys (text) VALUES ('mine');
             PRAGMA user_version = 3; PRAGMA application_id = 42;",
        )
        .unwrap();
    let engine = place.open().await;
    engine.append(an_append(10)).await.unwrap();
    // Migrations of the application may go on while the file is open.
    application
        .execute_batch("ALTER TABLE keys ADD COLUMN more; CREATE TABLE streams (x); PRAGMA user_version = 4;")
        .unwrap();
    engine.append(an_append(10)).await.unwrap();
    drop(engine);
    assert_eq!(ids(&place.open().await).await.len(), 2);
    assert_eq!(number(&application, "PRAGMA user_version"), 4);
    assert_eq!(number(&application, "PRAGMA application_id"), 42);
    assert_eq!(number(&application, "SELECT count(*) FROM keys WHERE text = 'mine'"), 1);
    assert_intact(&place.file());
}

/// As SeaORM's `MigratorTrait::fresh` does, which drops every table of the file.
#[tokio::test]
async fn tables_that_somebody_removed_are_told_of_once_and_made_again() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append(an_append(10)).await.unwrap();
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(stream(), EntryId::MIN)]))
        .await
        .unwrap();
    let application = Connection::open(place.file()).unwrap();
    for name in names(&application) {
        let drop = ["TABLE", "VIEW"].map(|kind| application.execute_batch(&format!("DROP {kind} {name}")));
        assert!(
            drop.iter().any(Result::is_ok) || name.contains("_of_") || name.contains("_outbox_"),
            "{name}"
        );
    }
    let error = engine.append(an_append(10)).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Moved, "{error}");
    assert!(error.to_string().contains("removed the tables"), "{error}");
    let id = engine.append(an_append(10)).await.unwrap();
    assert_eq!(ids(&engine).await, [id]);
    let error = reader.next(1, None).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Moved, "{error}");
    assert_eq!(ids(&EmbeddedEngine::open(&place.url()).await.unwrap()).await, [id]);
}
