//! `outbox relay`: publishes what is committed.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use clap::Args;
use streamer::{
    OrderedJson, StopHandle,
    outbox::{RelayReport, RelaySummary},
};

use crate::{
    app::Session,
    config::{Batch, Limit, flag},
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer outbox relay
  streamer outbox relay --once
  streamer outbox relay --keep 7d --json

Any number of relays may run side by side: they share the keys. Ctrl-C finishes
the batch that is published, then ends with exit code 0.

With --once the exit code is 1 while rows are blocked, by this run or an earlier
one: they are not published. `outbox status` lists them, `outbox retry` lets a
relay try them again, `outbox skip` deletes one.";

/// Publish the rows that are committed, until it is stopped
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Relay {
    /// End when every row is published or blocked; exit code 1 if rows are blocked
    #[arg(long)]
    once: bool,
    /// How many rows are published at once [default: 500]
    #[arg(long, value_name = "N", value_parser = flag::<Batch>)]
    batch: Option<Batch>,
    /// Ask for rows so often where the database does not notify: milliseconds or `1s` [default: 200]
    #[arg(long, value_name = "MS", value_parser = flag::<Limit>)]
    poll: Option<Limit>,
    /// Block a row after the store has refused it so often [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// Keep published rows for so long, in `streamer_outbox_published`: milliseconds or `7d` [default: they are deleted]
    #[arg(long, value_name = "TIME", value_parser = flag::<Limit>)]
    keep: Option<Limit>,
    /// Recognise a repeated publication for so long; it must be longer than a killed relay stays away [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = flag::<Limit>)]
    window: Option<Limit>,
}

impl Relay {
    pub(super) async fn run(&self, session: &Session) -> Outcome {
        let outbox = super::open(session).await?;
        let streamer = session.connect().await?;
        let mut relay = outbox.relay(&streamer).until_empty(self.once);
        if let Some(Batch { 0: rows }) = self.batch {
            relay = relay.batch(rows as usize);
        }
        if let Some(poll) = self.poll.and_then(|poll| poll.0) {
            relay = relay.poll(poll);
        }
        if let Some(attempts) = self.max_attempts {
            relay = relay.max_attempts(attempts);
        }
        if let Some(keep) = self.keep {
            relay = relay.keep(keep.0);
        }
        if let Some(window) = self.window.and_then(|window| window.0) {
            relay = relay.window(window);
        }
        let printer = Printer {
            json: session.json,
            quiet: session.quiet,
            silent: Arc::default(),
        };
        let printing = printer.clone();
        let relay = relay.on_report(move |report| printing.tell(report));

        let stop = StopHandle::new();
        stop.on_signals()
            .map_err(|error| Failure::failed(format!("could not listen to signals: {error}")))?;
        let (token, asked) = (relay.stop_token(), stop.clone());
        tokio::spawn(async move {
            asked.stopped().await;
            token.cancel();
        });
        let stopped = relay.stop_token();
        let RelaySummary { published, blocked } = tokio::select! {
            ended = relay.run() => ended?,
            () = stop.aborted() => return Err(Failure {
                exit: Exit::Aborted,
                text: Some(
                    "ended at once by a second signal; what was published and not removed is recognised the next time"
                        .to_owned(),
                ),
            }),
        };
        let total = format!(
            "Total of {} published, {} blocked",
            output::counted(published, "event"),
            output::counted(blocked, "row")
        );
        let report = output::object!({"report": "total", "published": published, "blocked": blocked});
        let mut left = 0;
        if self.once && !stopped.is_cancelled() {
            let status = outbox.status().await;
            left = status.as_ref().map_or(0, |status| status.blocked_count);
            let in_all = match left {
                0 => String::new(),
                _ => format!("; in all {} blocked now", are(left)),
            };
            let report = output::joined(&report, &output::object!({"blocked_now": left}));
            printer.print(&report, &format!("{total}{in_all}."));
            status?;
        } else {
            printer.print(&report, &format!("{total}."));
        }
        if left > 0 {
            let (them, their) = if left == 1 {
                ("it", "its key")
            } else {
                ("them", "their keys")
            };
            return Err(Failure::failed(format!(
                "{} blocked, and the later rows of {their} wait: `streamer outbox status` says why; once the cause is \
                 fixed, `streamer outbox retry --all` lets {them} be tried again; `streamer outbox skip ID` deletes one",
                are(left)
            )));
        }
        match printer.silent.load(Ordering::Relaxed) {
            true => Err(Failure::failed(
                "the reports could not all be printed: standard output was closed",
            )),
            false => Ok(Exit::Done),
        }
    }
}

/// "1 row is", "2 rows are".
fn are(rows: u64) -> String {
    format!(
        "{} {}",
        output::counted(rows, "row"),
        if rows == 1 { "is" } else { "are" }
    )
}

/// Prints what the relay tells. A relay goes on when nobody reads it.
#[derive(Clone)]
struct Printer {
    json: bool,
    quiet: bool,
    silent: Arc<AtomicBool>,
}

impl Printer {
    fn tell(&self, report: &RelayReport<'_>) {
        match report {
            RelayReport::Refused { .. } | RelayReport::Interrupted { .. } => tracing::warn!("{report}"),
            _ => tracing::debug!("{report}"),
        }
        let is_warning = matches!(report, RelayReport::Refused { .. } | RelayReport::Interrupted { .. });
        if self.json || !is_warning {
            self.print(&as_json(report), &report.to_string());
        }
    }

    fn print(&self, json: &OrderedJson, text: &str) {
        if self.silent.load(Ordering::Relaxed) || self.quiet && !self.json {
            return;
        }
        let printed = match self.json {
            true => output::json(json),
            false => output::line(text.to_owned()),
        };
        if let Err(error) = printed
            && !self.silent.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("standard output cannot be written any more ({error}); the relay goes on without it");
        }
    }
}

fn as_json(report: &RelayReport<'_>) -> OrderedJson {
    match report {
        RelayReport::Shards { held, relays } => output::object!({"report": "shards", "held": held, "relays": relays}),
        RelayReport::Published { events, total } => {
            output::object!({"report": "published", "events": events, "total": total})
        }
        RelayReport::Refused {
            event_id,
            stream,
            ordering_key,
            attempts,
            error,
            blocked,
        } => output::object!({
            "report": "refused", "event_id": event_id, "stream": stream, "ordering_key": ordering_key,
            "attempts": attempts, "error": error, "blocked": blocked,
        }),
        RelayReport::Interrupted { error, delay } => output::object!({
            "report": "interrupted", "error": error, "delay_ms": u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
        }),
        other => output::object!({"report": "other", "text": other.to_string()}),
    }
}
