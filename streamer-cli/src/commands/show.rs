//! `show`: one message and its whole life.

use clap::Args;
use streamer::{
    EntryId, OrderedJson, StreamName,
    archive::ArchivedMessage,
    inspect::{Life, MessageState},
};

use super::{group::shown_ms, scheduled::shown_moment};
use crate::{
    app::Session,
    exit::{Exit, Outcome},
    names, output,
    terminal::Shown,
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
            let asked = output::object!({"archive_asked": archive.is_some()});
            output::json(&output::joined(&life, &asked))?;
        } else {
            self.tell(&life, archive.is_some())?;
        }
        if !life.is_known()
            && let Some(missing) = names::no_stream(session, &streamer, &self.stream).await
        {
            tracing::warn!("{missing}");
        }
        Ok(if life.is_known() { Exit::Done } else { Exit::Failed })
    }

    fn tell(&self, life: &Life, archive_asked: bool) -> std::io::Result<()> {
        for line in lines(life, self.raw, archive_asked) {
            let style = match line.style {
                LineStyle::Plain => None,
                LineStyle::Title => Some("1"),
                LineStyle::Bad => Some("31"),
            };
            match style {
                Some(style) => output::line(line.shown().styled(style, output::colour()))?,
                None => output::line(line.shown())?,
            }
        }
        for refused in &life.refused {
            tracing::warn!("{}", refused.error);
        }
        Ok(())
    }
}

/// A line about a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    text: String,
    pub(super) style: LineStyle,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineStyle {
    Plain,
    Title,
    Bad,
}

impl Line {
    /// The line as a terminal may get it.
    pub(super) fn shown(&self) -> Shown {
        Shown::line(&self.text)
    }
}

/// A message and its life, for people.
pub(super) fn lines(life: &Life, raw: bool, archive_asked: bool) -> Vec<Line> {
    let mut lines = vec![Line {
        text: format!("Message {} of stream '{}'", life.id, life.stream),
        style: LineStyle::Title,
    }];
    message_lines(&mut lines, life, raw);
    let mut plain = |text: String| {
        lines.push(Line {
            text,
            style: LineStyle::Plain,
        });
    };
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
        plain(format!("Group '{}': {state}.", group.name));
    }
    for failure in &life.failures {
        let attempts = output::counted(failure.attempts, "attempt");
        lines.push(Line {
            text: format!(
                "Listener '{}' failed at {} after {attempts}: {}",
                failure.receiver, failure.date, failure.error
            ),
            style: LineStyle::Bad,
        });
    }
    let mut plain = |text: String| {
        lines.push(Line {
            text,
            style: LineStyle::Plain,
        });
    };
    if !life.failures_complete {
        plain("The failed list is too long, or not to be read: not all failures were looked at.".to_owned());
    }
    plain(match (&life.archived, &life.archive_error) {
        (Some(_), _) => "Archive: the message is in it.".to_owned(),
        (None, Some(error)) => format!("Archive: could not be asked: {error}"),
        (None, None) if archive_asked => "Archive: the message is not in it.".to_owned(),
        (None, None) => "Archive: none is configured. (One in a file is made when something is archived.)".to_owned(),
    });
    if !life.earlier_ids.is_empty() {
        let ids = life.earlier_ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        plain(format!(
            "Before it was archived and restored it was {}.",
            ids.join(", ")
        ));
    }
    if let Some(id) = life.restored_as {
        plain(format!(
            "It was archived and restored, and is {id} now: streamer show {} {id}",
            life.stream
        ));
    }
    for (stream, id) in &life.caused.messages {
        plain(format!("It caused {id} of stream '{stream}'."));
    }
    if !life.caused.complete {
        plain("What it caused was not searched in all that came after it.".to_owned());
    }
    lines
}

fn message_lines(lines: &mut Vec<Line>, life: &Life, raw: bool) {
    let mut plain = |text: String| {
        lines.push(Line {
            text,
            style: LineStyle::Plain,
        });
    };
    let archived = life.archived.as_ref().map(ArchivedMessage::message);
    let known = life.message.as_ref().or(life.scheduled.as_ref()).or(archived.as_ref());
    let Some(message) = known else {
        return plain("Its entry is not on the stream.".to_owned());
    };
    if life.message.is_none() && life.scheduled.is_some() {
        plain(format!(
            "It is an event for later: it waits under this ID until it is due at {}, and has another ID on the stream.",
            shown_moment(life.id.ms)
        ));
    } else if life.message.is_none() {
        plain("Its entry is not on the stream; this is the archive's.".to_owned());
    }
    let created = message.created().and_then(|seconds| i64::try_from(seconds).ok());
    if let Some(time) = created.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
        let age = life
            .age_ms
            .map_or_else(String::new, |ms| format!(" ({} ago)", shown_ms(ms)));
        plain(format!("Emitted at {time}{age}."));
    }
    let domain = match &*message.domain() {
        "" => String::new(),
        domain => format!(" by the domain '{domain}'"),
    };
    plain(format!("It is the {} '{}'{domain}.", message.kind(), message.name()));
    for (name, value) in message.headers() {
        plain(format!("Header {name}: {value}"));
    }
    if raw {
        for (name, value) in message.fields() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            plain(format!("Field {}: {}", text(name), text(value)));
        }
        return;
    }
    match message.payload::<OrderedJson>() {
        Ok(data) => format!("{data:#}").lines().for_each(|line| plain(line.to_owned())),
        Err(error) => lines.push(Line {
            text: format!("Its payload cannot be decoded: {error}"),
            style: LineStyle::Bad,
        }),
    }
}
