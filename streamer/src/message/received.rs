//! A message as a listener gets it.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::{Serialize, Serializer, de::DeserializeOwned, ser::SerializeMap as _};
use serde_json::Value;

use super::{
    Members, OrderedJson, created_ms,
    decode::{self, DecodeError},
    fields_as_json, foreign, lookup, members,
};
use crate::entry::{Entry, EntryId, Fields, StreamName};

/// A message that was read from a stream. Cheap to clone.
///
/// Every entry of a stream is one, whoever wrote it: nothing is decoded before it is asked for, and what cannot be
/// decoded still has its raw fields.
///
/// ```
/// use streamer::{Entry, EntryId, ReceivedMessage};
///
/// let entry = Entry {
///     id: EntryId::new(1_795_407_980_936, 0),
///     fields: vec![("name".into(), "order.placed".into()), ("data".into(), r#"{"items":[{"sku":"A-1"}]}"#.into())],
/// };
/// let message = ReceivedMessage::new("order.placed".into(), entry, 1);
/// assert_eq!(message.get("items.0.sku").and_then(|sku| sku.as_str()), Some("A-1"));
/// ```
#[derive(Clone)]
pub struct ReceivedMessage(Arc<Inner>);

struct Inner {
    stream: StreamName,
    entry: Entry,
    attempt: u64,
    /// Decoded at most once, however many listeners share the message. Apart, since most messages are never decoded in this way.
    data: OnceLock<Box<Result<Value, DecodeError>>>,
}

impl ReceivedMessage {
    /// The message that an entry of `stream` holds. `attempt` is its delivery count: 1 the first time.
    #[must_use]
    pub fn new(stream: StreamName, entry: Entry, attempt: u64) -> Self {
        Self(Arc::new(Inner {
            stream,
            entry,
            attempt,
            data: OnceLock::new(),
        }))
    }

    /// The ID of its entry.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.0.entry.id
    }

    /// The stream that it was read from.
    #[must_use]
    pub fn stream(&self) -> &StreamName {
        &self.0.stream
    }

    /// The event's name; the stream's where the entry has none, and where it is of another program (it has no `data`).
    /// What is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        self.text("name")
            .unwrap_or_else(|| String::from_utf8_lossy(self.0.stream.as_bytes()))
    }

    /// The event's type; `event` where the entry has none.
    #[must_use]
    pub fn kind(&self) -> Cow<'_, str> {
        self.text("type").unwrap_or(Cow::Borrowed("event"))
    }

    /// The domain that emitted it; empty where the entry has none.
    #[must_use]
    pub fn domain(&self) -> Cow<'_, str> {
        self.text("domain").unwrap_or_default()
    }

    /// When it was emitted, in seconds since the Unix epoch, where the entry says it.
    ///
    /// Milliseconds and smaller units, which other producers write, are turned into seconds. What lies more than an hour
    /// after the time in the entry's ID is not believed: it is that time then.
    #[must_use]
    pub fn created(&self) -> Option<u64> {
        match foreign::is_foreign(self.fields()) {
            true => None,
            false => created_ms(self.id(), self.fields()).map(|ms| ms / 1000),
        }
    }

    /// The ID that it had before it was archived, where it was restored.
    #[must_use]
    pub fn original_id(&self) -> Option<EntryId> {
        match foreign::is_foreign(self.fields()) {
            true => foreign::original_id(self.fields()),
            false => self.text("original_id")?.parse().ok(),
        }
    }

    /// How often it was delivered, this time included. Without a group 1, and one more for each time that a listener is
    /// tried again.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.0.attempt
    }

    /// Its raw fields, in stored order.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.0.entry.fields
    }

    /// The raw value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        decode::field(self.fields(), name.as_bytes())
    }

    /// The payload as JSON. An entry without `data` is of another program: then all its fields are the payload, an object
    /// of texts. A value that is not UTF-8 is `{"base64":"…"}`, a name that is not `base64:…`. Of several fields with
    /// one name the last counts, as in a PHP array.
    ///
    /// The keys of objects have the order of the application's `serde_json`. `payload::<OrderedJson>()` keeps the order of
    /// the payload.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Undecodable`] when it is not JSON, not UTF-8, or nests too deep.
    pub fn data(&self) -> Result<&Value, DecodeError> {
        let data = self.0.data.get_or_init(|| Box::new(decode::data(self.fields())));
        (**data).as_ref().map_err(Clone::clone)
    }

    /// Whether the payload can be decoded, without keeping what it says: cheaper than [`ReceivedMessage::data`].
    ///
    /// # Errors
    ///
    /// [`DecodeError::Undecodable`] as [`ReceivedMessage::data`].
    pub fn check(&self) -> Result<(), DecodeError> {
        match self.0.data.get() {
            Some(decoded) => (**decoded).as_ref().map(drop).map_err(Clone::clone),
            None => decode::check(self.fields()),
        }
    }

    /// The payload as a `T`, straight from the bytes.
    ///
    /// The fields of another program's entry are texts, or bytes where `T` asks for them (`Vec<u8>`, `Bytes`).
    ///
    /// The empty array `[]` is also read as an empty object and as a unit struct: PHP has one text for all three.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Undecodable`] as [`ReceivedMessage::data`]; [`DecodeError::Mismatch`] when it does not fit `T`.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        decode::payload(self.fields())
    }

    /// The part of the payload at a dotted path, such as `items.0.sku`. A key of the top level that is spelled like
    /// the path comes first. `None` as well when the payload cannot be decoded.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        lookup::get(self.data().ok()?, path)
    }

    /// An object of these keys of the payload's top level, in the payload's order. A list has the keys `0`, `1`, …; empty
    /// when the payload cannot be decoded.
    ///
    /// ```
    /// # use streamer::{DynamicEvent, Entry, EntryId, ReceivedMessage};
    /// # let data = r#"{"total":9.5,"id":7,"items":["a","b","c"],"card":"4111"}"#;
    /// # let entry = Entry { id: EntryId::new(1, 0), fields: vec![("data".into(), data.into())] };
    /// # let message = ReceivedMessage::new("order.placed".into(), entry, 1);
    /// // The payload is {"total": 9.5, "id": 7, "items": ["a", "b", "c"], "card": "4111"}.
    /// assert_eq!(message.only(&["id", "total"]).to_string(), r#"{"total":9.5,"id":7}"#);
    /// let passed_on = DynamicEvent::new("order.seen", message.except(&["card", "items.1"]));
    /// assert_eq!(passed_on.payload().to_string(), r#"{"total":9.5,"id":7,"items":{"0":"a","2":"c"}}"#);
    /// ```
    #[must_use]
    pub fn only(&self, keys: &[&str]) -> OrderedJson {
        OrderedJson::object(lookup::only(self.members(), keys))
    }

    /// The payload without these keys, as an object in the payload's order; a dotted path names a key further down. A list
    /// that loses an element before its last one becomes an object, as in PHP. Empty when the payload cannot be decoded.
    #[must_use]
    pub fn except(&self, paths: &[&str]) -> OrderedJson {
        OrderedJson::object(lookup::except(self.members(), paths))
    }

    /// The top level of the payload; empty when it has none.
    fn members(&self) -> Members {
        let members = decode::ordered(self.fields()).ok().and_then(OrderedJson::into_members);
        members.unwrap_or_default()
    }

    /// The message for programs, as one line of JSON: an object with `id`, `stream`, `name`, `type`, `domain`,
    /// `created` (seconds, or null), `original_id`, `attempt` and `data`, in this order; then `headers`, an object, where the
    /// message has some. When the payload cannot be decoded, `data` is null and `raw` follows: the fields as pairs, those that
    /// are not UTF-8 as `{"base64":"…"}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts and numbers under text keys always have a JSON text.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What a field of our envelope says.
    fn text(&self, field: &str) -> Option<Cow<'_, str>> {
        if foreign::is_foreign(self.fields()) {
            return None;
        }
        self.field(field).map(|bytes| String::from_utf8_lossy(bytes))
    }
}

impl Serialize for ReceivedMessage {
    /// As [`ReceivedMessage::to_json`] says.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let data = decode::ordered(self.fields());
        let mut object = serializer.serialize_map(None)?;
        object.serialize_entry("id", &self.id())?;
        object.serialize_entry("stream", self.stream())?;
        object.serialize_entry("name", &self.name())?;
        object.serialize_entry("type", &self.kind())?;
        object.serialize_entry("domain", &self.domain())?;
        object.serialize_entry("created", &self.created())?;
        object.serialize_entry("original_id", &self.original_id())?;
        object.serialize_entry("attempt", &self.attempt())?;
        object.serialize_entry("data", &data.as_ref().ok())?;
        let headers = self.headers().map(|(name, value)| (name, Value::from(value)));
        let headers = members(headers);
        if !headers.is_empty() {
            object.serialize_entry("headers", &OrderedJson::object(headers))?;
        }
        if data.is_err() {
            object.serialize_entry("raw", &fields_as_json(self.fields()))?;
        }
        object.end()
    }
}

impl fmt::Debug for ReceivedMessage {
    /// Without the payload, which may be long or secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedMessage")
            .field("stream", self.stream())
            .field("id", &format_args!("{}", self.id()))
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}
