//! What one message changed.

use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::entry::EntryId;

/// A field of a resource that a message changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The time of the change: the date of the snapshot, in whole seconds.
    pub when: SystemTime,
    /// The message's ID when it was emitted.
    pub entry: EntryId,
    /// The field. An element of a list has its index.
    pub field: String,
    /// The earlier value; `None` if the field did not exist.
    pub from: Option<Value>,
    /// The new value.
    pub to: Value,
}

/// The fields of a payload's top level; `None` for one that has none.
///
/// A list is looked at as PHP does: its indexes are its fields.
pub(super) fn top_level(payload: Value) -> Option<Map<String, Value>> {
    match payload {
        Value::Object(fields) => Some(fields),
        Value::Array(list) => {
            let numbered = list.into_iter().enumerate();
            Some(numbered.map(|(index, value)| (index.to_string(), value)).collect())
        }
        _ => None,
    }
}

/// Puts a payload over a resource, and tells each field that it changes: field, before, after. A field that was there
/// keeps its place.
pub(super) fn merge(
    resource: &mut Map<String, Value>,
    payload: Map<String, Value>,
    mut tell: impl FnMut(&str, Option<&Value>, &Value),
) {
    for (field, to) in payload {
        let from = resource.get(&field);
        if from != Some(&to) {
            tell(&field, from, &to);
            resource.insert(field, to);
        }
    }
}

/// A resource as a value: a list when its fields are `0`, `1`, … in order. An empty one is PHP's empty array.
pub(super) fn as_value(resource: Map<String, Value>) -> Value {
    let list = resource
        .keys()
        .enumerate()
        .all(|(index, key)| *key == index.to_string());
    if list {
        Value::Array(resource.into_iter().map(|(_, value)| value).collect())
    } else {
        Value::Object(resource)
    }
}
