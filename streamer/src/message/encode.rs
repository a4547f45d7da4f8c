//! From an event to the fields of an entry.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::entry::{EntryId, Fields};

/// The version of the format that the `version` field names.
const VERSION: &[u8] = b"1.3";

/// Everything that the fields of an entry are made of. Below [`Event`](crate::Event): name, type and domain may be any
/// bytes, and the payload is JSON text already.
///
/// ```
/// use streamer::message::Envelope;
///
/// let fields = Envelope {
///     name: "order.placed".into(),
///     kind: "event".into(),
///     domain: "shop".into(),
///     original_id: None,
///     created: 1_795_407_980,
///     data: "{\"id\":123}".into(),
/// }
/// .encode();
/// assert_eq!(fields[3], ("name".into(), "order.placed".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The event's name.
    pub name: Bytes,
    /// Its type: `event`, `notification`, `command`, or anything.
    pub kind: Bytes,
    /// The domain that emitted it; may be empty.
    pub domain: Bytes,
    /// The ID it had before it was archived, on a restored message.
    pub original_id: Option<EntryId>,
    /// When it was emitted, in seconds since the Unix epoch.
    pub created: u64,
    /// The payload: PHP's JSON text, see [`php_json`](super::php_json).
    pub data: Bytes,
}

impl Envelope {
    /// The fields, in the order in which `laravel-streamer` 4.6 stores them.
    #[must_use]
    pub fn encode(self) -> Fields {
        let hash = hash([&self.kind, &self.name, &self.domain, &self.data]);
        let mut fields = Vec::with_capacity(9);
        let mut put = |name: &'static str, value| fields.push((Bytes::from_static(name.as_bytes()), value));
        // The package stores the ID that it asked for, even when it asked for a certain one: always this.
        put("_id", Bytes::from_static(b"*"));
        if let Some(id) = self.original_id {
            put("original_id", Bytes::from(id.to_string()));
        }
        put("type", self.kind);
        put("version", Bytes::from_static(VERSION));
        put("name", self.name);
        put("domain", self.domain);
        put("created", Bytes::from(self.created.to_string()));
        put("data", self.data);
        put("hash", hash);
        fields
    }
}

/// SHA-256 of type, name, domain and data, joined without a separator, in lower-case hex.
pub(crate) fn hash(parts: [&[u8]; 4]) -> Bytes {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part);
    }
    Bytes::from(hex::encode(sha.finalize()))
}
