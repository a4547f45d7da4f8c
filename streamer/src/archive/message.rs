//! A message in the archive.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    entry::{Entry, EntryId, Fields, StreamName},
    message::{self, ReceivedMessage, fields_as_json, fields_from_json},
};

/// A message as it was on its stream. Nothing is decoded or encoded again: type, payload and hash keep their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedMessage {
    /// The stream that it was on.
    pub stream: StreamName,
    /// The ID that it had there.
    pub id: EntryId,
    /// The IDs that it had before, each time it was archived and restored, oldest first. Empty for nearly all.
    pub original_ids: Vec<EntryId>,
    /// Its fields, in stored order.
    pub fields: Fields,
}

impl ArchivedMessage {
    /// The message, to look into it.
    #[must_use]
    pub fn message(&self) -> ReceivedMessage {
        let entry = Entry {
            id: self.id,
            fields: self.fields.clone(),
        };
        ReceivedMessage::new(self.stream.clone(), entry, 1)
    }

    /// When it was emitted, in milliseconds since the Unix epoch: what `created` says, as far as it is to be believed
    /// ([`ReceivedMessage::created`]); for an entry that does not say it, what its ID says.
    #[must_use]
    pub fn created_ms(&self) -> u64 {
        created_ms(self.id, &self.fields)
    }

    /// About how many bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        size(&self.fields)
    }

    /// The message as one line of JSON: `stream`, `id`, `original_ids` and `fields`, which are pairs in stored order.
    /// What is not UTF-8 is `{"base64":"…"}`. This is what drivers store.
    #[must_use]
    pub fn to_json(&self) -> String {
        /// The keys that are stored, in their order.
        #[derive(Serialize)]
        struct Stored<'a> {
            stream: Option<&'a Value>,
            id: &'a EntryId,
            original_ids: &'a [EntryId],
            fields: Value,
        }
        let Self {
            stream,
            id,
            original_ids,
            fields,
        } = self;
        // A stream's name is written as a field's is.
        let name = fields_as_json(&vec![(Bytes::from(stream.clone()), Bytes::new())]);
        let stored = Stored {
            stream: name.pointer("/0/0"),
            id,
            original_ids,
            fields: fields_as_json(fields),
        };
        // Texts and lists of texts always have a JSON text.
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// The reverse of [`ArchivedMessage::to_json`]; `None` for anything else.
    #[must_use]
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let value = serde_json::from_slice::<Value>(text).ok()?;
        let id = |value: &Value| value.as_str()?.parse().ok();
        let (name, _) = fields_from_json(&json!([[value.get("stream")?, ""]]))?.pop()?;
        Some(Self {
            stream: name.into(),
            id: id(value.get("id")?)?,
            original_ids: value
                .get("original_ids")?
                .as_array()?
                .iter()
                .map(id)
                .collect::<Option<_>>()?,
            fields: fields_from_json(value.get("fields")?)?,
        })
    }
}

impl Serialize for ArchivedMessage {
    /// As a received message, with `original_ids`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Shown<'a> {
            #[serde(flatten)]
            message: ReceivedMessage,
            original_ids: &'a [EntryId],
        }
        let shown = Shown {
            message: self.message(),
            original_ids: &self.original_ids,
        };
        shown.serialize(serializer)
    }
}

/// See [`ArchivedMessage::created_ms`].
pub(super) fn created_ms(id: EntryId, fields: &Fields) -> u64 {
    message::created_ms(id, fields).unwrap_or(id.ms)
}

/// About how many bytes the fields of a message take.
pub(super) fn size(fields: &Fields) -> usize {
    let bytes = fields.iter().map(|(name, value)| name.len() + value.len());
    64 + bytes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_gives_back_every_byte() {
        let message = ArchivedMessage {
            stream: StreamName::from(vec![b'a', 0xff]),
            id: EntryId::new(5, u64::MAX),
            original_ids: vec![EntryId::new(1, 2)],
            fields: vec![
                ("data".into(), "{\"a\":\"\\u00e9\",\n}".into()),
                (Bytes::from_static(&[0xfe]), Bytes::from_static(&[0, 0xff])),
                ("data".into(), Bytes::new()),
            ],
        };
        assert_eq!(
            ArchivedMessage::from_json(message.to_json().as_bytes()),
            Some(message.clone())
        );
        let stored = ArchivedMessage {
            stream: "a".into(),
            fields: vec![("z".into(), "1".into()), ("b".into(), "2".into())],
            ..message
        };
        assert_eq!(
            stored.to_json(),
            r#"{"stream":"a","id":"5-18446744073709551615","original_ids":["1-2"],"fields":[["z","1"],["b","2"]]}"#
        );
        assert_eq!(ArchivedMessage::from_json(b"{}"), None);
    }

    #[test]
    fn an_entry_without_created_is_as_old_as_its_id() {
        let id = EntryId::new(7_500, 0);
        assert_eq!(created_ms(id, &vec![("created".into(), "5".into())]), 5_000);
        assert_eq!(created_ms(id, &vec![("created".into(), "soon".into())]), 7_500);
        assert_eq!(created_ms(id, &Fields::new()), 7_500);
    }
}
