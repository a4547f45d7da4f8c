//! What the demo shows: a screenful that can be read.

use std::time::Duration;

use streamer::failed::FailedMessage;

use super::store::Store;
use crate::{exit::Failure, output, terminal::Shown};

/// So many handled orders are shown at the beginning …
const FIRST: u32 = 5;
/// … and then about so many more.
const MORE: u32 = 8;

pub(super) struct Screen {
    json: bool,
    quiet: bool,
}

impl Screen {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub(super) fn opening(&self, store: &Store) -> Result<(), Failure> {
        self.line(&format!("The store is {}.", store.shown()))
    }

    pub(super) fn started(&self, pid: u32, store: &Store) -> Result<(), Failure> {
        let Store { stream, group, .. } = store;
        self.line(&format!(
            "Process {pid} listens to '{stream}' in group '{group}'; process {} emits.\n",
            std::process::id()
        ))
    }

    pub(super) fn handled(&self, handled: u32, total: u32, id: &str, order: &str) -> Result<(), Failure> {
        if handled <= FIRST || handled.is_multiple_of((total / MORE).max(1)) {
            self.item("handled", "32", &format!("[{id}] {order}"))?;
        }
        if handled == FIRST {
            self.line("  …")?;
        }
        Ok(())
    }

    pub(super) fn failed(&self, id: &str, error: &str) -> Result<(), Failure> {
        self.item("failed", "31", &format!(" [{id}] {error}"))
    }

    pub(super) fn counts(
        &self,
        emitted: usize,
        emit_time: Duration,
        handled: u32,
        failed: u32,
        handle_time: Duration,
    ) -> Result<(), Failure> {
        let emit_rate = rate(emitted, emit_time);
        let handle_rate = rate((handled + failed) as usize, handle_time);
        if self.json {
            output::json(&output::object!({
                "emitted": emitted, "emitted_per_second": emit_rate,
                "handled": handled, "failed": failed, "handled_per_second": handle_rate,
                "seconds": handle_time.as_secs_f64(),
            }))?;
            return Ok(());
        }
        self.line(&format!(
            "\n  emitted {emitted:>6}   {emit_rate:>7}/s   in {:.2} s\n  handled {handled:>6}   {handle_rate:>7}/s   in {:.2} s\n  \
             failed  {failed:>6}",
            emit_time.as_secs_f64(),
            handle_time.as_secs_f64()
        ))
    }

    pub(super) fn records(&self, records: &[FailedMessage]) -> Result<(), Failure> {
        self.line("\nThe failed list keeps what failed, for whom, and why:")?;
        for FailedMessage {
            id,
            receiver,
            error,
            date,
            ..
        } in records
        {
            self.line(&format!("  {date} UTC  [{id}] {receiver}: {error}"))?;
        }
        Ok(())
    }

    /// Commands that can be copied.
    pub(super) fn next_steps(&self, url: Option<&str>) -> Result<(), Failure> {
        let program = std::env::args().next().unwrap_or_else(|| "streamer".to_owned());
        let url = url.map_or_else(|| "sqlite://shop.db".to_owned(), streamer::shown_url);
        self.line(&format!(
            "\nWhat to try next, in two terminals:\n\n  \
             {program} --url {url} tail order.placed\n  \
             {program} --url {url} emit order.placed '{{\"id\": 1, \"total\": 9.99}}'\n\n\
             A listener of your own, any program:\n\n  \
             printf '[listen_and_fire]\\n\"order.placed\" = [\"show\"]\\n\\n\
             [listeners.show]\\nprogram = [\"cat\"]\\nmode = \"message\"\\n' > streamer.toml\n  \
             {program} --url {url} listen --all --group billing\n"
        ))?;
        if url.starts_with("sqlite:") {
            // Without Redis it was built as the first command of the README says, in a clone.
            let program = match cfg!(feature = "redis") {
                true => &*program,
                false => "cargo run --release --",
            };
            self.line(&format!(
                "The same on Redis:\n\n  {program} demo --url redis://127.0.0.1:6379"
            ))?;
        }
        Ok(())
    }

    fn line(&self, text: &str) -> Result<(), Failure> {
        if !self.json && !self.quiet {
            output::text(text)?;
        }
        Ok(())
    }

    fn item(&self, what: &str, style: &str, text: &str) -> Result<(), Failure> {
        if !self.json && !self.quiet {
            output::line(Shown::line(" ").and(output::styled(what, style)).and(text))?;
        }
        Ok(())
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn rate(count: usize, time: Duration) -> u64 {
    (count as f64 / time.as_secs_f64().max(1e-9)) as u64
}
