//! What it costs a row to have an event.

use std::{path::Path, time::Instant};

use anyhow::{Result, ensure};
use rusqlite::{Connection, TransactionBehavior, params};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use streamer::{
    Streamer,
    outbox::{self, Outbox, OutboxRow},
};

use crate::{
    case::{Case, Contender, Job, RATE, RESIDENT, Reading, Target},
    message::{Order, STREAM},
    peers::honker,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![Case {
        name: "rows-with-events",
        title: "Rows with events: one transaction after the other",
        about: "Each transaction inserts one row into a SQLite file by sqlx (WAL, `synchronous = NORMAL`) and commits. Raw: the row \
                alone. Direct: then the event is emitted to Redis, and awaited; a crash in between loses it. Outbox: the event \
                is written in the transaction, and a relay in the same process publishes to Redis; the second number counts \
                until everything is published. One file: the event is written into its stream in the transaction, in the same \
                file. By rusqlite, which needs no change of thread for a statement, with the settings of honker's connections (the log is \
                copied every 10,000 pages, not every 1,000): the row alone, one file, one file with \
                the statements of the view `streamer_outbox` written out, and honker's transactional publish.",
        metrics: &[RATE, PUBLISHED, RESIDENT],
        amount: 20_000,
        contenders: vec![
            Contender::new("raw", |job| {
                job.on_two_threads(row_alone(file(&job.directory), job.amount))
            }),
            Contender::new("direct", |job| {
                job.on_two_threads(direct(file(&job.directory), job.url.clone(), job.amount))
            }),
            Contender::new("outbox", |job| {
                job.on_two_threads(with_relay(file(&job.directory), job.url.clone(), job.amount))
            }),
            Contender::new("one file", |job| {
                job.on_two_threads(one_file(file(&job.directory), job.amount))
            }),
            Contender::new("row alone, rusqlite", |job| by_rusqlite(job, |_, _| Ok(()))),
            Contender::new(RUSQLITE, |job| {
                by_rusqlite(job, |transaction, order| {
                    Ok(outbox::rusqlite::emit_in(transaction, order, "shop")?)
                })
            }),
            Contender::new("one file, rusqlite, without the view", |job| {
                by_rusqlite(job, without_view)
            }),
            Contender::new(honker::NAME, |job| honker::run(job, "transactions", &[])).prepared(honker::built),
        ],
        targets: vec![Target::at_least(1.0, RUSQLITE, honker::NAME)],
    }]
}

/// Rows a second until their events are on their stream.
const PUBLISHED: &str = "published_per_second";

fn file(directory: &Path) -> String {
    directory.join("shop.db").display().to_string()
}

async fn shop(file: &str) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL NOT NULL, sku TEXT NOT NULL)")
        .execute(&pool)
        .await?;
    Ok(pool)
}

fn order(id: u64) -> Order {
    Order { id, ..Order::default() }
}

type Transaction = sqlx::Transaction<'static, sqlx::Sqlite>;

/// A transaction that has inserted the row of an order.
async fn with_row(pool: &SqlitePool, order: &Order) -> Result<Transaction> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    sqlx::query("INSERT INTO orders (id, total, sku) VALUES (?, ?, ?)")
        .bind(i64::try_from(order.id)?)
        .bind(order.total)
        .bind(&*order.sku)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

async fn row_alone(file: String, amount: u64) -> Result<Reading> {
    let pool = shop(&file).await?;
    let begun = Instant::now();
    for id in 0..amount {
        with_row(&pool, &order(id)).await?.commit().await?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

async fn direct(file: String, url: String, amount: u64) -> Result<Reading> {
    let pool = shop(&file).await?;
    let streamer = Streamer::connect(&url).await?;
    let begun = Instant::now();
    for id in 0..amount {
        let order = order(id);
        with_row(&pool, &order).await?.commit().await?;
        streamer.emit(&order).await?;
    }
    ended(&streamer, amount, begun, begun.elapsed()).await
}

async fn with_relay(file: String, url: String, amount: u64) -> Result<Reading> {
    let pool = shop(&file).await?;
    let streamer = Streamer::connect(&url).await?;
    let outbox = Outbox::connect(&format!("sqlite://{file}")).await?;
    outbox.migrate().await?;
    let relay = outbox.relay(&streamer);
    let stop = relay.stop_token();
    let relay = tokio::spawn(relay.run());
    let begun = Instant::now();
    for id in 0..amount {
        let order = order(id);
        let mut transaction = with_row(&pool, &order).await?;
        outbox::emit_in(&mut *transaction, &order, "shop").await?;
        transaction.commit().await?;
    }
    let committed = begun.elapsed();
    stop.cancel();
    relay.await??;
    outbox.relay(&streamer).until_empty(true).run().await?;
    ended(&streamer, amount, begun, committed).await
}

async fn one_file(file: String, amount: u64) -> Result<Reading> {
    let streamer = Streamer::connect(&format!("sqlite://{file}")).await?;
    let pool = shop(&file).await?;
    let begun = Instant::now();
    for id in 0..amount {
        let order = order(id);
        let mut transaction = with_row(&pool, &order).await?;
        outbox::emit_in(&mut *transaction, &order, "shop").await?;
        transaction.commit().await?;
    }
    ended(&streamer, amount, begun, begun.elapsed()).await
}

const RUSQLITE: &str = "one file, rusqlite";

/// The same with rusqlite; `emit` writes the event.
fn by_rusqlite(job: &Job, emit: fn(&Connection, &Order) -> Result<()>) -> Result<Reading> {
    let file = file(&job.directory);
    let url = format!("sqlite://{file}");
    // Held, so that the file stays open.
    let _streamer = job.on_one_thread(async move { Ok(Streamer::connect(&url).await?) })?;
    let mut shop = Connection::open(file)?;
    // As honker sets up the connections that it gives to an application.
    shop.pragma_update(None, "synchronous", "normal")?;
    shop.pragma_update(None, "cache_size", -32_000)?;
    shop.pragma_update(None, "wal_autocheckpoint", 10_000)?;
    shop.set_prepared_statement_cache_capacity(128);
    shop.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, total REAL NOT NULL, sku TEXT NOT NULL)")?;
    let begun = Instant::now();
    for id in 0..job.amount {
        let order = order(id);
        let transaction = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached("INSERT INTO orders (id, total, sku) VALUES (?, ?, ?)")?
            .execute(params![i64::try_from(id)?, order.total, &*order.sku])?;
        emit(&transaction, &order)?;
        transaction.commit()?;
    }
    Ok(Reading::rate(job.amount, begun.elapsed()))
}

/// What the view's trigger does for an event without a record, as statements of the program.
fn without_view(shop: &Connection, order: &Order) -> Result<()> {
    let row = OutboxRow::new(order, "shop")?;
    let stream = &row.stream[..];
    shop.prepare_cached("INSERT INTO streamer_keys (name, kind) VALUES (?, 0) ON CONFLICT DO NOTHING")?
        .execute([stream])?;
    let key: i64 = shop
        .prepare_cached("SELECT id FROM streamer_keys WHERE name = ? AND kind = 0")?
        .query_row([stream], |row| row.get(0))?;
    shop.prepare_cached(
        "INSERT INTO streamer_streams (stream, last_ms, last_seq, max_deleted_id, entries_added, length) \
         VALUES (?, 0, 0, zeroblob(16), 0, 0) ON CONFLICT DO NOTHING",
    )?
    .execute([key])?;
    let (ms, sequence): (i64, i64) = shop
        .prepare_cached("SELECT last_ms, last_seq FROM streamer_streams WHERE stream = ?")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (ms, sequence) = match row.created_ms > ms {
        true => (row.created_ms, 0),
        false => (ms, sequence + 1),
    };
    shop.prepare_cached(
        "UPDATE streamer_streams SET last_ms = ?, last_seq = ?, entries_added = entries_added + 1, length = length + 1 \
         WHERE stream = ?",
    )?
    .execute([ms, sequence, key])?;
    let id = [ms.to_be_bytes(), sequence.to_be_bytes()].concat();
    shop.prepare_cached("INSERT INTO streamer_entries (stream, id, fields) VALUES (?, ?, ?)")?
        .execute(params![key, id, row.fields])?;
    Ok(())
}

/// The reading, once every event is on its stream.
async fn ended(streamer: &Streamer, amount: u64, begun: Instant, committed: std::time::Duration) -> Result<Reading> {
    let published = begun.elapsed();
    let length = streamer.stream(STREAM).len().await?;
    ensure!(length == amount, "{length} of {amount} events are on the stream");
    let reading = Reading::rate(amount, committed);
    Ok(reading.with(PUBLISHED, amount as f64 / published.as_secs_f64()))
}
