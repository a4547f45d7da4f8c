//! What a stream holds: entries, their IDs, and the names of streams.
//!
//! These are plain values. They mean the same on every engine and follow the rules of
//! [Redis Streams](https://redis.io/docs/latest/develop/data-types/streams/).

use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

use bytes::Bytes;

/// The ID of an entry: milliseconds since the Unix epoch, and a sequence number within the millisecond.
///
/// IDs of one stream only ever grow. The text form is `ms-seq`, as Redis writes it.
///
/// ```
/// use streamer::EntryId;
///
/// let id: EntryId = "1795407980936-0".parse()?;
/// assert_eq!(id, EntryId::new(1_795_407_980_936, 0));
/// assert!(id < id.next().expect("not the greatest ID"));
/// # Ok::<(), streamer::InvalidEntryId>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since the Unix epoch (for IDs that the engine gave; an explicit ID may hold anything).
    pub ms: u64,
    /// Position among the entries of the same millisecond.
    pub seq: u64,
}

impl EntryId {
    /// `0-0`: before every entry. No entry may have this ID.
    pub const MIN: Self = Self { ms: 0, seq: 0 };
    /// The greatest possible ID.
    pub const MAX: Self = Self {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// An ID from its two numbers.
    #[must_use]
    pub const fn new(ms: u64, seq: u64) -> Self {
        Self { ms, seq }
    }

    /// The smallest ID greater than this one; `None` after [`EntryId::MAX`].
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match (self.seq.checked_add(1), self.ms.checked_add(1)) {
            (Some(seq), _) => Some(Self { ms: self.ms, seq }),
            (None, Some(ms)) => Some(Self { ms, seq: 0 }),
            (None, None) => None,
        }
    }

    /// The greatest ID smaller than this one; `None` before [`EntryId::MIN`].
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        match (self.seq.checked_sub(1), self.ms.checked_sub(1)) {
            (Some(seq), _) => Some(Self { ms: self.ms, seq }),
            (None, Some(ms)) => Some(Self { ms, seq: u64::MAX }),
            (None, None) => None,
        }
    }

    /// The ID as 16 big-endian bytes, which sort as the IDs do.
    #[must_use]
    pub fn to_be_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// The reverse of [`EntryId::to_be_bytes`].
    #[must_use]
    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self {
            ms: (both >> 64) as u64,
            seq: both as u64,
        }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = InvalidEntryId;

    /// Reads `ms-seq`, or `ms` alone, which means `ms-0`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        };
        let parsed = match text.split_once('-') {
            Some((ms, seq)) => number(ms).zip(number(seq)),
            None => number(text).map(|ms| (ms, 0)),
        };
        let (ms, seq) = parsed.ok_or_else(|| InvalidEntryId(text.to_owned()))?;
        Ok(Self { ms, seq })
    }
}

impl EntryId {
    /// As a field, a member or a value in a store.
    pub(crate) fn to_text(self) -> Bytes {
        self.to_string().into()
    }

    /// The reverse of [`EntryId::to_text`]; `None` for anything else.
    pub(crate) fn from_text(text: &Bytes) -> Option<Self> {
        std::str::from_utf8(text).ok()?.parse().ok()
    }
}

impl serde::Serialize for EntryId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is no entry ID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an entry ID: write milliseconds, or milliseconds-sequence, such as 1795407980936-0")]
pub struct InvalidEntryId(String);

/// The fields of an entry, in stored order. Names and values are bytes, as in Redis.
pub type Fields = Vec<(Bytes, Bytes)>;

/// One entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its ID.
    pub id: EntryId,
    /// Its fields, in stored order.
    pub fields: Fields,
}

/// The name of a stream: bytes, nearly always text. Cheap to clone.
///
/// ```
/// use streamer::StreamName;
///
/// let stream = StreamName::from("order.placed");
/// assert_eq!(stream.to_string(), "order.placed");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamName(Bytes);

impl StreamName {
    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as text, where it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

/// Bytes as text, in which U+FFFD stands for what is not UTF-8. Of text, which nearly all bytes are, the standard library's
/// function of this name takes several times as long.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&lossy(&self.0))
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

impl From<&str> for StreamName {
    fn from(name: &str) -> Self {
        Self(Bytes::copy_from_slice(name.as_bytes()))
    }
}

impl From<String> for StreamName {
    fn from(name: String) -> Self {
        Self(Bytes::from(name))
    }
}

impl From<&String> for StreamName {
    fn from(name: &String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<Vec<u8>> for StreamName {
    fn from(name: Vec<u8>) -> Self {
        Self(Bytes::from(name))
    }
}

impl From<Bytes> for StreamName {
    fn from(name: Bytes) -> Self {
        Self(name)
    }
}

impl From<StreamName> for Bytes {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

impl From<&StreamName> for StreamName {
    fn from(name: &StreamName) -> Self {
        name.clone()
    }
}

impl serde::Serialize for StreamName {
    /// As text; bytes that are not UTF-8 become U+FFFD.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One end of a range of IDs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RangeBound {
    /// As far as the stream goes (`-` or `+`).
    #[default]
    Unbounded,
    /// Up to this ID, itself in the range.
    Inclusive(EntryId),
    /// Up to this ID, itself not in the range (`(id`).
    Exclusive(EntryId),
}

/// The ID that a new entry gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewId {
    /// The engine gives the next one, from its clock (`*`).
    #[default]
    Auto,
    /// The caller gives the milliseconds, the engine the sequence (`ms-*`, Redis 7.0).
    AutoSequence(u64),
    /// Exactly this one. It must be greater than every ID that the stream ever had, and not `0-0`.
    Explicit(EntryId),
}

impl From<EntryId> for NewId {
    fn from(id: EntryId) -> Self {
        Self::Explicit(id)
    }
}

/// How far a stream is cut at its old end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// What remains.
    pub keep: TrimLimit,
    /// Whether exactly that remains. `false` (`~`, the default) lets the engine keep somewhat more, which is much cheaper.
    pub exact: bool,
}

/// What remains after a [`Trim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrimLimit {
    /// This many entries, the newest (`MAXLEN`).
    Newest(u64),
    /// Every entry with this ID or a greater one (`MINID`).
    From(EntryId),
}

impl Trim {
    /// Keeps about this many entries, the newest.
    #[must_use]
    pub const fn max_len(entries: u64) -> Self {
        Self {
            keep: TrimLimit::Newest(entries),
            exact: false,
        }
    }

    /// Keeps about every entry with this ID or a greater one.
    #[must_use]
    pub const fn min_id(id: EntryId) -> Self {
        Self {
            keep: TrimLimit::From(id),
            exact: false,
        }
    }

    /// Keeps exactly what was asked for.
    #[must_use]
    pub const fn exactly(self) -> Self {
        Self { exact: true, ..self }
    }
}

/// Time in whole milliseconds since the Unix epoch, from this machine's clock.
pub(crate) fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or(Duration::ZERO).as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_as_redis_parses_them() {
        assert_eq!("5".parse(), Ok(EntryId::new(5, 0)));
        assert_eq!("5-3".parse(), Ok(EntryId::new(5, 3)));
        for wrong in ["", "-", "5-", "-5", "+5", "5-3-1", "5-x", " 5", "18446744073709551616"] {
            assert!(wrong.parse::<EntryId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn bytes_sort_as_ids_do() {
        let ids = [
            EntryId::MIN,
            EntryId::new(0, u64::MAX),
            EntryId::new(1, 0),
            EntryId::MAX,
        ];
        assert!(ids.windows(2).all(|pair| pair[0].to_be_bytes() < pair[1].to_be_bytes()));
        assert!(ids.iter().all(|id| EntryId::from_be_bytes(id.to_be_bytes()) == *id));
        assert_eq!(EntryId::new(1, 0).previous(), Some(EntryId::new(0, u64::MAX)));
        assert_eq!(EntryId::MAX.next(), None);
    }
}
