//! What is known of a failure beyond the five fields that PHP knows. It stands beside the record, never in it.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::FailedMessage;
use crate::{
    engine::{FailingGroups, FailingListener},
    entry::Fields,
    message::{fields_as_json, fields_from_json},
};

/// What is kept beside a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Details {
    /// The raw fields of a message that could not be decoded; empty for others.
    #[serde(serialize_with = "as_pairs", skip_serializing_if = "Vec::is_empty")]
    pub fields: Fields,
    /// How often the listener tried. Default: 1.
    pub attempts: u64,
    /// When it failed for the first time, as [`FailedMessage::date`](super::FailedMessage::date); `None` when that is
    /// the record's own date.
    pub first_failure: Option<String>,
    /// The group in which the listener failed and the message was acknowledged. `None` without a group, where the message
    /// stays pending (`groups`), and where only other programs or earlier versions recorded failures of this listener.
    ///
    /// It is kept once for all failures of a listener. So one that PHP recorded, or that failed without a group, has the
    /// group in which a listener of the same name fails on the same stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The groups in which the message is pending because of this failure
    /// ([`always_acknowledge`](crate::Listening::always_acknowledge) off).
    pub groups: Vec<String>,
}

fn as_pairs<S: Serializer>(fields: &Fields, serializer: S) -> Result<S::Ok, S::Error> {
    fields_as_json(fields).serialize(serializer)
}

/// The keys that are stored, in their order; only those that say something.
#[derive(Serialize)]
struct Stored<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
}

impl Default for Details {
    fn default() -> Self {
        Self {
            fields: Fields::new(),
            attempts: 1,
            first_failure: None,
            group: None,
            groups: Vec::new(),
        }
    }
}

impl Details {
    /// The groups in which the listener failed, as far as they are known, whatever became of the message there.
    pub fn all_groups(&self) -> impl Iterator<Item = &str> {
        let acknowledged = self.group.iter().filter(|group| !self.groups.contains(group));
        self.groups.iter().chain(acknowledged).map(String::as_str)
    }

    /// With the group that is kept for the listener, unless these name theirs.
    pub(super) fn in_group(mut self, failed: &FailedMessage, groups: &FailingGroups) -> Self {
        if self.group.is_none() && self.groups.is_empty() {
            let group = groups.of(FailingListener {
                stream: &failed.stream,
                receiver: &failed.receiver,
            });
            self.group = group.map(str::to_owned);
        }
        self
    }

    /// Whether there is nothing to keep.
    pub(super) fn says_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// As the store keeps it; `None` when there is nothing to keep.
    pub(crate) fn to_stored(&self) -> Option<Bytes> {
        (!self.says_nothing()).then(|| self.to_text())
    }

    pub(super) fn to_text(&self) -> Bytes {
        let stored = Stored {
            fields: (!self.fields.is_empty()).then(|| fields_as_json(&self.fields)),
            attempts: (self.attempts != 1).then_some(self.attempts),
            first_failure: self.first_failure.as_deref(),
            group: self.group.as_deref(),
            groups: &self.groups,
        };
        serde_json::to_vec(&stored).unwrap_or_default().into()
    }

    /// Reads what [`Details::to_text`] wrote; `None` for anything else. Unknown keys are ignored.
    pub(super) fn from_text(text: &[u8]) -> Option<Self> {
        let object: Map<String, Value> = serde_json::from_slice(text).ok()?;
        let mut details = Self::default();
        if let Some(fields) = object.get("fields") {
            details.fields = fields_from_json(fields)?;
        }
        if let Some(attempts) = object.get("attempts") {
            details.attempts = attempts.as_u64()?;
        }
        if let Some(date) = object.get("first_failure") {
            details.first_failure = Some(date.as_str()?.to_owned());
        }
        if let Some(group) = object.get("group") {
            details.group = Some(group.as_str()?.to_owned());
        }
        if let Some(groups) = object.get("groups") {
            details.groups = serde_json::from_value(groups.clone()).ok()?;
        }
        (!details.says_nothing()).then_some(details)
    }
}
