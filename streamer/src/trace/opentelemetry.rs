//! The propagator for applications that trace with OpenTelemetry.

use std::collections::HashMap;

use opentelemetry::{global, trace::TraceContextExt as _};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::Propagator;
use crate::message::{ReceivedMessage, TRACEPARENT, TRACESTATE};

/// Carries OpenTelemetry's traces with messages: an emit and the listeners of its message, in whichever process and however often
/// they are tried, are one trace.
///
/// It needs a layer of [`tracing_opentelemetry`] in the application's subscriber, and the propagator of W3C Trace Context
/// ([`opentelemetry::global::set_text_map_propagator`]).
///
/// ```no_run
/// # struct TraceContextPropagator;
/// # impl TraceContextPropagator { fn new() -> opentelemetry::propagation::TextMapCompositePropagator {
/// #     opentelemetry::propagation::TextMapCompositePropagator::new(Vec::new()) } }
/// // `opentelemetry_sdk::propagation::TraceContextPropagator`
/// opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
/// streamer::trace::set_propagator(streamer::trace::OpenTelemetry);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenTelemetry;

impl Propagator for OpenTelemetry {
    fn inject(&self, put: &mut dyn FnMut(&'static str, String)) {
        let context = Span::current().context();
        let mut headers = HashMap::new();
        global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut headers));
        for name in [TRACEPARENT, TRACESTATE] {
            // A state without entries is an empty text.
            if let Some(value) = headers.remove(name).filter(|value| !value.is_empty()) {
                put(name, value);
            }
        }
    }

    fn link(&self, span: &Span, message: &ReceivedMessage) {
        let headers = [TRACEPARENT, TRACESTATE].into_iter().filter_map(|name| {
            let value = message.header(name)?;
            Some((name.to_owned(), value.into_owned()))
        });
        let headers = headers.collect::<HashMap<_, _>>();
        let context = global::get_text_map_propagator(|propagator| propagator.extract(&headers));
        if context.span().span_context().is_valid() {
            // Without a layer of OpenTelemetry there is nothing to connect.
            let _ = span.set_parent(context);
        }
    }
}
