//! Metrics for Prometheus.

use std::net::{Ipv4Addr, SocketAddr};

use metrics_exporter_prometheus::PrometheusBuilder;

use crate::exit::Failure;

/// The upper bounds of the ranges of durations, in seconds.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
];

/// An address and a port, or a port of this machine only.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse()
        .map_err(|_| "write a port, such as 9464, or an address and a port, such as 0.0.0.0:9464".to_owned())
}

/// Begins to record, and serves what is recorded at `/metrics` as long as the runtime lives.
pub(crate) fn serve(address: SocketAddr) -> Result<(), Failure> {
    let builder = PrometheusBuilder::new()
        .with_http_listener(address)
        .with_recommended_naming(true);
    let installed = builder.set_buckets(BUCKETS).and_then(PrometheusBuilder::install);
    installed.map_err(|error| {
        Failure::failed(format!(
            "could not serve metrics at {address}: {error}; name another address with --metrics, or end what uses this one"
        ))
    })?;
    streamer::metrics::enable();
    tracing::info!("Serving metrics at http://{address}/metrics.");
    Ok(())
}
