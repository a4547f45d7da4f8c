//! One failure as a member of the failed list, to the byte as PHP writes it.

use std::cell::RefCell;

use bytes::Bytes;
use jiff::{civil, tz::TimeZone};
use serde::Serialize;
use serde_json::Value;

use crate::{
    entry::{EntryId, StreamName, lossy},
    message::{Node, OrderedJson, php_json},
    moment::Moment,
};

/// A message that a listener failed to handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FailedMessage {
    // PHP reads a record by position: the order of these fields is part of the format.
    /// The message's entry ID.
    pub id: String,
    /// The stream that it is on.
    pub stream: String,
    /// The listener that failed.
    pub receiver: String,
    /// Why it failed.
    pub error: String,
    /// When it failed, as `Y-m-d H:i:s`. UTC where Streamer wrote it; PHP writes its application's time zone.
    pub date: String,
}

impl FailedMessage {
    /// A failure that happens now. What of the stream's name or the error is not UTF-8 becomes U+FFFD.
    pub fn new(id: EntryId, stream: &StreamName, receiver: &str, error: impl AsRef<[u8]>) -> Self {
        Self {
            id: id.to_string(),
            stream: lossy(stream.as_bytes()).into_owned(),
            receiver: receiver.to_owned(),
            error: lossy(error.as_ref()).into_owned(),
            date: now(),
        }
    }

    /// When it failed, taken for UTC; `None` where the date cannot be read.
    #[must_use]
    pub fn failed_at(&self) -> Option<Moment> {
        let date = civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", &self.date).ok()?;
        let moment = TimeZone::UTC.to_timestamp(date).ok()?;
        Some(Moment::from_unix_ms(moment.as_millisecond().max(0).unsigned_abs()))
    }

    /// The record as a member of the set, as PHP writes it.
    #[must_use]
    pub fn to_member(&self) -> Bytes {
        let mut member = Vec::with_capacity(128 + self.error.len());
        let parts = [
            (r#"{"id":"#, &self.id),
            (r#","stream":"#, &self.stream),
            (r#","receiver":"#, &self.receiver),
            (r#","error":"#, &self.error),
            (r#","date":"#, &self.date),
        ];
        for (key, value) in parts {
            member.extend_from_slice(key.as_bytes());
            php_json::write_str(&mut member, value);
        }
        member.push(b'}');
        member.into()
    }

    /// Reads a member of the set, whoever wrote it.
    ///
    /// PHP reads members by position. This reads by key where `id`, `stream` and `receiver` are there, and by position
    /// where they are not. An absent error or date is empty.
    ///
    /// Only a member for which [`FailedMessage::to_member`] gives the same bytes can be removed by PHP; remove any
    /// member by its own bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidFailedMessage`]: report the member and go on with the next.
    pub fn from_member(member: &[u8]) -> Result<Self, InvalidFailedMessage> {
        let record: OrderedJson =
            serde_json::from_slice(member).map_err(|error| InvalidFailedMessage::new(member, error.to_string()))?;
        let by_key = |key: &str| text(&record[key]);
        if let (Some(id), Some(stream), Some(receiver)) = (by_key("id"), by_key("stream"), by_key("receiver")) {
            return Ok(Self {
                id,
                stream,
                receiver,
                error: by_key("error").unwrap_or_default(),
                date: by_key("date").unwrap_or_default(),
            });
        }
        let values: Vec<_> = match &record.0 {
            Node::Object(members) => members.values().collect(),
            Node::List(list) => list.iter().collect(),
            Node::Plain(_) => Vec::new(),
        };
        let by_position = |position: usize| values.get(position).and_then(|value| text(value));
        match (by_position(0), by_position(1), by_position(2), by_position(3)) {
            (Some(id), Some(stream), Some(receiver), Some(error)) => Ok(Self {
                id,
                stream,
                receiver,
                error,
                date: by_position(4).unwrap_or_default(),
            }),
            _ => Err(InvalidFailedMessage::new(member, "it has no id, stream and receiver")),
        }
    }
}

/// The date of now, as PHP writes it. Where everything fails, thousands of failures have the same one.
fn now() -> String {
    thread_local! {
        static LATEST: RefCell<(i64, String)> = const { RefCell::new((i64::MIN, String::new())) };
    }
    let now = jiff::Timestamp::now();
    LATEST.with_borrow_mut(|(second, date)| {
        if *second != now.as_second() {
            (*second, *date) = (now.as_second(), now.strftime("%Y-%m-%d %H:%M:%S").to_string());
        }
        date.clone()
    })
}

/// Text, or what PHP would turn into text.
fn text(value: &OrderedJson) -> Option<String> {
    match &value.0 {
        Node::Plain(Value::String(text)) => Some(text.clone()),
        Node::Plain(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}

/// A member of the failed list that is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the failed list has a member that cannot be read: {reason}; it begins with '{beginning}'. Remove it, or correct it"
)]
pub struct InvalidFailedMessage {
    reason: String,
    beginning: String,
}

impl InvalidFailedMessage {
    fn new(member: &[u8], reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            beginning: String::from_utf8_lossy(member).chars().take(80).collect(),
        }
    }
}
