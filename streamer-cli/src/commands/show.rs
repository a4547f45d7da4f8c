//! `show`: one message and its whole life.

use clap::Args;
use serde_json::json;
use streamer::{
    EntryId, StreamName,
    archive::ArchivedMessage,
    inspect::{Life, MessageState},
};

use super::group::shown_ms;
use crate::{
    app::Session,
    exit::{Exit, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer show order.placed 1795407980936-0
  streamer show order.placed 1795407980936-0 --raw
  streamer show order.placed 1795407980936-0 --json | jq .groups

Exit code 1 means that nothing is known of such a message.";

/// Show one message and its life: groups, failures, archive, earlier IDs, what it caused
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    /// The stream
    stream: String,
    /// The entry ID of the message
    #[arg(value_name = "ID")]
    id: EntryId,
    /// Show the raw fields of the entry instead of the decoded payload
    #[arg(long)]
    raw: bool,
}

impl Show {
    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        let streamer = session.connect_to_read().await?;
        let archive = match session.has_archive() && session.archive_is_there() {
            true => Some(session.archive_to_read().await?),
            false => None,
        };
        let stream = StreamName::from(&self.stream);
        let life = streamer.inspect().message(&stream, self.id, archive.as_deref()).await?;
        if session.json {
            let mut object = json!(life);
            object["archive_asked"] = json!(archive.is_some());
            output::json(&object)?;
        } else {
            self.tell(&life, archive.is_some())?;
        }
        Ok(if life.is_known() { Exit::Done } else { Exit::Failed })
    }

    fn tell(&self, life: &Life, archive_asked: bool) -> std::io::Result<()> {
        let title = format!("Message {} of stream '{}'", life.id, life.stream);
        output::line(output::styled(&title, "1"))?;
        self.tell_message(life)?;
        for group in &life.groups {
            let state = match &group.state {
                MessageState::Waiting => "not delivered yet".to_owned(),
                MessageState::Missed => "left the stream before it was delivered".to_owned(),
                MessageState::Settled => "acknowledged (or the group began after it)".to_owned(),
                MessageState::Pending {
                    consumer,
                    idle_ms,
                    deliveries,
                } => format!(
                    "pending with {consumer}, delivered {}, idle for {}",
                    output::counted(*deliveries, "time"),
                    shown_ms(*idle_ms)
                ),
                _ => "in a state that this version does not know".to_owned(),
            };
            output::line(format!("Group '{}': {state}.", group.name))?;
        }
        for failure in &life.failures {
            let attempts = output::counted(failure.attempts, "attempt");
            let text = format!(
                "Listener '{}' failed at {} after {attempts}: {}",
                failure.receiver, failure.date, failure.error
            );
            output::line(output::styled(&text, "31"))?;
        }
        if !life.failures_complete {
            output::line("The failed list is too long, or not to be read: not all failures were looked at.")?;
        }
        match (&life.archived, &life.archive_error) {
            (Some(_), _) => output::line("Archive: it is there.")?,
            (None, Some(error)) => output::line(format!("Archive: could not be asked: {error}"))?,
            (None, None) if archive_asked => output::line("Archive: it is not there.")?,
            (None, None) => output::line("Archive: none is configured.")?,
        }
        if !life.earlier_ids.is_empty() {
            let ids = life.earlier_ids.iter().map(ToString::to_string).collect::<Vec<_>>();
            output::line(format!(
                "Before it was archived and restored it was {}.",
                ids.join(", ")
            ))?;
        }
        if let Some(id) = life.restored_as {
            output::line(format!(
                "It was archived and restored, and is {id} now: streamer show {} {id}",
                self.stream
            ))?;
        }
        for (stream, id) in &life.caused.messages {
            output::line(format!("It caused {id} of stream '{stream}'."))?;
        }
        if !life.caused.complete {
            output::line("What it caused was not searched in all that came after it.")?;
        }
        for refused in &life.refused {
            tracing::warn!("{}", refused.error);
        }
        Ok(())
    }

    fn tell_message(&self, life: &Life) -> std::io::Result<()> {
        let archived = life.archived.as_ref().map(ArchivedMessage::message);
        let Some(message) = life.message.as_ref().or(archived.as_ref()) else {
            return output::line("Its entry is not on the stream.");
        };
        if life.message.is_none() {
            output::line("Its entry is not on the stream; this is the archive's.")?;
        }
        let created = message.created().and_then(|seconds| i64::try_from(seconds).ok());
        if let Some(time) = created.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            let age = life
                .age_ms
                .map_or_else(String::new, |ms| format!(" ({} ago)", shown_ms(ms)));
            output::line(format!("Emitted at {time}{age}."))?;
        }
        let domain = match &*message.domain() {
            "" => String::new(),
            domain => format!(" by the domain '{domain}'"),
        };
        output::line(format!("It is the {} '{}'{domain}.", message.kind(), message.name()))?;
        for (name, value) in message.headers() {
            output::line(format!("Header {name}: {value}"))?;
        }
        if self.raw {
            for (name, value) in message.fields() {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                output::line(format!("Field {}: {}", text(name), text(value)))?;
            }
            return Ok(());
        }
        match message.data() {
            Ok(data) => output::text(serde_json::to_string_pretty(data)?),
            Err(error) => output::line(output::styled(&format!("Its payload cannot be decoded: {error}"), "31")),
        }
    }
}
