//! What the events of a model are called and what they carry.

use std::borrow::Cow;

use serde_json::Value;

use super::{ModelAction, ModelEvent};
use crate::message::{Members, Node, OrderedJson, members};

/// How the payload of a model event is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PayloadFormat {
    /// Every key column and every additional payload is written, whatever its value.
    #[default]
    Complete,
    /// As laravel-streamer writes it, to the byte: a key that is falsy in PHP (`0`, `"0"`, `""`, `null`, `false`) and an empty
    /// additional payload are left out.
    Laravel,
}

/// The events of a model: their names, their key and what they carry beside the changed fields.
///
/// The payload has these members, in this order:
///
/// - each key column with its value;
/// - `additional`, if there is any;
/// - created: `fields` (names), `before` (each `null`), `after`;
/// - updated: the same for the fields that changed, with their earlier and later values;
/// - deleted: `"deleted": true`.
///
/// Fields are pairs of a name and a value, in their order: an array or a `Vec` of pairs, or `&Map` of `serde_json`, which sorts
/// its keys unless the application switches on its feature `preserve_order`.
///
/// ```
/// use serde_json::json;
/// use streamer::{Event, model::ModelSpec};
///
/// let users = ModelSpec::new("user").hidden(["password"]);
/// let before = [("id", json!(7)), ("name", json!("Ann")), ("password", json!("a"))];
/// let after = [("id", json!(7)), ("name", json!("Eve")), ("password", json!("b"))];
/// let event = users.updated(before, after).expect("the name changed");
/// assert_eq!(event.name(), "user.updated");
/// assert_eq!(
///     event.payload(),
///     &json!({"id": 7, "fields": ["name"], "before": {"name": "Ann"}, "after": {"name": "Eve"}})
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a description emits nothing"]
pub struct ModelSpec {
    name: String,
    key: Vec<Cow<'static, str>>,
    hidden: Vec<Cow<'static, str>>,
    additional: OrderedJson,
    kind: Cow<'static, str>,
    format: PayloadFormat,
}

impl ModelSpec {
    /// Events `NAME.created`, `NAME.updated` and `NAME.deleted`, with the name in lower case. The key is the field `id`,
    /// the type is `event`.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: name.as_ref().to_lowercase(),
            key: vec![Cow::Borrowed("id")],
            hidden: Vec::new(),
            additional: OrderedJson::default(),
            kind: Cow::Borrowed("event"),
            format: PayloadFormat::default(),
        }
    }

    /// The key columns, in order. Default: `id`.
    pub fn key<N: Into<Cow<'static, str>>>(mut self, columns: impl IntoIterator<Item = N>) -> Self {
        self.key = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Fields that never appear in a payload, such as passwords. A change of hidden fields alone is no change.
    pub fn hidden<N: Into<Cow<'static, str>>>(mut self, fields: impl IntoIterator<Item = N>) -> Self {
        self.hidden = fields.into_iter().map(Into::into).collect();
        self
    }

    /// A value that each payload carries as `additional`; `null` for none. Default: none.
    pub fn additional(mut self, value: impl Into<OrderedJson>) -> Self {
        self.additional = value.into();
        self
    }

    /// The type of the events. Default: `event`.
    pub fn kind(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        self.kind = kind.into();
        self
    }

    /// How payloads are written.
    pub fn format(mut self, format: PayloadFormat) -> Self {
        self.format = format;
        self
    }

    /// The base name, which is also the name of the model's histories.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The event of a record that was created. `fields` are the fields to write, in order; the key is taken from them.
    #[must_use]
    pub fn created(&self, fields: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>) -> ModelEvent {
        let fields = members(fields);
        let key = self.key_of(&fields);
        self.event_of_created(fields, &key)
    }

    /// As [`ModelSpec::created`], with a key that `fields` need not contain.
    #[must_use]
    pub fn created_with(
        &self,
        fields: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>,
        key: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>,
    ) -> ModelEvent {
        self.event_of_created(members(fields), &members(key))
    }

    /// The event of a record that was updated; `None` if no field that is written has a new value.
    #[must_use]
    pub fn updated(
        &self,
        before: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>,
        after: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>,
    ) -> Option<ModelEvent> {
        let after = members(after);
        let key = self.key_of(&after);
        self.event_of_updated(&members(before), &after, &key)
    }

    /// As [`ModelSpec::updated`], with a key that the fields need not contain.
    #[must_use]
    pub fn updated_with(
        &self,
        before: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>,
        after: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>,
        key: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>,
    ) -> Option<ModelEvent> {
        self.event_of_updated(&members(before), &members(after), &members(key))
    }

    /// The event of a record that was deleted.
    #[must_use]
    pub fn deleted(&self, fields: impl IntoIterator<Item = (impl Into<String>, impl Into<OrderedJson>)>) -> ModelEvent {
        let key = self.key_of(&members(fields));
        let mut payload = self.head(&key);
        payload.insert("deleted".to_owned(), Value::Bool(true).into());
        self.event(ModelAction::Deleted, &key, payload)
    }

    fn event_of_created(&self, fields: Members, key: &Members) -> ModelEvent {
        let shown = fields.into_iter().filter(|(name, _)| !self.is_hidden(name));
        let changes = shown.map(|(name, value)| (name, OrderedJson::default(), value));
        self.changed(ModelAction::Created, key, changes)
    }

    pub(super) fn event_of_updated(&self, before: &Members, after: &Members, key: &Members) -> Option<ModelEvent> {
        let absent = &OrderedJson::default();
        let mut changes = after
            .iter()
            .map(|(name, to)| (name, before.get(name).unwrap_or(absent), to))
            .chain(
                before
                    .iter()
                    .filter(|(name, _)| !after.contains_key(*name))
                    .map(|(name, from)| (name, from, absent)),
            )
            .filter(|(name, from, to)| from != to && !self.is_hidden(name))
            .map(|(name, from, to)| (name.clone(), from.clone(), to.clone()))
            .peekable();
        changes.peek()?;
        Some(self.changed(ModelAction::Updated, key, changes))
    }

    fn changed(
        &self,
        action: ModelAction,
        key: &Members,
        changes: impl Iterator<Item = (String, OrderedJson, OrderedJson)>,
    ) -> ModelEvent {
        let (mut fields, mut before, mut after) = (Vec::new(), Members::new(), Members::new());
        for (name, from, to) in changes {
            fields.push(Value::from(name.as_str()).into());
            before.insert(name.clone(), from);
            after.insert(name, to);
        }
        let mut payload = self.head(key);
        payload.insert("fields".to_owned(), OrderedJson::list(fields));
        payload.insert("before".to_owned(), OrderedJson::object(before));
        payload.insert("after".to_owned(), OrderedJson::object(after));
        self.event(action, key, payload)
    }

    /// The key and the additional payload.
    fn head(&self, key: &Members) -> Members {
        let additional = (!self.additional.is_null()).then_some(("additional", &self.additional));
        let key = key.iter().map(|(name, value)| (name.as_str(), value));
        members(
            key.chain(additional)
                .filter(|(_, value)| self.format == PayloadFormat::Complete || !is_falsy(value)),
        )
    }

    fn event(&self, action: ModelAction, key: &Members, payload: Members) -> ModelEvent {
        ModelEvent::new(&self.name, self.kind.clone(), action, key, payload)
    }

    pub(super) fn key_of(&self, fields: &Members) -> Members {
        let column = |name: &Cow<'static, str>| (name.to_string(), fields.get(&**name).cloned().unwrap_or_default());
        self.key.iter().map(column).collect()
    }

    fn is_hidden(&self, field: &str) -> bool {
        self.hidden.iter().any(|hidden| hidden == field)
    }
}

/// What PHP's `array_filter` removes.
fn is_falsy(value: &OrderedJson) -> bool {
    match &value.0 {
        Node::List(list) => list.is_empty(),
        Node::Object(members) => members.is_empty(),
        Node::Plain(Value::Null) => true,
        Node::Plain(Value::Bool(truth)) => !truth,
        Node::Plain(Value::Number(number)) => number.as_f64() == Some(0.0),
        Node::Plain(Value::String(text)) => text.is_empty() || text == "0",
        // `Plain` is neither a list nor an object.
        Node::Plain(_) => false,
    }
}
