//! Spans.

use std::sync::OnceLock;

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{error::OTelSdkResult, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use tracing::Subscriber;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    registry::LookupSpan,
};

use super::{FLUSH, Signal, client::Client};

/// What sends spans, once it was set up.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// A layer that gives spans to the exporter; `None` where no collector is named. An error says why they cannot be sent.
pub(crate) fn layer<S>() -> Result<Option<impl Layer<S> + Send + Sync + use<S>>, String>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    if !Signal::Traces.is_wanted() {
        return Ok(None);
    }
    let failed = |error: &dyn std::fmt::Display| format!("traces are not sent: {error}");
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Client::new(Signal::Traces).map_err(|error| failed(&error))?)
        .build()
        .map_err(|error| failed(&error))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(super::resource())
        .build();
    let tracer = provider.tracer("streamer");
    if PROVIDER.set(provider).is_err() {
        return Ok(None);
    }
    global::set_text_map_propagator(TraceContextPropagator::new());
    streamer::trace::set_propagator(streamer::trace::OpenTelemetry);
    // What the exporter itself does must not become spans that it exports.
    let quiet = [
        "h2",
        "hyper",
        "hyper_util",
        "mio",
        "opentelemetry",
        "opentelemetry_sdk",
        "reqwest",
        "rustls",
    ];
    let targets = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(quiet.map(|target| (target, LevelFilter::OFF)));
    Ok(Some(
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(targets),
    ))
}

/// Sends the spans that are not sent yet.
pub(super) fn shut_down() -> OTelSdkResult {
    PROVIDER
        .get()
        .map_or(Ok(()), |provider| provider.shutdown_with_timeout(FLUSH))
}
