//! Payloads that are bytes: Protocol Buffers, Avro, compressed or encrypted data.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeStruct};

use crate::{
    Event,
    listener::{FromMessage, ListenerContext, ListenerError},
    message::ReceivedMessage,
};

/// A payload of bytes, with a word about what they are.
///
/// On the wire it is the JSON object `{"content_type": "…", "base64": "…"}`, which every listener can read, also one of
/// laravel-streamer (`base64_decode($data['base64'])`). The bytes are a third longer there. A listener takes a `Raw` as an argument, or
/// `Payload<Raw>` where the payload is all that it needs.
///
/// ```
/// use streamer::{Listeners, Raw, Streamer};
///
/// async fn store(raw: Raw) -> Result<(), String> {
///     match raw.content_type() {
///         "application/x-protobuf" => Ok(println!("{} bytes", raw.bytes().len())),
///         other => Err(format!("{other} is not known here")),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let streamer = Streamer::connect("memory:").await?;
/// // With prost: `order.encode_to_vec()`.
/// let order = vec![0x08, 0x96, 0x01];
/// streamer.emit(&Raw::new(order).with_content_type("application/x-protobuf").event("order.placed")).await?;
/// let listeners = Listeners::new().on("order.placed", "store", store);
/// # let summary = streamer.listen(listeners).group("g").stop_after(1).run().await?;
/// # assert_eq!(summary.processed, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    content_type: Cow<'static, str>,
    bytes: Bytes,
}

impl Raw {
    /// These bytes, as `application/octet-stream`.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self {
            content_type: Cow::Borrowed("application/octet-stream"),
            bytes: bytes.into(),
        }
    }

    /// The same bytes with another content type, such as `application/x-protobuf`. Any text; nobody checks it.
    #[must_use]
    pub fn with_content_type(self, content_type: impl Into<Cow<'static, str>>) -> Self {
        Self {
            content_type: content_type.into(),
            ..self
        }
    }

    /// What the bytes are.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// An event of this name, and of the type `event`, with this payload.
    pub fn event(self, name: impl Into<String>) -> RawEvent {
        RawEvent {
            name: name.into(),
            kind: Cow::Borrowed("event"),
            raw: self,
        }
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Raw", 2)?;
        object.serialize_field("content_type", self.content_type())?;
        object.serialize_field("base64", &STANDARD.encode(&self.bytes))?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Stored {
            content_type: String,
            base64: String,
        }
        let Stored { content_type, base64 } = Stored::deserialize(deserializer)?;
        let bytes = STANDARD
            .decode(base64)
            .map_err(|error| de::Error::custom(format!("`base64` is no base64 text: {error}")))?;
        Ok(Self::new(bytes).with_content_type(content_type))
    }
}

impl<S> FromMessage<S> for Raw {
    const DECODES: bool = true;

    fn from_message(message: &ReceivedMessage, _: &ListenerContext, _: &S) -> Result<Self, ListenerError> {
        Ok(message.payload()?)
    }
}

/// An event whose payload is bytes ([`Raw::event`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    name: String,
    kind: Cow<'static, str>,
    raw: Raw,
}

impl RawEvent {
    /// The same event with another type.
    #[must_use]
    pub fn with_kind(self, kind: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: kind.into(),
            ..self
        }
    }
}

impl Serialize for RawEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl Event for RawEvent {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn kind(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.kind)
    }
}
