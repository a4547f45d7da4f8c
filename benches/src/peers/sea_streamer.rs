//! SeaStreamer: a producer that sends whatever is queued as one pipeline, and a consumer that reads pages.

use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use sea_streamer_redis::{
    AutoCommit, AutoStreamReset, RedisConnectOptions, RedisConsumer, RedisConsumerOptions, RedisProducer,
    RedisProducerOptions, RedisStreamer,
};
use sea_streamer_types::{
    Buffer, Consumer, ConsumerGroup, ConsumerMode, ConsumerOptions, Message, Producer, StreamKey, Streamer, StreamerUri,
};

use super::{STREAM, payload};
use crate::{
    case::{Job, Reading},
    cases::latency::Emit,
    message::GROUP,
};

const PAGE: u64 = 1000;

async fn connect(url: &str) -> Result<RedisStreamer> {
    let uri = url.parse::<StreamerUri>().context("the address of a server")?;
    Ok(RedisStreamer::connect(uri, RedisConnectOptions::default()).await?)
}

async fn producer(url: &str) -> Result<RedisProducer> {
    let options = RedisProducerOptions::default();
    Ok(connect(url).await?.create_generic_producer(options).await?)
}

/// From so many tasks, each awaiting every receipt.
pub(crate) async fn emit_from_tasks(url: String, amount: u64, tasks: u64) -> Result<Reading> {
    let producer = producer(&url).await?;
    let (stream, payload) = (StreamKey::new(STREAM)?, payload(0));
    let begun = Instant::now();
    let tasks = (0..tasks).map(|task| {
        let (producer, stream, payload) = (producer.clone(), stream.clone(), payload.clone());
        tokio::spawn(async move {
            for _ in (task..amount).step_by(tasks as usize) {
                producer.send_to(&stream, &payload[..])?.await?;
            }
            anyhow::Ok(())
        })
    });
    for done in try_join_all(tasks).await? {
        done?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// All into its queue, which has no bound, then all receipts.
pub(crate) async fn emit_all(url: String, amount: u64) -> Result<Reading> {
    let producer = producer(&url).await?;
    let (stream, payload) = (StreamKey::new(STREAM)?, payload(0));
    let begun = Instant::now();
    let receipts = (0..amount).map(|_| producer.send_to(&stream, &payload[..]));
    for receipt in receipts.collect::<Result<Vec<_>, _>>()? {
        receipt.await?;
    }
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// Its own backlog.
pub(crate) fn backlog(job: &Job) -> Result<()> {
    super::backlog(job, "msg")
}

/// For those who commit themselves: its automatic commits, with which it hands over one message at a time, were slower
/// to drain and to deliver on both runtimes.
async fn consumer(url: &str) -> Result<RedisConsumer> {
    let mut options = RedisConsumerOptions::new(ConsumerMode::LoadBalanced);
    options
        .set_consumer_group(ConsumerGroup::new(GROUP))?
        .set_auto_stream_reset(AutoStreamReset::Earliest)
        .set_auto_commit(AutoCommit::Disabled)
        .set_batch_size(PAGE as usize);
    let streams = [StreamKey::new(STREAM)?];
    Ok(connect(url).await?.create_consumer(&streams, options).await?)
}

pub(crate) async fn drain(url: String, amount: u64) -> Result<Reading> {
    let mut consumer = consumer(&url).await?;
    let begun = Instant::now();
    for handled in 1..=amount {
        let message = consumer.next().await?;
        std::hint::black_box(message.message());
        consumer.ack(&message)?;
        if handled % PAGE == 0 {
            consumer.commit_asap()?;
        }
    }
    consumer.commit()?.await?;
    Ok(Reading::rate(amount, begun.elapsed()))
}

/// Emits what carries the time of its emission.
pub(crate) async fn emitter(url: String) -> Result<impl Emit> {
    let producer = producer(&url).await?;
    let stream = StreamKey::new(STREAM)?;
    Ok(move |at: u64| {
        let receipt = producer.send_to(&stream, &payload(at)[..]);
        async move {
            receipt?.await?;
            anyhow::Ok(())
        }
    })
}

/// Gives each payload to the handler until that says that it was the last.
pub(crate) async fn listen(url: String, handler: impl Fn(&[u8]) -> bool) -> Result<()> {
    let mut consumer = consumer(&url).await?;
    loop {
        let message = consumer.next().await?;
        let last = handler(message.message().as_bytes());
        consumer.ack(&message)?;
        consumer.commit_asap()?;
        if last {
            return Ok(());
        }
    }
}
