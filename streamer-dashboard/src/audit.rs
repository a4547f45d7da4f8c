//! Who changed what: one line in the log for each action.

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};

/// The target of the lines about changes, at INFO. Their fields: `action`, `actor`, `about`, `affected`.
pub const AUDIT_TARGET: &str = "streamer::audit";

/// Who makes a request. An application's login puts it into the extensions of the request, so that the audit lines name
/// the user instead of the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor(pub String);

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if let Some(actor) = parts.extensions.get::<Self>() {
            return Ok(actor.clone());
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let name = peer.map_or_else(|| "unknown".to_owned(), |ConnectInfo(peer)| peer.ip().to_string());
        Ok(Self(name))
    }
}

impl Actor {
    /// Something was done, to so many messages.
    pub(crate) fn did(&self, action: &str, about: &str, affected: u64) {
        tracing::info!(target: AUDIT_TARGET, action, actor = self.0, about, affected, "Dashboard: done.");
    }

    /// Something begins, which takes a while.
    pub(crate) fn begins(&self, action: &str, about: &str) {
        tracing::info!(target: AUDIT_TARGET, action, actor = self.0, about, "Dashboard: begun.");
    }

    /// Something did not succeed.
    pub(crate) fn failed(&self, action: &str, about: &str, error: &str) {
        tracing::info!(target: AUDIT_TARGET, action, actor = self.0, about, error, "Dashboard: not done.");
    }
}
