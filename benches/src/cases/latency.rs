//! The time from emit to handler, between two processes.

use std::{
    borrow::Cow,
    future::Future,
    process::{Stdio, exit},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use redis::{
    AsyncConnectionConfig,
    aio::ConnectionManager,
    streams::{StreamId, StreamReadReply},
};
use serde::{Deserialize, Serialize};
use streamer::{Event, Listeners, Payload, Streamer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
};

use crate::{
    bare,
    case::{Case, Contender, Job, Reading, Target},
    cases::drain::Countdown,
    message::{self, GROUP, STREAM},
    peers::{self, apalis, ruststream, sea_streamer},
    raw,
};

const P50: &str = "p50_us";
const P99: &str = "p99_us";
const P999: &str = "p999_us";
/// How long the producer leaves the consumer for its start.
const START: Duration = Duration::from_millis(500);

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "latency-1000",
            title: "From emit to handler, 1,000 messages a second",
            about: "Producer and consumer are two processes. A message carries the time right before it was \
                    emitted; the handler compares that with its own clock. The first eleventh of the messages is \
                    not counted. Raw blocks in XREADGROUP and acknowledges each reply with XACK, as the client \
                    library does; the bare tokio sockets do what raw does, and encode each event: no asynchronous \
                    program can do less; apalis polls every millisecond.",
            metrics: &[P50, P99, P999],
            amount: 5_500,
            contenders: contenders::<1000>(bare_sockets()),
            targets: targets(),
        },
        Case {
            name: "latency-20000",
            title: "From emit to handler, 20,000 messages a second",
            about: "The same with 20 messages every millisecond. Raw writes the 20 with one call; the others emit \
                    them concurrently and await the replies in the background.",
            metrics: &[P50, P99, P999],
            amount: 44_000,
            contenders: contenders::<20_000>(Vec::new()),
            targets: Vec::new(),
        },
    ]
}

fn targets() -> Vec<Target> {
    const MULTI: &str = "streamer, multi-thread";
    const CURRENT: &str = "streamer, current-thread";
    let at_most =
        |ratio, contender, against| [P50, P99].map(|metric| Target::at_most(ratio, metric, contender, against));
    [
        at_most(1.1, MULTI, "redis client, multi-thread"),
        at_most(1.1, CURRENT, "redis client, current-thread"),
        at_most(1.6, CURRENT, "raw"),
        at_most(1.0, MULTI, "sea-streamer, multi-thread"),
        at_most(1.0, CURRENT, "sea-streamer, current-thread"),
        at_most(1.0, MULTI, "ruststream, multi-thread"),
        at_most(1.0, CURRENT, "ruststream, current-thread"),
        at_most(1.0, MULTI, "apalis, multi-thread"),
        at_most(1.0, CURRENT, "apalis, current-thread"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The least that asynchronous programs do, where messages come one by one.
fn bare_sockets() -> Vec<Contender> {
    vec![
        Contender::new("bare tokio socket, multi-thread", |job| {
            let producer = |job: &Job| job.on_two_threads(produce(bare_emitter(job.url.clone()), job.amount, 1000));
            between(job, producer, |job, times| {
                job.on_two_threads(bare_consume(job.url.clone(), times))
            })
        }),
        Contender::new("bare tokio socket, current-thread", |job| {
            let producer = |job: &Job| job.on_one_thread(produce(bare_emitter(job.url.clone()), job.amount, 1000));
            between(job, producer, |job, times| {
                job.on_one_thread(bare_consume(job.url.clone(), times))
            })
        }),
    ]
}

/// All, and some more, at so many messages a second.
fn contenders<const RATE: u64>(more: Vec<Contender>) -> Vec<Contender> {
    let raw = Contender::new("raw", |job| between(job, |job| raw_produce(job, RATE), raw_consume));
    let others = vec![
        Contender::new("streamer, multi-thread", |job| {
            let producer = |job: &Job| job.on_two_threads(produce(emitter(job.url.clone()), job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_two_threads(consume(job.url.clone(), times))
            })
        }),
        Contender::new("streamer, current-thread", |job| {
            let producer = |job: &Job| job.on_one_thread(produce(emitter(job.url.clone()), job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_one_thread(consume(job.url.clone(), times))
            })
        }),
        Contender::new("redis client, multi-thread", |job| {
            let producer = |job: &Job| job.on_two_threads(produce(plain_emitter(job.url.clone()), job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_two_threads(plain_consume(job.url.clone(), times))
            })
        }),
        Contender::new("redis client, current-thread", |job| {
            let producer = |job: &Job| job.on_one_thread(produce(plain_emitter(job.url.clone()), job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_one_thread(plain_consume(job.url.clone(), times))
            })
        }),
        Contender::new("sea-streamer, multi-thread", |job| {
            let emitter = sea_streamer::emitter(job.url.clone());
            let producer = |job: &Job| job.on_two_threads(produce(emitter, job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_two_threads(sea_streamer::listen(job.url.clone(), move |payload| {
                    times.of_payload(payload)
                }))
            })
        }),
        Contender::new("sea-streamer, current-thread", |job| {
            let emitter = sea_streamer::emitter(job.url.clone());
            let producer = |job: &Job| job.on_one_thread(produce(emitter, job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_one_thread(sea_streamer::listen(job.url.clone(), move |payload| {
                    times.of_payload(payload)
                }))
            })
        }),
        Contender::new("ruststream, multi-thread", |job| {
            let emitter = ruststream::emitter(job.url.clone());
            let producer = |job: &Job| job.on_two_threads(produce(emitter, job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_two_threads(ruststream::listen(job.url.clone(), move |payload| {
                    times.of_payload(payload)
                }))
            })
        }),
        Contender::new("ruststream, current-thread", |job| {
            let emitter = ruststream::emitter(job.url.clone());
            let producer = |job: &Job| job.on_one_thread(produce(emitter, job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_one_thread(ruststream::listen(job.url.clone(), move |payload| {
                    times.of_payload(payload)
                }))
            })
        }),
        Contender::new("apalis, multi-thread", |job| {
            let emitter = apalis::emitter(job.url.clone());
            let producer = |job: &Job| job.on_two_threads(produce(emitter, job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_two_threads(apalis::listen(job.url.clone(), move |at| times.of(at)))
            })
        }),
        Contender::new("apalis, current-thread", |job| {
            let emitter = apalis::emitter(job.url.clone());
            let producer = |job: &Job| job.on_one_thread(produce(emitter, job.amount, RATE));
            between(job, producer, |job, times| {
                job.on_one_thread(apalis::listen(job.url.clone(), move |at| times.of(at)))
            })
        }),
    ];
    let all = [raw].into_iter().chain(more).chain(others);
    all.map(|contender| contender.prepared(groups)).collect()
}

/// Empty streams with a group, ours and the peers'.
fn groups(job: &Job) -> Result<()> {
    let mut connection = job.raw()?;
    connection.call(&["FLUSHALL"], 1)?;
    for stream in [STREAM, peers::STREAM] {
        connection.call(&["XGROUP", "CREATE", stream, GROUP, "0", "MKSTREAM"], 1)?;
    }
    Ok(())
}

// ----- both sides -----------------------------------------------------------------------------------------------------

/// This process consumes; it starts another that produces.
fn between(
    job: &Job,
    produce: impl FnOnce(&Job) -> Result<()>,
    consume: impl FnOnce(&Job, Arc<Times>) -> Result<()>,
) -> Result<Reading> {
    if job.role.is_some() {
        produce(job)?;
        return Ok(Reading::default());
    }
    let mut producer = job.other_process("produce")?;
    let mut producer = producer.stdout(Stdio::null()).spawn().context("start the producer")?;
    // A consumer does not learn by itself that nothing more will come.
    std::thread::spawn(move || {
        if producer.wait().is_ok_and(|status| status.success()) {
            std::thread::sleep(Duration::from_secs(60));
            eprintln!("not everything arrived");
        }
        exit(1)
    });
    let times = Arc::new(Times::of_so_many(job.amount));
    consume(job, times.clone())?;
    times.reading()
}

fn now() -> u64 {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    now.as_nanos() as u64
}

/// How long messages took.
struct Times {
    amount: u64,
    taken: Mutex<Vec<u64>>,
}

impl Times {
    fn of_so_many(amount: u64) -> Self {
        let taken = Mutex::new(Vec::with_capacity(amount as usize));
        Self { amount, taken }
    }

    /// Records the time since a message was emitted; whether that was the last message.
    fn of(&self, at: u64) -> bool {
        let took = now().saturating_sub(at);
        let Ok(mut taken) = self.taken.lock() else {
            return true;
        };
        taken.push(took);
        taken.len() as u64 == self.amount
    }

    fn of_payload(&self, payload: &[u8]) -> bool {
        // Without a time it counts as one that took for ever.
        self.of(stamps(payload).next().unwrap_or(0))
    }

    fn reading(&self) -> Result<Reading> {
        let Ok(taken) = self.taken.lock() else {
            bail!("a handler panicked");
        };
        let mut taken = taken[taken.len() / 11..].to_vec();
        taken.sort_unstable();
        let at = |part: f64| {
            let index = (taken.len() as f64 * part) as usize;
            let took = taken.get(index).context("nothing arrived")?;
            anyhow::Ok(*took as f64 / 1000.0)
        };
        Ok(Reading::default()
            .with(P50, at(0.5)?)
            .with(P99, at(0.99)?)
            .with(P999, at(0.999)?))
    }
}

/// All numbers that follow `"at":`.
fn stamps(text: &[u8]) -> impl Iterator<Item = u64> {
    const BEFORE: &[u8] = br#""at":"#;
    let mut rest = text;
    std::iter::from_fn(move || {
        let found = rest.windows(BEFORE.len()).position(|window| window == BEFORE)?;
        rest = &rest[found + BEFORE.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    })
}

/// Emits one message that was made at that time.
pub(crate) trait Emit: Send + Sync + Clone + 'static {
    fn emit(&self, at: u64) -> impl Future<Output = Result<()>> + Send;
}

impl<E, Emitted> Emit for E
where
    E: Fn(u64) -> Emitted + Send + Sync + Clone + 'static,
    Emitted: Future<Output = Result<()>> + Send,
{
    fn emit(&self, at: u64) -> impl Future<Output = Result<()>> + Send {
        self(at)
    }
}

/// Every millisecond those that are due by then: all at once, and without waiting before the next millisecond.
async fn produce(emitter: impl Future<Output = Result<impl Emit>>, amount: u64, rate: u64) -> Result<()> {
    let emitter = emitter.await?;
    tokio::time::sleep(START).await;
    let begun = tokio::time::Instant::now();
    let mut under_way = JoinSet::new();
    let mut emitted = 0;
    for tick in 1.. {
        tokio::time::sleep_until(begun + Duration::from_millis(tick)).await;
        let due = (tick * rate / 1000).min(amount);
        let many = due - emitted;
        let emitter = emitter.clone();
        under_way.spawn(async move {
            let emit_one = |_| async { emitter.emit(now()).await };
            try_join_all((0..many).map(emit_one)).await
        });
        emitted = due;
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
        if emitted == amount {
            break;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

// ----- raw ------------------------------------------------------------------------------------------------------------

fn raw_produce(job: &Job, rate: u64) -> Result<()> {
    let mut connection = job.raw()?;
    // As long as a time; it is put in its place right before sending.
    let place = b"1000000000000000000";
    let data = Timed::emitted(1_000_000_000_000_000_000);
    let data = serde_json::to_string(&data)?;
    let fields = message::fields_with(&data);
    std::thread::sleep(START);
    let begun = Instant::now();
    let (mut emitted, mut unanswered) = (0, 0);
    for tick in 1.. {
        let due = (tick * rate / 1000).min(job.amount);
        let mut commands = (emitted..due)
            .flat_map(|index| raw::xadd_with(STREAM, &raw::id(index), &fields))
            .collect::<Vec<_>>();
        let positions = commands.windows(place.len()).enumerate();
        let positions = positions.filter(|(_, window)| window == place).map(|(index, _)| index);
        let positions = positions.collect::<Vec<_>>();
        connection.receive(unanswered * raw::XADD_LINES)?;
        let at = begun + Duration::from_millis(tick);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        for position in positions {
            commands[position..][..place.len()].copy_from_slice(now().to_string().as_bytes());
        }
        connection.send(&commands)?;
        unanswered = (due - emitted) as usize;
        emitted = due;
        if emitted == job.amount {
            break;
        }
    }
    connection.receive(unanswered * raw::XADD_LINES)
}

/// It looks only for the times, and knows the IDs beforehand.
fn raw_consume(job: &Job, times: Arc<Times>) -> Result<()> {
    let mut connection = job.raw()?;
    let mut consumer = RawConsumer::new(times);
    connection.send(&consumer.read)?;
    while !consumer.is_done() {
        connection.receive_piece(&mut consumer.reply)?;
        if let Some(commands) = consumer.handle()? {
            connection.send(&commands)?;
        }
    }
    connection.receive(1)
}

/// What is read, and what is sent for it.
struct RawConsumer {
    times: Arc<Times>,
    read: Vec<u8>,
    reply: Vec<u8>,
    handled: u64,
}

impl RawConsumer {
    fn new(times: Arc<Times>) -> Self {
        let before = ["XREADGROUP", "GROUP", GROUP, "raw", "BLOCK", "0", "COUNT", "500"];
        let read = [&before[..], &["STREAMS", STREAM, ">"]].concat();
        Self {
            times,
            read: raw::command(&read),
            reply: Vec::new(),
            handled: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.handled == self.times.amount
    }

    /// Handles the reply, if it is all there, and gives the acknowledgement and the next read.
    fn handle(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(entries) = complete(&self.reply)? else {
            return Ok(None);
        };
        for at in stamps(&self.reply) {
            self.times.of(at);
        }
        self.reply.clear();
        let mut commands = raw::xack(STREAM, self.handled, entries);
        self.handled += entries;
        if !self.is_done() {
            commands.extend_from_slice(&self.read);
        }
        Ok(Some(commands))
    }
}

/// How many entries a reply to `XREADGROUP` has, if it is all there; it may stand behind the reply to an `XACK`.
fn complete(reply: &[u8]) -> Result<Option<u64>> {
    let text = std::str::from_utf8(reply).context("a reply of text")?;
    if text.starts_with('-') {
        bail!("the server said {text}");
    }
    let list = text
        .split_once(&format!("{STREAM}\r\n*"))
        .and_then(|(_, list)| list.split_once("\r\n"));
    let Some((entries, _)) = list else {
        return Ok(None);
    };
    let entries = entries.parse::<u64>().context("a number of entries")?;
    let acknowledged = usize::from(text.starts_with(':'));
    let lines = text.matches('\n').count();
    Ok((lines == acknowledged + raw::read_lines(entries as usize)).then_some(entries))
}

// ----- the same on bare tokio sockets ---------------------------------------------------------------------------------

/// It encodes each event, which raw does not.
async fn bare_emitter(url: String) -> Result<impl Emit> {
    let socket = Arc::new(tokio::sync::Mutex::new((bare::open(&url).await?, 0)));
    Ok(move |at: u64| {
        let socket = socket.clone();
        async move {
            let (socket, emitted) = &mut *socket.lock().await;
            let (mut command, mut reply) = (Vec::new(), [0; 64]);
            bare::xadd(&raw::id(*emitted), &Timed::emitted(at), &mut command)?;
            *emitted += 1;
            socket.write_all(&command).await?;
            let read = socket.read(&mut reply).await?;
            ensure!(reply[..read].starts_with(b"$"), "the server refused a command");
            Ok(())
        }
    })
}

async fn bare_consume(url: String, times: Arc<Times>) -> Result<()> {
    let mut socket = bare::open(&url).await?;
    let mut consumer = RawConsumer::new(times);
    socket.write_all(&consumer.read).await?;
    while !consumer.is_done() {
        let read = socket.read_buf(&mut consumer.reply).await?;
        ensure!(read > 0, "the server closed the connection");
        if let Some(commands) = consumer.handle()? {
            socket.write_all(&commands).await?;
        }
    }
    // The answer to the last acknowledgement.
    socket.read_buf(&mut consumer.reply).await?;
    Ok(())
}

// ----- ours -----------------------------------------------------------------------------------------------------------

/// The payload with the time of its emission.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Timed {
    at: u64,
    total: f64,
    sku: Cow<'static, str>,
}

impl Timed {
    fn emitted(at: u64) -> Self {
        Self {
            at,
            total: 9.99,
            sku: Cow::Borrowed("ABC-1"),
        }
    }
}

impl Event for Timed {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(STREAM)
    }
}

async fn emitter(url: String) -> Result<impl Emit> {
    let streamer = Streamer::builder().url(&url).domain("shop").connect().await?;
    Ok(move |at: u64| {
        let streamer = streamer.clone();
        async move {
            streamer.emit(&Timed::emitted(at)).await?;
            anyhow::Ok(())
        }
    })
}

async fn consume(url: String, times: Arc<Times>) -> Result<()> {
    let streamer = Streamer::connect(&url).await?;
    let over = Countdown::from(1);
    let last = over.clone();
    let listeners = Listeners::new().on(STREAM, "times", move |Payload(timed): Payload<Timed>| {
        if times.of(timed.at) {
            last.one_less();
        }
        async {}
    });
    let listening = streamer.listen(listeners).group(GROUP);
    let stop = listening.stop_handle();
    let ended = tokio::spawn(async move {
        over.over().await;
        stop.stop();
    });
    listening.run().await?;
    Ok(ended.await?)
}

// ----- the client under the same work -----------------------------------------------------------------------------------

async fn plain_emitter(url: String) -> Result<impl Emit> {
    let connection = ConnectionManager::new(redis::Client::open(url)?).await?;
    Ok(move |at: u64| {
        let mut connection = connection.clone();
        async move {
            let data = serde_json::to_string(&Timed::emitted(at))?;
            let mut command = redis::cmd("XADD");
            command.arg(STREAM).arg("*").arg(&message::fields_with(&data));
            let _: String = command.query_async(&mut connection).await?;
            Ok(())
        }
    })
}

async fn plain_consume(url: String, times: Arc<Times>) -> Result<()> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(url)?;
    let mut reading = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut acknowledging = reading.clone();
    let mut read = redis::cmd("XREADGROUP");
    read.arg("GROUP")
        .arg(GROUP)
        .arg("plain")
        .arg("BLOCK")
        .arg(0)
        .arg("COUNT")
        .arg(500);
    read.arg("STREAMS").arg(STREAM).arg(">");
    let mut reply: StreamReadReply = read.query_async(&mut reading).await?;
    loop {
        let entries = reply.keys.into_iter().flat_map(|stream| stream.ids);
        let entries = entries.collect::<Vec<_>>();
        let mut last = false;
        for entry in &entries {
            last = times.of_payload(&data(entry)?);
        }
        let ids = entries.iter().map(|entry| &entry.id);
        let mut ack = redis::cmd("XACK");
        ack.arg(STREAM).arg(GROUP).arg(ids.collect::<Vec<_>>());
        if last {
            let () = ack.query_async(&mut acknowledging).await?;
            return Ok(());
        }
        // In this order on one connection: the read may block.
        (_, reply) = tokio::try_join!(
            ack.query_async::<u64>(&mut acknowledging),
            read.query_async::<StreamReadReply>(&mut reading)
        )?;
    }
}

fn data(entry: &StreamId) -> Result<Vec<u8>> {
    entry.get("data").context("an entry without data")
}
