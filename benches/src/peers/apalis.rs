//! apalis on Redis: jobs in lists and sets that scripts keep, not streams.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use apalis::prelude::*;
use apalis_redis::{Config, RedisStorage};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::BODY;
use crate::{
    case::{Job, Reading},
    cases::{drain::Countdown, latency::Emit},
};

const BATCH: usize = 500;
const BULK: usize = 100;

/// The job, as long as the others' payloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    at: u64,
    body: String,
}

impl Order {
    pub(super) fn emitted(at: u64) -> Self {
        let body = BODY.to_owned();
        Self { at, body }
    }
}

/// Without locks, which are for long jobs, and without the events that dashboards show.
fn config() -> Config {
    let config = Config::default().queue("orders").batch_size(BATCH);
    config.lock_tasks(false).emit_events(false)
}

async fn storage(url: &str) -> Result<RedisStorage<Order>> {
    let connection = apalis_redis::connect(url).await?;
    Ok(RedisStorage::new(connection).with_config(config()))
}

/// From so many tasks, each awaiting every push.
pub(crate) async fn emit_from_tasks(url: String, amount: u64, tasks: u64) -> Result<Reading> {
    let storage = storage(&url).await?;
    let begun = Instant::now();
    let tasks = (0..tasks).map(|task| {
        let mut storage = storage.clone();
        tokio::spawn(async move {
            for _ in (task..amount).step_by(tasks as usize) {
                storage.push(Order::emitted(0)).await?;
            }
            anyhow::Ok(())
        })
    });
    for done in try_join_all(tasks).await? {
        done?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// In bulk, two lots at a time.
pub(crate) async fn emit_all(url: String, amount: u64) -> Result<Reading> {
    let storage = storage(&url).await?;
    let begun = Instant::now();
    let both = (0..2).map(|which| {
        let mut storage = storage.clone();
        tokio::spawn(async move {
            for _ in (which * BULK..amount as usize).step_by(2 * BULK) {
                storage.push_bulk(vec![Order::emitted(0); BULK]).await?;
            }
            anyhow::Ok(())
        })
    });
    for done in try_join_all(both).await? {
        done?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// Its own backlog. Every job is first scheduled for now, and the script that a worker's fetch runs can take over
/// about 8,000 of those; so they are taken over here, as workers do while jobs arrive.
pub(crate) fn backlog(job: &Job) -> Result<()> {
    const TAKE_OVER: &str = "repeat \
                                 local ids = redis.call('ZRANGE', KEYS[1], 0, 999) \
                                 if #ids > 0 then \
                                     redis.call('RPUSH', KEYS[2], unpack(ids)) \
                                     redis.call('ZREM', KEYS[1], unpack(ids)) \
                                 end \
                             until #ids == 0";
    let mut connection = job.raw()?;
    connection.call(&["FLUSHALL"], 1)?;
    job.on_one_thread(emit_all(job.url.clone(), job.amount))?;
    let config = config();
    let (scheduled, active) = (config.scheduled_jobs_set(), config.active_jobs_list());
    connection.call(&["EVAL", TAKE_OVER, "2", &scheduled, &active], 1)?;
    let there = connection.ask(&["LLEN", &active])?;
    ensure!(
        there == format!(":{}\r\n", job.amount),
        "not all jobs are in the list: {there}"
    );
    Ok(())
}

/// Wakes the worker every millisecond. apalis's own interval does not: once a fetch takes longer than the interval,
/// nothing wakes the worker before its next heartbeat, 30 seconds later.
pub(super) struct EveryMillisecond(Interval);

impl EveryMillisecond {
    pub(super) fn new() -> Self {
        let mut interval = interval(Duration::from_millis(1));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(interval)
    }
}

impl PollStrategy for EveryMillisecond {
    fn poll_drive(&mut self, context: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut due = Poll::Pending;
        // Until it is pending: only then will it wake the worker.
        while self.0.poll_tick(context).is_ready() {
            due = Poll::Ready(Some(()));
        }
        due
    }
}

/// Works until the handler says that it was the last job; ends when all jobs are recorded as done.
async fn work(url: &str, handler: impl Fn(Order) -> bool + Clone + Send + Sync + 'static) -> Result<()> {
    let storage = storage(url).await?.poll_with_strategy(EveryMillisecond::new());
    let worker = WorkerBuilder::new("worker").backend(storage);
    let worker = worker.build(move |order: Order, worker: WorkerContext| {
        let ended = if handler(order) { worker.stop() } else { Ok(()) };
        async { ended }
    });
    Ok(worker.run().await?)
}

pub(crate) async fn drain(url: String, amount: u64) -> Result<Reading> {
    let countdown = Countdown::from(amount);
    let begun = Instant::now();
    work(&url, move |order| {
        std::hint::black_box(order);
        countdown.one_less()
    })
    .await?;
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// All jobs are recorded as done.
pub(crate) fn all_done(job: &Job) -> Result<()> {
    let done = job.raw()?.ask(&["SCARD", &config().done_jobs_set()])?;
    ensure!(done == format!(":{}\r\n", job.amount), "not all jobs are done: {done}");
    Ok(())
}

/// Emits what carries the time of its emission.
pub(crate) async fn emitter(url: String) -> Result<impl Emit> {
    let storage = storage(&url).await?;
    Ok(move |at: u64| {
        let mut storage = storage.clone();
        async move { Ok(storage.push(Order::emitted(at)).await?) }
    })
}

/// Gives the time of each emission to the handler until that says that it was the last.
pub(crate) async fn listen(url: String, handler: impl Fn(u64) -> bool + Clone + Send + Sync + 'static) -> Result<()> {
    work(&url, move |order| handler(order.at)).await
}
