//! `list`: which events have which listeners.

use clap::Args;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    app::Session,
    exit::{Exit, Outcome},
    listeners, output,
    table::{Column, Table},
    terminal::Shown,
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
                        output::object!({"event": event})
                    } else {
                        output::object!({"event": event, "listeners": names})
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
        if self.compact {
            // laravel-streamer's compact style: no lines, and a space after each cell.
            let names = || {
                ["Event"]
                    .into_iter()
                    .chain(events.iter().map(|(event, _)| event.as_str()))
            };
            let width = names()
                .map(|name| Shown::line(name).as_str().width())
                .max()
                .unwrap_or_default();
            for name in names() {
                let name = Shown::line(name);
                let fill = width - name.as_str().width();
                output::line(format!("{}{:fill$} ", name.as_str(), ""))?;
            }
            return Ok(Exit::Done);
        }
        let mut table = Table::new([Column::text("Event"), Column::text("Listeners")]);
        for (event, names) in &events {
            if names.is_empty() {
                table.row([event.as_str(), "none"]);
            }
            // One line of the cell for each listener.
            for (at, name) in names.iter().enumerate() {
                table.row([if at == 0 { event.as_str() } else { "" }, name.as_str()]);
            }
        }
        table.print()?;
        Ok(Exit::Done)
    }
}
