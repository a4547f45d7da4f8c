//! The one message that everybody emits and handles: eight fields, about 250 bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use streamer::{Event, Replayable};

/// The stream, and the event's name.
pub(crate) const STREAM: &str = "order.placed";
/// The consumer group of every case that has one.
pub(crate) const GROUP: &str = "billing";

/// The payload: `{"id":123,"total":9.99,"sku":"ABC-1"}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: u64,
    pub(crate) total: f64,
    pub(crate) sku: Cow<'static, str>,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            id: 123,
            total: 9.99,
            sku: Cow::Borrowed("ABC-1"),
        }
    }
}

impl Event for Order {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(STREAM)
    }
}

impl Replayable for Order {
    fn identifier(&self) -> Cow<'_, str> {
        Cow::Owned(self.id.to_string())
    }
}

/// The fields as they stand on the wire, in their order.
pub(crate) fn fields() -> [(&'static str, &'static str); 8] {
    fields_with(r#"{"id":123,"total":9.99,"sku":"ABC-1"}"#)
}

/// The same with another payload.
pub(crate) fn fields_with(data: &str) -> [(&'static str, &str); 8] {
    [
        ("_id", "*"),
        ("type", "event"),
        ("version", "1.3"),
        ("name", STREAM),
        ("domain", "shop"),
        ("created", "1795407980"),
        ("data", data),
        (
            "hash",
            "4fdb1ff4ff0b8f0e9a4c8b1b0b9ee7ba1ab0dd6f5d2e2a4c8c1f3f9f6d7a1e2b",
        ),
    ]
}
