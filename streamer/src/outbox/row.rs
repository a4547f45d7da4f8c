//! An event on its way to its stream.

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Dialect, TABLE};
use crate::{
    EmitError, Event, Replayable,
    engine::field_codec,
    entry::{Fields, StreamName, unix_ms},
    message::{Head, php_json},
    trace,
};

/// How many shards the rows of an outbox are divided into. One relay works on a shard at a time, which keeps the order of
/// each key; this is how many relays can work at once.
pub const SHARDS: i16 = 64;

/// The longest ordering key in bytes; a longer one is replaced by its beginning and its hash.
const LONGEST_KEY: usize = 200;

/// A row of `streamer_outbox`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRow {
    /// The key by which a repeated publication is recognised: a UUID of version 7, or what [`OutboxRow::idempotency_key`] made of
    /// a key of the application.
    pub event_id: String,
    /// Rows with the same key are published in the order of their positions.
    pub ordering_key: String,
    /// The shard of the key, from 0 to [`SHARDS`] - 1.
    pub shard: i16,
    /// The stream.
    pub stream: Bytes,
    /// The fields of the entry, as the embedded engine stores them.
    pub fields: Vec<u8>,
    /// Which resource the event is about, where that is to be recorded.
    pub identifier: Option<String>,
    /// The history that the record belongs to.
    pub history: Option<String>,
    /// When the row was written, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// The value of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// Text, or null.
    Text(Option<String>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A small number.
    Small(i16),
    /// A number.
    Big(i64),
}

impl OutboxRow {
    /// The row that emits an event. Events of one name keep their order.
    ///
    /// # Errors
    ///
    /// [`EmitErrorKind::Encode`](crate::EmitErrorKind::Encode) when the payload has no JSON text.
    pub fn new<E: Event>(event: &E, domain: &str) -> Result<Self, EmitError> {
        let name = event.name();
        let ordering_key = name.to_string();
        Self::encode(event, domain, ordering_key, None, None)
    }

    /// The row that emits an event about a resource, with a record for replays. The events of one resource keep their order.
    ///
    /// # Errors
    ///
    /// As [`OutboxRow::new`].
    pub fn replayable<E: Replayable>(event: &E, domain: &str) -> Result<Self, EmitError> {
        let (history, identifier) = (event.history(), event.identifier());
        let ordering_key = format!("{history}-{identifier}");
        let (history, identifier) = (history.into_owned(), identifier.into_owned());
        Self::encode(event, domain, ordering_key, Some(identifier), Some(history))
    }

    /// Replaces the ordering key.
    #[must_use]
    pub fn ordered_by(mut self, key: impl Into<String>) -> Self {
        (self.ordering_key, self.shard) = bounded(key.into());
        self
    }

    /// Names the event: however often an event with this key is written to the stream within 24 hours
    /// (`OutboxRelay::window`), the stream holds it once. In an outbox with a relay a second row with the key is refused as long as
    /// the first one waits.
    ///
    /// Without a key of its own each row is another event.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl AsRef<[u8]>) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Sha256::digest(key)[..16]);
        // Version 8, which `outbox.sql` tells from those of version 7 that were made for one row.
        self.event_id = uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string();
        self
    }

    fn encode<E: Event>(
        event: &E,
        domain: &str,
        ordering_key: String,
        identifier: Option<String>,
        history: Option<String>,
    ) -> Result<Self, EmitError> {
        let (name, kind) = (event.name(), event.kind());
        let data = php_json::payload_to_vec(event)
            .map_err(|error| EmitError::encode(&StreamName::from(name.as_bytes().to_vec()), error))?;
        let created_ms = unix_ms();
        let head = Head {
            name: name.as_bytes(),
            kind: kind.as_bytes(),
            domain: domain.as_bytes(),
            original_id: None,
            created: created_ms / 1000,
        };
        let (stream, mut fields) = head.encode(data);
        // The trace of the transaction, which the relay is not part of.
        trace::inject(|name, value| fields.push((name.into(), value.into())));
        let (ordering_key, shard) = bounded(ordering_key);
        Ok(Self {
            event_id: Uuid::now_v7().to_string(),
            ordering_key,
            shard,
            stream,
            fields: field_codec::encode(&fields),
            identifier,
            history,
            created_ms: i64::try_from(created_ms).unwrap_or(i64::MAX),
        })
    }

    /// The columns that [`OutboxRow::insert`] names, in its order.
    #[must_use]
    pub fn columns(self) -> [Column; 8] {
        [
            Column::Text(Some(self.event_id)),
            Column::Small(self.shard),
            Column::Text(Some(self.ordering_key)),
            Column::Bytes(self.stream.to_vec()),
            Column::Bytes(self.fields),
            Column::Text(self.identifier),
            Column::Text(self.history),
            Column::Big(self.created_ms),
        ]
    }

    #[cfg(feature = "outbox-rusqlite")]
    pub(super) const INSERT_SQLITE: &'static str = "INSERT INTO streamer_outbox (event_id, shard, ordering_key, stream, fields, \
         identifier, history, created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

    /// The fields of the entry; `None` when [`OutboxRow::fields`] was damaged.
    #[must_use]
    pub fn decode_fields(fields: &[u8]) -> Option<Fields> {
        field_codec::decode(fields)
    }

    /// The statement that writes a row, with a placeholder for each of [`OutboxRow::columns`].
    #[must_use]
    pub fn insert(dialect: Dialect) -> String {
        let values = (1..=8).map(|number| dialect.placeholder(number)).collect::<Vec<_>>();
        format!(
            "INSERT INTO {TABLE} (event_id, shard, ordering_key, stream, fields, identifier, history, created_ms) \
             VALUES ({})",
            values.join(", ")
        )
    }
}

/// A key of bounded length, and its shard.
fn bounded(key: String) -> (String, i16) {
    let digest = Sha256::digest(&key);
    let shard = i16::from(digest[0]) % SHARDS;
    if key.len() <= LONGEST_KEY {
        return (key, shard);
    }
    let hash = hex::encode(digest);
    let beginning = key.floor_char_boundary(LONGEST_KEY - hash.len() - 1);
    (format!("{}~{hash}", &key[..beginning]), shard)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::DynamicEvent;

    #[test]
    fn keys_are_bounded_and_stay_apart() {
        let long = "ż".repeat(200);
        let (one, shard) = bounded(format!("{long}a"));
        let (other, _) = bounded(format!("{long}b"));
        assert!(one.len() <= LONGEST_KEY && one != other, "{one}");
        assert!((0..SHARDS).contains(&shard));
        assert_eq!(bounded("order-7".to_owned()).0, "order-7");
    }

    #[test]
    fn each_column_has_a_placeholder() {
        let row = OutboxRow::new(&DynamicEvent::new("a", json!({})), "shop").expect("it can be encoded");
        let columns = row.columns().len();
        assert_eq!(OutboxRow::insert(Dialect::Sqlite).matches('?').count(), columns);
        assert!(OutboxRow::insert(Dialect::Postgres).ends_with("$8)"));
        #[cfg(feature = "outbox-rusqlite")]
        assert_eq!(OutboxRow::insert(Dialect::Sqlite), OutboxRow::INSERT_SQLITE);
    }

    #[test]
    fn a_key_of_the_application_names_the_event() {
        let row = OutboxRow::new(&DynamicEvent::new("a", json!({})), "shop").expect("it can be encoded");
        assert_eq!(&row.event_id[14..15], "7", "{}", row.event_id);
        let [one, same, other] = ["a", "a", "b"].map(|key| row.clone().idempotency_key(key).event_id);
        assert!(one == same && one != other, "{one} {other}");
        assert_eq!((one.len(), &one[14..15]), (36, "8"), "{one}");
    }
}
