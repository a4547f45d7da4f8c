//! Messages whose listeners fail: each leaves a record in the failed list, or is tried again.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, ensure};
use streamer::{Listeners, ReceivedMessage, RetryPolicy, Streamer};

use super::drain::{Countdown, backlog};
use crate::{
    case::{Case, Contender, Job, RATE, RESIDENT, Reading, Target},
    message::{GROUP, STREAM},
};

const AMOUNT: u64 = 100_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case {
        name: "drain-failing",
        title: "Drain 100,000 of which none, every second or all fail",
        about: "One worker in order, on one thread. Each failure is recorded before its message is acknowledged. The last one \
                fails at the first attempt of every second message, and is tried again 100 ms later.",
        metrics: &[RATE, RESIDENT],
        amount: AMOUNT,
        contenders: vec![
            Contender::new("none fails", |job| {
                job.on_one_thread(drain(job.url.clone(), job.amount, |_| true))
            })
            .prepared(empty_list),
            Contender::new("every second fails", |job| {
                job.on_one_thread(drain(job.url.clone(), job.amount, |number| number % 2 == 0))
            })
            .prepared(empty_list),
            Contender::new("all fail", |job| {
                job.on_one_thread(drain(job.url.clone(), job.amount, |_| false))
            })
            .prepared(empty_list),
            Contender::new("every second is tried again", |job| {
                job.on_one_thread(retried(job.url.clone(), job.amount))
            })
            .prepared(empty_list),
        ],
        targets: vec![
            Target::at_least(0.5, "every second fails", "none fails"),
            Target::at_least(0.5, "all fail", "none fails"),
        ],
    }]
}

/// The list is empty at first.
fn empty_list(job: &Job) -> Result<()> {
    job.raw()?.ask(&["DEL", "failed_stream", "failed_stream:details"])?;
    backlog(job)
}

async fn drain(url: String, amount: u64, succeeds: fn(u64) -> bool) -> Result<Reading> {
    let streamer = Streamer::connect(&url).await?;
    let countdown = Countdown::from(amount);
    let counting = Arc::clone(&countdown);
    let listeners = Listeners::new().on(STREAM, "fails", move |message: ReceivedMessage| {
        counting.one_less();
        let succeeds = succeeds(message.id().seq);
        async move { if succeeds { Ok(()) } else { Err("no paper") } }
    });
    let listening = streamer.listen(listeners).group(GROUP).on_report(|_| {});
    let stop = listening.stop_handle();
    let begun = std::time::Instant::now();
    let ended = tokio::spawn(async move {
        countdown.over().await;
        stop.stop();
    });
    let summary = listening.run().await?;
    let took = begun.elapsed();
    ended.await?;
    let handled = summary.processed + summary.failed;
    ensure!(handled == amount, "{handled} were handled, not {amount}");
    ensure!(
        streamer.failed().count().await? == summary.failed,
        "not every failure is listed"
    );
    Ok(Reading::rate(amount, took))
}

async fn retried(url: String, amount: u64) -> Result<Reading> {
    let streamer = Streamer::connect(&url).await?;
    let countdown = Countdown::from(amount);
    let counting = Arc::clone(&countdown);
    let listeners = Listeners::new().on(STREAM, "fails", move |message: ReceivedMessage| {
        let succeeds = message.attempt() > 1 || message.id().seq.is_multiple_of(2);
        if succeeds {
            counting.one_less();
        }
        async move { if succeeds { Ok(()) } else { Err("no paper") } }
    });
    let listeners = listeners.retry(&RetryPolicy::fixed(3, Duration::from_millis(100)));
    let listening = streamer.listen(listeners).group(GROUP).on_report(|_| {});
    let stop = listening.stop_handle();
    let begun = std::time::Instant::now();
    let ended = tokio::spawn(async move {
        countdown.over().await;
        stop.stop();
    });
    let summary = listening.run().await?;
    let took = begun.elapsed();
    ended.await?;
    ensure!(
        summary.processed == amount,
        "{} were handled, not {amount}",
        summary.processed
    );
    Ok(Reading::rate(amount, took))
}
