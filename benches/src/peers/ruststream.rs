//! RustStream on fred: a publisher with a command for each message, transactions, and subscribers that read and
//! acknowledge in batches.

use std::{collections::VecDeque, num::NonZeroUsize, sync::OnceLock, time::Instant};

use anyhow::{Context, Result};
use futures_util::{
    TryStreamExt,
    future::try_join_all,
    stream::{StreamExt, iter},
};
use ruststream::{Broker, BytesMut, OutgoingMessage, runtime::RunningApp};
use ruststream_fred::{RedisPublisher, stream::prelude::*};

use super::{STREAM, payload};
use crate::{
    case::{Job, Reading},
    cases::{drain::Countdown, latency::Emit},
    message::GROUP,
};

const BATCH: u64 = 1000;
const IN_FLIGHT: u64 = 512;

async fn publisher(url: &str) -> Result<RedisPublisher> {
    Ok(RedisBroker::standalone(url).connect().await?.publisher())
}

/// The client keeps the buffer that it is given.
fn message(payload: &[u8]) -> OutgoingMessage<'static, BytesMut> {
    OutgoingMessage::produced(STREAM, BytesMut::from(payload))
}

/// From so many tasks, each awaiting every publish.
pub(crate) async fn emit_from_tasks(url: String, amount: u64, tasks: u64) -> Result<Reading> {
    let publisher = publisher(&url).await?;
    let payload = payload(0);
    let begun = Instant::now();
    let tasks = (0..tasks).map(|task| {
        let (publisher, payload) = (publisher.clone(), payload.clone());
        tokio::spawn(async move {
            for _ in (task..amount).step_by(tasks as usize) {
                publisher.publish(message(&payload), None).await?;
            }
            anyhow::Ok(())
        })
    });
    for done in try_join_all(tasks).await? {
        done?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// Many publishes in flight: its fastest way on one thread.
pub(crate) async fn emit_in_flight(url: String, amount: u64) -> Result<Reading> {
    let publisher = publisher(&url).await?;
    let payload = payload(0);
    let begun = Instant::now();
    let publishes = iter(0..amount).map(|_| publisher.publish(message(&payload), None));
    let published = publishes.buffer_unordered(IN_FLIGHT as usize);
    published.try_for_each(|()| async { Ok(()) }).await?;
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// In transactions, two at a time: its fastest way on two threads.
pub(crate) async fn emit_transactions(url: String, amount: u64) -> Result<Reading> {
    let publisher = publisher(&url).await?;
    let payload = payload(0);
    let begun = Instant::now();
    let mut under_way = VecDeque::new();
    let mut emitted = 0;
    while emitted < amount {
        let many = IN_FLIGHT.min(amount - emitted);
        let mut transaction = publisher.transaction().await?;
        for _ in 0..many {
            transaction.publish(message(&payload), None).await?;
        }
        if under_way.len() == 2
            && let Some(first) = under_way.pop_front()
        {
            committed(first).await?;
        }
        under_way.push_back(tokio::spawn(transaction.commit()));
        emitted += many;
    }
    for last in under_way {
        committed(last).await?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

async fn committed(transaction: tokio::task::JoinHandle<Result<(), ruststream_fred::RedisError>>) -> Result<()> {
    Ok(transaction.await??)
}

/// Its own backlog.
pub(crate) fn backlog(job: &Job) -> Result<()> {
    super::backlog(job, "_payload")
}

/// A payload as it arrived.
#[derive(Deserialized)]
struct Bytes<'a>(&'a [u8]);

type Handler = Box<dyn Fn(&[u8]) + Send + Sync>;

/// What the subscriber does with each payload.
static HANDLER: OnceLock<Handler> = OnceLock::new();

#[subscriber(RedisStream::new(STREAM).group(GROUP))]
async fn handle(messages: &[Bytes<'_>]) -> HandlerOutcome {
    if let Some(handler) = HANDLER.get() {
        messages.iter().for_each(|message| handler(message.0));
    }
    HandlerOutcome::ack()
}

/// Pipelined: one acknowledgement for each batch; without, each message is acknowledged by a command of its own. Its
/// latency was the same either way.
async fn start(url: &str, handler: impl Fn(&[u8]) + Send + Sync + 'static) -> Result<RunningApp> {
    HANDLER.get_or_init(|| Box::new(handler));
    let batch = NonZeroUsize::new(BATCH as usize).context("a size")?;
    let app = RustStream::new(AppInfo::new("orders", "1.0.0")).with_broker(RedisBroker::standalone(url), |scope| {
        scope.include(handle.batch(batch).pipeline());
    });
    Ok(app.start().await?)
}

pub(crate) async fn drain(url: String, amount: u64) -> Result<Reading> {
    let countdown = Countdown::from(amount);
    let handled = countdown.clone();
    let begun = Instant::now();
    let running = start(&url, move |payload| {
        std::hint::black_box(payload);
        handled.one_less();
    })
    .await?;
    countdown.over().await;
    // Which sends the last acknowledgements.
    running.shutdown().await?;
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// Emits what carries the time of its emission.
pub(crate) async fn emitter(url: String) -> Result<impl Emit> {
    let publisher = publisher(&url).await?;
    Ok(move |at: u64| {
        let publisher = publisher.clone();
        async move { Ok(publisher.publish(message(&payload(at)), None).await?) }
    })
}

/// Gives each payload to the handler until that says that it was the last.
pub(crate) async fn listen(url: String, handler: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Result<()> {
    let over = Countdown::from(1);
    let last = over.clone();
    let running = start(&url, move |payload| {
        if handler(payload) {
            last.one_less();
        }
    })
    .await?;
    over.over().await;
    Ok(running.shutdown().await?)
}
