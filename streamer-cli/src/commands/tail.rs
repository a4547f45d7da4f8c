//! `tail`: shows messages as they come, and leaves them to those who listen.

use std::time::Duration;

use clap::Args;
use streamer::{
    EntryId, OrderedJson, ReceivedMessage, StreamName, Streamer,
    engine::{EngineResult, ReadMode, Reader, StreamEntries},
};

use super::start::{StartAt, start};
use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    listeners, names, output,
    terminal::Shown,
};

const EXAMPLES: &str = "\
Examples:
  streamer tail order.placed
  streamer tail order.placed,order.paid --last-id 0
  streamer tail order.placed --json | jq .data.total

Nothing is consumed: no group, no acknowledgement. Ctrl-C ends it.";

/// Entries read at once of each stream.
const BATCH: usize = 100;
/// How soon it is looked again whether there is a store.
const AGAIN: Duration = Duration::from_millis(200);
/// How long one read waits.
const WAIT: Duration = Duration::from_secs(2);

/// Watch messages without consuming them
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tail {
    /// The events to watch, separated by commas or spaces
    #[arg(value_name = "EVENTS", value_delimiter = ',', required = true)]
    events: Vec<String>,
    /// Where to begin: an entry ID (what follows it), a date or an age, `0` (everything) or `now` [default: now]
    #[arg(long, value_name = "ID", value_parser = start, alias = "last_id", allow_hyphen_values = true)]
    last_id: Option<StartAt>,
}

impl Tail {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        tokio::select! {
            ended = self.watch(session) => ended,
            signal = tokio::signal::ctrl_c() => match signal {
                Ok(()) => Ok(Exit::Done),
                Err(error) => Err(Failure::failed(format!("could not listen to signals: {error}"))),
            },
            () = terminated() => Ok(Exit::Done),
        }
    }

    async fn watch(&self, session: &Session) -> Outcome {
        if !session.store_is_there() {
            tracing::warn!("the store is not there yet; waiting until somebody emits");
            while !session.store_is_there() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        let streamer = session.connect_to_read().await?;
        self.show(&streamer, session).await
    }

    async fn show(&self, streamer: &Streamer, session: &Session) -> Outcome {
        let json = session.json;
        let known = listeners::names(&session.listeners, &session.config.definitions);
        let known = known.into_iter().map(|(event, _)| event).collect::<Vec<_>>();
        let mut reader = self.reader(streamer, &known).await?;
        loop {
            for StreamEntries { stream, entries } in reader.next(BATCH, Some(WAIT)).await? {
                for entry in entries {
                    let message = ReceivedMessage::new(stream.clone(), entry, 1);
                    match json {
                        true => output::json_text(&message.to_json())?,
                        false => output::line(describe(&message))?,
                    }
                }
            }
        }
    }

    async fn reader(&self, streamer: &Streamer, known: &[String]) -> EngineResult<Box<dyn Reader>> {
        let mut streams = Vec::new();
        for event in self
            .events
            .iter()
            .map(|event| event.trim())
            .filter(|event| !event.is_empty())
        {
            let stream = StreamName::from(event);
            stream.check()?;
            if streamer.engine().info(&stream).await?.is_none() {
                let hint = names::hint(event, known.iter().map(String::as_str));
                tracing::warn!("there is no stream '{event}' yet{hint}");
            }
            let after = match self.last_id.unwrap_or(StartAt::Now) {
                // Settled once: what comes between two reads is not missed.
                StartAt::Now => streamer.engine().last_id(&stream).await?,
                StartAt::Beginning => EntryId::MIN,
                StartAt::After(id) => id,
            };
            streams.push((stream, after));
        }
        let names: Vec<String> = streams.iter().map(|(stream, _)| stream.to_string()).collect();
        let reader = streamer.engine().reader(ReadMode::Plain(streams)).await?;
        tracing::info!("Watching {} at {}.", names.join(", "), streamer.location());
        Ok(reader)
    }
}

/// A message in a line: ID, time, name, data, headers.
fn describe(message: &ReceivedMessage) -> Shown {
    let seconds = message.created().and_then(|seconds| i64::try_from(seconds).ok());
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.map_or_else(|| "-".to_owned(), |time| time.to_string());
    let data = match message.payload::<OrderedJson>() {
        Ok(data) => Shown::line(data.to_string()),
        Err(error) => output::styled(&error.to_string(), "31"),
    };
    let line = output::styled(&message.id().to_string(), "2")
        .and(time)
        .and(output::styled(&message.name(), "1"))
        .and(data);
    let headers = message.headers().map(|(name, value)| format!("{name}={value}"));
    let headers = headers.collect::<Vec<_>>().join(" ");
    match headers.is_empty() {
        true => line,
        false => line.and(output::styled(&headers, "2")),
    }
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
