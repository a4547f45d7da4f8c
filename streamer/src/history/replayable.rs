//! An event that belongs to a resource.

use std::borrow::Cow;

use crate::Event;

/// An event about one resource, whose events can be replayed: with [`Streamer::emit_replayable`] each leaves a snapshot.
/// (With [`Streamer::emit`] none does.)
///
/// `#[event(…, identifier = "field")]` writes this implementation, for a field that can be displayed.
///
/// ```
/// use streamer::{Event, Replayable};
///
/// #[derive(serde::Serialize, Event)]
/// #[event(name = "user.changed", identifier = "id")]
/// struct UserChanged {
///     id: u64,
///     #[serde(skip_serializing_if = "Option::is_none")]
///     email: Option<String>,
/// }
///
/// let changed = UserChanged { id: 7, email: None };
/// assert_eq!(changed.identifier(), "7");
/// ```
///
/// [`Streamer::emit_replayable`]: crate::Streamer::emit_replayable
/// [`Streamer::emit`]: crate::Streamer::emit
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which resource it is about",
    note = "add `identifier = \"…\"` with the name of a field to its `#[event(…)]`, or implement `Replayable`"
)]
pub trait Replayable: Event {
    /// The identifier of the resource that the event is about.
    fn identifier(&self) -> Cow<'_, str>;

    /// The name of the history that the event belongs to. Default: the event's own name, as in laravel-streamer. Events of
    /// different names that share a history are replayed together, as the [events of a model](crate::model) are.
    fn history(&self) -> Cow<'_, str> {
        self.name()
    }
}

impl<E: Replayable + ?Sized> Replayable for &E {
    fn identifier(&self) -> Cow<'_, str> {
        (**self).identifier()
    }

    fn history(&self) -> Cow<'_, str> {
        (**self).history()
    }
}
