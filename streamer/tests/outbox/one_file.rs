//! The application's tables and the streams in one SQLite file: what commits is on its stream, with no relay.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use sqlx::{Row as _, SqlitePool, sqlite::SqliteConnectOptions};
use streamer::{
    DynamicEvent, EmitOptions, Entry, Moment, RangeBound, ReceivedMessage, Streamer,
    outbox::{self, Once, OutboxRow},
};
use tempfile::TempDir;

use crate::databases::payload;

/// How often the application is killed.
const KILLS: u64 = 10;
const KEYS: u64 = 16;

/// How many transactions. More by the variable `STREAMER_TEST_TRANSACTIONS`.
fn transactions() -> u64 {
    let asked = std::env::var("STREAMER_TEST_TRANSACTIONS").ok();
    asked.map_or(1200, |count| count.parse().unwrap())
}

struct Shop {
    directory: TempDir,
    streamer: Streamer,
    pool: SqlitePool,
}

impl Shop {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let url = url(&directory);
        Self {
            streamer: Streamer::connect(&url).await.unwrap(),
            pool: pool(&url).await,
            directory,
        }
    }

    fn connection(&self) -> Connection {
        let connection = Connection::open(self.directory.path().join("shop.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        connection
    }

    async fn entries(&self, stream: &str) -> Vec<Entry> {
        let all = RangeBound::Unbounded;
        self.streamer
            .engine()
            .range(&stream.into(), all, all, None, false)
            .await
            .unwrap()
    }

    async fn numbers(&self, stream: &str) -> Vec<u64> {
        let entries = self.entries(stream).await;
        entries
            .iter()
            .map(|entry| payload(entry)["n"].as_u64().unwrap())
            .collect()
    }
}

fn url(directory: &TempDir) -> String {
    format!("sqlite://{}", directory.path().join("shop.db").display())
}

async fn pool(url: &str) -> SqlitePool {
    let options: SqliteConnectOptions = url.parse().unwrap();
    let pool = SqlitePool::connect_with(options.busy_timeout(Duration::from_secs(60)))
        .await
        .unwrap();
    let create = "CREATE TABLE IF NOT EXISTS orders (number BIGINT PRIMARY KEY)";
    sqlx::query(create).execute(&pool).await.unwrap();
    pool
}

fn event(number: u64) -> DynamicEvent {
    DynamicEvent::new("order.placed", json!({ "n": number, "text": "żółw" }))
}

#[tokio::test]
async fn each_client_emits_in_its_own_transaction() {
    let shop = Shop::new().await;
    let mut connection = shop.connection();
    for number in 0..10 {
        let mut transaction = shop.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        outbox::emit_in(&mut *transaction, &event(2 * number), "shop")
            .await
            .unwrap();
        assert_eq!(
            shop.numbers("order.placed").await.len() as u64,
            number,
            "not before the commit"
        );
        if number % 2 == 0 {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .unwrap();
        outbox::rusqlite::emit_in(&transaction, &event(2 * number + 1), "shop").unwrap();
        if number % 2 == 0 {
            transaction.rollback().unwrap();
        } else {
            transaction.commit().unwrap();
        }
    }
    let expected = [0, 3, 4, 7, 8, 11, 12, 15, 16, 19];
    assert_eq!(shop.numbers("order.placed").await, expected);

    // An entry is what the engine writes for the same event.
    shop.streamer.emit(&event(7)).await.unwrap();
    let entries = shop.entries("order.placed").await;
    let message = |entry: &Entry| ReceivedMessage::new("order.placed".into(), entry.clone(), 1);
    let (written, emitted) = (message(&entries[3]), message(&entries[10]));
    let but_for_time_and_domain = |entry: &Entry| {
        let mut fields = entry.fields.clone();
        fields.retain(|(name, _)| ![&b"created"[..], b"domain", b"hash"].contains(&&name[..]));
        fields
    };
    assert_eq!(
        but_for_time_and_domain(&entries[3]),
        but_for_time_and_domain(&entries[10])
    );
    assert_eq!(written.data().unwrap()["text"], emitted.data().unwrap()["text"]);
    assert_eq!((written.name(), written.kind()), (emitted.name(), emitted.kind()));
    // No relay, and nothing for one.
    let outbox = outbox::Outbox::connect(&url(&shop.directory)).await.unwrap();
    outbox.migrate().await.unwrap();
    let status = outbox.status().await.unwrap();
    assert_eq!((status.waiting, status.blocked_count), (0, 0));
    assert_eq!(outbox.retry(None).await.unwrap(), 0);
}

#[tokio::test]
async fn an_event_for_later_waits_as_one_that_was_emitted_so() {
    let shop = Shop::new().await;
    let scheduled = shop.streamer.scheduled("order.placed");
    let numbers = async |shop: &Shop| {
        let waiting = shop.streamer.scheduled("order.placed").page(None, 100).await.unwrap();
        let entries = waiting.into_iter().map(|waiting| Entry {
            id: waiting.id,
            fields: waiting.fields,
        });
        entries
            .map(|entry| (entry.id.ms, payload(&entry)["n"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    let row = |number| OutboxRow::new(&event(number), "shop").unwrap();
    let in_a_year = Moment::from_unix_ms(Moment::now().unix_ms() + 365 * 86_400_000);
    let (a, b) = (in_a_year.unix_ms(), in_a_year.unix_ms() + 1);

    // Written by the application, by the engine, and by the application: in this order of their numbers.
    let mut transaction = shop.pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    outbox::emit_row_in(&mut *transaction, row(1).deliver_at(in_a_year).unwrap())
        .await
        .unwrap();
    assert_eq!(scheduled.count().await.unwrap(), 0, "not before the commit");
    transaction.commit().await.unwrap();
    let options = EmitOptions::new().deliver_at(in_a_year);
    shop.streamer.emit_with(&event(2), options).await.unwrap();
    let mut connection = shop.connection();
    for (number, moment) in [(3, b), (4, a), (5, a)] {
        let row = row(number).deliver_at(Moment::from_unix_ms(moment)).unwrap();
        outbox::rusqlite::emit_row_in(&connection, row).unwrap();
    }
    let transaction = connection.transaction().unwrap();
    outbox::rusqlite::emit_row_in(&transaction, row(6).deliver_at(in_a_year).unwrap()).unwrap();
    transaction.rollback().unwrap();
    // With a key of the application once, whatever else is said.
    for number in [7, 8] {
        let row = row(number).idempotency_key("order 7").deliver_at(in_a_year).unwrap();
        outbox::rusqlite::emit_row_in(&connection, row).unwrap();
    }
    let repeated = EmitOptions::new().idempotency_key(row(7).idempotency_key("order 7").event_id);
    let known_as = shop.streamer.emit_with(&event(9), repeated).await.unwrap();
    assert_eq!(numbers(&shop).await, [(a, 1), (a, 2), (a, 4), (a, 5), (a, 7), (b, 3)]);
    assert_eq!(known_as, scheduled.page(None, 100).await.unwrap()[4].id);
    assert!(shop.entries("order.placed").await.is_empty());

    // What is cancelled leaves a gap, and the next one still comes last.
    let ids = scheduled.page(None, 100).await.unwrap();
    assert!(scheduled.cancel(ids[0].id).await.unwrap());
    outbox::rusqlite::emit_row_in(&connection, row(10).deliver_at(in_a_year).unwrap()).unwrap();
    assert_eq!(numbers(&shop).await, [(a, 2), (a, 4), (a, 5), (a, 7), (a, 10), (b, 3)]);

    // A moment that has passed, with a key and without.
    let passed = Moment::from_unix_ms(1);
    outbox::rusqlite::emit_row_in(&connection, row(11).deliver_at(passed).unwrap()).unwrap();
    for number in [12, 13] {
        let row = row(number).idempotency_key("order 12").deliver_at(passed).unwrap();
        outbox::rusqlite::emit_row_in(&connection, row).unwrap();
    }
    assert_eq!(shop.numbers("order.placed").await, [11, 12]);
    let emitted_at_once = row(11).deliver_at(passed).unwrap();
    assert_eq!(
        shop.entries("order.placed").await[0].fields.len(),
        OutboxRow::decode_fields(&emitted_at_once.fields).unwrap().len()
    );

    // One that becomes due.
    let soon = row(14).deliver_after(Duration::from_millis(30)).unwrap();
    outbox::rusqlite::emit_row_in(&connection, soon).unwrap();
    wait_until(async || scheduled.append_due().await.unwrap() == 1).await;
    assert_eq!(shop.numbers("order.placed").await, [11, 12, 14]);

    // What an application writes by itself.
    let error = connection
        .execute(
            "INSERT INTO streamer_outbox (event_id, shard, ordering_key, stream, fields, identifier, history, created_ms) \
             VALUES ('00000000-0000-7000-8000-000000000000', 0, 'k', 'order.placed', ?, '7', NULL, 0)",
            [row(15).deliver_at(in_a_year).unwrap().fields],
        )
        .unwrap_err();
    assert!(error.to_string().contains("give it no identifier"), "{error}");
}

#[tokio::test]
async fn a_file_whose_view_knows_no_events_for_later_gets_one_that_does() {
    let directory = TempDir::new().unwrap();
    let url = url(&directory);
    drop(Streamer::connect(&url).await.unwrap());
    let connection = Connection::open(directory.path().join("shop.db")).unwrap();
    connection
        .execute_batch("DROP TRIGGER streamer_outbox_schedule")
        .unwrap();
    let streamer = Streamer::connect(&url).await.unwrap();
    let row = OutboxRow::new(&event(1), "shop").unwrap();
    let tomorrow = row.deliver_after(Duration::from_secs(86_400)).unwrap();
    outbox::rusqlite::emit_row_in(&connection, tomorrow).unwrap();
    assert_eq!(streamer.scheduled("order.placed").count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_transaction_that_cannot_write_any_more_is_told_how_to_begin() {
    let shop = Shop::new().await;
    let mut connection = shop.connection();
    let mut deferred = shop.pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM orders")
        .fetch_one(&mut *deferred)
        .await
        .unwrap();
    let also_deferred = connection.transaction().unwrap();
    also_deferred
        .query_row("SELECT count(*) FROM orders", [], |_| Ok(()))
        .unwrap();
    shop.streamer.emit(&event(0)).await.unwrap();

    let error = outbox::emit_in(&mut *deferred, &event(1), "shop").await.unwrap_err();
    assert!(error.to_string().contains("BEGIN IMMEDIATE"), "{error}");
    let error = outbox::rusqlite::emit_in(&also_deferred, &event(1), "shop").unwrap_err();
    assert!(matches!(error, outbox::rusqlite::EmitInError::Busy(_)), "{error:?}");
    assert!(error.to_string().contains("BEGIN IMMEDIATE"), "{error}");
    drop((deferred, also_deferred));

    // One that begins with the event waits for its turn.
    let mut first = shop.pool.begin().await.unwrap();
    outbox::emit_in(&mut *first, &event(2), "shop").await.unwrap();
    let third = event(3);
    let (appended, committed) = tokio::join!(shop.streamer.emit(&third), async {
        outbox::emit_in(&mut *first, &event(4), "shop").await.unwrap();
        first.commit().await
    });
    committed.unwrap();
    appended.unwrap();
    assert_eq!(shop.numbers("order.placed").await, [0, 2, 4, 3]);
}

#[tokio::test]
async fn a_listener_that_writes_to_the_same_file_handles_a_message_once() {
    let shop = Shop::new().await;
    shop.streamer.emit(&event(1)).await.unwrap();
    let entry = shop.entries("order.placed").await.remove(0);
    let message = ReceivedMessage::new("order.placed".into(), entry, 1);
    let connection = shop.connection();
    assert!(outbox::rusqlite::once_in(&connection, &message, "billing").unwrap());
    assert!(!outbox::rusqlite::once_in(&connection, &message, "billing").unwrap());
    let mut transaction = shop.pool.begin().await.unwrap();
    assert!(
        !Once::in_transaction(&mut *transaction, &message, "billing")
            .await
            .unwrap()
    );
    assert!(Once::in_transaction(&mut *transaction, &message, "mail").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_has_exactly_what_was_committed_however_often_the_application_is_killed() {
    for client in ["sqlx", "rusqlite"] {
        let shop = Shop::new().await;
        let total = transactions();
        let mut application = start(&shop, client);
        for kill in 1..=KILLS {
            // Two thirds of the transactions commit.
            let enough = total * 2 / 3 * kill / (KILLS + 2);
            wait_until(async || committed(&shop.pool).await >= enough).await;
            application.kill().unwrap();
            application.wait().unwrap();
            application = start(&shop, client);
            // Another writer, of this process, comes between.
            shop.streamer
                .emit(&DynamicEvent::new("other", json!({ "n": kill })))
                .await
                .unwrap();
        }
        assert!(application.wait().unwrap().success());

        let orders = sqlx::query("SELECT number FROM orders ORDER BY number").fetch_all(&shop.pool);
        let orders = orders.await.unwrap();
        let orders: Vec<u64> = orders.iter().map(|row| row.get::<i64, _>(0) as u64).collect();
        assert!(orders.len() as u64 >= total * 2 / 3 - KILLS, "{} orders", orders.len());
        let mut of_all_keys = Vec::new();
        for key in 0..KEYS {
            let of_key = shop.numbers(&format!("order.{key}")).await;
            assert!(of_key.is_sorted(), "{client}: key {key} is out of order");
            assert!(of_key.iter().all(|number| number % KEYS == key));
            of_all_keys.extend(of_key);
        }
        of_all_keys.sort_unstable();
        assert_eq!(of_all_keys, orders, "{client}");
        assert_eq!(shop.numbers("other").await.len() as u64, KILLS);
        let connection = shop.connection();
        let verdict: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok");
    }
}

fn start(shop: &Shop, client: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["one_file::application", "--exact", "--ignored", "--nocapture"]);
    command.env("CLIENT", client).env("DATABASE", url(&shop.directory));
    command.stdout(Stdio::null()).spawn().unwrap()
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited two minutes");
}

async fn committed(pool: &SqlitePool) -> u64 {
    let count = sqlx::query("SELECT COUNT(*) FROM orders")
        .fetch_one(pool)
        .await
        .unwrap();
    count.get::<i64, _>(0) as u64
}

/// Not a test of its own: saves orders, each with its event in one transaction, a third of which it rolls back.
#[tokio::test]
#[ignore = "run by the other test in a process of its own"]
async fn application() {
    let variable = |name| std::env::var(name).unwrap();
    let url = variable("DATABASE");
    let pool = pool(&url).await;
    let last = "SELECT COALESCE(MAX(number), -1) FROM orders";
    let last = sqlx::query(last).fetch_one(&pool).await.unwrap().get::<i64, _>(0);
    let row = |number: u64| {
        let event = DynamicEvent::new(format!("order.{}", number % KEYS), json!({ "n": number }));
        OutboxRow::new(&event, "shop").unwrap()
    };
    let mut connection = Connection::open(url.trim_start_matches("sqlite://")).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    for number in (last + 1) as u64..transactions() {
        let insert = format!("INSERT INTO orders (number) VALUES ({number})");
        if variable("CLIENT") == "rusqlite" {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .unwrap();
            transaction.execute(&insert, []).unwrap();
            outbox::rusqlite::emit_row_in(&transaction, row(number)).unwrap();
            match number % 3 {
                2 => transaction.rollback().unwrap(),
                _ => transaction.commit().unwrap(),
            }
        } else {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            sqlx::query(sqlx::AssertSqlSafe(insert))
                .execute(&mut *transaction)
                .await
                .unwrap();
            outbox::emit_row_in(&mut *transaction, row(number)).await.unwrap();
            match number % 3 {
                2 => transaction.rollback().await.unwrap(),
                _ => transaction.commit().await.unwrap(),
            }
        }
    }
}
