//! Spans and metrics go to a collector of OpenTelemetry, by OTLP over HTTP.
//!
//! `traces`, `metrics`: what is sent. `client`: how. The variables of OpenTelemetry say where the collector is, as for any other
//! program: nothing is sent without `OTEL_EXPORTER_OTLP_ENDPOINT` or the variable of the signal.

mod client;
mod metrics;
mod traces;

use std::{env, time::Duration};

use opentelemetry::KeyValue;
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, ResourceDetector as _},
};

pub(crate) use self::{metrics::recorder, traces::layer};

/// How long the end of a command waits until the last spans and numbers are sent.
const FLUSH: Duration = Duration::from_secs(5);
/// How long sending may take, unless a variable says otherwise; that of OpenTelemetry.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// Its name in the variables of OpenTelemetry.
    fn name(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// Whether the environment names a collector for it.
    fn is_wanted(self) -> bool {
        let is = |name: &str, value: &str| set(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
        let named = set(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", self.name())).or(set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        named.is_some() && !is("OTEL_SDK_DISABLED", "true") && !is(&format!("OTEL_{}_EXPORTER", self.name()), "none")
    }

    /// How long sending may take.
    fn timeout(self) -> Duration {
        let said = set(&format!("OTEL_EXPORTER_OTLP_{}_TIMEOUT", self.name())).or(set("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let said = said.and_then(|text| text.parse().ok()).filter(|ms| *ms > 0);
        said.map_or(TIMEOUT, Duration::from_millis)
    }
}

/// A variable that is set, and not to nothing.
fn set(name: &str) -> Option<String> {
    let value = env::var(name).ok()?.trim().to_owned();
    (!value.is_empty()).then_some(value)
}

/// Who sends: what the environment says, and what it leaves out.
fn resource() -> Resource {
    let said = EnvResourceDetector::new().detect();
    let is_said = |name: &'static str| said.get(&name.into()).is_some();
    let mut resource = Resource::builder();
    if set("OTEL_SERVICE_NAME").is_none() && !is_said("service.name") {
        resource = resource.with_service_name("streamer");
    }
    // Else the numbers of two processes of a service would be one series, which jumps between the two.
    if !is_said("service.instance.id") {
        resource = resource.with_attribute(KeyValue::new("service.instance.id", INSTANCE.clone()));
    }
    resource.build()
}

/// What tells this process from others; one for its spans and its metrics.
static INSTANCE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| hex::encode(rand::random::<[u8; 16]>()));

/// Sends what is not sent yet.
pub(crate) async fn flush() {
    // Each waits for a thread of its own, which waits for this runtime.
    let traces = tokio::task::spawn_blocking(traces::shut_down);
    let metrics = tokio::task::spawn_blocking(metrics::shut_down);
    for sent in [traces.await, metrics.await] {
        if let Ok(Err(error)) = sent {
            tracing::debug!("the last spans and metrics may not have been sent: {error}");
        }
    }
}
