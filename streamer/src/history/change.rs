//! What one message changed.

use std::time::SystemTime;

use crate::{
    entry::EntryId,
    message::{Members, OrderedJson},
};

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
    pub from: Option<OrderedJson>,
    /// The new value.
    pub to: OrderedJson,
}

/// Puts a payload over a resource, and tells each field that it changes: field, before, after. A field that was there
/// keeps its place.
pub(super) fn merge(
    resource: &mut Members,
    payload: Members,
    mut tell: impl FnMut(&str, Option<&OrderedJson>, &OrderedJson),
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
pub(super) fn as_value(resource: Members) -> OrderedJson {
    let list = resource
        .keys()
        .enumerate()
        .all(|(index, key)| *key == index.to_string());
    if list {
        OrderedJson::list(resource.into_values().collect())
    } else {
        OrderedJson::object(resource)
    }
}
