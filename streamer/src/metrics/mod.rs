//! Numbers about what happens in this process, for the recorder that the application installs.
//!
//! # Layout
//!
//! - `list`: every metric, in one file. Names, units and labels are part of the public interface.
//! - `emitting`, `listening`: where they are recorded.
//! - `OpenTelemetry` (cargo feature `opentelemetry`): a recorder whose numbers go by OTLP.
//!
//! They go through the [`metrics`](https://docs.rs/metrics) facade, for which there are exporters to Prometheus, StatsD
//! and others. Nothing is measured before [`enable`] is called: until then each emit and each message costs one look at a
//! flag.
//!
//! ```no_run
//! # fn install_some_recorder() {}
//! install_some_recorder(); // such as metrics_exporter_prometheus::PrometheusBuilder
//! streamer::metrics::enable();
//! ```

mod emitting;
mod list;
mod listening;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;

use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

#[cfg(feature = "redis")]
pub(crate) use self::emitting::reconnected;
pub use self::list::{ALL, Kind, Metric};
#[cfg(feature = "opentelemetry")]
pub use self::opentelemetry::OpenTelemetry;
pub(crate) use self::{
    emitting::{BatchTimer, EmitTimer},
    listening::{ListenMetrics, Tried},
};

/// The upper bounds, in seconds, of the ranges in which the command line counts durations, for Prometheus and for OTLP: from
/// 1 ms to an hour.
pub const DURATION_BOUNDARIES: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
];

static ENABLED: AtomicBool = AtomicBool::new(false);

/// Begins to record, and describes every metric to the recorder. Call it once, after the recorder was installed and before the
/// first listening runs: a listening that began earlier is not measured.
pub fn enable() {
    for metric in ALL {
        let unit = match metric.unit {
            "s" => Unit::Seconds,
            _ => Unit::Count,
        };
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram => describe_histogram!(metric.name, unit, metric.help),
        }
    }
    ENABLED.store(true, Ordering::Release);
}

/// Whether [`enable`] was called.
#[must_use]
pub fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}
