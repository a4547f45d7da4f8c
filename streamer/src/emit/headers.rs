//! Headers of an event: fields that come after those of the message.

use bytes::Bytes;

use super::EmitOptions;
use crate::{
    engine::{EngineError, EngineErrorKind},
    entry::Fields,
    message::{CAUSATION_ID, CORRELATION_ID, ReceivedMessage, TRACEPARENT, TRACESTATE, is_header_name},
};

impl EmitOptions {
    /// Adds a header: an extra field of the entry, which [`ReceivedMessage::header`] reads. A header with the same name is
    /// replaced. Headers survive archive, restore and retry. laravel-streamer passes them to its listeners, and drops them
    /// when *it* archives a message.
    ///
    /// The names of the message's own fields (`_id`, `original_id`, `type`, `version`, `name`, `domain`, `created`, `data`,
    /// `hash`) and an empty name are refused when the event is emitted ([`EngineErrorKind::InvalidInput`]).
    ///
    /// ```
    /// use serde_json::json;
    /// use streamer::{DynamicEvent, EmitOptions, Streamer, message::CORRELATION_ID};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let streamer = Streamer::connect("memory:").await?;
    /// let event = DynamicEvent::new("order.placed", json!({"id": 7}));
    /// streamer.emit_with(&event, EmitOptions::new().header(CORRELATION_ID, "checkout-17")).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        self
    }

    /// Says that a message caused the event. [`CAUSATION_ID`] is the [`reference`](ReceivedMessage::reference) of that message.
    /// [`CORRELATION_ID`] is that of the message, or the message's reference if it has none. The trace ([`TRACEPARENT`],
    /// [`TRACESTATE`]) of the message goes on. Headers that were set before are kept.
    ///
    /// ```
    /// use streamer::{DynamicEvent, EmitOptions, ReceivedMessage, extract::State, Streamer, EmitError};
    ///
    /// async fn invoice(message: ReceivedMessage, State(streamer): State<Streamer>) -> Result<(), EmitError> {
    ///     let event = DynamicEvent::new("invoice.sent", serde_json::json!({}));
    ///     streamer.emit_with(&event, EmitOptions::new().caused_by(&message)).await?;
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn caused_by(mut self, message: &ReceivedMessage) -> Self {
        let reference = message.reference();
        let correlation = message
            .header(CORRELATION_ID)
            .map_or_else(|| reference.clone(), Into::into);
        let trace = [TRACEPARENT, TRACESTATE].map(|name| (name, message.header(name).map(Into::into)));
        let inherited = [(CORRELATION_ID, Some(correlation)), (CAUSATION_ID, Some(reference))];
        for (name, value) in inherited.into_iter().chain(trace) {
            let is_set = self.headers.iter().any(|(known, _)| known == name);
            if let Some(value) = value.filter(|_| !is_set) {
                self.headers.push((name.to_owned(), value));
            }
        }
        self
    }
}

/// Appends headers to the fields of an entry.
pub(super) fn put(headers: &[(String, String)], fields: &mut Fields) -> Result<(), EngineError> {
    for (name, value) in headers {
        if !is_header_name(name) {
            let attempted = format!("set the header '{}'", name.escape_debug());
            let reason = "the message has a field of that name, or the name is empty; give the header another name";
            return Err(EngineError::new(EngineErrorKind::InvalidInput, attempted, reason));
        }
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        fields.push((bytes(name), bytes(value)));
    }
    // The active trace, unless the caller has named another.
    crate::trace::inject(|name, value| {
        if !headers.iter().any(|(known, _)| known == name) {
            fields.push((Bytes::from_static(name.as_bytes()), value.into()));
        }
    });
    Ok(())
}
