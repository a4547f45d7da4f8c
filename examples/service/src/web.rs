//! The web service: an order that is posted is an event.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use streamer::{EmitOptions, Streamer};

use crate::events::OrderPlaced;

/// The pages of the service.
pub(crate) fn router(streamer: Streamer, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/orders", post(place))
        .with_state(streamer)
        .merge(operations(metrics))
}

/// What whoever runs a process asks it.
pub(crate) fn operations(metrics: PrometheusHandle) -> Router {
    let render = move || async move { metrics.render() };
    Router::new()
        .route("/health", get(async || "OK"))
        .route("/metrics", get(render))
}

/// Takes an order. A client that got no answer sends the same request again with the same `Idempotency-Key`: the event is on its
/// stream once.
async fn place(State(streamer): State<Streamer>, headers: HeaderMap, Json(order): Json<OrderPlaced>) -> Response {
    let mut options = EmitOptions::new();
    if let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) {
        options = options.idempotency_key(key.to_owned());
    }
    match streamer.emit_with(&order, options).await {
        Ok(id) => (StatusCode::ACCEPTED, Json(json!({"id": id.to_string()}))).into_response(),
        Err(error) => {
            // The client learns that it should try again, the operator why.
            tracing::error!("order {} was not taken: {error}", order.order);
            (
                StatusCode::SERVICE_UNAVAILABLE,
                Json(json!({"error": "try again later"})),
            )
                .into_response()
        }
    }
}

/// Serves until `end`, then finishes the requests that run.
pub(crate) async fn serve(
    address: SocketAddr,
    router: Router,
    end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(address).await?;
    println_address(listener.local_addr()?);
    axum::serve(listener, router).with_graceful_shutdown(end).await
}

/// With port 0 the system chooses one.
#[allow(clippy::print_stdout, reason = "whoever asked for port 0 reads the port here")]
fn println_address(address: SocketAddr) {
    println!("Serving at http://{address}");
}
