//! The application's tables and the streams in one file: an event that is written in a transaction of the application.

use std::{borrow::Cow, time::Duration};

use futures_util::future::join_all;
use rusqlite::{Connection, TransactionBehavior, params};
use serde::{Deserialize, Serialize};
use serde_json::json;
use streamer::{
    DynamicEvent, EntryId, Event, NewId, Replayable, Streamer,
    engine::{Append, AppendOptions, EmbeddedEngine, Engine, EngineErrorKind, GroupStore, Idempotency, ReadMode},
    outbox::{self, Column, Dialect, OutboxRow},
};

use crate::place::{LONG, Place, an_append, assert_intact, ids, stream};

/// The application's connection.
fn application(place: &Place) -> Connection {
    let connection = Connection::open(place.file()).unwrap();
    connection.busy_timeout(LONG).unwrap();
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS shop (id INTEGER PRIMARY KEY, text)")
        .unwrap();
    connection
}

fn row(name: &str, number: u64) -> OutboxRow {
    OutboxRow::new(&DynamicEvent::new(name, json!({ "n": number })), "shop").unwrap()
}

/// Writes an event as an application does that knows nothing but SQL.
fn try_emit(connection: &Connection, row: OutboxRow) -> rusqlite::Result<usize> {
    let values = row.columns().map(|column| match column {
        Column::Text(text) => rusqlite::types::Value::from(text),
        Column::Bytes(bytes) => bytes.into(),
        Column::Small(number) => i64::from(number).into(),
        Column::Big(number) => number.into(),
    });
    connection
        .prepare_cached(&OutboxRow::insert(Dialect::Sqlite))?
        .execute(rusqlite::params_from_iter(values))
}

#[track_caller]
fn emit(connection: &Connection, row: OutboxRow) {
    try_emit(connection, row).unwrap();
}

async fn numbers(streamer: &Streamer, name: &str) -> Vec<u64> {
    let all = (streamer::RangeBound::Unbounded, streamer::RangeBound::Unbounded);
    let entries = streamer
        .engine()
        .range(&name.into(), all.0, all.1, None, false)
        .await
        .unwrap();
    let number = |entry: &streamer::Entry| {
        let data = &entry.fields.iter().find(|(field, _)| field == "data").unwrap().1;
        serde_json::from_slice::<serde_json::Value>(data).unwrap()["n"]
            .as_u64()
            .unwrap()
    };
    entries.iter().map(number).collect()
}

async fn last_id(engine: &EmbeddedEngine, stream: &str) -> EntryId {
    engine
        .info(&stream.into())
        .await
        .unwrap()
        .map_or(EntryId::MIN, |info| info.last_id)
}

async fn len(engine: &EmbeddedEngine) -> u64 {
    engine.info(&stream()).await.unwrap().map_or(0, |info| info.length)
}

#[tokio::test]
async fn an_event_is_committed_with_the_row_or_not_at_all() {
    let place = Place::new();
    let streamer = Streamer::connect(&place.url()).await.unwrap();
    let mut shop = application(&place);
    for number in 0..20 {
        let transaction = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        transaction
            .execute("INSERT INTO shop (id) VALUES (?)", [number as i64])
            .unwrap();
        emit(&transaction, row("orders", number));
        assert_eq!(transaction.last_insert_rowid(), number as i64, "the application's own");
        // Of the rest of a transaction a savepoint may be rolled back, with its event.
        transaction.execute_batch("SAVEPOINT inner").unwrap();
        emit(&transaction, row("orders", 1000 + number));
        transaction.execute_batch("ROLLBACK TO inner; RELEASE inner").unwrap();
        if number % 3 == 2 {
            transaction.rollback().unwrap();
        } else {
            transaction.commit().unwrap();
        }
    }
    let mut rows = shop.prepare("SELECT id FROM shop ORDER BY id").unwrap();
    let rows = rows.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    let rows: Vec<u64> = rows.map(|id| id.unwrap() as u64).collect();
    assert_eq!(rows.len(), 14);
    assert_eq!(numbers(&streamer, "orders").await, rows);
    let info = streamer.engine().info(&stream()).await.unwrap().unwrap();
    assert_eq!((info.length, info.entries_added), (14, Some(14)));
    assert_intact(&place.file());
}

#[tokio::test]
async fn a_commit_of_the_application_wakes_a_waiting_reader() {
    let place = Place::new();
    let engine = place.open().await;
    let mut reader = engine
        .reader(ReadMode::Plain(vec![(stream(), EntryId::MIN)]))
        .await
        .unwrap();
    let shop = application(&place);
    for number in 0..20 {
        let waiting = tokio::time::timeout(LONG, reader.next(1, Some(LONG * 10)));
        let emitting = async {
            emit(&shop, row("orders", number));
        };
        let (read, ()) = tokio::join!(waiting, emitting);
        assert_eq!(read.expect("the reader slept on").unwrap()[0].entries.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_grow_whoever_writes() {
    const EACH: usize = 200;
    let place = Place::new();
    let engine = place.open().await;
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let mut shop = application(&place);
            std::thread::spawn(move || {
                for number in 0..EACH as u64 {
                    let transaction = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
                    emit(&transaction, row("orders", number));
                    emit(&transaction, row("orders", number));
                    transaction.commit().unwrap();
                }
            })
        })
        .collect();
    let appended = join_all((0..EACH).map(|_| engine.append(an_append(10)))).await;
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let all = ids(&engine).await;
    assert_eq!(all.len(), 7 * EACH, "each its own");
    assert!(appended.iter().all(|id| all.contains(id.as_ref().unwrap())));
    let info = engine.info(&stream()).await.unwrap().unwrap();
    assert_eq!(info.last_id, *all.last().unwrap());
    assert_eq!(info.entries_added, Some(7 * EACH as u64));
}

#[tokio::test]
async fn an_id_is_the_one_that_the_engine_would_have_given() {
    const HALF: u64 = 1 << 63;
    let place = Place::new();
    let engine = place.open().await;
    let shop = application(&place);
    for (number, (last, next)) in [
        ((HALF - 1, 5), Some((HALF - 1, 6))),
        ((HALF - 1, HALF - 1), Some((HALF - 1, HALF))),
        ((HALF - 1, u64::MAX), Some((HALF, 0))),
        ((HALF, 0), Some((HALF, 1))),
        ((u64::MAX, u64::MAX - 1), Some((u64::MAX, u64::MAX))),
        ((u64::MAX, u64::MAX), None),
    ]
    .into_iter()
    .enumerate()
    {
        let (by_engine, by_sql) = (format!("engine {number}"), format!("sql {number}"));
        let append = |stream: &str, id| Append {
            stream: stream.into(),
            id,
            ..an_append(10)
        };
        for stream in [&by_engine, &by_sql] {
            let last = NewId::Explicit(EntryId::new(last.0, last.1));
            engine.append(append(stream, last)).await.unwrap();
        }
        let next = next.map(|(ms, seq)| EntryId::new(ms, seq));
        assert_eq!(engine.append(append(&by_engine, NewId::Auto)).await.ok(), next);
        let emitted = try_emit(&shop, row(&by_sql, 0));
        assert_eq!(emitted.is_ok(), next.is_some(), "{emitted:?}");
        let last = EntryId::new(last.0, last.1);
        assert_eq!(last_id(&engine, &by_sql).await, next.unwrap_or(last));
    }
    let error = try_emit(&shop, row("sql 5", 0)).unwrap_err();
    assert!(error.to_string().contains("last possible ID"), "{error}");
    // What is new begins now.
    emit(&shop, row("orders", 0));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let id = last_id(&engine, "orders").await;
    assert!(now.as_millis().abs_diff(id.ms.into()) < 60_000, "{id}");
}

#[tokio::test]
async fn an_event_with_a_key_of_its_own_is_on_the_stream_once() {
    let place = Place::new();
    let streamer = Streamer::connect(&place.url()).await.unwrap();
    let shop = application(&place);
    let keyed = |name: &str, number, key: &str| row(name, number).idempotency_key(key);
    for number in 0..3 {
        emit(&shop, keyed("orders", number, "order 7 is paid"));
        emit(&shop, keyed("orders", 10 + number, &format!("other {number}")));
        emit(&shop, keyed("bills", number, "order 7 is paid"));
    }
    // One that was rolled back did not happen.
    shop.execute_batch("BEGIN IMMEDIATE").unwrap();
    emit(&shop, keyed("orders", 20, "rolled back"));
    shop.execute_batch("ROLLBACK").unwrap();
    emit(&shop, keyed("orders", 21, "rolled back"));
    assert_eq!(numbers(&streamer, "orders").await, [0, 10, 11, 12, 21]);
    assert_eq!(numbers(&streamer, "bills").await, [0]);

    // The engine's keys are the same.
    let again = keyed("orders", 0, "order 7 is paid");
    let append = Append {
        options: AppendOptions {
            idempotency: Some(Idempotency {
                key: again.event_id.into(),
                window: LONG,
            }),
            ..AppendOptions::default()
        },
        ..an_append(1)
    };
    let info = streamer.engine().info(&stream()).await.unwrap().unwrap();
    assert_eq!(
        streamer.engine().append(append).await.unwrap(),
        info.first_entry.unwrap().id
    );

    // After its window it is another event.
    shop.execute("UPDATE streamer_appended_once SET expires_ms = 1", [])
        .unwrap();
    emit(&shop, keyed("orders", 30, "order 7 is paid"));
    assert_eq!(numbers(&streamer, "orders").await, [0, 10, 11, 12, 21, 30]);
    // What is over is forgotten, some with each.
    for number in 31..40 {
        emit(&shop, keyed("orders", number, &number.to_string()));
    }
    let over: i64 = shop
        .query_row(
            "SELECT count(*) FROM streamer_appended_once WHERE expires_ms = 1 AND stream = \
             (SELECT id FROM streamer_keys WHERE name = CAST('orders' AS BLOB))",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(over < 4, "{over}");
}

/// Neither by the engine nor in an application's own transaction, and whatever the keys are: those that are not over, and
/// sort first, keep no other.
#[tokio::test]
async fn idempotency_keys_whose_window_is_over_are_forgotten_in_whatever_order_they_came() {
    let place = Place::new();
    let engine = place.open().await;
    let shop = application(&place);
    let append_once = async |key: String, window| {
        let append = Append {
            options: AppendOptions {
                idempotency: Some(Idempotency {
                    key: key.into(),
                    window,
                }),
                ..AppendOptions::default()
            },
            ..an_append(1)
        };
        engine.append(append).await.unwrap();
    };
    let over = || {
        let sql = "SELECT count(*) FROM streamer_appended_once WHERE expires_ms <= unixepoch('subsec') * 1000";
        shop.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    for number in 0..4 {
        append_once(format!("a-{number}"), LONG).await;
    }
    for through_the_view in [false, true] {
        for number in 0..40 {
            append_once(format!("b-{number}"), Duration::from_millis(1)).await;
        }
        while over() == 0 {
            tokio::task::yield_now().await;
        }
        for number in 0..60 {
            match through_the_view {
                true => emit(&shop, row("other", number).idempotency_key(format!("c-{number}"))),
                false => append_once(format!("d-{number}"), LONG).await,
            }
        }
        assert_eq!(over(), 0, "{through_the_view}");
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct PriceChanged {
    article: String,
    n: u64,
}

impl Event for PriceChanged {
    fn name(&self) -> Cow<'_, str> {
        "price.changed".into()
    }
}

impl Replayable for PriceChanged {
    fn identifier(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.article)
    }
}

#[tokio::test]
async fn an_event_about_a_resource_can_be_replayed() {
    let place = Place::new();
    let streamer = Streamer::connect(&place.url()).await.unwrap();
    let shop = application(&place);
    let article = "\"żółw\" / 7\n".to_owned();
    for n in 0..3 {
        let event = PriceChanged {
            article: article.clone(),
            n,
        };
        emit(&shop, OutboxRow::replayable(&event, "shop").unwrap());
        streamer.emit_replayable(&event).await.unwrap();
    }
    let replayed = streamer
        .replay("price.changed", &*article)
        .run()
        .await
        .unwrap()
        .unwrap();
    assert!(replayed.is_whole());
    assert_eq!(replayed.messages, 6);
    assert_eq!(
        replayed.payload::<PriceChanged>().unwrap(),
        PriceChanged { article, n: 2 }
    );
}

#[tokio::test]
async fn what_the_engine_refuses_sql_refuses_too_and_the_transaction_goes_on() {
    let place = Place::new();
    let streamer = Streamer::connect(&place.url()).await.unwrap();
    let mut shop = application(&place);
    let event = PriceChanged {
        article: "7".to_owned(),
        n: 1,
    };
    streamer.emit_replayable(&event).await.unwrap();
    streamer
        .emit(&DynamicEvent::new("price.changed-8", json!({})))
        .await
        .unwrap();
    let transaction = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    emit(&transaction, row("orders", 1));
    // The name of a history, for a stream.
    let error = try_emit(&transaction, row("price.changed-7", 0)).unwrap_err();
    assert!(error.to_string().contains("another kind of value"), "{error}");
    // The name of a stream, for a history.
    let event = PriceChanged {
        article: "8".to_owned(),
        n: 1,
    };
    let error = try_emit(&transaction, OutboxRow::replayable(&event, "shop").unwrap()).unwrap_err();
    assert!(error.to_string().contains("another kind of value"), "{error}");
    emit(&transaction, row("orders", 2));
    transaction.commit().unwrap();
    assert_eq!(numbers(&streamer, "orders").await, [1, 2]);
    assert_eq!(numbers(&streamer, "price.changed").await, [1]);
}

/// An application whose statements say what to do in conflicts of its own.
#[tokio::test]
async fn the_conflict_clause_of_a_statement_changes_nothing_that_is_there() {
    let place = Place::new();
    let streamer = Streamer::connect(&place.url()).await.unwrap();
    let shop = application(&place);
    for (number, clause) in ["OR REPLACE", "OR IGNORE", "OR FAIL", "OR ROLLBACK"]
        .into_iter()
        .enumerate()
    {
        let row = row("orders", number as u64);
        let insert = format!("INSERT {clause} INTO streamer_outbox (event_id, stream, fields) VALUES (?, ?, ?)");
        shop.execute(&insert, params![row.event_id, &row.stream[..], row.fields])
            .unwrap();
    }
    assert_eq!(numbers(&streamer, "orders").await, [0, 1, 2, 3]);
    let keys: i64 = shop
        .query_row("SELECT count(*) FROM streamer_keys", [], |row| row.get(0))
        .unwrap();
    assert_eq!(keys, 1);
}

#[tokio::test]
async fn the_outbox_has_no_rows_to_relay() {
    let place = Place::new();
    let engine = place.open().await;
    let shop = application(&place);
    emit(&shop, row("orders", 1));
    let count = |sql: &str| shop.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM streamer_outbox"), 0);
    assert_eq!(
        shop.execute("DELETE FROM streamer_outbox WHERE blocked", []).unwrap(),
        0
    );
    assert_eq!(shop.execute("UPDATE streamer_outbox SET attempts = 0", []).unwrap(), 0);
    // Migrations that know of one file change nothing, and the inbox is there.
    assert_eq!(count(outbox::IS_ONE_FILE), 1);
    for _ in 0..2 {
        outbox::schema_of_one_file()
            .iter()
            .for_each(|sql| shop.execute_batch(sql).unwrap());
    }
    assert_eq!(count("SELECT count(*) FROM streamer_inbox"), 0);
    assert_eq!(engine.warnings().await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn an_empty_table_of_an_outbox_becomes_the_way_into_the_streams() {
    let place = Place::new();
    let shop = application(&place);
    outbox::schema(Dialect::Sqlite)
        .iter()
        .for_each(|sql| shop.execute_batch(sql).unwrap());
    let streamer = Streamer::connect(&place.url()).await.unwrap();
    emit(&shop, row("orders", 1));
    assert_eq!(numbers(&streamer, "orders").await, [1]);
}

#[tokio::test]
async fn rows_of_an_outbox_that_wait_for_a_relay_are_left_to_it() {
    let place = Place::new();
    let shop = application(&place);
    outbox::schema(Dialect::Sqlite)
        .iter()
        .for_each(|sql| shop.execute_batch(sql).unwrap());
    emit(&shop, row("orders", 1));
    let engine = place.open().await;
    let warnings = engine.warnings().await.unwrap();
    assert!(
        warnings.len() == 1 && warnings[0].contains("outbox relay"),
        "{warnings:?}"
    );
    assert_eq!(len(&engine).await, 0);
    let waiting: i64 = shop
        .query_row("SELECT count(*) FROM streamer_outbox", [], |row| row.get(0))
        .unwrap();
    assert_eq!(waiting, 1);
    shop.execute("DELETE FROM streamer_outbox", []).unwrap();
    let again = EmbeddedEngine::open(&place.url()).await.unwrap();
    assert_eq!(again.warnings().await.unwrap(), [""; 0]);
    emit(&shop, row("orders", 2));
    assert_eq!(len(&engine).await, 1);
}

/// A long transaction of the application holds up who writes, and nobody who reads.
#[tokio::test]
async fn a_transaction_of_the_application_blocks_as_sqlite_does() {
    let place = Place::new();
    let engine = EmbeddedEngine::open(&format!("{}?busy_timeout=20", place.url()))
        .await
        .unwrap();
    engine.append(an_append(10)).await.unwrap();
    let mut shop = application(&place);
    let transaction = shop.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    emit(&transaction, row("orders", 1));
    assert_eq!(len(&engine).await, 1, "who looks does not wait");
    let error = engine.append(an_append(10)).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}");
    transaction.commit().unwrap();
    engine.append(an_append(10)).await.unwrap();
    assert_eq!(len(&engine).await, 3);
}
