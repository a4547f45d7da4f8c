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
        let head = Head {
            name: &self.name,
            kind: &self.kind,
            domain: &self.domain,
            original_id: self.original_id,
            created: self.created,
        };
        head.encode(self.data.into()).1
    }
}

/// Beside a larger payload an allocation more is nothing.
const LARGE: usize = 16 * 1024;

/// What comes with a payload.
pub(crate) struct Head<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: &'a [u8],
    pub(crate) domain: &'a [u8],
    pub(crate) original_id: Option<EntryId>,
    pub(crate) created: u64,
}

impl Head<'_> {
    /// The name, and the fields. All values are parts of one buffer: that of the payload, made longer.
    pub(crate) fn encode(&self, data: Vec<u8>) -> (Bytes, Fields) {
        let hash = hash([self.kind, self.name, self.domain, &data]);
        let mut values = data;
        let mut ends = [values.len(); 6];
        let mut digits = itoa::Buffer::new();
        let created = digits.format(self.created);
        let rest = [self.name, self.kind, self.domain, created.as_bytes(), &hash];
        values.reserve_exact(rest.iter().map(|value| value.len()).sum());
        for (value, end) in rest.into_iter().zip(&mut ends[1..]) {
            values.extend_from_slice(value);
            *end = values.len();
        }
        let values = Bytes::from(values);
        let value = |index: usize| values.slice(ends[index - 1]..ends[index]);
        // Whoever keeps the name must not keep a large payload with it.
        let name = match ends[0] > LARGE {
            true => Bytes::copy_from_slice(self.name),
            false => value(1),
        };

        let mut fields = Vec::with_capacity(9);
        let mut put = |name: &'static str, value| fields.push((Bytes::from_static(name.as_bytes()), value));
        // The package stores the ID that it asked for, even when it asked for a certain one: always this.
        put("_id", Bytes::from_static(b"*"));
        if let Some(id) = self.original_id {
            put("original_id", Bytes::from(id.to_string()));
        }
        put("type", value(2));
        put("version", Bytes::from_static(VERSION));
        put("name", value(1));
        put("domain", value(3));
        put("created", value(4));
        put("data", values.slice(..ends[0]));
        put("hash", value(5));
        (name, fields)
    }
}

/// SHA-256 of type, name, domain and data, joined without a separator, in lower-case hex.
pub(crate) fn hash(parts: [&[u8]; 4]) -> [u8; 64] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(part);
    }
    let mut hex = [0; 64];
    let (digits, _) = hex.as_chunks_mut::<2>();
    for (digits, byte) in digits.iter_mut().zip(sha.finalize()) {
        *digits = HEX[usize::from(byte)];
    }
    hex
}

/// The two hexadecimal digits of each byte. To look them up takes a third of the instructions of working them out.
static HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};
