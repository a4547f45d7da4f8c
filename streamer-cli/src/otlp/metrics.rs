//! Metrics: those that `listen --metrics` serves for Prometheus, sent each minute (`OTEL_METRIC_EXPORT_INTERVAL`) and at the end.

use std::sync::OnceLock;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{Instrument, SdkMeterProvider, Stream},
};
use streamer::metrics::OpenTelemetry;

use super::{FLUSH, Signal, client::Client};

/// How many sets of labels a metric has, at most; more than the SDK's 2,000, since a process may read thousands of streams.
const MOST_SERIES: usize = 10_000;

/// What sends metrics, once it was set up.
static PROVIDER: OnceLock<SdkMeterProvider> = OnceLock::new();

/// A recorder whose numbers are sent; `None` where no collector is named. An error says why they cannot be sent.
pub(crate) fn recorder() -> Result<Option<OpenTelemetry>, String> {
    if !Signal::Metrics.is_wanted() || PROVIDER.get().is_some() {
        return Ok(None);
    }
    let failed = |error: &dyn std::fmt::Display| format!("metrics are not sent: {error}");
    let exporter = MetricExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Client::new(Signal::Metrics).map_err(|error| failed(&error))?)
        .build()
        .map_err(|error| failed(&error))?;
    let series = |_: &Instrument| Stream::builder().with_cardinality_limit(MOST_SERIES).build().ok();
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter)
        .with_resource(super::resource())
        .with_view(series)
        .build();
    let meter = provider.meter("streamer");
    if PROVIDER.set(provider).is_err() {
        return Ok(None);
    }
    Ok(Some(OpenTelemetry::new(meter)))
}

/// Sends the numbers as they are at the end.
pub(super) fn shut_down() -> OTelSdkResult {
    PROVIDER
        .get()
        .map_or(Ok(()), |provider| provider.shutdown_with_timeout(FLUSH))
}
