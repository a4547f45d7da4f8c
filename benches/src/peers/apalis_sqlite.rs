//! apalis on SQLite: jobs are rows of a table, which a worker locks, and marks when they are done.

use anyhow::{Result, ensure};
use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteStorage};
use futures_util::future::try_join_all;
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use std::{path::Path, time::Instant};

use super::apalis::{EveryMillisecond, Order};
use crate::{
    case::{Job, Reading},
    cases::drain::Countdown,
};

pub(crate) const NAME: &str = "apalis-sqlite 1.0";

const BATCH: usize = 500;
const BULK: usize = 1000;

/// Without locks, which are for long jobs.
fn config() -> Config {
    Config::default().queue("orders").batch_size(BATCH).lock_tasks(false)
}

/// The settings are those of its `setup`. One connection: several would only wait for each other's commits.
async fn pool(directory: &Path) -> Result<SqlitePool> {
    let options = SqliteConnectOptions::new()
        .filename(directory.join("apalis.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options);
    let pool = pool.await?;
    SqliteStorage::setup(&pool).await?;
    Ok(pool)
}

async fn storage(directory: &Path) -> Result<SqliteStorage<Order>> {
    Ok(SqliteStorage::new(&pool(directory).await?).with_config(config()))
}

/// One after the other.
pub(crate) fn emit_one(job: &Job) -> Result<Reading> {
    let (directory, amount) = (job.directory.clone(), job.amount);
    job.on_two_threads(async move {
        let mut storage = storage(&directory).await?;
        let begun = Instant::now();
        for _ in 0..amount {
            storage.push(Order::emitted(0)).await?;
        }
        Ok(Reading::rate(amount, begun.elapsed()))
    })
}

/// From 64 tasks, each awaiting every push.
pub(crate) fn emit_from_tasks(job: &Job) -> Result<Reading> {
    const TASKS: usize = 64;
    let (directory, amount) = (job.directory.clone(), job.amount);
    job.on_two_threads(async move {
        let storage = storage(&directory).await?;
        let begun = Instant::now();
        let tasks = (0..TASKS).map(|task| {
            let mut storage = storage.clone();
            tokio::spawn(async move {
                for _ in (task..amount as usize).step_by(TASKS) {
                    storage.push(Order::emitted(0)).await?;
                }
                anyhow::Ok(())
            })
        });
        for done in try_join_all(tasks).await? {
            done?;
        }
        Ok(Reading::rate(amount, begun.elapsed()))
    })
}

/// A backlog, pushed in bulk.
pub(crate) fn backlog(job: &Job) -> Result<()> {
    let (directory, amount) = (job.directory.clone(), job.amount);
    job.on_one_thread(async move {
        let mut storage = storage(&directory).await?;
        for _ in 0..amount as usize / BULK {
            storage.push_bulk(vec![Order::emitted(0); BULK]).await?;
        }
        Ok(())
    })
}

/// Ends when all jobs are recorded as done.
pub(crate) fn drain(job: &Job) -> Result<Reading> {
    let (directory, amount) = (job.directory.clone(), job.amount);
    job.on_two_threads(async move {
        let countdown = Countdown::from(amount);
        let pool = pool(&directory).await?;
        let storage = SqliteStorage::new(&pool).with_config(config());
        let begun = Instant::now();
        work(storage, move |order| {
            std::hint::black_box(order);
            countdown.one_less()
        })
        .await?;
        let reading = Reading::rate(amount, begun.elapsed());
        let done: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM Jobs WHERE status = 'Done'")
            .fetch_one(&pool)
            .await?;
        ensure!(done as u64 == amount, "{done} of {amount} jobs are done");
        Ok(reading)
    })
}

/// Works until the handler says that it was the last job.
async fn work(
    storage: SqliteStorage<Order>,
    handler: impl Fn(Order) -> bool + Clone + Send + Sync + 'static,
) -> Result<()> {
    let storage = storage.poll_with_strategy(EveryMillisecond::new());
    let worker = WorkerBuilder::new("worker").backend(storage);
    let worker = worker.build(move |order: Order, worker: WorkerContext| {
        let ended = if handler(order) { worker.stop() } else { Ok(()) };
        async { ended }
    });
    Ok(worker.run().await?)
}
