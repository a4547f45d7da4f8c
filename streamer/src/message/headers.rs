//! Headers: fields of an entry after its `hash`.
//!
//! laravel-streamer puts nothing there, passes such fields on to its listeners and reads none of them. Its own archive drops
//! them; this library's archive keeps every field.

use std::borrow::Cow;

use bytes::Bytes;

use super::{foreign, received::ReceivedMessage};
use crate::entry::Fields;

/// The names that an entry's own fields have.
const ENVELOPE: [&str; 9] = [
    "_id",
    "original_id",
    "type",
    "version",
    "name",
    "domain",
    "created",
    "data",
    "hash",
];

/// The header with the ID that all messages of one business transaction share.
pub const CORRELATION_ID: &str = "correlation_id";
/// The header with the message that caused this one: its stream, `/`, its entry ID.
pub const CAUSATION_ID: &str = "causation_id";
/// The header with the trace that a message belongs to, by [W3C Trace Context](https://www.w3.org/TR/trace-context/).
pub const TRACEPARENT: &str = "traceparent";
/// The header with what tracing systems add to [`TRACEPARENT`].
pub const TRACESTATE: &str = "tracestate";

/// The header of an event that was emitted with [`EmitOptions::deliver_at`](crate::EmitOptions::deliver_at): the ID that the
/// emit gave, under which the event waited. It is added when the event is due.
pub const SCHEDULED_ID: &str = "scheduled_id";

/// Whether a header may have this name.
pub(crate) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && !ENVELOPE.contains(&name)
}

/// The fields that are headers.
fn of(fields: &Fields) -> &[(Bytes, Bytes)] {
    // All fields of another program's entry are its payload.
    if foreign::is_foreign(fields) {
        return &[];
    }
    let hash = fields.iter().position(|(name, _)| name == "hash");
    hash.map_or(&[], |at| &fields[at + 1..])
}

impl ReceivedMessage {
    /// A header: what [`EmitOptions::header`](crate::EmitOptions::header) set, or tracing. Of several with one name the
    /// last. What is not UTF-8 becomes U+FFFD. Entries of other programs have none.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        let named = of(self.fields()).iter().rev().find(|(field, _)| field == name);
        named.map(|(_, value)| String::from_utf8_lossy(value))
    }

    /// All headers, in stored order.
    pub fn headers(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let headers = of(self.fields()).iter();
        headers.map(|(name, value)| (String::from_utf8_lossy(name), String::from_utf8_lossy(value)))
    }

    /// How other messages name this one in [`CAUSATION_ID`]: its stream, `/`, its entry ID.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}/{}", self.stream(), self.id())
    }
}
