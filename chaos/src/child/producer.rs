//! Emits: some events one by one, with a key, until the emit has an answer; and some many at once, without.

use std::time::Duration;

use anyhow::Result;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use streamer::{EmitErrorKind, EmitOptions, StopHandle, Streamer, engine::EngineErrorKind};

use super::{Assignment, STREAMS, connect, event, sleep};
use crate::{clock, ledger::Ledger};

/// How many events go in one batch.
const BATCH: u64 = 12;
/// For how long a repetition of an emit is recognised. It is longer than any fault, and short enough that the keys are as many
/// at the end of a long run as in its middle.
pub(super) const RECOGNISED: Duration = Duration::from_mins(2);
/// How long a replica may be behind.
const REPLICATED: Duration = Duration::from_millis(500);

pub(super) async fn run(assignment: &Assignment, ledger: &Ledger, stop: &StopHandle) -> Result<()> {
    let Some(streamer) = connect(&assignment.url, stop).await? else {
        return Ok(());
    };
    let mut chance = StdRng::seed_from_u64(assignment.first_number);
    let mut number = assignment.first_number;
    while !stop.is_stopped() {
        let stream = STREAMS[chance.random_range(0..STREAMS.len())];
        if chance.random_bool(0.6) {
            one(&streamer, ledger, stop, stream, number, assignment.replicas).await?;
            number += 1;
        } else {
            let numbers = number..number + BATCH;
            let begin = clock::now();
            match streamer
                .emit_all(numbers.clone().map(|number| event(stream, number)))
                .await
            {
                Ok(_) => ledger.acknowledged(stream, begin, numbers, false)?,
                Err(error) => {
                    // What it says was written, was.
                    let written = error.written.iter().map(|(position, _)| number + *position as u64);
                    ledger.acknowledged(stream, begin, written, false)?;
                }
            }
            number += BATCH;
        }
        sleep(stop, Duration::from_millis(chance.random_range(10..60))).await;
    }
    Ok(())
}

/// Emits one event, as often as it takes: the key makes one entry of all that are written. Where there are replicas, one has
/// it before it is acknowledged.
async fn one(
    streamer: &Streamer,
    ledger: &Ledger,
    stop: &StopHandle,
    stream: &str,
    number: u64,
    replicas: u32,
) -> Result<()> {
    let event = event(stream, number);
    let key = format!("number-{number}");
    let options = EmitOptions::new().idempotency_key(key).idempotency_window(RECOGNISED);
    let options = options.replicas(replicas).durable_within(REPLICATED);
    let begin = clock::now();
    let mut not_durable = 0;
    loop {
        match streamer.emit_with(&event, options.clone()).await {
            Ok(_) => return Ok(ledger.acknowledged(stream, begin, std::iter::once(number), replicas > 0)?),
            Err(error) => match error.kind() {
                EmitErrorKind::Engine(EngineErrorKind::InvalidInput) => {
                    ledger.remark(&format!("an emit was refused for good: {error}"));
                    return Ok(());
                }
                // The replica may be gone for good.
                EmitErrorKind::NotDurable if not_durable == 3 => return Ok(()),
                EmitErrorKind::NotDurable => not_durable += 1,
                _ => {}
            },
        }
        if !sleep(stop, Duration::from_millis(50)).await {
            return Ok(());
        }
    }
}
