//! `emit`: writes an event, or one for each line of a file.

mod lines;

use std::io::Read as _;

use clap::Args;
use serde_json::{Map, Value, json};
use streamer::{
    DecodeError, DynamicEvent, EmitError, EmitErrorKind, EmitOptions, EntryId, NewId, Trim, engine::EngineErrorKind,
    message::payload_from_text,
};

use crate::{
    app::Session,
    config::Flags,
    exit::{Exit, Failure, Outcome},
    output,
};

const EXAMPLES: &str = "\
Examples:
  streamer emit order.placed '{\"id\": 123, \"total\": 9.99}'
  streamer emit order.placed @order.json --type command
  curl -s https://example.com/order | streamer emit order.placed -
  streamer emit user.changed '{\"city\": \"Oslo\"}' --identifier 7   # for `replay user.changed 7`
  streamer emit order.placed --lines @orders.jsonl        # one JSON object a line
  streamer emit order.placed --lines < orders.jsonl

The ID of the new entry is printed.";

/// Emit an event
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Emit {
    /// The event's name: the stream it goes to
    name: String,
    /// The payload: JSON, `@FILE`, or `-` for stdin [default: an empty one; with --lines stdin]
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
    #[arg(long, value_name = "N")]
    maxlen: Option<u64>,
    /// Which resource it is about, for `replay`
    #[arg(long, value_name = "ID", conflicts_with = "lines")]
    identifier: Option<String>,
    /// Emit one event for each line, a JSON object, of FILE or stdin
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
        let id = streamer
            .emit_with(&event, options)
            .await
            .map_err(|error| failure(&error))?;
        if session.json {
            output::json(&json!({"id": id}))?;
        } else {
            output::line(id.to_string())?;
        }
        Ok(Exit::Done)
    }

    fn payload(&self) -> Result<Map<String, Value>, Failure> {
        let (text, from) = match self.payload.as_deref() {
            None => return Ok(Map::new()),
            Some("-") => {
                let mut text = String::new();
                let read = std::io::stdin().lock().read_to_string(&mut text);
                read.map_err(|error| Failure::failed(format!("could not read the payload from stdin: {error}")))?;
                (text, "stdin".to_owned())
            }
            Some(text) => match text.strip_prefix('@') {
                Some(path) => {
                    let read = std::fs::read_to_string(path);
                    let text = read.map_err(|error| Failure::failed(format!("could not read {path}: {error}")))?;
                    (text, path.to_owned())
                }
                None => (text.to_owned(), "the command line".to_owned()),
            },
        };
        object(&text).map_err(|reason| Failure::usage(format!("the payload from {from} {reason}")))
    }
}

/// A payload from its text; the error completes "the payload …".
fn object(text: &str) -> Result<Map<String, Value>, String> {
    match payload_from_text(text.as_bytes()) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("is not a JSON object; write {\"name\": value, …}".to_owned()),
        Err(DecodeError::Undecodable(reason)) => Err(format!("is not JSON: {reason}")),
        Err(error) => Err(format!("is not JSON: {error}")),
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
        EmitErrorKind::Engine(EngineErrorKind::Connection | EngineErrorKind::Unavailable | EngineErrorKind::Moved) => {
            Exit::Unreachable
        }
        _ => Exit::Failed,
    };
    Failure {
        exit,
        text: Some(error.to_string()),
    }
}
