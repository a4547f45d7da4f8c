//! `failed`: what listeners could not handle is listed, shown, retried, and forgotten.
//!
//! - `list`: the list, by date, and in numbers. `show`: one message with all that is known.
//! - `retry`: runs listeners once more. `remove`: `flush` and `forget`.

mod list;
mod remove;
mod retry;
mod show;

use clap::{Args, Subcommand};
use streamer::{
    Moment,
    failed::{FailedFilter, FailureSummary},
};

pub(crate) use self::{list::List, remove::Flush, retry::Retry};
use self::{remove::Forget, show::Show};
use crate::{app::Session, exit::Outcome, listeners, names};

const EXAMPLES: &str = "\
Examples:
  streamer failed list --stream order.placed
  streamer failed list --summary
  streamer failed show 1795407980936-0
  streamer failed retry --all
  streamer failed forget 1795407980936-0 --receiver audit --yes
  streamer failed flush --stream order.placed --dry-run";

/// List, show, retry and forget what listeners could not handle
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Failed {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    List(List),
    Show(Show),
    Retry(Retry),
    Flush(Flush),
    Forget(Forget),
}

impl Failed {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        match &self.command {
            What::List(list) => list.run(session).await,
            What::Show(show) => show.run(session).await,
            What::Retry(retry) => retry.run(session).await,
            What::Flush(flush) => flush.run(session).await,
            What::Forget(forget) => forget.run(session).await,
        }
    }
}

/// Which failures.
#[derive(Args, Clone, Debug)]
struct Filter {
    /// Only those of the message with this ID; messages of several streams may have it
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    of: Of,
}

#[derive(Args, Clone, Debug)]
struct Of {
    /// Only those on this stream
    #[arg(long)]
    stream: Option<String>,
    /// Only those of this listener
    #[arg(long, value_name = "LISTENER")]
    receiver: Option<String>,
    /// Only those whose error contains this text
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only those since a date (UTC), or an age such as `2 hours`
    #[arg(long, value_name = "DATE", allow_hyphen_values = true)]
    since: Option<Moment>,
}

impl Of {
    fn filter(&self, id: Option<&String>) -> FailedFilter {
        let filter = id.into_iter().fold(FailedFilter::all(), FailedFilter::id);
        let filter = self.stream.iter().fold(filter, FailedFilter::stream);
        let filter = self.receiver.iter().fold(filter, FailedFilter::receiver);
        let filter = self.error.iter().fold(filter, FailedFilter::error);
        self.since.into_iter().fold(filter, FailedFilter::since)
    }
}

impl Filter {
    fn filter(&self) -> FailedFilter {
        self.of.filter(self.id.as_ref())
    }

    /// What is wrong with the names in it, when it let nothing through: those that neither the failed list nor the
    /// configuration has, each with the nearest one.
    async fn unknown_names(
        &self,
        session: &Session,
        streamer: &streamer::Streamer,
    ) -> Result<Vec<String>, crate::exit::Failure> {
        if self.of.stream.is_none() && self.of.receiver.is_none() {
            return Ok(Vec::new());
        }
        let listed = streamer.failed().summary(FailedFilter::all()).await?;
        let configured = listeners::names(&session.listeners, &session.config.definitions);
        let streams = configured.iter().map(|(event, _)| event.as_str());
        let streams = streams.chain(listed.kinds.iter().map(|kind| kind.stream.as_str()));
        let receivers = configured
            .iter()
            .flat_map(|(_, names)| names.iter().map(String::as_str));
        let receivers = receivers.chain(listed.kinds.iter().map(|kind| kind.receiver.as_str()));
        let mut unknown = Vec::new();
        for (what, name, known) in [
            ("stream", &self.of.stream, streams.collect::<Vec<_>>()),
            ("listener", &self.of.receiver, receivers.collect()),
        ] {
            if let Some(name) = name.as_deref().filter(|name| !known.contains(name)) {
                let hint = names::hint(name, known);
                unknown.push(format!(
                    "neither the failed list nor the configuration has a {what} '{name}'{hint}"
                ));
            }
        }
        Ok(unknown)
    }
}

/// `2 on 'order.placed', 1 on 'order.paid'`: which streams the failures are on.
fn by_stream(summary: &FailureSummary) -> String {
    const SHOWN: usize = 10;
    let streams = summary.streams();
    let mut parts = streams
        .iter()
        .take(SHOWN)
        .map(|(stream, count)| format!("{count} on '{stream}'"))
        .collect::<Vec<_>>();
    if streams.len() > SHOWN {
        parts.push(format!("the rest on {} other streams", streams.len() - SHOWN));
    }
    if summary.unreadable > 0 {
        parts.push(format!("{} that cannot be read", summary.unreadable));
    }
    parts.join(", ")
}
