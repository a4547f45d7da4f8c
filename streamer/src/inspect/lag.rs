//! How far a group is behind.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

use crate::engine::{GroupInfo, StreamState};

/// How many messages a group has yet to be delivered. What is not known is never 0.
///
/// In JSON: `{"messages": 12, "exact": true}`; `messages` is `null` where the lag is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lag {
    /// So many.
    Exact(u64),
    /// At least so many: more were not counted.
    AtLeast(u64),
    /// The store does not tell, and it could not be counted.
    #[default]
    Unknown,
}

impl Lag {
    /// The number, or the lower bound; `None` where nothing is known.
    #[must_use]
    pub fn messages(self) -> Option<u64> {
        match self {
            Self::Exact(messages) | Self::AtLeast(messages) => Some(messages),
            Self::Unknown => None,
        }
    }

    /// Both together. What is unknown makes the sum a lower bound.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) => Self::Exact(one.saturating_add(other)),
            _ => Self::AtLeast(
                self.messages()
                    .unwrap_or(0)
                    .saturating_add(other.messages().unwrap_or(0)),
            ),
        }
    }
}

impl fmt::Display for Lag {
    /// `12`, `256+` or `?`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(messages) => f.pad(&messages.to_string()),
            Self::AtLeast(messages) => f.pad(&format!("{messages}+")),
            Self::Unknown => f.pad("?"),
        }
    }
}

impl Serialize for Lag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Lag", 2)?;
        object.serialize_field("messages", &self.messages())?;
        object.serialize_field("exact", &matches!(self, Self::Exact(_)))?;
        object.end()
    }
}

/// What the state of the stream tells by itself; `None` where the entries after the group's position must be counted.
///
/// Redis counts what a group was delivered, and knows no lag once an entry ahead of the group was deleted. Its number is
/// too large after a trim ahead of the group: entries that are gone are in it.
pub(super) fn by_numbers(stream: &StreamState, group: &GroupInfo) -> Option<u64> {
    let at = group.last_delivered_id;
    if stream.length == 0 || at >= stream.last_id {
        return Some(0);
    }
    match stream.first_id {
        Some(first) if at < first => Some(stream.length),
        _ => group.lag.map(|lag| lag.min(stream.length)),
    }
}

/// How many messages left the stream before the group was delivered them; `None` where the store does not tell.
pub(super) fn missed(stream: &StreamState, group: &GroupInfo) -> Option<u64> {
    let at = group.last_delivered_id;
    let ahead = match stream.first_id {
        Some(first) => at < first,
        None => at < stream.last_id,
    };
    if !ahead {
        return Some(0);
    }
    let undelivered = stream.entries_added?.checked_sub(group.entries_read?)?;
    Some(undelivered.saturating_sub(stream.length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryId;

    fn stream(length: u64, first: Option<u64>, added: u64) -> StreamState {
        StreamState {
            length,
            first_id: first.map(|ms| EntryId::new(ms, 0)),
            last_id: EntryId::new(100, 0),
            entries_added: Some(added),
            bytes: None,
            now_ms: 0,
            groups: Vec::new(),
            scheduled: None,
        }
    }

    fn group(at: u64, read: Option<u64>, lag: Option<u64>) -> GroupInfo {
        GroupInfo {
            name: "g".to_owned(),
            consumers: 0,
            pending: 0,
            last_delivered_id: EntryId::new(at, 0),
            entries_read: read,
            lag,
        }
    }

    #[test]
    fn a_trim_ahead_of_a_group_counts_as_missed_and_not_as_lag() {
        // 100 were appended, 10 delivered, 70 trimmed away: the server says 90.
        let (stream, group) = (stream(30, Some(71), 100), group(10, Some(10), Some(90)));
        assert_eq!(by_numbers(&stream, &group), Some(30));
        assert_eq!(missed(&stream, &group), Some(60));
    }

    #[test]
    fn what_the_server_does_not_know_is_not_zero() {
        let (full, behind) = (stream(50, Some(1), 100), group(40, None, None));
        assert_eq!(by_numbers(&full, &behind), None);
        assert_eq!(by_numbers(&full, &group(100, None, None)), Some(0));
        assert_eq!(by_numbers(&stream(0, None, 100), &behind), Some(0));
        assert_eq!(missed(&stream(0, None, 100), &behind), None);
        assert_eq!(Lag::Unknown.to_string(), "?");
        assert_eq!(Lag::Exact(3).plus(Lag::Unknown), Lag::AtLeast(3));
        assert_eq!(
            serde_json::to_string(&Lag::Unknown).expect("it has a JSON text"),
            r#"{"messages":null,"exact":false}"#
        );
    }
}
