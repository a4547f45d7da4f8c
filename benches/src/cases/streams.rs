//! Draining many streams with one listener.

use std::{sync::Arc, time::Instant};

use anyhow::Result;
use streamer::{Listeners, Streamer};

use crate::{
    case::{Case, Contender, Job, RATE, RESIDENT, Reading, Target},
    cases::drain::{self, Countdown},
    message::GROUP,
    raw,
};

const STREAMS: u64 = 100;
/// Of each stream.
const AT_ONCE: u64 = 5;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case {
        name: "drain-streams",
        title: "Drain 500,000 from 100 streams with one listener, one worker in order",
        about: "The handler does nothing. Raw reads 5 messages of each stream with one command and acknowledges them with \
                one pipeline of 100 commands, in turn.",
        metrics: &[RATE, RESIDENT],
        amount: drain::BACKLOG,
        contenders: vec![
            Contender::new("raw", raw_drain).prepared(backlog),
            Contender::new("streamer, 100 streams, multi-thread", |job| {
                let reading = job.on_two_threads(ours(job.url.clone(), job.amount))?;
                nothing_pending(job)?;
                Ok(reading)
            })
            .prepared(backlog),
            Contender::new("streamer, 100 streams, current-thread", |job| {
                let reading = job.on_one_thread(ours(job.url.clone(), job.amount))?;
                nothing_pending(job)?;
                Ok(reading)
            })
            .prepared(backlog),
            Contender::new("streamer, 1 stream, multi-thread", |job| {
                job.on_two_threads(drain::ours_in_order(job.url.clone(), job.amount))
            })
            .prepared(drain::backlog),
            Contender::new("streamer, 1 stream, current-thread", |job| {
                job.on_one_thread(drain::ours_in_order(job.url.clone(), job.amount))
            })
            .prepared(drain::backlog),
        ],
        targets: vec![
            Target::at_least(
                0.8,
                "streamer, 100 streams, multi-thread",
                "streamer, 1 stream, multi-thread",
            ),
            Target::at_least(
                0.8,
                "streamer, 100 streams, current-thread",
                "streamer, 1 stream, current-thread",
            ),
            Target::resident_below(50.0, "streamer, 100 streams, multi-thread"),
        ],
    }]
}

fn names() -> impl Iterator<Item = String> {
    (0..STREAMS).map(|number| format!("order.placed.{number}"))
}

/// Streams of messages, of which a group has been delivered none.
fn backlog(job: &Job) -> Result<()> {
    let of_each = job.amount / STREAMS;
    let mut connection = job.raw()?;
    let there = connection.ask(&["XLEN", "order.placed.0"])?;
    if there != format!(":{of_each}\r\n") {
        connection.call(&["FLUSHALL"], 1)?;
        for name in names() {
            raw::fill(&mut connection, &name, of_each)?;
        }
    }
    for name in names() {
        connection.ask(&["XGROUP", "DESTROY", &name, GROUP])?;
        connection.call(&["XGROUP", "CREATE", &name, GROUP, "0"], 1)?;
    }
    Ok(())
}

fn nothing_pending(job: &Job) -> Result<()> {
    names().try_for_each(|name| drain::nothing_pending(job, &name))
}

fn raw_drain(job: &Job) -> Result<Reading> {
    let mut connection = job.raw()?;
    let names = names().collect::<Vec<_>>();
    let mut read = vec!["XREADGROUP", "GROUP", GROUP, "raw", "COUNT", "5", "STREAMS"];
    read.extend(names.iter().map(String::as_str));
    read.extend(names.iter().map(|_| ">"));
    let read = raw::command(&read);
    let rounds = job.amount / STREAMS / AT_ONCE;
    let acks = (0..rounds).map(|round| {
        let acks = names.iter().flat_map(|name| raw::xack(name, round * AT_ONCE, AT_ONCE));
        acks.collect::<Vec<_>>()
    });
    let acks = acks.collect::<Vec<_>>();
    // The streams, and for each what a reply of one stream has after its first line.
    let lines = 1 + STREAMS as usize * (raw::read_lines(AT_ONCE as usize) - 1);
    let begun = Instant::now();
    for ack in &acks {
        connection.send(&read)?;
        connection.receive(lines)?;
        connection.send(ack)?;
        connection.receive(STREAMS as usize)?;
    }
    let took = begun.elapsed();
    nothing_pending(job)?;
    Ok(Reading::rate(rounds * STREAMS * AT_ONCE, took))
}

async fn ours(url: String, amount: u64) -> Result<Reading> {
    let streamer = Streamer::connect(&url).await?;
    let countdown = Countdown::from(amount);
    let listening = streamer.listen(nothing(&countdown)).group(GROUP);
    drain::timed(listening, countdown, amount).await
}

/// Listeners of all streams that do nothing but count.
fn nothing(countdown: &Arc<Countdown>) -> Listeners {
    names().fold(Listeners::new(), |listeners, name| {
        let countdown = countdown.clone();
        listeners.on(name, "nothing", move || {
            countdown.one_less();
            async {}
        })
    })
}
