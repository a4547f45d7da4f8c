//! The log of a stream, newest first, and one entry with its life.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use streamer::{Entry, EntryId, Moment, OrderedJson, RangeBound, ReceivedMessage, StreamName, engine::ScheduledEntry};

use super::Answer;
use crate::{params::Params, problem::Problem, site::Site};

/// How many entries a page has at most.
const MOST: usize = 200;
/// How many entries one request looks at.
const LOOKED: usize = 5_000;
/// About how many bytes are asked for at once.
const BYTES: usize = 4 << 20;
/// A payload with more bytes is not decoded for a list.
const LONG: usize = 16 << 10;

#[derive(Deserialize)]
pub(super) struct Query {
    stream: String,
    /// Only older entries.
    before: Option<String>,
    /// Only entries since this date or age, or entry ID.
    #[serde(default)]
    from: String,
    /// Only entries until this date or age, or entry ID.
    #[serde(default)]
    to: String,
    /// Only events of this type.
    #[serde(default)]
    kind: String,
    /// Only where this path of the payload (or header) has the value `text`; empty: any field contains `text`.
    #[serde(default)]
    field: String,
    #[serde(default)]
    text: String,
    limit: Option<usize>,
}

/// An ID, or the first one of a moment.
fn id(text: &str) -> Result<Option<EntryId>, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains('-')
        && let Ok(id) = text.parse::<EntryId>()
    {
        return Ok(Some(id));
    }
    let moment = text.parse::<Moment>();
    moment
        .map(|moment| Some(moment.first_id()))
        .map_err(|error| Problem::bad_request(format!("{error}; or an entry ID")))
}

/// `GET api/entries`
pub(super) async fn entries(State(site): State<Arc<Site>>, Params(query): Params<Query>) -> Answer {
    let stream = StreamName::from(&query.stream);
    let start = id(&query.from)?.map_or(RangeBound::Unbounded, RangeBound::Inclusive);
    let mut end = match (&query.before, id(&query.to)?) {
        (Some(before), _) => {
            let before = before.parse::<EntryId>();
            RangeBound::Exclusive(before.map_err(|error| Problem::bad_request(error.to_string()))?)
        }
        (None, Some(to)) => RangeBound::Inclusive(to),
        (None, None) => RangeBound::Unbounded,
    };
    let limit = query.limit.unwrap_or(50).clamp(1, MOST);
    let engine = site.streamer.engine();
    let (mut found, mut looked_at, mut next) = (Vec::new(), 0, None);
    let mut ask = 20;
    'pages: loop {
        let page = engine.range(&stream, start, end, Some(ask), true).await?;
        let (full, bytes) = (page.len() == ask, page.iter().map(size).sum::<usize>());
        for entry in page {
            looked_at += 1;
            let id = entry.id;
            end = RangeBound::Exclusive(id);
            let message = ReceivedMessage::new(stream.clone(), entry, 1);
            if query.lets_through(&message) {
                found.push(shown(&message));
            }
            if found.len() >= limit || looked_at >= LOOKED {
                next = Some(id);
                break 'pages;
            }
        }
        if !full {
            break;
        }
        // Large entries are asked for few at a time.
        ask = (ask * 5).min(500).min((BYTES * ask / bytes.max(1)).max(1));
    }
    Ok(Json(json!({"entries": found, "looked_at": looked_at, "next": next})))
}

/// How many events for later are shown.
const LATER: usize = 20;

#[derive(Deserialize)]
pub(super) struct OfStream {
    stream: String,
}

/// `GET api/scheduled`: the events of a stream that wait until they are due, the next ones.
pub(super) async fn scheduled(State(site): State<Arc<Site>>, Params(OfStream { stream }): Params<OfStream>) -> Answer {
    let stream = StreamName::from(&stream);
    let page = site.streamer.scheduled(stream.clone()).page(None, LATER).await?;
    let events = page
        .into_iter()
        .map(|ScheduledEntry { id, fields }| shown_entry(&stream, Entry { id, fields }));
    Ok(Json(json!({"events": events.collect::<Vec<_>>()})))
}

impl Query {
    fn lets_through(&self, message: &ReceivedMessage) -> bool {
        if !self.kind.is_empty() && message.kind() != self.kind {
            return false;
        }
        if self.field.is_empty() {
            let text = self.text.as_bytes();
            let contains = |bytes: &[u8]| text.is_empty() || bytes.windows(text.len()).any(|window| window == text);
            return contains(b"")
                || message
                    .fields()
                    .iter()
                    .any(|(name, value)| contains(name) || contains(value));
        }
        let is = |value: &Value| match value {
            Value::String(value) => *value == self.text,
            value => serde_json::to_string(value).is_ok_and(|text| text == self.text),
        };
        message.get(&self.field).is_some_and(is) || message.header(&self.field).is_some_and(|value| value == self.text)
    }
}

fn size(entry: &Entry) -> usize {
    entry.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// An entry as lists show it.
pub(crate) fn shown_entry(stream: &StreamName, entry: Entry) -> Value {
    shown(&ReceivedMessage::new(stream.clone(), entry, 1))
}

/// A message as lists show it: of a long payload only the beginning. Payloads are texts, so that a browser neither
/// rounds their numbers nor does anything else with them.
pub(super) fn shown(message: &ReceivedMessage) -> Value {
    let bytes = message
        .fields()
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>();
    let headers = message
        .headers()
        .map(|(name, value)| [name.into_owned(), value.into_owned()]);
    let mut object = json!({
        "id": message.id(),
        "stream": message.stream(),
        "name": message.name(),
        "type": message.kind(),
        "domain": message.domain(),
        "created": message.created(),
        "original_id": message.original_id(),
        "headers": headers.collect::<Vec<_>>(),
        "bytes": bytes,
    });
    let decoded = (bytes <= LONG).then(|| message.payload::<OrderedJson>());
    object["preview"] = json!(match &decoded {
        Some(Ok(data)) => beginning(data.to_string().as_bytes()),
        _ => {
            let payload = message
                .field("data")
                .or_else(|| message.fields().first().map(|(_, value)| value));
            payload.map_or_else(String::new, |payload| beginning(payload))
        }
    });
    if let Some(Err(error)) = decoded {
        object["undecodable"] = json!(error.to_string());
    }
    object
}

/// As much of a payload as a line can show.
fn beginning(text: &[u8]) -> String {
    const CHARACTERS: usize = 300;
    let text = String::from_utf8_lossy(&text[..text.len().min(4 * CHARACTERS)]);
    text.chars().take(CHARACTERS).collect()
}

/// A message with all that is in it.
pub(super) fn whole(message: &ReceivedMessage) -> Value {
    let mut object = shown(message);
    match message.payload::<OrderedJson>() {
        Ok(data) => object["payload"] = json!(format!("{data:#}")),
        Err(error) => object["undecodable"] = json!(error.to_string()),
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let fields = message.fields().iter().map(|(name, value)| [text(name), text(value)]);
    object["fields"] = json!(fields.collect::<Vec<_>>());
    object
}

#[derive(Deserialize)]
pub(super) struct One {
    stream: String,
    id: String,
}

impl One {
    fn read(&self) -> Result<(StreamName, EntryId), Problem> {
        let id = self.id.parse::<EntryId>();
        let id = id.map_err(|error| Problem::bad_request(error.to_string()))?;
        Ok((StreamName::from(&self.stream), id))
    }
}

/// `GET api/entry`: one entry, all that is in it, and its life.
pub(super) async fn entry(State(site): State<Arc<Site>>, Params(one): Params<One>) -> Answer {
    let (stream, id) = one.read()?;
    let inspect = site.streamer.inspect();
    let life = inspect.message(&stream, id, site.archive.as_deref()).await?;
    let archived = life.archived.as_ref().map(streamer::archive::ArchivedMessage::message);
    let message = life.message.as_ref().or(life.scheduled.as_ref()).or(archived.as_ref());
    let message = message.map(whole);
    Ok(Json(json!({
        "stream": life.stream,
        "id": life.id,
        "age_ms": life.age_ms,
        "known": life.is_known(),
        "on_stream": life.message.is_some(),
        "scheduled": life.scheduled.is_some(),
        "message": message,
        "groups": life.groups,
        "failures": life.failures,
        "failures_complete": life.failures_complete,
        "archive_asked": site.archive.is_some(),
        "archived": life.archived.is_some(),
        "archive_error": life.archive_error,
        "earlier_ids": life.earlier_ids,
        "restored_as": life.restored_as,
        "caused": life.caused,
        "refused": life.refused,
    })))
}

/// `GET api/payload`: one message, from its stream or the archive, and nothing about its life; `gone` where neither has it.
pub(super) async fn payload(State(site): State<Arc<Site>>, Params(one): Params<One>) -> Answer {
    let (stream, id) = one.read()?;
    let found = site.streamer.engine().get_many(&stream, &[id]).await?;
    if let Some(entry) = found.into_iter().next().flatten() {
        let message = ReceivedMessage::new(stream, entry, 1);
        return Ok(Json(json!({"from": "stream", "message": whole(&message)})));
    }
    if let Some(archive) = &site.archive
        && let Some(archived) = archive.find(&stream, id).await?
    {
        return Ok(Json(json!({"from": "archive", "message": whole(&archived.message())})));
    }
    let elsewhere = match site.archive {
        Some(_) => "neither on the stream nor in the archive",
        None => "not on the stream, and no archive is configured",
    };
    // An answer, not an error: a failure's message may be gone, and the page that asks shows what is known.
    Ok(Json(
        json!({"from": null, "message": null, "gone": format!("message {id} is {elsewhere}")}),
    ))
}
