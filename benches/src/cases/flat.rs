//! Operations whose cost must follow what they touch, and not what lies beside it.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result, ensure};
use streamer::{
    Listeners, Streamer,
    archive::{OlderThan, SqliteArchive, Sweep},
    failed::{FAILED_KEY, FailedFilter, FailedMessage},
};

use crate::{
    case::{Bound, Case, Contender, Job, Pinned, RATE, RESIDENT, Reading, Target},
    message::{self, GROUP, STREAM},
    raw,
};

/// Milliseconds: the median within a run.
const MS: &str = "ms";
const RATES: &[&str] = &[RATE, RESIDENT];
const TIMES: &[&str] = &[MS, RESIDENT];

/// How often what takes milliseconds is repeated in a run.
const REPEATED: usize = 100;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        replay(),
        purge(),
        archive(),
        failed_list(),
        failed_page(),
        failed_retry(),
    ]
}

/// The last of some contenders does as well as the first, in time and in memory.
fn flat(bound: Bound, metric: &'static str, most: &'static str, least: &'static str) -> Vec<Target> {
    let target = |metric, bound| Target {
        contender: most,
        against: Some(least),
        metric,
        bound,
    };
    vec![target(metric, bound), target(RESIDENT, Bound::AtMost(1.25))]
}

// ----- replay ---------------------------------------------------------------------------------------------------------

/// Whose history is replayed.
const RESOURCE: &str = "123";

fn replay() -> Case {
    let (least, most) = ("in a stream of 10,000", "in a stream of 1,000,000");
    Case {
        name: "replay",
        title: "Replay 1,000 snapshots of one resource",
        about: "Its messages are spread evenly among those of other resources. Each run replays 100 times; its \
                reading is the median.",
        metrics: TIMES,
        amount: 1000,
        contenders: vec![
            Contender::new(least, replayed).prepared(|job| history(job, 10)),
            Contender::new("in a stream of 100,000", replayed).prepared(|job| history(job, 100)),
            Contender::new(most, replayed).prepared(|job| history(job, 1000)),
        ],
        targets: flat(Bound::AtMost(1.25), MS, most, least),
    }
}

/// A stream of which one message in `every` is of the resource, and the resource's snapshots.
fn history(job: &Job, every: u64) -> Result<()> {
    let mut connection = job.raw()?;
    connection.call(&["FLUSHALL"], 1)?;
    raw::fill(&mut connection, STREAM, job.amount * every)?;
    for index in 0..job.amount {
        let snapshot = format!(
            r#"{{"id":"{}","name":"{STREAM}","identifier":"{RESOURCE}","date":"2026-11-23 04:26:20"}}"#,
            raw::id(index * every)
        );
        connection.call(&["LPUSH", &format!("{STREAM}-{RESOURCE}"), &snapshot], 1)?;
    }
    Ok(())
}

fn replayed(job: &Job) -> Result<Reading> {
    let (url, amount) = (job.url.clone(), job.amount);
    job.on_two_threads(async move {
        let streamer = Streamer::connect(&url).await?;
        let mut took = Vec::with_capacity(REPEATED);
        for _ in 0..REPEATED {
            let begun = Instant::now();
            let replayed = streamer.replay(STREAM, RESOURCE).run().await?;
            took.push(begun.elapsed().as_secs_f64());
            let replayed = replayed.context("there is no history")?;
            ensure!(
                replayed.is_whole() && replayed.messages == amount,
                "the replay is made from {} messages",
                replayed.messages
            );
        }
        Ok(median_ms(took))
    })
}

fn median_ms(mut seconds: Vec<f64>) -> Reading {
    seconds.sort_by(f64::total_cmp);
    Reading::default().with(MS, seconds[seconds.len() / 2] * 1000.0)
}

// ----- what is old ----------------------------------------------------------------------------------------------------

/// When the newer messages were emitted: a day after the old ones.
const NEWER: &str = "1795494380";
/// An hour after the old ones.
const OLD: OlderThan = OlderThan::moment(1_795_411_580_000);
const DAY_MS: u64 = 24 * 3_600_000;

fn purge() -> Case {
    let (least, most) = ("100,000 of 100,000", "100,000 of 1,000,000");
    let all = "1,000,000 of 1,000,000";
    Case {
        name: "purge",
        title: "Purge 100,000 old messages",
        about: "Newer messages stay. A group has acknowledged everything. The last contender purges ten times as \
                many.",
        metrics: RATES,
        amount: 1_000_000,
        contenders: vec![
            Contender::new(least, purged)
                .prepared(|job| old_and_newer(job, 1))
                .share(0.1),
            Contender::new("100,000 of 300,000", purged)
                .prepared(|job| old_and_newer(job, 3))
                .share(0.1),
            Contender::new(most, purged)
                .prepared(|job| old_and_newer(job, 10))
                .share(0.1),
            Contender::new(all, purged).prepared(|job| old_and_newer(job, 1)),
        ],
        targets: [most, all]
            .into_iter()
            .flat_map(|one| flat(Bound::AtLeast(0.8), RATE, one, least))
            .collect(),
    }
}

fn archive() -> Case {
    let (least, most) = ("100,000 of 100,000", "100,000 of 1,000,000");
    let all = "1,000,000 of 1,000,000";
    Case {
        name: "archive",
        title: "Archive 100,000 old messages into SQLite",
        about: "Newer messages stay. A group has acknowledged everything. The last contender archives ten times as \
                many.",
        metrics: RATES,
        amount: 1_000_000,
        contenders: vec![
            Contender::new(least, archived)
                .prepared(|job| old_and_newer(job, 1))
                .share(0.1),
            Contender::new(most, archived)
                .prepared(|job| old_and_newer(job, 10))
                .share(0.1),
            Contender::new(all, archived).prepared(|job| old_and_newer(job, 1)),
        ],
        targets: [most, all]
            .into_iter()
            .flat_map(|one| flat(Bound::AtLeast(0.8), RATE, one, least))
            .collect(),
    }
}

/// A stream of `times` the amount, of which the amount is old.
fn old_and_newer(job: &Job, times: u64) -> Result<()> {
    let mut connection = job.raw()?;
    connection.call(&["FLUSHALL"], 1)?;
    raw::fill(&mut connection, STREAM, job.amount)?;
    for first in (job.amount..job.amount * times).step_by(500) {
        let commands = (first..first + 500).flat_map(newer).collect::<Vec<_>>();
        connection.send(&commands)?;
        connection.receive(500 * raw::XADD_LINES)?;
    }
    connection.call(&["XGROUP", "CREATE", STREAM, GROUP, "$"], 1)
}

fn newer(index: u64) -> Vec<u8> {
    let fields = message::fields().map(|(name, value)| match name {
        "created" => [name, NEWER],
        _ => [name, value],
    });
    // There are 64 to a millisecond.
    let id = raw::id(index + 64 * DAY_MS);
    let command = ["XADD", STREAM, &id].into_iter().chain(fields.into_iter().flatten());
    raw::command(&command.collect::<Vec<_>>())
}

fn purged(job: &Job) -> Result<Reading> {
    let (url, amount) = (job.url.clone(), job.amount);
    job.on_two_threads(async move {
        let streamer = Streamer::connect(&url).await?;
        swept(Sweep::purge(&streamer), amount).await
    })
}

fn archived(job: &Job) -> Result<Reading> {
    let (url, amount) = (job.url.clone(), job.amount);
    let file = format!("sqlite://{}", job.directory.join("archive.db").display());
    job.on_two_threads(async move {
        let streamer = Streamer::connect(&url).await?;
        let archive = Arc::new(SqliteArchive::open(&file).await?);
        swept(Sweep::archive(&streamer, archive), amount).await
    })
}

async fn swept(sweep: Sweep, amount: u64) -> Result<Reading> {
    let begun = Instant::now();
    let summary = sweep.run(&STREAM.into(), OLD).await?;
    let took = begun.elapsed();
    ensure!(summary.removed == amount, "{} went, not {amount}", summary.removed);
    Ok(Reading::rate(amount, took))
}

// ----- the failed list ------------------------------------------------------------------------------------------------

/// The listener that failed.
const RECEIVER: &str = "receipt";

fn failed_list() -> Case {
    let (least, most) = ("10,000 failures", "100,000 failures");
    Case {
        name: "failed-list",
        title: "List all failures",
        about: "The list is read in pages, with the details of each failure.",
        metrics: RATES,
        amount: 100_000,
        contenders: vec![
            Contender::new(least, listed)
                .prepared(|job| failures(job, 0))
                .share(0.1),
            Contender::new(most, listed).prepared(|job| failures(job, 0)),
        ],
        targets: flat(Bound::AtLeast(0.8), RATE, most, least),
    }
}

fn failed_page() -> Case {
    let (least, most) = ("of 10,000 failures", "of 100,000 failures");
    Case {
        name: "failed-page",
        title: "The first page of the failed list",
        about: "A page has about 500 failures, with their details. Each run asks 100 times; its reading is the \
                median.",
        metrics: TIMES,
        amount: 100_000,
        contenders: vec![
            Contender::new(least, first_page)
                .prepared(|job| failures(job, 0))
                .share(0.1),
            Contender::new(most, first_page).prepared(|job| failures(job, 0)),
        ],
        targets: flat(Bound::AtMost(1.25), MS, most, least),
    }
}

fn failed_retry() -> Case {
    const TOGETHER: Pinned = Pinned {
        server: 0,
        contender: 0,
    };
    let (least, most) = ("10,000, in a stream of 100,000", "10,000, in a stream of 1,000,000");
    let more = "100,000, in a stream of 1,000,000";
    Case {
        name: "failed-retry",
        title: "Retry failures",
        about: "The listener does nothing. The failed messages are spread evenly over the stream. Client and server \
                are pinned to one core, because a round trip across cores costs several times as much, and the \
                kernel would place them at random.",
        metrics: RATES,
        amount: 100_000,
        contenders: vec![
            Contender::new(least, retried)
                .prepared(|job| failures(job, 10))
                .pinned(TOGETHER)
                .share(0.1),
            Contender::new(most, retried)
                .prepared(|job| failures(job, 100))
                .pinned(TOGETHER)
                .share(0.1),
            Contender::new(more, retried)
                .prepared(|job| failures(job, 10))
                .pinned(TOGETHER),
        ],
        targets: [most, more]
            .into_iter()
            .flat_map(|one| flat(Bound::AtLeast(0.8), RATE, one, least))
            .collect(),
    }
}

/// The amount of failures, and a stream of which one message in `every` failed; none for 0.
fn failures(job: &Job, every: u64) -> Result<()> {
    let mut connection = job.raw()?;
    connection.call(&["FLUSHALL"], 1)?;
    raw::fill(&mut connection, STREAM, job.amount * every)?;
    for index in 0..job.amount {
        let failed = FailedMessage {
            id: raw::id(index * every.max(1)),
            stream: STREAM.to_owned(),
            receiver: RECEIVER.to_owned(),
            error: "the printer is out of paper".to_owned(),
            date: "2026-11-23 04:26:20".to_owned(),
        };
        let member = failed.to_member();
        connection.send(&raw::command(&["SADD", FAILED_KEY, std::str::from_utf8(&member)?]))?;
        if index % 500 == 499 {
            connection.receive(500)?;
        }
    }
    Ok(())
}

fn listed(job: &Job) -> Result<Reading> {
    let (url, amount) = (job.url.clone(), job.amount);
    job.on_two_threads(async move {
        let streamer = Streamer::connect(&url).await?;
        let begun = Instant::now();
        let mut listing = streamer.failed().list(FailedFilter::all()).with_details();
        let mut listed = 0;
        while let Some(page) = listing.next_page().await? {
            listed += page.iter().filter(|one| one.record.is_ok()).count() as u64;
        }
        let took = begun.elapsed();
        ensure!(listed >= amount, "{listed} were listed, not {amount}");
        Ok(Reading::rate(amount, took))
    })
}

fn first_page(job: &Job) -> Result<Reading> {
    let url = job.url.clone();
    job.on_two_threads(async move {
        let streamer = Streamer::connect(&url).await?;
        let mut took = Vec::with_capacity(REPEATED);
        for _ in 0..REPEATED {
            let begun = Instant::now();
            let mut listing = streamer.failed().list(FailedFilter::all()).with_details();
            let page = listing.next_page().await?.unwrap_or_default();
            took.push(begun.elapsed().as_secs_f64());
            ensure!(page.len() >= 100, "the page has {} failures", page.len());
        }
        Ok(median_ms(took))
    })
}

fn retried(job: &Job) -> Result<Reading> {
    let (url, amount) = (job.url.clone(), job.amount);
    job.on_two_threads(async move {
        let streamer = Streamer::connect(&url).await?;
        let listeners = Listeners::new().on(STREAM, RECEIVER, || async {});
        let retry = streamer.failed().retry(FailedFilter::all(), listeners);
        let begun = Instant::now();
        let summary = retry.run().await?;
        let took = begun.elapsed();
        ensure!(
            summary.retried == amount,
            "{} were retried, not {amount}",
            summary.retried
        );
        Ok(Reading::rate(amount, took))
    })
}
