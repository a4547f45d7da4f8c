//! One model event.

use std::{borrow::Cow, fmt};

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    Event, Replayable,
    message::{Members, Node, OrderedJson},
};

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelAction {
    /// It was created.
    Created,
    /// Some of its fields have other values.
    Updated,
    /// It was deleted.
    Deleted,
}

impl ModelAction {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Created, Self::Updated, Self::Deleted];

    /// The last part of the event's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for ModelAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An event about one record. All events of a record share one history, which has the model's name.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelEvent {
    model: String,
    kind: Cow<'static, str>,
    action: ModelAction,
    identifier: String,
    payload: OrderedJson,
}

impl ModelEvent {
    pub(super) fn new(
        model: &str,
        kind: Cow<'static, str>,
        action: ModelAction,
        key: &Members,
        payload: Members,
    ) -> Self {
        Self {
            model: model.to_owned(),
            kind,
            action,
            identifier: identifier(key),
            payload: OrderedJson::object(payload),
        }
    }

    /// What happened to the record.
    #[must_use]
    pub fn action(&self) -> ModelAction {
        self.action
    }

    /// The payload, with its members in the order in which they are written.
    #[must_use]
    pub fn payload(&self) -> &OrderedJson {
        &self.payload
    }
}

/// The values of the key columns, joined by `:`. A `:` or `%` inside a value of a composite key is percent-encoded, so that
/// two keys never give one identifier.
fn identifier(key: &Members) -> String {
    let is_composite = key.len() > 1;
    let text = |value: &OrderedJson| match &value.0 {
        Node::Plain(Value::String(text)) if is_composite => text.replace('%', "%25").replace(':', "%3A"),
        Node::Plain(Value::String(text)) => text.clone(),
        _ => value.to_string(),
    };
    key.values().map(text).collect::<Vec<_>>().join(":")
}

impl Serialize for ModelEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.payload.serialize(serializer)
    }
}

impl Event for ModelEvent {
    fn name(&self) -> Cow<'_, str> {
        Cow::Owned(format!("{}.{}", self.model, self.action))
    }

    fn kind(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.kind)
    }
}

impl Replayable for ModelEvent {
    fn identifier(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.identifier)
    }

    fn history(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.model)
    }
}
