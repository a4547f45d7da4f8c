//! `failed show`: the failures of one message, with its payload and the whole errors.

use clap::Args;
use streamer::{OrderedJson, failed::FailedMessage};

use super::{Of, list::as_json};
use crate::{
    app::Session,
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer failed show 1795407980936-0
  streamer failed show 1795407980936-0 --receiver receipt --json";

/// Show the failures of one message, with its payload and the whole errors
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    /// The message's ID
    id: String,
    #[command(flatten)]
    of: Of,
}

impl Show {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_read().await?;
        let archive = match session.has_archive() {
            true => Some(session.archive_to_read().await?),
            false => None,
        };
        let failed = streamer.failed();
        let mut listing = failed.sorted(self.of.filter(Some(&self.id))).with_details();
        let mut any = false;
        while let Some(page) = listing.next_page().await? {
            for listed in page {
                let Ok(record) = &listed.record else { continue };
                any = true;
                let message = failed.message(&listed, archive.as_deref()).await?;
                if session.json {
                    let message = match &message {
                        Ok(message) => output::value(message),
                        Err(reason) => output::object!({"missing": reason.to_string()}),
                    };
                    let object = as_json(record, &listed);
                    output::json(&output::joined(&object, &output::object!({"message": message})))?;
                    continue;
                }
                show(record, &listed.details, &message)?;
            }
        }
        match any {
            true => Ok(Exit::Done),
            false => Err(Failure::failed(format!(
                "the failed list has no failure of message {}",
                self.id
            ))),
        }
    }
}

fn show(
    failed: &FailedMessage,
    details: &streamer::failed::Details,
    message: &Result<streamer::ReceivedMessage, streamer::failed::Skipped>,
) -> Result<(), Failure> {
    let FailedMessage {
        id,
        stream,
        receiver,
        error,
        date,
    } = failed;
    output::line(format!("Message {id} on '{stream}' stream, listener {receiver}"))?;
    output::line(format!("  failed at {date} UTC, attempts: {}", details.attempts))?;
    if let Some(first) = &details.first_failure {
        output::line(format!("  failed first at {first} UTC"))?;
    }
    if let Some(group) = &details.group {
        output::line(format!("  in group: {group}"))?;
    }
    if !details.groups.is_empty() {
        output::line(format!("  pending in: {}", details.groups.join(", ")))?;
    }
    output::line("Error:")?;
    output::text(indented(error))?;
    match message {
        Err(reason) => output::line(format!("Payload: {reason}"))?,
        Ok(message) => {
            output::line(format!("Payload of '{}', type {}:", message.name(), message.kind()))?;
            match message.payload::<OrderedJson>() {
                Ok(data) => output::text(indented(&format!("{data:#}")))?,
                Err(error) => {
                    output::line(format!("  {error}; its fields:"))?;
                    for (name, value) in message.fields() {
                        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
                        output::line(format!("  {name}: {value}"))?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("  {line}"));
    lines.collect::<Vec<_>>().join("\n")
}
