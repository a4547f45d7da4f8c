//! `failed list`: the failures by date, or in numbers.

use clap::Args;
use streamer::{
    OrderedJson,
    failed::{FailedMessage, Listed},
};

use super::Filter;
use crate::{
    app::Session,
    config::whole_number,
    exit::{Exit, Outcome},
    output,
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  streamer failed list --stream order.placed --limit 20
  streamer failed list --since \"2 hours\" --error timeout
  streamer failed list --summary
  streamer failed list --json | jq -r .error

Oldest first. A table shows the beginning of each error; `failed show ID` and
--json have all of it.";

/// The most rows of one table: it is in memory as a whole.
const ROWS: usize = 1_000;

/// List the failures, oldest first
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only so many, the oldest
    #[arg(long, value_name = "N", value_parser = whole_number)]
    limit: Option<u64>,
    /// Only IDs, streams and errors
    #[arg(long, conflicts_with = "summary")]
    compact: bool,
    /// Count them by stream, listener and kind of error
    #[arg(long, conflicts_with = "limit")]
    summary: bool,
}

impl List {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_read().await?;
        if self.summary {
            return self.summarise(session, &streamer).await;
        }
        let mut listing = streamer.failed().sorted(self.filter.filter());
        if !self.compact {
            listing = listing.with_details();
        }
        if let Some(limit) = self.limit {
            listing = listing.limit(limit);
        }
        let mut any = false;
        let mut table = self.table();
        while let Some(page) = listing.next_page().await? {
            for listed in page {
                any = true;
                match (session.json, &listed.record) {
                    (true, _) => output::json(&self.json(&listed))?,
                    (false, Ok(failed)) => table.row(self.row(failed, &listed)),
                    (false, Err(error)) => tracing::warn!("{error}"),
                }
                if table.len() == ROWS {
                    table.print()?;
                }
            }
        }
        if !table.is_empty() {
            table.print()?;
        }
        if !any {
            self.nothing(session, &streamer).await?;
        }
        Ok(Exit::Done)
    }

    async fn nothing(&self, session: &Session, streamer: &streamer::Streamer) -> Result<(), crate::exit::Failure> {
        if !session.json {
            output::line("No failed messages")?;
        }
        for unknown in self.filter.unknown_names(session, streamer).await? {
            tracing::warn!("{unknown}");
        }
        Ok(())
    }

    async fn summarise(&self, session: &Session, streamer: &streamer::Streamer) -> Outcome {
        let summary = streamer.failed().summary(self.filter.filter()).await?;
        if session.json {
            output::json(&summary)?;
            return Ok(Exit::Done);
        }
        if summary.count + summary.unreadable == 0 {
            self.nothing(session, streamer).await?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new([
            Column::whole("Count"),
            Column::text("Stream"),
            Column::text("Receiver"),
            Column::text("Error"),
            Column::whole("First"),
            Column::whole("Last"),
        ]);
        for kind in &summary.kinds {
            table.row([
                &kind.count.to_string(),
                &kind.stream,
                &kind.receiver,
                &kind.error,
                &kind.first,
                &kind.last,
            ]);
        }
        table.print()?;
        output::line(format!("Total of {}.", output::counted(summary.count, "failure")))?;
        if summary.unreadable > 0 {
            let members = output::counted(summary.unreadable, "member");
            tracing::warn!("the failed list has {members} that cannot be read");
        }
        Ok(Exit::Done)
    }

    fn table(&self) -> Table {
        let mut columns = vec![Column::whole("ID"), Column::text("Stream")];
        match self.compact {
            true => columns.push(Column::text("Error")),
            // The first five are laravel-streamer's.
            false => columns.extend([
                Column::text("Receiver"),
                Column::text("Error"),
                Column::whole("Date"),
                Column::text("Attempts"),
                Column::text("Group"),
            ]),
        }
        Table::new(columns)
    }

    fn row(&self, failed: &FailedMessage, listed: &Listed) -> Vec<String> {
        let FailedMessage {
            id,
            stream,
            receiver,
            error,
            date,
        } = failed.clone();
        if self.compact {
            return vec![id, stream, error];
        }
        let details = &listed.details;
        let attempts = match &details.first_failure {
            Some(first) => format!("{}, first {first}", details.attempts),
            None => details.attempts.to_string(),
        };
        let groups = details.all_groups().collect::<Vec<_>>().join(", ");
        vec![id, stream, receiver, error, date, attempts, groups]
    }

    fn json(&self, listed: &Listed) -> OrderedJson {
        let failed = match &listed.record {
            Ok(failed) => failed,
            Err(error) => return output::object!({"unreadable": error.to_string()}),
        };
        if self.compact {
            return output::object!({"id": failed.id, "stream": failed.stream, "error": failed.error});
        }
        as_json(failed, listed)
    }
}

/// A failure with what is kept beside it.
pub(super) fn as_json(failed: &FailedMessage, listed: &Listed) -> OrderedJson {
    output::joined(failed, &listed.details)
}
