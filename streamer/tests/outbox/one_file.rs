//! The application's tables and the streams in one SQLite file: what commits is on its stream, with no relay.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior};
use serde_json::json;
use sqlx::{Row as _, SqlitePool, sqlite::SqliteConnectOptions};
use streamer::{
    DynamicEvent, Entry, RangeBound, ReceivedMessage, Streamer,
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
