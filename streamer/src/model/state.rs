//! What a model's events make of its record.

use serde_json::{Map, Value};

/// Applies a payload to a record: created and updated fields get their new values, a deletion empties the record. Calls `tell`
/// for each field that changes: field, before, after. Returns whether the record is deleted; `None` for a payload that is no
/// model event.
pub(crate) fn apply(
    record: &mut Map<String, Value>,
    payload: &Map<String, Value>,
    mut tell: impl FnMut(&str, Option<&Value>, &Value),
) -> Option<bool> {
    if payload.get("deleted") == Some(&Value::Bool(true)) {
        for (field, value) in std::mem::take(record) {
            tell(&field, Some(&value), &Value::Null);
        }
        return Some(true);
    }
    let Some(Value::Object(after)) = payload.get("after") else {
        return None;
    };
    for (field, to) in after {
        let from = record.get(field);
        if from != Some(to) {
            tell(field, from, to);
            record.insert(field.clone(), to.clone());
        }
    }
    Some(false)
}
