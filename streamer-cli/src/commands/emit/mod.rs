//! `emit`: writes an event, or one for each line of a file.

mod lines;

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _},
    time::Duration,
};

use clap::Args;
use streamer::{
    DecodeError, DynamicEvent, EmitError, EmitErrorKind, EmitOptions, EntryId, Moment, NewId, OrderedJson, StreamName,
    Trim, message::payload_from_text,
};

use crate::{
    app::Session,
    config::{Flags, Number, flag, whole_number},
    exit::{Exit, Failure, Outcome, exit_of},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer emit order.placed '{\"id\": 123, \"total\": 9.99}'
  streamer emit order.placed @order.json --type command
  echo '{\"id\": 123}' | streamer emit order.placed
  streamer emit user.changed '{\"city\": \"Oslo\"}' --identifier 7
  streamer emit order.paid '{\"id\": 7}' --replicas 1 --within 2s
  streamer emit order.paid '{\"id\": 7}' --idempotency-key order-7-paid
  streamer emit cart.reminder '{\"cart\": 7}' --in 24h
  streamer emit sale.begins '{}' --at 2026-12-01T09:00[Europe/Oslo]
  streamer emit order.placed --lines @orders.jsonl
  streamer emit order.placed --lines < orders.jsonl

The ID of the new entry is printed. With --at or --in it is the ID under which
the event waits: `scheduled list` shows it, `scheduled cancel` takes it.";

/// Redis takes no value longer than 512 MiB.
const LONGEST_PAYLOAD: u64 = 512 << 20;

/// Emit an event
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Emit {
    /// The event's name: the stream it goes to
    name: String,
    /// The payload: a JSON object or list, `@FILE`, or `-` for stdin [default: stdin, if it is a pipe or a file]
    #[arg(value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    payload: Option<String>,
    /// Its type: event, notification, command or any other text
    #[arg(long = "type", value_name = "TYPE", default_value = "event")]
    kind: String,
    /// The domain it carries
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// The ID of the entry: `ms-seq`, or `ms-*` [default: the store gives one]
    #[arg(long, value_name = "ID", value_parser = new_id, conflicts_with = "lines")]
    id: Option<NewId>,
    /// Keep about so many entries of the stream, the newest
    #[arg(long, value_name = "N", value_parser = whole_number)]
    maxlen: Option<u64>,
    /// Which resource it is about, for `replay`
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    identifier: Option<String>,
    /// A header, which listeners read beside the payload; may be given several times
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header, conflicts_with = "lines")]
    headers: Vec<(String, String)>,
    /// Store the event once, however often it is emitted with this key within the window
    #[arg(long, value_name = "KEY", conflicts_with = "lines")]
    idempotency_key: Option<String>,
    /// For how long the key is known [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = flag::<Duration>, requires = "idempotency_key")]
    idempotency_window: Option<Duration>,
    /// Wait until so many replicas of the server have it
    #[arg(
        long,
        value_name = "N",
        value_parser = flag::<Number>,
        default_value = "0",
        conflicts_with = "lines",
        hide_default_value = true
    )]
    replicas: Number,
    /// Wait until the store has flushed it to its device (WAITAOF; embedded: as with synchronous=full)
    #[arg(long, conflicts_with = "lines")]
    flushed: bool,
    /// How long to wait for --replicas and --flushed, up to 8s [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = flag::<Duration>, conflicts_with = "lines")]
    within: Option<Duration>,
    /// When it is put on its stream: a date, such as `2026-12-01T09:00+01:00` (UTC where no zone is named). A date that has
    /// passed: at once
    #[arg(long, value_name = "DATE", value_parser = date, allow_hyphen_values = true, conflicts_with_all = ["lines", "id", "identifier"])]
    at: Option<Moment>,
    /// Put it on its stream after this time, such as `90s` or `2days`
    #[arg(long = "in", value_name = "TIME", value_parser = flag::<Duration>, allow_hyphen_values = true, conflicts_with_all = ["at", "lines", "id", "identifier"])]
    after: Option<Duration>,
    /// Emit one event for each line of FILE or stdin, a JSON object or list; empty lines are skipped
    #[arg(long)]
    lines: bool,
}

impl Emit {
    pub(crate) fn flags(&self, flags: &mut Flags) {
        flags.domain = self.domain.clone();
    }

    pub(crate) async fn run(&self, session: &Session) -> Outcome {
        if self.name.is_empty() {
            return Err(Failure::usage("an event needs a name"));
        }
        StreamName::from(&self.name).check()?;
        if self.lines {
            return lines::emit(self, session).await;
        }
        let payload = self.payload()?;
        let streamer = session.connect().await?;
        let event = DynamicEvent::new(&self.name, payload).with_kind(self.kind.clone());
        let mut options = EmitOptions::new().id(self.id.unwrap_or_default());
        if let Some(entries) = self.maxlen {
            options = options.trim(Trim::max_len(entries));
        }
        if let Some(identifier) = &self.identifier {
            options = options.identifier(identifier);
        }
        for (name, value) in &self.headers {
            options = options.header(name, value);
        }
        if let Some(key) = &self.idempotency_key {
            options = options.idempotency_key(key.clone());
        }
        if let Some(window) = self.idempotency_window {
            options = options.idempotency_window(window);
        }
        options = options.replicas(self.replicas.0).flushed(self.flushed);
        if let Some(within) = self.within {
            options = options.durable_within(within);
        }
        if let Some(moment) = self.at {
            options = options.deliver_at(moment);
        }
        if let Some(delay) = self.after {
            options = options.deliver_after(delay);
        }
        let id = streamer
            .emit_with(&event, options)
            .await
            .map_err(|error| failure(&error))?;
        if session.json {
            output::done_json(&output::object!({"id": id}))?;
        } else {
            output::done(id.to_string())?;
        }
        Ok(Exit::Done)
    }

    fn payload(&self) -> Result<OrderedJson, Failure> {
        let (text, from) = match self.payload.as_deref() {
            None if io::stdin().is_terminal() || is_nothing() => {
                return Err(Failure::usage(
                    "an event needs a payload: JSON, @FILE, `-` to type it here, or '{}' for an empty one",
                ));
            }
            None | Some("-") => {
                let text = read("stdin", io::stdin().lock())?;
                if text.trim().is_empty() {
                    return Err(Failure::usage(
                        "standard input is empty; an event without a payload is written as '{}'",
                    ));
                }
                (text, "stdin".to_owned())
            }
            // A variable that is not set: the reason of a JSON parser would not say so.
            Some(text) if text.trim().is_empty() => {
                return Err(Failure::usage(
                    "the payload is empty; an event without a payload is written as '{}'",
                ));
            }
            Some(text) => match text.strip_prefix('@') {
                Some(path) => {
                    let file = File::open(path);
                    let file = file.map_err(|error| Failure::failed(format!("could not read {path}: {error}")))?;
                    (read(path, file)?, path.to_owned())
                }
                None => (text.to_owned(), "the command line".to_owned()),
            },
        };
        parsed(&text).map_err(|reason| Failure::usage(format!("the payload from {from} {reason}")))
    }
}

/// The text of a payload, as long as one may be.
fn read(from: &str, input: impl io::Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    input
        .take(LONGEST_PAYLOAD + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::failed(format!("could not read {from}: {error}")))?;
    if bytes.len() as u64 > LONGEST_PAYLOAD {
        return Err(Failure::usage(format!(
            "{from} is longer than {} MiB, which is more than a payload may have",
            LONGEST_PAYLOAD >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("the payload from {from} is not UTF-8")))
}

/// Whether standard input is /dev/null, as in a timer or a service: whoever runs the command there gives no input, and
/// learns what is missing in words that do not speak of one.
fn is_nothing() -> bool {
    #[cfg(unix)]
    {
        let device = |stat: rustix::io::Result<rustix::fs::Stat>| {
            let stat = stat.ok()?;
            let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
            (kind == rustix::fs::FileType::CharacterDevice).then_some(stat.st_rdev)
        };
        let null = device(rustix::fs::stat("/dev/null"));
        null.is_some() && device(rustix::fs::fstat(io::stdin())) == null
    }
    #[cfg(not(unix))]
    {
        false
    }
}

/// A payload from its text: an object, or a list, which PHP has as well. Its keys keep their order. The error completes
/// "the payload …".
fn parsed(text: &str) -> Result<OrderedJson, String> {
    match payload_from_text(text.as_bytes()) {
        Ok(payload) if text.trim_ascii_start().starts_with(['{', '[']) => Ok(payload),
        Ok(_) => Err("is not a JSON object or list; write {\"name\": value, …}".to_owned()),
        Err(DecodeError::Undecodable(reason)) => Err(format!("is not JSON: {reason}")),
        Err(error) => Err(format!("is not JSON: {error}")),
    }
}

/// A date. An age would count back from now, which nobody means here.
fn date(text: &str) -> Result<Moment, String> {
    let is_date = text.trim_start().chars().take_while(char::is_ascii_digit).count() == 4 && text.contains('-');
    if !is_date {
        return Err(format!(
            "'{text}' is not a date, such as 2026-12-01T09:00+01:00; --in takes a time"
        ));
    }
    text.parse::<Moment>().map_err(|error| error.to_string())
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a header is written as NAME=VALUE, such as correlation_id=checkout-17".to_owned()),
    }
}

fn new_id(text: &str) -> Result<NewId, String> {
    if text == "*" {
        return Ok(NewId::Auto);
    }
    if let Some(ms) = text.strip_suffix("-*") {
        return ms
            .parse()
            .map(NewId::AutoSequence)
            .map_err(|_| format!("'{text}' is not milliseconds and `-*`"));
    }
    text.parse::<EntryId>()
        .map(NewId::Explicit)
        .map_err(|error| error.to_string())
}

fn failure(error: &EmitError) -> Failure {
    let exit = match error.kind() {
        EmitErrorKind::Engine(kind) => exit_of(kind),
        _ => Exit::Failed,
    };
    Failure {
        exit,
        text: Some(error.to_string()),
    }
}
