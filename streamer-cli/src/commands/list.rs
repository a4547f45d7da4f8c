//! `list`: which events have which listeners.

use clap::Args;
use comfy_table::Table;
use serde_json::json;

use crate::{
    app::Session,
    exit::{Exit, Outcome},
    listeners, output,
};

const EXAMPLES: &str = "\
Examples:
  streamer list
  streamer list --compact
  streamer list --json | jq -r '.[].event'";

/// Show the events and their listeners
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    /// Only the events
    #[arg(long)]
    compact: bool,
}

impl List {
    pub(crate) fn run(&self, session: &Session) -> Outcome {
        let events = listeners::names(&session.listeners, &session.config.definitions);
        if session.json {
            let events: Vec<_> = events
                .into_iter()
                .map(|(event, names)| {
                    if self.compact {
                        json!({"event": event})
                    } else {
                        json!({"event": event, "listeners": names})
                    }
                })
                .collect();
            output::json(&events)?;
            return Ok(Exit::Done);
        }
        if events.is_empty() {
            output::line("There are no listeners: add some to `[listen_and_fire]` in streamer.toml.")?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new();
        table.load_style(output::TABLE);
        table.set_header(if self.compact {
            vec!["Event"]
        } else {
            vec!["Event", "Listeners"]
        });
        for (event, names) in events {
            table.add_row(if self.compact {
                vec![event]
            } else {
                vec![event, names.join("\n")]
            });
        }
        output::line(table.to_string())?;
        Ok(Exit::Done)
    }
}
