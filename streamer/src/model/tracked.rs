//! A plain value that knows what changed since it was saved.

use std::ops::{Deref, DerefMut};

use serde::Serialize;
use serde_json::Value;

use super::{ModelEvent, ModelSpec};
use crate::message::{Members, Node, OrderedJson};

/// A value with its last saved state: for Diesel, sqlx and plain structs, where no derive can watch the record.
///
/// Save the value by your own statements, emit the event of [`Tracked::change`], and call [`Tracked::mark_saved`].
///
/// ```
/// use serde_json::json;
/// use streamer::model::{ModelSpec, Tracked};
///
/// #[derive(serde::Serialize)]
/// struct Order { id: u64, total: f64 }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let orders = ModelSpec::new("order");
/// let mut order = Tracked::saved(Order { id: 7, total: 9.5 })?;
/// assert_eq!(order.change(&orders)?, None);
///
/// order.total = 12.0;
/// let event = order.change(&orders)?.expect("the total changed");
/// assert_eq!(
///     event.payload(),
///     &json!({"id": 7, "fields": ["total"], "before": {"total": 9.5}, "after": {"total": 12.0}})
/// );
/// // UPDATE orders …; streamer.emit_replayable(&event).await?;
/// order.mark_saved()?;
/// assert_eq!(order.change(&orders)?, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tracked<T> {
    value: T,
    /// The fields as they were saved last; `None` when they never were.
    saved: Option<Members>,
}

/// A value that has no fields.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// It cannot be written as JSON.
    #[error("could not write the record as JSON: {0}")]
    Serialize(#[from] serde_json::Error),
    /// Its JSON is no object.
    #[error("could not track the record: its JSON is {0}, and a record needs named fields")]
    NoFields(&'static str),
}

impl<T: Serialize> Tracked<T> {
    /// A value that is not saved yet: its first event is `created`.
    pub fn unsaved(value: T) -> Self {
        Self { value, saved: None }
    }

    /// A value that is already saved in this state.
    ///
    /// # Errors
    ///
    /// [`TrackError`] when its JSON is not an object.
    pub fn saved(value: T) -> Result<Self, TrackError> {
        let mut tracked = Self::unsaved(value);
        tracked.mark_saved()?;
        Ok(tracked)
    }

    /// The event of what changed since the value was saved: `created`, `updated`, or none.
    ///
    /// # Errors
    ///
    /// [`TrackError`] when its JSON is not an object.
    pub fn change(&self, model: &ModelSpec) -> Result<Option<ModelEvent>, TrackError> {
        let now = fields(&self.value)?;
        Ok(match &self.saved {
            None => Some(model.created(now)),
            Some(before) => model.event_of_updated(before, &now, &model.key_of(&now)),
        })
    }

    /// The event that says that the record was deleted.
    ///
    /// # Errors
    ///
    /// [`TrackError`] when its JSON is not an object.
    pub fn deleted(&self, model: &ModelSpec) -> Result<ModelEvent, TrackError> {
        Ok(model.deleted(fields(&self.value)?))
    }

    /// Notes that the value is saved in its present state.
    ///
    /// # Errors
    ///
    /// [`TrackError`] when its JSON is not an object.
    pub fn mark_saved(&mut self) -> Result<(), TrackError> {
        self.saved = Some(fields(&self.value)?);
        Ok(())
    }

    /// The value.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

fn fields(value: &impl Serialize) -> Result<Members, TrackError> {
    let other = match OrderedJson::of(value)?.0 {
        Node::Object(fields) => return Ok(fields),
        Node::List(_) => "a list",
        Node::Plain(Value::Null) => "null",
        Node::Plain(Value::Bool(_)) => "a boolean",
        Node::Plain(Value::Number(_)) => "a number",
        Node::Plain(_) => "a string",
    };
    Err(TrackError::NoFields(other))
}
