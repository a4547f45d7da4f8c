//! `listen --health`: whether the process lives and works, over HTTP, for an orchestrator.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use streamer::Health;
use tokio::net::TcpListener;

use crate::exit::Failure;

/// The health of the listening, once there is one. Until then the process connects.
pub(crate) type Watched = Arc<OnceLock<Health>>;

/// Serves `/live` and `/ready` as long as the runtime lives.
pub(crate) async fn serve(address: SocketAddr, health: Watched) -> Result<(), Failure> {
    let could_not = |error| {
        Failure::failed(format!(
            "could not serve the health at {address}: {error}; name another address with --health, or end what uses this one"
        ))
    };
    let listener = TcpListener::bind(address).await.map_err(could_not)?;
    let address = listener.local_addr().map_err(could_not)?;
    let router = Router::new()
        .route(
            "/live",
            get(async |State(health): State<Watched>| answer(&health, Asked::Live)),
        )
        .route(
            "/ready",
            get(async |State(health): State<Watched>| answer(&health, Asked::Ready)),
        )
        .with_state(health);
    tracing::info!("Serving the health at http://{address}/live and http://{address}/ready.");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!("the health is not served at {address} any more: {error}");
        }
    });
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Live,
    Ready,
}

fn answer(health: &OnceLock<Health>, asked: Asked) -> impl IntoResponse + use<> {
    let condition = health.get().map(Health::condition);
    let (live, ready, name, text) = match &condition {
        Some(condition) => (
            condition.is_live(),
            condition.is_ready(),
            condition.name(),
            condition.to_string(),
        ),
        None => (true, false, "connecting", "connecting to the store".to_owned()),
    };
    let good = match asked {
        Asked::Live => live,
        Asked::Ready => ready,
    };
    let status = match good {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = Json(crate::output::object!({"live": live, "ready": ready, "condition": name, "text": text}));
    (status, [(header::CACHE_CONTROL, "no-store")], body)
}
