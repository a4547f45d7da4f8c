//! `tail`: shows messages as they come, and leaves them to those who listen.

use std::time::Duration;

use clap::Args;
use streamer::{
    EntryId, ReceivedMessage, Start, StreamName, Streamer,
    engine::{EngineResult, ReadMode, Reader, StreamEntries},
};

use super::listen::start;
use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer tail order.placed
  streamer tail order.placed,order.paid --last-id 0
  streamer tail order.placed --json | jq .data.total

Nothing is consumed: no group, no acknowledgement. Ctrl-C ends it.";

/// Entries read at once of each stream.
const BATCH: usize = 100;
/// How long one read waits.
const WAIT: Duration = Duration::from_secs(2);

/// Watch messages without consuming them
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tail {
    /// The events to watch, separated by commas or spaces
    #[arg(value_name = "EVENTS", value_delimiter = ',', required = true)]
    events: Vec<String>,
    /// Where to begin: an entry ID (what follows it), `0` (everything) or `now` [default: now]
    #[arg(long, value_name = "ID", value_parser = start, alias = "last_id")]
    last_id: Option<Start>,
}

impl Tail {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect().await?;
        tokio::select! {
            ended = self.show(&streamer, session.json) => ended,
            signal = tokio::signal::ctrl_c() => match signal {
                Ok(()) => Ok(Exit::Done),
                Err(error) => Err(Failure::failed(format!("could not listen to signals: {error}"))),
            },
            () = terminated() => Ok(Exit::Done),
        }
    }

    async fn show(&self, streamer: &Streamer, json: bool) -> Outcome {
        let mut reader = self.reader(streamer).await?;
        loop {
            for StreamEntries { stream, entries } in reader.next(BATCH, Some(WAIT)).await? {
                for entry in entries {
                    let message = ReceivedMessage::new(stream.clone(), entry, 1);
                    output::line(if json { message.to_json() } else { describe(&message) })?;
                }
            }
        }
    }

    async fn reader(&self, streamer: &Streamer) -> EngineResult<Box<dyn Reader>> {
        let mut streams = Vec::new();
        for event in self
            .events
            .iter()
            .map(|event| event.trim())
            .filter(|event| !event.is_empty())
        {
            let stream = StreamName::from(event);
            let after = match self.last_id.unwrap_or(Start::Now) {
                // Settled once: what comes between two reads is not missed.
                Start::Now => streamer.engine().last_id(&stream).await?,
                Start::Beginning => EntryId::MIN,
                Start::After(id) => id,
            };
            streams.push((stream, after));
        }
        let names: Vec<String> = streams.iter().map(|(stream, _)| stream.to_string()).collect();
        let reader = streamer.engine().reader(ReadMode::Plain(streams)).await?;
        tracing::info!("Watching {} at {}.", names.join(", "), streamer.location());
        Ok(reader)
    }
}

/// A message in a line: ID, time, name, data.
fn describe(message: &ReceivedMessage) -> String {
    let seconds = message.created().and_then(|seconds| i64::try_from(seconds).ok());
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let data = match message.data() {
        Ok(data) => data.to_string(),
        Err(error) => output::styled(&error.to_string(), "31"),
    };
    let id = output::styled(&message.id().to_string(), "2");
    let name = output::styled(&message.name(), "1");
    format!("{id} {time} {name} {data}")
}

/// Waits for SIGTERM.
pub(super) async fn terminated() {
    #[cfg(unix)]
    if let Ok(mut signal) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        signal.recv().await;
        return;
    }
    std::future::pending::<()>().await;
}
