//! Emitting.

use std::{collections::VecDeque, time::Instant};

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use redis::aio::ConnectionManager;
use streamer::Streamer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use crate::{
    bare,
    case::{Case, Contender, Job, Pinned, RATE, RESIDENT, Reading, Target},
    message::{self, Order, STREAM},
    peers::{apalis, ruststream, sea_streamer},
    raw,
};

const METRICS: &[&str] = &[RATE, RESIDENT];
const TASKS: u64 = 64;
const PIPELINE: u64 = 512;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        one_at_a_time(
            "emit-one-same-core",
            "Emit one at a time, client and server on the same core",
            Pinned {
                server: 0,
                contender: 0,
            },
        ),
        one_at_a_time(
            "emit-one-other-core",
            "Emit one at a time, client and server on different cores",
            Pinned {
                server: 0,
                contender: 1,
            },
        ),
        Case {
            name: "emit-tasks",
            title: "Emit from 64 tasks",
            about: "64 tasks emit at once, each awaiting every emit. Raw keeps 64 commands in flight on one connection.",
            metrics: METRICS,
            amount: 300_000,
            contenders: vec![
                Contender::new("raw", |job| raw_in_flight(job.raw()?, job.amount, TASKS)),
                Contender::new("streamer, multi-thread", |job| {
                    job.on_two_threads(ours_from_tasks(job.url.clone(), job.amount))
                }),
                Contender::new("streamer, current-thread", |job| {
                    job.on_one_thread(ours_from_tasks(job.url.clone(), job.amount))
                }),
                Contender::new("redis client, multi-thread", |job| {
                    job.on_two_threads(plain_from_tasks(job.url.clone(), job.amount))
                }),
                Contender::new("redis client, current-thread", |job| {
                    job.on_one_thread(plain_from_tasks(job.url.clone(), job.amount))
                }),
                Contender::new("sea-streamer, multi-thread", |job| {
                    job.on_two_threads(sea_streamer::emit_from_tasks(job.url.clone(), job.amount, TASKS))
                }),
                Contender::new("sea-streamer, current-thread", |job| {
                    job.on_one_thread(sea_streamer::emit_from_tasks(job.url.clone(), job.amount, TASKS))
                }),
                Contender::new("ruststream, multi-thread", |job| {
                    job.on_two_threads(ruststream::emit_from_tasks(job.url.clone(), job.amount, TASKS))
                })
                .share(0.5),
                Contender::new("ruststream, current-thread", |job| {
                    job.on_one_thread(ruststream::emit_from_tasks(job.url.clone(), job.amount, TASKS))
                })
                .share(0.5),
                Contender::new("apalis, multi-thread", |job| {
                    job.on_two_threads(apalis::emit_from_tasks(job.url.clone(), job.amount, TASKS))
                })
                .share(0.3),
                Contender::new("apalis, current-thread", |job| {
                    job.on_one_thread(apalis::emit_from_tasks(job.url.clone(), job.amount, TASKS))
                })
                .share(0.3),
            ],
            targets: vec![
                Target::at_least(0.75, "streamer, multi-thread", "raw"),
                Target::at_least(0.90, "streamer, current-thread", "raw"),
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
            name: "emit-tasks-tls",
            title: "Emit from 64 tasks over TLS",
            about: "The same over TLS. Raw keeps 64 commands in flight on one connection of rustls.",
            metrics: METRICS,
            amount: 300_000,
            contenders: vec![
                Contender::new("raw", |job| raw_in_flight(job.raw_tls()?, job.amount, TASKS)),
                Contender::new("streamer, multi-thread", |job| {
                    job.on_two_threads(ours_from_tasks(job.tls_url.clone(), job.amount))
                }),
                Contender::new("streamer, current-thread", |job| {
                    job.on_one_thread(ours_from_tasks(job.tls_url.clone(), job.amount))
                }),
            ],
            targets: vec![
                Target::at_least(0.80, "streamer, multi-thread", "raw"),
                Target::at_least(0.80, "streamer, current-thread", "raw"),
                Target::resident_below(50.0, "streamer, multi-thread"),
                Target::resident_below(50.0, "streamer, current-thread"),
            ],
        },
        Case {
            name: "emit-all",
            title: "Emit 100,000 with one call",
            about: "`emit_all` from an iterator. Raw keeps 512 commands in flight on one connection; the client \
                    sends pipelines of 500, two in flight. sea-streamer puts all events into its queue; ruststream \
                    sends transactions of 512, two in flight, on two threads, and 512 commands in flight on one; \
                    apalis pushes 100 at a time, two in flight.",
            metrics: METRICS,
            amount: 100_000,
            contenders: vec![
                Contender::new("raw", |job| raw_in_flight(job.raw()?, job.amount, PIPELINE)),
                Contender::new("streamer, multi-thread", |job| {
                    job.on_two_threads(ours_all(job.url.clone(), job.amount))
                }),
                Contender::new("streamer, current-thread", |job| {
                    job.on_one_thread(ours_all(job.url.clone(), job.amount))
                }),
                Contender::new("redis client, multi-thread", |job| {
                    job.on_two_threads(plain_pipelines(job.url.clone(), job.amount))
                }),
                Contender::new("redis client, current-thread", |job| {
                    job.on_one_thread(plain_pipelines(job.url.clone(), job.amount))
                }),
                Contender::new("sea-streamer, multi-thread", |job| {
                    job.on_two_threads(sea_streamer::emit_all(job.url.clone(), job.amount))
                }),
                Contender::new("sea-streamer, current-thread", |job| {
                    job.on_one_thread(sea_streamer::emit_all(job.url.clone(), job.amount))
                }),
                Contender::new("ruststream, multi-thread", |job| {
                    job.on_two_threads(ruststream::emit_transactions(job.url.clone(), job.amount))
                }),
                Contender::new("ruststream, current-thread", |job| {
                    job.on_one_thread(ruststream::emit_in_flight(job.url.clone(), job.amount))
                }),
                Contender::new("apalis, multi-thread", |job| {
                    job.on_two_threads(apalis::emit_all(job.url.clone(), job.amount))
                }),
                Contender::new("apalis, current-thread", |job| {
                    job.on_one_thread(apalis::emit_all(job.url.clone(), job.amount))
                }),
            ],
            targets: vec![
                Target::at_least(0.90, "streamer, multi-thread", "raw"),
                Target::resident_below(50.0, "streamer, multi-thread"),
            ],
        },
        Case {
            name: "emit-replayable",
            title: "Emit replayable events",
            about: "64 tasks emit events, each with a snapshot in the same atomic step. Raw keeps 64 pairs of XADD \
                    and LPUSH in flight; a crash between the two commands would leave one without the other.",
            metrics: METRICS,
            amount: 100_000,
            contenders: vec![
                Contender::new("raw", raw_replayable),
                Contender::new("streamer, multi-thread", |job| {
                    job.on_two_threads(ours_replayable(job.url.clone(), job.amount))
                }),
                Contender::new("streamer, current-thread", |job| {
                    job.on_one_thread(ours_replayable(job.url.clone(), job.amount))
                }),
            ],
            targets: vec![Target::resident_below(50.0, "streamer, multi-thread")],
        },
    ]
}

fn one_at_a_time(name: &'static str, title: &'static str, pinned: Pinned) -> Case {
    Case {
        name,
        title,
        about: "Each emit is awaited before the next. The bare tokio socket sends the same encoded command each \
                time and looks at the first byte of the reply: no asynchronous client can do less. A second program \
                on a bare socket also encodes each event in the wire format: no emit can do less.",
        metrics: METRICS,
        amount: 30_000,
        contenders: vec![
            Contender::new("raw", |job| raw_in_flight(job.raw()?, job.amount, 1)).pinned(pinned),
            Contender::new("bare tokio socket, multi-thread", |job| {
                job.on_two_threads(bare_tokio(job.url.clone(), job.amount))
            })
            .pinned(pinned),
            Contender::new("bare tokio socket, current-thread", |job| {
                job.on_one_thread(bare_tokio(job.url.clone(), job.amount))
            })
            .pinned(pinned),
            Contender::new("bare tokio socket, encoding, multi-thread", |job| {
                job.on_two_threads(bare_tokio_encoding(job.url.clone(), job.amount))
            })
            .pinned(pinned),
            Contender::new("bare tokio socket, encoding, current-thread", |job| {
                job.on_one_thread(bare_tokio_encoding(job.url.clone(), job.amount))
            })
            .pinned(pinned),
            Contender::new("streamer, multi-thread", |job| {
                job.on_two_threads(ours_one(job.url.clone(), job.amount))
            })
            .pinned(pinned),
            Contender::new("streamer, current-thread", |job| {
                job.on_one_thread(ours_one(job.url.clone(), job.amount))
            })
            .pinned(pinned),
            Contender::new("redis client, multi-thread", |job| {
                job.on_two_threads(plain_one(job.url.clone(), job.amount))
            })
            .pinned(pinned),
            Contender::new("redis client, current-thread", |job| {
                job.on_one_thread(plain_one(job.url.clone(), job.amount))
            })
            .pinned(pinned),
        ],
        targets: vec![
            Target::at_least(0.90, "streamer, multi-thread", "raw"),
            Target::resident_below(50.0, "streamer, multi-thread"),
        ],
    }
}

// ----- raw ------------------------------------------------------------------------------------------------------------

fn raw_in_flight(mut connection: raw::Connection, amount: u64, in_flight: u64) -> Result<Reading> {
    let one = raw::xadd(STREAM, "*");
    // Half of what is in flight is sent while the other half is answered.
    let half = (in_flight / 2).max(1);
    let batch = one.repeat(half as usize);
    let batches = amount / half;
    let ahead = in_flight / half;
    let begun = Instant::now();
    for sent in 0..batches {
        if sent >= ahead {
            connection.receive(half as usize * raw::XADD_LINES)?;
        }
        connection.send(&batch)?;
    }
    connection.receive((ahead.min(batches) * half) as usize * raw::XADD_LINES)?;
    Ok(Reading::rate(batches * half, begun.elapsed()))
}

async fn bare_tokio(url: String, amount: u64) -> Result<Reading> {
    let command = raw::xadd(STREAM, "*");
    bare_exchanges(url, amount, |_, bytes| {
        bytes.extend_from_slice(&command);
        Ok(())
    })
    .await
}

async fn bare_tokio_encoding(url: String, amount: u64) -> Result<Reading> {
    bare_exchanges(url, amount, |id, bytes| bare::xadd("*", &order(id), bytes)).await
}

/// One command after the other, each as `command` writes it.
async fn bare_exchanges(
    url: String,
    amount: u64,
    command: impl Fn(u64, &mut Vec<u8>) -> Result<()>,
) -> Result<Reading> {
    let mut socket = bare::open(&url).await?;
    let (mut bytes, mut reply) = (Vec::new(), [0; 64]);
    let begun = Instant::now();
    for id in 0..amount {
        bytes.clear();
        command(id, &mut bytes)?;
        socket.write_all(&bytes).await?;
        let read = socket.read(&mut reply).await?;
        ensure!(reply[..read].starts_with(b"$"), "the server refused a command");
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

fn raw_replayable(job: &Job) -> Result<Reading> {
    let mut connection = job.raw()?;
    let snapshot = raw::command(&["LPUSH", "order.placed-123", r#"{"key":"x","created":1795407980}"#]);
    let batch = [raw::xadd(STREAM, "*"), snapshot].concat().repeat(32);
    let batches = job.amount / 32;
    let begun = Instant::now();
    for sent in 0..batches {
        if sent >= 2 {
            connection.receive(32 * (raw::XADD_LINES + 1))?;
        }
        connection.send(&batch)?;
    }
    connection.receive(64 * (raw::XADD_LINES + 1))?;
    Ok(Reading::rate(batches * 32, begun.elapsed()))
}

// ----- ours -----------------------------------------------------------------------------------------------------------

async fn ours(url: &str) -> Result<Streamer> {
    Ok(Streamer::builder().url(url).domain("shop").connect().await?)
}

pub(crate) async fn ours_one(url: String, amount: u64) -> Result<Reading> {
    let streamer = ours(&url).await?;
    let begun = Instant::now();
    for id in 0..amount {
        streamer.emit(&order(id)).await?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

pub(crate) async fn ours_from_tasks(url: String, amount: u64) -> Result<Reading> {
    let streamer = ours(&url).await?;
    let begun = Instant::now();
    let tasks = (0..TASKS).map(|task| {
        let streamer = streamer.clone();
        tokio::spawn(async move {
            for id in (task..amount).step_by(TASKS as usize) {
                streamer.emit(&order(id)).await?;
            }
            anyhow::Ok(())
        })
    });
    for done in try_join_all(tasks).await? {
        done?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

pub(crate) async fn ours_all(url: String, amount: u64) -> Result<Reading> {
    let streamer = ours(&url).await?;
    let begun = Instant::now();
    streamer.emit_all((0..amount).map(order)).await?;
    Ok(Reading::rate(amount, begun.elapsed()))
}

async fn ours_replayable(url: String, amount: u64) -> Result<Reading> {
    let streamer = ours(&url).await?;
    let begun = Instant::now();
    let tasks = (0..TASKS).map(|task| {
        let streamer = streamer.clone();
        tokio::spawn(async move {
            for id in (task..amount).step_by(TASKS as usize) {
                streamer.emit_replayable(&order(id % 1000)).await?;
            }
            anyhow::Ok(())
        })
    });
    for done in try_join_all(tasks).await? {
        done?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

fn order(id: u64) -> Order {
    Order { id, ..Order::default() }
}

// ----- the client under the same work -----------------------------------------------------------------------------------

/// With fields that are ready: it neither encodes a payload nor makes a hash of it.
fn plain_xadd() -> redis::Cmd {
    let mut command = redis::cmd("XADD");
    command.arg(STREAM).arg("*");
    for (name, value) in message::fields() {
        command.arg(name).arg(value);
    }
    command
}

async fn plain(url: &str) -> Result<ConnectionManager> {
    Ok(ConnectionManager::new(redis::Client::open(url)?).await?)
}

async fn plain_one(url: String, amount: u64) -> Result<Reading> {
    let mut connection = plain(&url).await?;
    let begun = Instant::now();
    for _ in 0..amount {
        let _: String = plain_xadd().query_async(&mut connection).await?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

async fn plain_from_tasks(url: String, amount: u64) -> Result<Reading> {
    let connection = plain(&url).await?;
    let begun = Instant::now();
    let tasks = (0..TASKS).map(|task| {
        let mut connection = connection.clone();
        tokio::spawn(async move {
            for _ in (task..amount).step_by(TASKS as usize) {
                let _: String = plain_xadd().query_async(&mut connection).await?;
            }
            anyhow::Ok(())
        })
    });
    for done in try_join_all(tasks).await? {
        done?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

async fn plain_pipelines(url: String, amount: u64) -> Result<Reading> {
    let connection = plain(&url).await?;
    let begun = Instant::now();
    let mut under_way = VecDeque::new();
    let mut emitted = 0;
    while emitted < amount {
        if under_way.len() == 2
            && let Some(first) = under_way.pop_front()
        {
            answered(first).await?;
        }
        let many = 500.min(amount - emitted);
        let mut pipeline = redis::Pipeline::with_capacity(many as usize);
        for _ in 0..many {
            pipeline.add_command(plain_xadd());
        }
        let mut connection = connection.clone();
        under_way.push_back(tokio::spawn(async move { pipeline.query_async(&mut connection).await }));
        emitted += many;
    }
    for last in under_way {
        answered(last).await?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

async fn answered(pipeline: JoinHandle<redis::RedisResult<Vec<String>>>) -> Result<()> {
    pipeline.await??;
    Ok(())
}
