//! `failed flush` and `failed forget`: failures leave the list, their messages stay.

use clap::Args;

use super::{Filter, Of, by_stream};
use crate::{
    app::Session,
    confirm::Confirm,
    exit::{Exit, Outcome},
    output,
};

const FLUSH_EXAMPLES: &str = "\
Examples:
  streamer failed flush --dry-run
  streamer failed flush --stream order.placed --yes";

const FORGET_EXAMPLES: &str = "\
Examples:
  streamer failed forget 1795407980936-0
  streamer failed forget 1795407980936-0 --receiver audit --yes";

/// Forget all failures, or those of a stream or a listener; their messages stay
#[derive(Args, Debug)]
#[command(after_help = FLUSH_EXAMPLES)]
pub(crate) struct Flush {
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    confirm: Confirm,
}

impl Flush {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        remove(session, &self.filter, self.confirm, "Flushed").await
    }
}

/// Forget the failures of one message; the message stays
#[derive(Args, Debug)]
#[command(after_help = FORGET_EXAMPLES)]
pub(crate) struct Forget {
    /// The message's ID
    id: String,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    confirm: Confirm,
}

impl Forget {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let filter = Filter {
            id: Some(self.id.clone()),
            of: self.of.clone(),
        };
        remove(session, &filter, self.confirm, "Forgot").await
    }
}

async fn remove(session: &Session, filter: &Filter, confirm: Confirm, did: &str) -> Outcome {
    let streamer = session.connect_to_change(confirm.is_dry_run()).await?;
    let failed = streamer.failed();
    if confirm.is_dry_run() || confirm.asks(session) {
        let summary = failed.summary(filter.filter()).await?;
        let count = summary.count + summary.unreadable;
        let records = output::counted(count, "failure");
        if confirm.is_dry_run() {
            match session.json {
                true => output::json(
                    &output::object!({"removed": 0, "dry_run": true, "would_remove": count, "streams": summary.streams()}),
                )?,
                false if count == 0 => output::line("No messages to remove.")?,
                false => output::line(format!("Would remove {records}: {}.", by_stream(&summary)))?,
            }
            return Ok(Exit::Done);
        }
        let what = format!(
            "This removes {records} from the failed list ({}); their messages stay.",
            by_stream(&summary)
        );
        if count > 0 && !confirm.ask(session, &what)? {
            output::done("Nothing was removed.")?;
            return Ok(Exit::Failed);
        }
    }
    let removed = failed.flush(filter.filter()).await?;
    if session.json {
        output::done_json(&output::object!({"removed": removed}))?;
    } else {
        output::done(match removed {
            0 => "No messages to remove.".to_owned(),
            removed => format!("{did} {}.", output::counted(removed, "message")),
        })?;
    }
    if removed == 0 {
        for unknown in filter.unknown_names(session, &streamer).await? {
            tracing::warn!("{unknown}");
        }
    }
    Ok(Exit::Done)
}
