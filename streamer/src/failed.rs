//! The failed list: what a listener could not handle, one record for each listener that failed.
//!
//! It is a set of JSON texts that PHP programs share. They remove a record by writing it anew, so every byte counts.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    engine::{Engine, EngineError, EngineErrorKind, EngineResult},
    entry::{EntryId, Fields, StreamName},
    message::{fields_as_json, fields_from_json, php_json},
};

/// The set of failed messages.
pub const FAILED_KEY: &str = "failed_stream";

/// The hash with what a record itself has no room for: for a message that could not be decoded, its raw fields. Field:
/// the lower-case hex SHA-256 of the set's member. Value: `{"fields":[[name,value],…]}`, what is not UTF-8 as
/// `{"base64":"…"}`.
pub const DETAILS_KEY: &str = "failed_stream:details";

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
            stream: stream.to_string(),
            receiver: receiver.to_owned(),
            error: String::from_utf8_lossy(error.as_ref()).into_owned(),
            date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string(),
        }
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
        let record: Value =
            serde_json::from_slice(member).map_err(|error| InvalidFailedMessage::new(member, error.to_string()))?;
        let by_key = |key: &str| record.get(key).and_then(text);
        if let (Some(id), Some(stream), Some(receiver)) = (by_key("id"), by_key("stream"), by_key("receiver")) {
            return Ok(Self {
                id,
                stream,
                receiver,
                error: by_key("error").unwrap_or_default(),
                date: by_key("date").unwrap_or_default(),
            });
        }
        let values: Vec<_> = match &record {
            Value::Object(object) => object.values().collect(),
            Value::Array(list) => list.iter().collect(),
            _ => Vec::new(),
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

/// Text, or what PHP would turn into text.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
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

/// Records failures. When it returns, they are in the store.
///
/// # Errors
///
/// The engine's. Some of the records may be written then; writing them again does no harm.
pub async fn record(engine: &dyn Engine, failures: &[FailedMessage]) -> EngineResult<()> {
    let members: Vec<_> = failures.iter().map(FailedMessage::to_member).collect();
    add(engine, &members).await
}

/// Records the failures of a message that could not be decoded, and keeps its raw fields beside them.
///
/// # Errors
///
/// As [`record`].
pub async fn record_undecodable(engine: &dyn Engine, failures: &[FailedMessage], fields: &Fields) -> EngineResult<()> {
    if failures.is_empty() {
        return Ok(());
    }
    let members: Vec<_> = failures.iter().map(FailedMessage::to_member).collect();
    let details = Bytes::from(json!({ "fields": fields_as_json(fields) }).to_string());
    let details: Vec<_> = members
        .iter()
        .map(|member| (details_field(member), details.clone()))
        .collect();
    // First, so that no record is seen without its details, not even after a crash in between.
    engine.hash_put(DETAILS_KEY, &details).await?;
    add(engine, &members).await
}

async fn add(engine: &dyn Engine, members: &[Bytes]) -> EngineResult<()> {
    if !members.is_empty() {
        engine.set_add(FAILED_KEY, members).await?;
    }
    Ok(())
}

/// The field of [`DETAILS_KEY`] that belongs to a member of the failed list.
#[must_use]
pub fn details_field(member: &[u8]) -> Bytes {
    hex::encode(Sha256::digest(member)).into()
}

/// Removes records, with what is kept beside them.
///
/// # Errors
///
/// The engine's. Some of the records may be gone then; removing them again does no harm.
pub async fn forget(engine: &dyn Engine, members: &[Bytes]) -> EngineResult<()> {
    engine.set_remove(FAILED_KEY, members).await?;
    let details = members.iter().map(|member| details_field(member)).collect::<Vec<_>>();
    engine.hash_remove(DETAILS_KEY, &details).await?;
    Ok(())
}

/// What is kept beside a record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Details {
    /// The raw fields of a message that could not be decoded.
    pub fields: Fields,
}

/// What is kept beside a record; `None` for nearly all.
///
/// # Errors
///
/// The engine's; [`EngineErrorKind::Corrupt`] when what is kept makes no sense.
pub async fn details(engine: &dyn Engine, failed: &FailedMessage) -> EngineResult<Option<Details>> {
    let field = details_field(&failed.to_member());
    let values = engine.hash_get(DETAILS_KEY, &[field]).await?;
    let Some(value) = values.into_iter().next().flatten() else {
        return Ok(None);
    };
    let fields = serde_json::from_slice::<Value>(&value).ok();
    let fields = fields.and_then(|details| fields_from_json(details.get("fields")?));
    let corrupt = || {
        let attempted = format!(
            "read the details of failed message {} on '{}'",
            failed.id, failed.stream
        );
        EngineError::new(
            EngineErrorKind::Corrupt,
            attempted,
            format!("'{DETAILS_KEY}' holds something else"),
        )
    };
    fields.map(|fields| Some(Details { fields })).ok_or_else(corrupt)
}
