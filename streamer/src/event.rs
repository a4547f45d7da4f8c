//! What a program emits: a name, a type and a serialisable payload.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Something that happened and that other programs may want to know.
///
/// The payload is the event's own serialisation. `#[derive(Event)]` writes this implementation; do it by hand where the
/// name or the type is known only at run time, or use a [`DynamicEvent`].
///
/// ```
/// use streamer::Event;
///
/// #[derive(serde::Serialize, Event)]
/// #[event(name = "order.placed")]
/// struct OrderPlaced {
///     id: u64,
///     total: f64,
/// }
///
/// let order = OrderPlaced { id: 123, total: 9.99 };
/// assert_eq!(order.name(), "order.placed");
/// assert_eq!(order.kind(), "event");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    note = "add `#[derive(Event)]` and `#[event(name = \"…\")]` to it"
)]
pub trait Event: Serialize {
    /// The event's name, which is also the stream that it goes to.
    fn name(&self) -> Cow<'_, str>;

    /// Its type: `event` (the default), `notification`, `command`, or any other text.
    fn kind(&self) -> Cow<'_, str> {
        Cow::Borrowed("event")
    }
}

/// An event whose type alone says its name, so that a listener can be registered by type. The derive implements it.
#[diagnostic::on_unimplemented(
    message = "the name of the event `{Self}` is not known from its type",
    note = "`#[derive(Event)]` makes it known; for other events name the stream yourself"
)]
pub trait NamedEvent: Event {
    /// The event's name: the stream.
    const NAME: &'static str;
}

impl<E: Event + ?Sized> Event for &E {
    fn name(&self) -> Cow<'_, str> {
        (**self).name()
    }

    fn kind(&self) -> Cow<'_, str> {
        (**self).kind()
    }
}

/// An event whose name is known only at run time, with any payload that has a JSON text.
///
/// The keys of a `serde_json::Value` go to the stream in the order that they have there: sorted, unless the application
/// switches on the feature `preserve_order` of `serde_json`. Structs and [`OrderedJson`](crate::OrderedJson) keep their order.
///
/// A name that is not UTF-8 needs an [`Envelope`](crate::message::Envelope).
///
/// ```
/// use serde_json::json;
/// use streamer::{DynamicEvent, Event};
///
/// let event = DynamicEvent::new("order.placed", json!({"id": 123})).with_kind("command");
/// assert_eq!(event.kind(), "command");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicEvent<P = Value> {
    name: String,
    kind: Cow<'static, str>,
    payload: P,
}

impl<P: Serialize> DynamicEvent<P> {
    /// An event of type `event`.
    pub fn new(name: impl Into<String>, payload: P) -> Self {
        Self {
            name: name.into(),
            kind: Cow::Borrowed("event"),
            payload,
        }
    }
}

impl<P> DynamicEvent<P> {
    /// The same event with another type.
    #[must_use]
    pub fn with_kind(self, kind: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: kind.into(),
            ..self
        }
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &P {
        &self.payload
    }
}

impl<P: Serialize> Serialize for DynamicEvent<P> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.payload.serialize(serializer)
    }
}

impl<P: Serialize> Event for DynamicEvent<P> {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }

    fn kind(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.kind)
    }
}
