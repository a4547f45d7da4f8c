//! One server that connections can be made to, with the login for it.

use std::sync::Arc;

use redis::{ConnectionAddr, ConnectionInfo};
use rustls::ClientConfig;

use super::socket::Address;

/// A server, and what it wants to know before it serves.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) address: Address,
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) db: i64,
}

impl Endpoint {
    /// From what the redis crate read in a URL.
    pub(super) fn new(info: &ConnectionInfo, tls: Option<Arc<ClientConfig>>) -> Self {
        let address = match info.addr() {
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Address::Tcp(host.clone(), *port)
            }
            other => Address::Tcp(other.to_string(), 0),
        };
        let login = info.redis_settings();
        Self {
            address,
            tls,
            user: login.username().map(str::to_owned),
            password: login.password().map(str::to_owned),
            db: login.db(),
        }
    }

    /// Another server that wants to know the same.
    pub(super) fn at(&self, address: Address) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }
}
