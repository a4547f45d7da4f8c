//! Metrics: for Prometheus, which reads them here, and for a collector of OpenTelemetry, to which they are sent. And the addresses at
//! which something is served.

use std::net::{Ipv4Addr, SocketAddr};

#[cfg(feature = "endpoints")]
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
#[cfg(feature = "endpoints")]
use metrics_util::layers::FanoutBuilder;
#[cfg(feature = "endpoints")]
use streamer::metrics::DURATION_BOUNDARIES;

#[cfg(feature = "endpoints")]
use crate::exit::Failure;

/// An address and a port, or a port of this machine only.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse()
        .map_err(|_| "write a port, such as 9464, or an address and a port, such as 0.0.0.0:9464".to_owned())
}

/// Begins to record for whoever wants it: Prometheus at this address, as long as the runtime lives; and, unless the application
/// sends by itself, the collector that the environment names. Nothing is recorded where nobody wants it.
#[cfg(feature = "endpoints")]
pub(crate) fn start(prometheus: Option<SocketAddr>, by_otlp: bool) -> Result<(), Failure> {
    let served = prometheus.map(serve).transpose()?;
    let sent = if by_otlp { sent() } else { None };
    let installed = match (served, sent) {
        (None, None) => return Ok(()),
        (Some(served), None) => install(served),
        (None, Some(sent)) => install(sent),
        (Some(served), Some(sent)) => install(FanoutBuilder::default().add_recorder(served).add_recorder(sent).build()),
    };
    match (installed, prometheus) {
        (true, Some(address)) => tracing::info!("Serving metrics at http://{address}/metrics."),
        (true, None) => {}
        (false, Some(address)) => {
            return Err(Failure::failed(format!(
                "could not serve metrics at {address}: this program has a recorder of metrics of its own, and there can be only one; \
                 leave out --metrics"
            )));
        }
        (false, None) => {
            tracing::warn!("metrics are not sent by OTLP: this program has a recorder of metrics of its own");
            return Ok(());
        }
    }
    streamer::metrics::enable();
    Ok(())
}

/// A recorder whose numbers go to the collector that the environment names, if it names one.
#[cfg(feature = "otlp")]
fn sent() -> Option<streamer::metrics::OpenTelemetry> {
    crate::otlp::recorder().unwrap_or_else(|trouble| {
        tracing::warn!("{trouble}");
        None
    })
}

/// Without the feature `otlp` nothing is sent.
#[cfg(all(feature = "endpoints", not(feature = "otlp")))]
fn sent() -> Option<metrics::NoopRecorder> {
    None
}

/// Makes it the recorder of this process; `false` when there is one already.
#[cfg(feature = "endpoints")]
fn install<R: metrics::Recorder + Sync + 'static>(recorder: R) -> bool {
    metrics::set_global_recorder(recorder).is_ok()
}

/// A recorder whose numbers are served at `/metrics`.
#[cfg(feature = "endpoints")]
fn serve(address: SocketAddr) -> Result<PrometheusRecorder, Failure> {
    let builder = PrometheusBuilder::new()
        .with_http_listener(address)
        .with_recommended_naming(true)
        .set_buckets(DURATION_BOUNDARIES);
    let (recorder, server) = builder.and_then(PrometheusBuilder::build).map_err(|error| {
        Failure::failed(format!(
            "could not serve metrics at {address}: {error}; name another address with --metrics, or end what uses this one"
        ))
    })?;
    tokio::spawn(server);
    Ok(recorder)
}
