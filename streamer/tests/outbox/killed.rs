//! Applications and relays that are killed: the stream holds exactly what was committed, once, and in order for each key.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::json;
use sqlx::{AnyPool, Row as _, any::AnyPoolOptions};
use streamer::{
    DynamicEvent, Streamer,
    outbox::{Dialect, Outbox, OutboxRow},
};

use crate::databases::{Db, databases, payload, write};

/// How often each process is killed.
const KILLS: u64 = 10;
const KEYS: u64 = 16;

/// How many transactions. More by the variable `STREAMER_TEST_TRANSACTIONS`.
fn transactions() -> u64 {
    let asked = std::env::var("STREAMER_TEST_TRANSACTIONS").ok();
    asked.map_or(1200, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_has_exactly_what_was_committed_however_often_somebody_is_killed() {
    for db in databases("killed").await {
        let create = "CREATE TABLE orders (number BIGINT PRIMARY KEY)";
        sqlx::query(create).execute(&db.pool).await.unwrap();
        let total = transactions();
        let (mut application, mut relay) = (start(&db, "application"), start(&db, "relay"));
        for kill in 1..=KILLS {
            // Two thirds of the transactions commit.
            let enough = total * 2 / 3 * kill / (KILLS + 2);
            wait_until(async || committed(&db.pool).await >= enough).await;
            killed(application);
            application = start(&db, "application");
            wait_until(async || db.entries("e").await.len() as u64 >= enough / 2).await;
            killed(relay);
            relay = start(&db, "relay");
        }
        assert!(application.wait().unwrap().success());
        wait_until(async || db.outbox.status().await.unwrap().waiting == 0).await;
        killed(relay);

        let orders = sqlx::query("SELECT number FROM orders ORDER BY number")
            .fetch_all(&db.pool)
            .await
            .unwrap();
        let orders = orders.iter().map(|row| row.get::<i64, _>(0) as u64).collect::<Vec<_>>();
        assert!(orders.len() as u64 >= total * 2 / 3 - KILLS, "{} orders", orders.len());
        let entries = db.entries("e").await;
        let mut published = entries
            .iter()
            .map(|entry| payload(entry)["n"].as_u64().unwrap())
            .collect::<Vec<_>>();
        for key in 0..KEYS {
            let of_key = published.iter().filter(|number| *number % KEYS == key);
            assert!(of_key.is_sorted(), "{:?}: key {key} is out of order", db.dialect());
        }
        published.sort_unstable();
        assert_eq!(published, orders, "{:?}", db.dialect());
    }
}

fn start(db: &Db, kind: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["killed::child", "--exact", "--ignored", "--nocapture"]);
    command
        .env("CHILD", kind)
        .env("DATABASE", &db.url)
        .env("STORE", &db.store)
        .env("NAME", &db.name);
    command.stdout(Stdio::null()).spawn().unwrap()
}

fn killed(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(120), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited two minutes");
}

async fn committed(pool: &AnyPool) -> u64 {
    let row = sqlx::query("SELECT COUNT(*) FROM orders")
        .fetch_one(pool)
        .await
        .unwrap();
    row.get::<i64, _>(0) as u64
}

/// Not a test of its own: what a child process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other test in a process of its own"]
async fn child() {
    let variable = |name| std::env::var(name).unwrap();
    let (database, name) = (variable("DATABASE"), variable("NAME"));
    match &*variable("CHILD") {
        "relay" => {
            let outbox = Outbox::connect(&database).await.unwrap();
            let streamer = Streamer::connect(&variable("STORE")).await.unwrap();
            outbox.relay(&streamer).batch(50).run().await.unwrap();
        }
        "application" => application(&database, &format!("{name}.e")).await,
        other => panic!("no such child: {other}"),
    }
}

/// Saves orders, each with its event in one transaction, a third of which it rolls back.
async fn application(database: &str, event: &str) {
    sqlx::any::install_default_drivers();
    let pool = AnyPoolOptions::new()
        .max_connections(1)
        .connect(database)
        .await
        .unwrap();
    let dialect = match database.split(':').next().unwrap() {
        "postgres" => Dialect::Postgres,
        "mysql" => Dialect::MySql,
        _ => Dialect::Sqlite,
    };
    let last = "SELECT COALESCE(MAX(number), -1) FROM orders";
    let last = sqlx::query(last).fetch_one(&pool).await.unwrap().get::<i64, _>(0);
    for number in (last + 1) as u64..transactions() {
        let event = DynamicEvent::new(event, json!({ "n": number }));
        let row = OutboxRow::new(&event, "shop")
            .unwrap()
            .ordered_by(format!("key {}", number % KEYS));
        let begin = if dialect == Dialect::Sqlite {
            "BEGIN IMMEDIATE"
        } else {
            "BEGIN"
        };
        let mut transaction = pool.begin_with(begin).await.unwrap();
        let insert = format!("INSERT INTO orders (number) VALUES ({number})");
        sqlx::query(sqlx::AssertSqlSafe(insert))
            .execute(&mut *transaction)
            .await
            .unwrap();
        write(&mut transaction, dialect, row).await;
        if number % 3 == 2 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
        }
    }
}
