//! How objects of the archive are named.

use jiff::{Timestamp, tz::TimeZone};
use rand::RngExt as _;

use crate::entry::{EntryId, StreamName};

const SUFFIX: &str = ".ndjson.zst";

/// The name of a stream as the name of a folder: letters, digits, `-`, `_` and dots (but as first or last character, where
/// Azure and file systems do not keep them) as they are, every other byte as `=` and two hex digits. The empty name is `=`,
/// which nothing else gives.
pub(super) fn encode(stream: &StreamName) -> String {
    let mut name = String::new();
    let bytes = stream.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'.' if at == 0 || at + 1 == bytes.len() => name.push_str("=2e"),
            b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => name.push(char::from(*byte)),
            other => name.push_str(&format!("={other:02x}")),
        }
    }
    if name.is_empty() {
        name.push('=');
    }
    name
}

/// The reverse of [`encode`]; `None` for a folder that is no stream's.
pub(super) fn decode(name: &str) -> Option<StreamName> {
    if name == "=" {
        return Some(StreamName::from(""));
    }
    let mut parts = name.split('=');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    Some(bytes.into())
}

/// The day of an ID, in UTC: `2026-11-23`; for one beyond all dates, how many days after the epoch that is.
pub(super) fn day(id: EntryId) -> String {
    let moment = i64::try_from(id.ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok());
    match moment {
        Some(moment) => moment.to_zoned_datetime(TimeZone::UTC).date().to_string(),
        None => format!("day-{}", id.ms / 86_400_000),
    }
}

/// The IDs between which an object's messages are, and what tells it from others with the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Batch {
    pub(super) first: EntryId,
    pub(super) last: EntryId,
    random: u64,
}

impl Batch {
    pub(super) fn new(first: EntryId, last: EntryId) -> Self {
        Self {
            first,
            last,
            random: rand::rng().random(),
        }
    }

    pub(super) fn name(&self) -> String {
        let Self { first, last, random } = self;
        format!("{first}_{last}_{random:016x}{SUFFIX}")
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(SUFFIX)?.split('_');
        Some(Self {
            first: parts.next()?.parse().ok()?,
            last: parts.next()?.parse().ok()?,
            random: u64::from_str_radix(parts.next()?, 16).ok()?,
        })
    }

    pub(super) fn may_hold(&self, id: EntryId) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_a_folder_of_its_own() {
        let names = [
            "",
            ".",
            "..",
            "order.placed",
            "a/b",
            "a=2fb",
            "=.",
            "=",
            "ä ~%",
            "A",
            "a",
            "a.",
            "a..",
        ];
        let mut folders = std::collections::HashSet::new();
        for name in names.map(StreamName::from).into_iter().chain([vec![0xff, 0].into()]) {
            let folder = encode(&name);
            assert_eq!(decode(&folder), Some(name));
            assert!(
                folder.is_ascii() && !folder.contains(['/', '%', '\\']) && folder.trim_matches('.') == folder,
                "{folder}"
            );
            assert!(folders.insert(folder));
        }
    }

    #[test]
    fn names_of_objects_tell_their_ids() {
        let batch = Batch::new(EntryId::new(1, 2), EntryId::new(u64::MAX, 4));
        assert_eq!(Batch::from_name(&batch.name()), Some(batch));
        assert_eq!(Batch::from_name("notes.txt"), None);
        assert_eq!(day(EntryId::new(1_795_407_980_936, 0)), "2026-11-23");
        assert!(day(EntryId::MAX).starts_with("day-"));
    }
}
