//! `outbox status`: what waits, since when, and what could not be published.

use std::time::Duration;

use clap::Args;
use streamer::outbox::BlockedRow;

use crate::{
    app::Session,
    exit::{Exit, Outcome},
    output,
    table::{Column, Table},
};

const EXAMPLES: &str = "\
Examples:
  streamer outbox status
  streamer outbox status --json | jq .waiting
  streamer outbox status --json | jq -e '.blocked_count == 0'";

/// Show how many rows wait, the oldest, and those that could not be published
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Status {}

impl Status {
    pub(super) async fn run(&self, session: &Session) -> Outcome {
        let status = super::open(session).await?.status().await?;
        if session.json {
            output::json(&status)?;
            return Ok(Exit::Done);
        }
        let oldest = status.oldest_ms.map(|oldest| {
            let age = Duration::from_millis(oldest);
            // Of an age in minutes nobody needs the milliseconds.
            let age = match age.as_secs() {
                0 => age,
                seconds => Duration::from_secs(seconds),
            };
            format!(", the oldest for {}", humantime::format_duration(age))
        });
        output::line(format!(
            "Waiting: {}{}.",
            output::counted(status.waiting, "row"),
            oldest.unwrap_or_default()
        ))?;
        if status.published > 0 {
            let kept = output::counted(status.published, "published row");
            output::line(format!("Kept: {kept}."))?;
        }
        if status.blocked.is_empty() {
            return Ok(Exit::Done);
        }
        output::line(format!(
            "Blocked: {} of these. Later rows of the same key wait, all other keys go on.",
            output::counted(status.blocked_count, "row")
        ))?;
        output::line(
            "Once the cause is fixed: `outbox retry ID`, or `outbox retry --all`. `outbox skip ID` deletes a row, which \
             is then never published.",
        )?;
        let mut table = Table::new([
            Column::whole("Event"),
            Column::text("Stream"),
            Column::text("Key"),
            Column::whole("Attempts"),
            Column::text("Error"),
        ]);
        for row in &status.blocked {
            let BlockedRow {
                event_id,
                stream,
                ordering_key,
                attempts,
                error,
                ..
            } = row;
            table.row([event_id, stream, ordering_key, &attempts.to_string(), error]);
        }
        table.print()?;
        let more = status.blocked_count.saturating_sub(status.blocked.len() as u64);
        if more > 0 {
            output::line(format!("{} more.", output::counted(more, "row")))?;
        }
        Ok(Exit::Done)
    }
}
