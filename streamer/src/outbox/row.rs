//! An event on its way to its stream.

use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Dialect, TABLE};
use crate::{
    EmitError, Event, Moment, Replayable,
    engine::{Append, field_codec},
    entry::{Fields, StreamName, unix_ms},
    message::{Head, php_json},
    trace,
};

/// How many shards the rows of an outbox are divided into. One relay works on a shard at a time, which keeps the order of
/// each key; this is how many relays can work at once.
pub const SHARDS: i16 = 64;

/// The longest ordering key in bytes; a longer one is replaced by its beginning and its hash.
const LONGEST_KEY: usize = 200;

/// Stands before the fields of an event that is due later, like a field of its own; no field of a message has this name. `outbox.sql`
/// knows it, too.
const DUE: &str = "due_ms";

/// That name and the length of the 16 digits that follow, as `field_codec` writes them.
const DUE_PREFIX: [u8; 8] = *b"\x06due_ms\x10";

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
    /// The fields of the entry, as the embedded engine stores them; before them, where [`OutboxRow::deliver_at`] asks for it, the
    /// moment in which the event is due.
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

    /// Puts the event on its stream at this moment and not before, as
    /// [`EmitOptions::deliver_at`](crate::EmitOptions::deliver_at) does: the relay gives the event to the store, which keeps it until
    /// then. A moment that has passed when the event reaches the store is as none. Events of one key that are due at different
    /// moments come in the order of these.
    ///
    /// ```
    /// use std::time::Duration;
    /// use streamer::{DynamicEvent, outbox::OutboxRow};
    ///
    /// let reminder = DynamicEvent::new("cart.reminder", serde_json::json!({"cart": 7}));
    /// let row = OutboxRow::new(&reminder, "shop")?.deliver_after(Duration::from_secs(24 * 60 * 60))?;
    /// // In the application's transaction: outbox::emit_row_in(&mut *transaction, row).await?;
    /// # assert_eq!(row.stream, "cart.reminder");
    /// # Ok::<(), streamer::EmitError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::engine::EngineErrorKind::InvalidInput) for an event with a record for replays
    /// ([`OutboxRow::replayable`]), and for a moment after the year 37648.
    pub fn deliver_at(mut self, moment: Moment) -> Result<Self, EmitError> {
        let stream = StreamName::from(self.stream.clone());
        Append::check_moment(&stream, moment.unix_ms(), self.identifier.is_some())
            .map_err(|error| EmitError::engine(&stream, error))?;
        let mut fields = field_codec::encode(&vec![(DUE.into(), format!("{:016}", moment.unix_ms()).into())]);
        fields.extend_from_slice(Self::split_due(&self.fields).1);
        self.fields = fields;
        Ok(self)
    }

    /// Puts the event on its stream so long after now, as [`OutboxRow::deliver_at`].
    ///
    /// # Errors
    ///
    /// As [`OutboxRow::deliver_at`].
    pub fn deliver_after(self, delay: Duration) -> Result<Self, EmitError> {
        let delay = u64::try_from(delay.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        self.deliver_at(Moment::from_unix_ms(unix_ms().saturating_add(delay)))
    }

    /// The moment in which the event is due, in milliseconds since the Unix epoch, and the fields of its entry.
    pub(super) fn split_due(fields: &[u8]) -> (Option<u64>, &[u8]) {
        let due = fields.strip_prefix(&DUE_PREFIX).and_then(|rest| {
            let (digits, fields) = rest.split_at_checked(16)?;
            Some((std::str::from_utf8(digits).ok()?.parse().ok()?, fields))
        });
        due.map_or((None, fields), |(due, fields)| (Some(due), fields))
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
        field_codec::decode(&Bytes::copy_from_slice(Self::split_due(fields).1))
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
    // `str::floor_char_boundary` needs Rust 1.91.
    let mut end = LONGEST_KEY - hash.len() - 1;
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    (format!("{}~{hash}", &key[..end]), shard)
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
    fn the_moment_stands_before_the_fields_and_the_last_one_counts() {
        let row = OutboxRow::new(&DynamicEvent::new("a", json!({"n": 1})), "shop").expect("it can be encoded");
        assert_eq!(OutboxRow::split_due(&row.fields), (None, &row.fields[..]));
        let moment = Moment::from_unix_ms(1_795_407_980_936);
        let later = row.clone().deliver_after(Duration::from_secs(5)).expect("it may wait");
        let later = later.deliver_at(moment).expect("it may wait");
        assert_eq!(
            OutboxRow::split_due(&later.fields),
            (Some(moment.unix_ms()), &row.fields[..])
        );
        assert_eq!(
            OutboxRow::decode_fields(&later.fields),
            OutboxRow::decode_fields(&row.fields)
        );
        // The trigger of a store's file takes it apart at these places.
        assert_eq!(later.fields[..24], *b"\x06due_ms\x100001795407980936");
        for refused in [
            row.clone().deliver_at(Moment::from_unix_ms(Append::LATEST_DUE_MS + 1)),
            row.clone().deliver_after(Duration::MAX),
            OutboxRow {
                identifier: Some("7".to_owned()),
                ..row.clone()
            }
            .deliver_at(moment),
        ] {
            let error = refused.expect_err("it is refused").to_string();
            assert!(error.starts_with("could not emit event 'a' to stream 'a': "), "{error}");
        }
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
