//! Spans, and traces that go from process to process.
//!
//! # Spans
//!
//! Each emit, each `emit_all` and each attempt of a listener is a [`tracing`] span of the target [`TARGET`] and the level INFO. A subscriber that
//! is not interested costs one look at a flag. What a listener logs, and what it emits, is inside its span. `docs/observability.md`
//! lists the fields.
//!
//! # Traces from process to process
//!
//! `tracing` does not know the IDs of distributed traces; the application's tracing system does. A [`Propagator`] connects the
//! two: what it says goes with each event, as the headers `traceparent` and `tracestate`, and it is given each listener's span
//! together with the message. Without one nothing is written, except by
//! [`EmitOptions::caused_by`](crate::EmitOptions::caused_by), which hands a message's trace on.

#[cfg(feature = "opentelemetry")]
mod opentelemetry;

use std::{fmt, sync::OnceLock};

use tracing::{Span, field::Empty};

#[cfg(feature = "opentelemetry")]
pub use self::opentelemetry::OpenTelemetry;
use crate::{
    engine::Member,
    entry::{EntryId, StreamName},
    event::Event,
    message::{ReceivedMessage, TRACEPARENT, TRACESTATE},
};

/// The target of all spans.
pub const TARGET: &str = "streamer::span";

/// The name of the span of an emit.
pub const EMIT: &str = "emit";
/// The name of the span of an [`emit_all`](crate::Streamer::emit_all): one for the call.
pub const EMIT_ALL: &str = "emit_all";
/// The name of the span of an attempt of a listener.
pub const HANDLE: &str = "handle";

/// Connects spans with the traces of other processes.
///
/// `OpenTelemetry` (cargo feature `opentelemetry`) is the one for OpenTelemetry.
pub trait Propagator: Send + Sync + 'static {
    /// Puts what identifies the trace that is active now: [`TRACEPARENT`], and [`TRACESTATE`] if there is one. Other names are
    /// ignored. It is called inside the span of the emit.
    fn inject(&self, put: &mut dyn FnMut(&'static str, String));

    /// Connects the span of a listener with the trace that the message belongs to.
    fn link(&self, span: &Span, message: &ReceivedMessage);
}

static PROPAGATOR: OnceLock<Box<dyn Propagator>> = OnceLock::new();

/// Sets the propagator of this process; `false` when there is one already, which stays.
pub fn set_propagator(propagator: impl Propagator) -> bool {
    PROPAGATOR.set(Box::new(propagator)).is_ok()
}

/// Gives the headers of the trace that is active.
pub(crate) fn inject(mut put: impl FnMut(&'static str, String)) {
    if let Some(propagator) = PROPAGATOR.get() {
        propagator.inject(&mut |name, value| {
            if matches!(name, TRACEPARENT | TRACESTATE) {
                put(name, value);
            }
        });
    }
}

/// Whether somebody is interested in spans. A span that nobody is interested in costs 400 instructions where some crate has
/// switched on the feature `log` of `tracing`; no span costs a few.
fn is_wanted() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

/// The span of an emit.
pub(crate) fn emit_span<E: Event>(event: &E) -> Span {
    if !is_wanted() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET,
        EMIT,
        otel.kind = "producer",
        messaging.destination.name = %event.name(),
        messaging.operation.name = "send",
        messaging.message.id = Empty,
        error.message = Empty,
    )
}

/// The span of an `emit_all`.
pub(crate) fn batch_span() -> Span {
    if !is_wanted() {
        return Span::none();
    }
    tracing::info_span!(
        target: TARGET,
        EMIT_ALL,
        otel.kind = "producer",
        messaging.destination.name = Empty,
        messaging.operation.name = "send",
        messaging.batch.message_count = Empty,
        error.message = Empty,
    )
}

/// The streams of an `emit_all`, for its span.
#[derive(Default)]
pub(crate) enum Destination {
    #[default]
    None,
    One(StreamName),
    Several,
}

impl Destination {
    pub(crate) fn add(&mut self, stream: &StreamName) {
        match self {
            Self::None => *self = Self::One(stream.clone()),
            Self::One(one) if one != stream => *self = Self::Several,
            Self::One(_) | Self::Several => {}
        }
    }
}

/// An `emit_all` has encoded so many events.
pub(crate) fn emitted_all(span: &Span, count: usize, destination: &Destination) {
    if span.is_disabled() {
        return;
    }
    span.record("messaging.batch.message_count", count);
    if let Destination::One(stream) = destination {
        span.record("messaging.destination.name", tracing::field::display(stream));
    }
}

/// An emit was answered.
pub(crate) fn emitted(span: &Span, id: EntryId) {
    if !span.is_disabled() {
        span.record("messaging.message.id", tracing::field::display(id));
    }
}

/// An emit, or a listener, failed.
pub(crate) fn failed(span: &Span, error: &dyn fmt::Display) {
    if !span.is_disabled() {
        span.record("error.message", tracing::field::display(error));
    }
}

/// The span of an attempt of a listener.
pub(crate) fn listener_span(message: &ReceivedMessage, member: Option<&Member>, listener: &str) -> Span {
    if !is_wanted() {
        return Span::none();
    }
    let span = tracing::info_span!(
        target: TARGET,
        HANDLE,
        otel.kind = "consumer",
        messaging.destination.name = %message.stream(),
        messaging.operation.name = "process",
        messaging.message.id = %message.id(),
        messaging.consumer.group.name = member.map(|member| member.group.as_str()),
        messaging.client.id = member.map(|member| member.consumer.as_str()),
        streamer.listener.name = listener,
        streamer.attempt = message.attempt(),
        streamer.correlation_id = message.header(crate::message::CORRELATION_ID).as_deref(),
        streamer.traceparent = message.header(TRACEPARENT).as_deref(),
        error.message = Empty,
    );
    if let (false, Some(propagator)) = (span.is_disabled(), PROPAGATOR.get()) {
        propagator.link(&span, message);
    }
    span
}
