//! Draining a backlog.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Result, ensure};
use redis::{AsyncConnectionConfig, streams::StreamReadReply};
use streamer::{Listeners, Listening, OrderKey, Payload, ReceivedMessage, StartAt, Streamer, Workers};
use tokio::sync::Notify;

use crate::{
    case::{Case, Contender, Job, RATE, RESIDENT, Reading, Target},
    message::{GROUP, Order, STREAM},
    peers::{self, apalis, ruststream, sea_streamer},
    raw,
};

const METRICS: &[&str] = &[RATE, RESIDENT];
pub(crate) const BACKLOG: u64 = 500_000;
const BATCH: u64 = 500;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "drain",
            title: "Drain 500,000 with a group and acknowledgements, one worker in order",
            about: "The handler does nothing. Raw reads 500 messages, acknowledges them with one command, and waits \
                    for each reply; the overlapped one sends the next read before the reply to the acknowledgement. \
                    The client library does the same with two commands in flight, and decodes the replies. The \
                    peers read a page of 1,000 at a time (apalis 500) and acknowledge page by page.",
            metrics: METRICS,
            amount: BACKLOG,
            contenders: vec![
                Contender::new("raw", |job| raw_drain(job, job.raw()?, false)).prepared(backlog),
                Contender::new("raw, overlapped", |job| raw_drain(job, job.raw()?, true)).prepared(backlog),
                Contender::new("streamer, multi-thread", |job| {
                    job.on_two_threads(ours(job.url.clone(), job.amount, Workers::InOrder, nothing))
                })
                .prepared(backlog),
                Contender::new("streamer, current-thread", |job| {
                    job.on_one_thread(ours(job.url.clone(), job.amount, Workers::InOrder, nothing))
                })
                .prepared(backlog),
                Contender::new("redis client, multi-thread", |job| {
                    job.on_two_threads(plain(job.url.clone(), job.amount))
                })
                .prepared(backlog)
                .share(0.4),
                Contender::new("redis client, current-thread", |job| {
                    job.on_one_thread(plain(job.url.clone(), job.amount))
                })
                .prepared(backlog)
                .share(0.4),
                Contender::new("sea-streamer, multi-thread", |job| {
                    let reading = job.on_two_threads(sea_streamer::drain(job.url.clone(), job.amount))?;
                    nothing_pending(job, peers::STREAM)?;
                    Ok(reading)
                })
                .prepared(sea_streamer::backlog)
                .share(0.5),
                Contender::new("sea-streamer, current-thread", |job| {
                    let reading = job.on_one_thread(sea_streamer::drain(job.url.clone(), job.amount))?;
                    nothing_pending(job, peers::STREAM)?;
                    Ok(reading)
                })
                .prepared(sea_streamer::backlog)
                .share(0.5),
                Contender::new("ruststream, multi-thread", |job| {
                    let reading = job.on_two_threads(ruststream::drain(job.url.clone(), job.amount))?;
                    nothing_pending(job, peers::STREAM)?;
                    Ok(reading)
                })
                .prepared(ruststream::backlog)
                .share(0.5),
                Contender::new("ruststream, current-thread", |job| {
                    let reading = job.on_one_thread(ruststream::drain(job.url.clone(), job.amount))?;
                    nothing_pending(job, peers::STREAM)?;
                    Ok(reading)
                })
                .prepared(ruststream::backlog)
                .share(0.5),
                Contender::new("apalis, multi-thread", |job| {
                    let reading = job.on_two_threads(apalis::drain(job.url.clone(), job.amount))?;
                    apalis::all_done(job)?;
                    Ok(reading)
                })
                .prepared(apalis::backlog)
                .share(0.2),
                Contender::new("apalis, current-thread", |job| {
                    let reading = job.on_one_thread(apalis::drain(job.url.clone(), job.amount))?;
                    apalis::all_done(job)?;
                    Ok(reading)
                })
                .prepared(apalis::backlog)
                .share(0.2),
            ],
            targets: vec![
                Target::at_least(0.60, "streamer, multi-thread", "raw"),
                Target::at_least(1.0, "streamer, multi-thread", "redis client, multi-thread"),
                Target::at_least(1.0, "streamer, current-thread", "redis client, current-thread"),
                Target::at_least(1.0, "streamer, multi-thread", "sea-streamer, multi-thread"),
                Target::at_least(1.0, "streamer, current-thread", "sea-streamer, current-thread"),
                Target::at_least(1.0, "streamer, multi-thread", "ruststream, multi-thread"),
                Target::at_least(1.0, "streamer, current-thread", "ruststream, current-thread"),
                Target::at_least(1.0, "streamer, multi-thread", "apalis, multi-thread"),
                Target::at_least(1.0, "streamer, current-thread", "apalis, current-thread"),
                Target::resident_below(50.0, "streamer, multi-thread"),
                Target::resident_below(50.0, "streamer, current-thread"),
            ],
        },
        Case {
            name: "drain-tls",
            title: "The same over TLS",
            about: "Raw reads 500 messages, acknowledges them with one command, and waits for each reply, on one \
                    connection of rustls; the overlapped one sends the next read before the reply to the \
                    acknowledgement.",
            metrics: METRICS,
            amount: BACKLOG,
            contenders: vec![
                Contender::new("raw", |job| raw_drain(job, job.raw_tls()?, false)).prepared(backlog),
                Contender::new("raw, overlapped", |job| raw_drain(job, job.raw_tls()?, true)).prepared(backlog),
                Contender::new("streamer, multi-thread", |job| {
                    job.on_two_threads(ours(job.tls_url.clone(), job.amount, Workers::InOrder, nothing))
                })
                .prepared(backlog),
                Contender::new("streamer, current-thread", |job| {
                    job.on_one_thread(ours(job.tls_url.clone(), job.amount, Workers::InOrder, nothing))
                })
                .prepared(backlog),
            ],
            targets: vec![
                Target::at_least(0.80, "streamer, multi-thread", "raw"),
                Target::at_least(0.80, "streamer, current-thread", "raw"),
                Target::resident_below(50.0, "streamer, multi-thread"),
                Target::resident_below(50.0, "streamer, current-thread"),
            ],
        },
        Case {
            name: "drain-workers",
            title: "The same with several workers, and with keyed workers",
            about: "Keyed workers keep messages with the same `id` in their order.",
            metrics: METRICS,
            amount: BACKLOG,
            contenders: vec![
                Contender::new("raw", |job| raw_drain(job, job.raw()?, false)).prepared(backlog),
                Contender::new("streamer, 1 worker", |job| {
                    job.on_two_threads(ours(job.url.clone(), job.amount, Workers::InOrder, nothing))
                })
                .prepared(backlog),
                Contender::new("streamer, 8 workers", |job| {
                    job.on_two_threads(ours(job.url.clone(), job.amount, Workers::AtOnce(8), nothing))
                })
                .prepared(backlog),
                Contender::new("streamer, 8 keyed workers", |job| {
                    let keyed = Workers::PerKey(8, OrderKey::new(ReceivedMessage::id));
                    job.on_two_threads(ours(job.url.clone(), job.amount, keyed, nothing))
                })
                .prepared(backlog),
            ],
            targets: vec![
                Target::at_least(0.8, "streamer, 8 workers", "streamer, 1 worker"),
                Target::at_least(0.8, "streamer, 8 keyed workers", "streamer, 1 worker"),
                Target::resident_below(50.0, "streamer, 8 workers"),
                Target::resident_below(50.0, "streamer, 8 keyed workers"),
            ],
        },
        Case {
            name: "drain-typed",
            title: "The same with the payload parsed into a struct",
            about: "The handler takes a `Payload<Order>`.",
            metrics: METRICS,
            amount: BACKLOG,
            contenders: vec![
                Contender::new("raw", |job| raw_drain(job, job.raw()?, false)).prepared(backlog),
                Contender::new("streamer, multi-thread", |job| {
                    job.on_two_threads(ours(job.url.clone(), job.amount, Workers::InOrder, typed))
                })
                .prepared(backlog),
                Contender::new("streamer, current-thread", |job| {
                    job.on_one_thread(ours(job.url.clone(), job.amount, Workers::InOrder, typed))
                })
                .prepared(backlog),
            ],
            targets: vec![
                Target::at_least(0.45, "streamer, multi-thread", "raw"),
                Target::resident_below(50.0, "streamer, multi-thread"),
            ],
        },
        Case {
            name: "drain-plain",
            title: "Listen to a backlog without a group",
            about: "Raw reads 500 at a time with XREAD.",
            metrics: METRICS,
            amount: BACKLOG,
            contenders: vec![
                Contender::new("raw", raw_plain).prepared(backlog),
                Contender::new("streamer, multi-thread", |job| {
                    job.on_two_threads(ours_without_group(job.url.clone(), job.amount))
                })
                .prepared(backlog),
                Contender::new("streamer, current-thread", |job| {
                    job.on_one_thread(ours_without_group(job.url.clone(), job.amount))
                })
                .prepared(backlog),
            ],
            targets: vec![Target::resident_below(50.0, "streamer, multi-thread")],
        },
    ]
}

/// A stream of messages, of which a group has been delivered none.
pub(crate) fn backlog(job: &Job) -> Result<()> {
    let mut connection = job.raw()?;
    let there = connection.ask(&["XLEN", STREAM])?;
    if there != format!(":{}\r\n", job.amount) {
        connection.call(&["FLUSHALL"], 1)?;
        raw::fill(&mut connection, STREAM, job.amount)?;
    }
    connection.ask(&["XGROUP", "DESTROY", STREAM, GROUP])?;
    connection.call(&["XGROUP", "CREATE", STREAM, GROUP, "0"], 1)
}

// ----- raw ------------------------------------------------------------------------------------------------------------

fn raw_drain(job: &Job, mut connection: raw::Connection, overlapped: bool) -> Result<Reading> {
    let batches = job.amount / BATCH;
    let read = raw::command(&[
        "XREADGROUP",
        "GROUP",
        GROUP,
        "raw",
        "COUNT",
        "500",
        "STREAMS",
        STREAM,
        ">",
    ]);
    let acks = (0..batches).map(|batch| raw::xack(STREAM, batch * BATCH, BATCH));
    let acks = acks.collect::<Vec<_>>();
    let begun = Instant::now();
    if overlapped {
        connection.send(&read)?;
        for (batch, mut ack) in acks.into_iter().enumerate() {
            connection.receive(raw::read_lines(BATCH as usize) + usize::from(batch > 0))?;
            if batch as u64 + 1 < batches {
                ack.extend_from_slice(&read);
            }
            connection.send(&ack)?;
        }
        connection.receive(1)?;
    } else {
        for ack in &acks {
            connection.send(&read)?;
            connection.receive(raw::read_lines(BATCH as usize))?;
            connection.send(ack)?;
            connection.receive(1)?;
        }
    }
    let took = begun.elapsed();
    nothing_pending(job, STREAM)?;
    Ok(Reading::rate(batches * BATCH, took))
}

fn raw_plain(job: &Job) -> Result<Reading> {
    let mut connection = job.raw()?;
    let batches = job.amount / BATCH;
    let reads = (0..batches).map(|batch| {
        let after = match batch {
            0 => "0".to_owned(),
            _ => raw::id(batch * BATCH - 1),
        };
        raw::command(&["XREAD", "COUNT", "500", "STREAMS", STREAM, &after])
    });
    let reads = reads.collect::<Vec<_>>();
    let begun = Instant::now();
    for read in &reads {
        connection.send(read)?;
        connection.receive(raw::read_lines(BATCH as usize))?;
    }
    Ok(Reading::rate(batches * BATCH, begun.elapsed()))
}

/// Everything was acknowledged.
pub(crate) fn nothing_pending(job: &Job, stream: &str) -> Result<()> {
    let pending = job.raw()?.ask(&["XPENDING", stream, GROUP])?;
    ensure!(
        pending.starts_with("*4\r\n:0\r\n"),
        "not everything was acknowledged: {pending}"
    );
    Ok(())
}

// ----- ours -----------------------------------------------------------------------------------------------------------

/// Tells when the last message was handled.
pub(crate) struct Countdown {
    left: AtomicU64,
    over: Notify,
}

impl Countdown {
    pub(crate) fn from(amount: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(amount),
            over: Notify::new(),
        })
    }

    /// Whether that was the last.
    pub(crate) fn one_less(&self) -> bool {
        let last = self.left.fetch_sub(1, Ordering::Relaxed) == 1;
        if last {
            self.over.notify_one();
        }
        last
    }

    pub(crate) async fn over(&self) {
        self.over.notified().await;
    }
}

/// Listeners of one stream that do nothing but count.
pub(crate) fn nothing(countdown: Arc<Countdown>) -> Listeners {
    Listeners::new().on(STREAM, "nothing", move || {
        countdown.one_less();
        async {}
    })
}

fn typed(countdown: Arc<Countdown>) -> Listeners {
    Listeners::new().on(STREAM, "typed", move |Payload(order): Payload<Order>| {
        std::hint::black_box(order);
        countdown.one_less();
        async {}
    })
}

pub(crate) async fn ours(
    url: String,
    amount: u64,
    workers: Workers,
    listeners: fn(Arc<Countdown>) -> Listeners,
) -> Result<Reading> {
    let streamer = Streamer::connect(&url).await?;
    let countdown = Countdown::from(amount);
    let listening = streamer
        .listen(listeners(countdown.clone()))
        .group(GROUP)
        .workers(workers);
    timed(listening, countdown, amount).await
}

/// With default settings.
pub(crate) async fn ours_in_order(url: String, amount: u64) -> Result<Reading> {
    ours(url, amount, Workers::InOrder, nothing).await
}

async fn ours_without_group(url: String, amount: u64) -> Result<Reading> {
    let streamer = Streamer::connect(&url).await?;
    let countdown = Countdown::from(amount);
    let listening = streamer.listen(nothing(countdown.clone())).start(StartAt::Beginning);
    timed(listening, countdown, amount).await
}

/// Listens until everything was handled; what was handled is acknowledged when it ends.
pub(crate) async fn timed(listening: Listening, countdown: Arc<Countdown>, amount: u64) -> Result<Reading> {
    let stop = listening.stop_handle();
    let begun = Instant::now();
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

// ----- the client under the same work -----------------------------------------------------------------------------------

async fn plain(url: String, amount: u64) -> Result<Reading> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(url)?;
    let mut reading = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut acknowledging = reading.clone();
    let begun = Instant::now();
    let mut handled = 0;
    let mut ids = Vec::new();
    while handled < amount {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg("plain").arg("COUNT").arg(BATCH);
        read.arg("STREAMS").arg(STREAM).arg(">");
        let mut ack = redis::cmd("XACK");
        ack.arg(STREAM).arg(GROUP).arg(&ids);
        let reply: StreamReadReply = if ids.is_empty() {
            read.query_async(&mut reading).await?
        } else {
            let (reply, _) = tokio::try_join!(
                read.query_async(&mut reading),
                ack.query_async::<u64>(&mut acknowledging)
            )?;
            reply
        };
        ids = reply
            .keys
            .into_iter()
            .flat_map(|stream| stream.ids)
            .map(|entry| entry.id)
            .collect();
        handled += ids.len() as u64;
    }
    let () = redis::cmd("XACK")
        .arg(STREAM)
        .arg(GROUP)
        .arg(&ids)
        .query_async(&mut reading)
        .await?;
    Ok(Reading::rate(amount, begun.elapsed()))
}
