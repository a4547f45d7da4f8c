//! What the events of a model are called and what they carry.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{ModelAction, ModelEvent};

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
/// ```
/// use serde_json::json;
/// use streamer::{Event, model::ModelSpec};
///
/// let users = ModelSpec::new("user").hidden(["password"]);
/// let (before, after) = (json!({"id": 7, "name": "Ann", "password": "a"}), json!({"id": 7, "name": "Eve", "password": "b"}));
/// let event = users.updated(before.as_object().unwrap(), after.as_object().unwrap()).expect("the name changed");
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
    additional: Option<Value>,
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
            additional: None,
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

    /// A value that each payload carries as `additional`. Default: none.
    pub fn additional(mut self, value: impl Into<Option<Value>>) -> Self {
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
    pub fn created(&self, fields: &Map<String, Value>) -> ModelEvent {
        self.created_with(fields, &self.key_of(fields))
    }

    /// As [`ModelSpec::created`], with a key that `fields` need not contain.
    #[must_use]
    pub fn created_with(&self, fields: &Map<String, Value>, key: &Map<String, Value>) -> ModelEvent {
        let shown = fields.iter().filter(|(name, _)| !self.is_hidden(name));
        let changes = shown.map(|(name, value)| (name, Value::Null, value.clone()));
        self.changed(ModelAction::Created, key, changes)
    }

    /// The event of a record that was updated; `None` if no field that is written has a new value.
    #[must_use]
    pub fn updated(&self, before: &Map<String, Value>, after: &Map<String, Value>) -> Option<ModelEvent> {
        self.updated_with(before, after, &self.key_of(after))
    }

    /// As [`ModelSpec::updated`], with a key that the fields need not contain.
    #[must_use]
    pub fn updated_with(
        &self,
        before: &Map<String, Value>,
        after: &Map<String, Value>,
        key: &Map<String, Value>,
    ) -> Option<ModelEvent> {
        let absent = &Value::Null;
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
            .map(|(name, from, to)| (name, from.clone(), to.clone()))
            .peekable();
        changes.peek()?;
        Some(self.changed(ModelAction::Updated, key, changes))
    }

    /// The event of a record that was deleted.
    #[must_use]
    pub fn deleted(&self, fields: &Map<String, Value>) -> ModelEvent {
        let key = self.key_of(fields);
        let mut payload = self.head(&key);
        payload.insert("deleted".to_owned(), Value::Bool(true));
        self.event(ModelAction::Deleted, &key, payload)
    }

    fn changed<'a>(
        &self,
        action: ModelAction,
        key: &Map<String, Value>,
        changes: impl Iterator<Item = (&'a String, Value, Value)>,
    ) -> ModelEvent {
        let (mut fields, mut before, mut after) = (Vec::new(), Map::new(), Map::new());
        for (name, from, to) in changes {
            fields.push(Value::String(name.clone()));
            before.insert(name.clone(), from);
            after.insert(name.clone(), to);
        }
        let mut payload = self.head(key);
        payload.insert("fields".to_owned(), Value::Array(fields));
        payload.insert("before".to_owned(), Value::Object(before));
        payload.insert("after".to_owned(), Value::Object(after));
        self.event(action, key, payload)
    }

    /// The key and the additional payload.
    fn head(&self, key: &Map<String, Value>) -> Map<String, Value> {
        let additional = self.additional.as_ref().map(|value| ("additional", value));
        let key = key.iter().map(|(name, value)| (name.as_str(), value));
        key.chain(additional)
            .filter(|(_, value)| self.format == PayloadFormat::Complete || !is_falsy(value))
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    }

    fn event(&self, action: ModelAction, key: &Map<String, Value>, payload: Map<String, Value>) -> ModelEvent {
        ModelEvent::new(&self.name, self.kind.clone(), action, key, payload)
    }

    fn key_of(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        let column = |name: &Cow<'static, str>| (name.to_string(), fields.get(&**name).cloned().unwrap_or_default());
        self.key.iter().map(column).collect()
    }

    fn is_hidden(&self, field: &str) -> bool {
        self.hidden.iter().any(|hidden| hidden == field)
    }
}

/// What PHP's `array_filter` removes.
fn is_falsy(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0",
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}
