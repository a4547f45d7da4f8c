//! The record that is kept of each event about a resource: an element of a list, as laravel-streamer writes it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::Deserialize;

use crate::{
    engine::{Record, keys},
    entry::{EntryId, StreamName},
    message::php_json,
    model::ModelAction,
};

const DATE: &str = "%Y-%m-%d %H:%M:%S";

/// Whose snapshots are read: those of one event about a resource, or those of all events of a model about a record.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) name: String,
    pub(super) identifier: String,
    pub(super) of_model: bool,
}

impl History {
    /// The list that holds the snapshots.
    pub(super) fn list(&self) -> StreamName {
        keys::snapshots(&self.name, &self.identifier)
    }

    /// The stream that a snapshot's message was emitted to.
    pub(super) fn stream(&self, action: Option<ModelAction>) -> StreamName {
        match action {
            Some(action) => StreamName::from(format!("{}.{action}", self.name)),
            None => StreamName::from(&self.name),
        }
    }

    /// The streams that its messages can be on.
    pub(super) fn actions(&self) -> Vec<Option<ModelAction>> {
        match self.of_model {
            true => ModelAction::ALL.into_iter().map(Some).collect(),
            false => vec![None],
        }
    }

    /// Which of its events a name is; `None` when it is none of them.
    fn action_of(&self, event: &str) -> Option<Option<ModelAction>> {
        if !self.of_model {
            return (event == self.name).then_some(None);
        }
        let action = event.strip_prefix(&self.name)?.strip_prefix('.')?;
        let action = ModelAction::ALL.into_iter().find(|known| known.as_str() == action)?;
        Some(Some(action))
    }
}

/// The snapshot of an event that is emitted in the second `created`.
pub(crate) fn snapshot(history: &str, event: &str, identifier: &str, created: u64) -> Record {
    let date = i64::try_from(created)
        .ok()
        .and_then(|second| Timestamp::from_second(second).ok());
    let date = date.unwrap_or(Timestamp::MAX).strftime(DATE).to_string();
    let mut after = b"\"".to_vec();
    for (key, value) in [("name", event), ("identifier", identifier), ("date", &date)] {
        after.extend_from_slice(format!(",\"{key}\":").as_bytes());
        php_json::write_str(&mut after, value);
    }
    after.push(b'}');
    Record::Push {
        list: keys::snapshots(history, identifier),
        before: Bytes::from_static(b"{\"id\":\""),
        after: after.into(),
    }
}

/// A snapshot that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) id: EntryId,
    pub(super) when: SystemTime,
    /// Which of a model's events it is.
    pub(super) action: Option<ModelAction>,
}

/// What an element of a list is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A snapshot of the resource.
    Ours(Snapshot),
    /// One of another event and resource.
    Foreign,
    /// Nothing that can be read; a sentence says why.
    Unreadable(String),
}

/// Reads an element, also one that laravel-streamer wrote.
///
/// A date is taken as UTC: it names no zone. One that cannot be read is replaced by the time in the ID.
pub(super) fn read(element: &[u8], history: &History) -> Element {
    #[derive(Deserialize)]
    struct Stored {
        id: String,
        name: String,
        identifier: String,
        #[serde(default)]
        date: String,
    }
    let unreadable = |reason: &str| {
        let beginning: String = String::from_utf8_lossy(element).chars().take(80).collect();
        Element::Unreadable(format!(
            "a snapshot cannot be read: {reason}; it begins with '{beginning}'"
        ))
    };
    let stored: Stored = match serde_json::from_slice(element) {
        Ok(stored) => stored,
        Err(error) => return unreadable(&error.to_string()),
    };
    let Some(action) = history
        .action_of(&stored.name)
        .filter(|_| stored.identifier == history.identifier)
    else {
        return Element::Foreign;
    };
    let id = match stored.id.parse::<EntryId>() {
        Ok(id) => id,
        Err(_) if stored.id.is_empty() => return unreadable("its message was never written"),
        Err(error) => return unreadable(&error.to_string()),
    };
    let date = DateTime::strptime(DATE, &stored.date).and_then(|date| TimeZone::UTC.to_timestamp(date));
    let date = date.and_then(SystemTime::try_from).ok();
    let from_id = || SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(id.ms));
    let when = date.or_else(from_id).unwrap_or(SystemTime::UNIX_EPOCH);
    Element::Ours(Snapshot { id, when, action })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(name: &str, identifier: &str) -> History {
        History {
            name: name.to_owned(),
            identifier: identifier.to_owned(),
            of_model: false,
        }
    }

    fn element(id: &str, record: &Record) -> Vec<u8> {
        let Record::Push { before, after, .. } = record else {
            panic!("a snapshot is pushed")
        };
        [before, id.as_bytes(), after].concat()
    }

    #[test]
    fn a_snapshot_is_written_as_php_writes_it_and_reads_back() {
        let record = snapshot("żółw", "żółw", "id/é\"", 1_639_310_400);
        assert_eq!(record.list(), Some(&"żółw-id/é\"".into()));
        let element = element("5-1", &record);
        let expected =
            r#"{"id":"5-1","name":"\u017c\u00f3\u0142w","identifier":"id\/\u00e9\"","date":"2021-12-12 12:00:00"}"#;
        assert_eq!(String::from_utf8_lossy(&element), expected);
        let read_back = Snapshot {
            id: EntryId::new(5, 1),
            when: SystemTime::UNIX_EPOCH + Duration::from_secs(1_639_310_400),
            action: None,
        };
        assert_eq!(read(&element, &history("żółw", "id/é\"")), Element::Ours(read_back));
        assert_eq!(read(&element, &history("żółw", "7")), Element::Foreign);
    }

    #[test]
    fn the_events_of_a_model_share_a_history() {
        let record = snapshot("user", "user.updated", "7", 0);
        assert_eq!(record.list(), Some(&"user-7".into()));
        let element = element("5-1", &record);
        let of_model = History {
            of_model: true,
            ..history("user", "7")
        };
        let Element::Ours(snapshot) = read(&element, &of_model) else {
            panic!("it belongs to the model")
        };
        assert_eq!(of_model.stream(snapshot.action), StreamName::from("user.updated"));
        assert_eq!(read(&element, &history("user", "7")), Element::Foreign);
        let renamed = String::from_utf8_lossy(&element).replace("user.updated", "user.renamed");
        assert_eq!(read(renamed.as_bytes(), &of_model), Element::Foreign);
    }

    #[test]
    fn what_is_no_snapshot_is_told_and_no_panic() {
        for wrong in [
            "",
            "5",
            "{}",
            r#"{"id":"","name":"a","identifier":"b","date":"2021-12-12 12:00:00"}"#,
            r#"{"id":"x","name":"a","identifier":"b","date":""}"#,
            r#"{"id":5,"name":"a","identifier":"b","date":""}"#,
        ] {
            assert!(
                matches!(read(wrong.as_bytes(), &history("a", "b")), Element::Unreadable(_)),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_snapshot_without_a_readable_date_is_as_old_as_its_id() {
        for date in ["", "yesterday", "2021-13-12 12:00:00"] {
            let element = format!(r#"{{"id":"7500-0","name":"a","identifier":"b","date":"{date}"}}"#);
            let Element::Ours(snapshot) = read(element.as_bytes(), &history("a", "b")) else {
                panic!("it is a snapshot")
            };
            assert_eq!(snapshot.when, SystemTime::UNIX_EPOCH + Duration::from_millis(7500));
        }
    }
}
