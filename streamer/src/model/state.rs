//! What a model's events make of its record.

use serde_json::Value;

use crate::message::{Members, Node, OrderedJson};

/// Applies a payload to a record: created and updated fields get their new values, a deletion empties the record. Calls `tell`
/// for each field that changes: field, before, after. Returns whether the record is deleted; `None` for a payload that is no
/// model event.
pub(crate) fn apply(
    record: &mut Members,
    payload: &Members,
    mut tell: impl FnMut(&str, Option<&OrderedJson>, &OrderedJson),
) -> Option<bool> {
    let is_deleted = payload
        .get("deleted")
        .is_some_and(|deleted| *deleted == Value::Bool(true));
    if is_deleted {
        for (field, value) in std::mem::take(record) {
            tell(&field, Some(&value), &OrderedJson::default());
        }
        return Some(true);
    }
    let Some(Node::Object(after)) = payload.get("after").map(|after| &after.0) else {
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
