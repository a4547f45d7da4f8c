//! What a URL says: how to reach the server, and how to name it without the password.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates,
    TlsMode,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use rustls::crypto::CryptoProvider;

use super::{
    cluster::Cluster,
    error::engine_error,
    reconnecting::{Reconnecting, Source},
};
use crate::engine::{EngineError, EngineErrorKind, EngineResult};

/// How long a peer may be silent to the system's probes before a connection counts as dead.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(5);

const SENTINEL_PORT: u16 = 26_379;

/// Where commands go.
#[derive(Clone)]
pub(super) enum Server {
    /// One server, or the master that Sentinels name.
    Single(std::sync::Arc<Reconnecting>),
    Cluster(std::sync::Arc<Cluster>),
}

/// A URL, taken apart.
struct Parts<'a> {
    scheme: &'a str,
    /// `user:password`, still percent-encoded.
    login: Option<&'a str>,
    hosts: Vec<&'a str>,
    path: Vec<&'a str>,
    query: Query,
}

/// The query parameters. Those of TLS hold for servers and Sentinels alike.
#[derive(Default)]
struct Query {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    insecure: bool,
    sentinel_user: Option<String>,
    sentinel_password: Option<String>,
}

/// Reads a URL. Gives its text without the password, and the server; nothing is connected yet.
pub(super) async fn parse(url: &str) -> EngineResult<(String, Server)> {
    if let Some(rest) = url.strip_prefix("unix:").or_else(|| url.strip_prefix("redis+unix:")) {
        return unix(rest);
    }
    let parts = split(url)?;
    if parts.tls() {
        choose_cryptography();
    }
    let certificates = parts.query.certificates().await?;
    let location = parts.location();
    let server = match parts.scheme {
        "redis-sentinel" | "rediss-sentinel" => {
            let client = sentinel(&parts, certificates)?;
            Server::Single(Reconnecting::new(Source::Sentinel(tokio::sync::Mutex::new(client))))
        }
        "redis-cluster" | "rediss-cluster" => {
            let [] = parts.path[..] else {
                return Err(wrong("a Redis Cluster has database 0 only; leave the path out"));
            };
            let nodes = parts
                .hosts
                .iter()
                .map(|host| server(&parts, host, "", certificates.as_ref()));
            Server::Cluster(Cluster::new(nodes.collect::<EngineResult<_>>()?))
        }
        "redis" | "rediss" => {
            let ([host], [] | [_]) = (&parts.hosts[..], &parts.path[..]) else {
                return Err(wrong(
                    "write redis://host:port/db; several hosts are for redis-sentinel:// and redis-cluster://",
                ));
            };
            let db = parts.path.first().copied().unwrap_or_default();
            Server::Single(Reconnecting::new(Source::Server(server(
                &parts,
                host,
                db,
                certificates.as_ref(),
            )?)))
        }
        other => return Err(wrong(format!("'{other}://' is no scheme of Redis"))),
    };
    Ok((location, server))
}

fn split(url: &str) -> EngineResult<Parts<'_>> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no '://'"))?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let hosts: Vec<&str> = hosts.split(',').collect();
    if hosts.iter().any(|host| host.is_empty()) {
        return Err(wrong(
            "a host is missing; in a password, write '/', '?', '#' and '@' percent-encoded",
        ));
    }
    Ok(Parts {
        scheme,
        login,
        hosts,
        path: path.split('/').filter(|part| !part.is_empty()).collect(),
        query: Query::parse(query)?,
    })
}

impl Parts<'_> {
    fn tls(&self) -> bool {
        self.scheme.starts_with("rediss")
    }

    fn location(&self) -> String {
        let mut location = format!("{}://", self.scheme);
        let user = self
            .login
            .map(|login| login.split_once(':').map_or(login, |(user, _)| user));
        if let Some(user) = user.filter(|user| !user.is_empty()) {
            let _ = write!(location, "{user}@");
        }
        location.push_str(&self.hosts.join(","));
        for part in &self.path {
            let _ = write!(location, "/{part}");
        }
        location
    }
}

impl Query {
    fn parse(query: &str) -> EngineResult<Self> {
        let mut parsed = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let value = value.into_owned();
            match &*name {
                "ca" => parsed.ca = Some(value.into()),
                "cert" => parsed.cert = Some(value.into()),
                "key" => parsed.key = Some(value.into()),
                "insecure" => parsed.insecure = value != "false",
                "sentinel_user" => parsed.sentinel_user = Some(value),
                "sentinel_password" => parsed.sentinel_password = Some(value),
                other => {
                    return Err(wrong(format!(
                        "there is no parameter '{other}'; known are ca, cert, key, insecure, sentinel_user and sentinel_password"
                    )));
                }
            }
        }
        Ok(parsed)
    }

    /// What the certificate files hold; `None` when the system's certificates are meant.
    async fn certificates(&self) -> EngineResult<Option<TlsCertificates>> {
        let client_tls = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some(ClientTlsConfig {
                client_cert: file(cert).await?,
                client_key: file(key).await?,
            }),
            (None, None) => None,
            _ => return Err(wrong("the parameters cert and key belong together")),
        };
        let root_cert = match &self.ca {
            Some(ca) => Some(file(ca).await?),
            None => None,
        };
        Ok((client_tls.is_some() || root_cert.is_some()).then_some(TlsCertificates { client_tls, root_cert }))
    }
}

/// The redis crate leaves it to the program which cryptography TLS uses, and panics where that is not decided. A
/// program that did decide is left alone.
fn choose_cryptography() {
    if CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

async fn file(path: &PathBuf) -> EngineResult<Vec<u8>> {
    let unreadable = |error: std::io::Error| {
        let attempted = format!("read the certificate file '{}'", path.display());
        EngineError::new(EngineErrorKind::InvalidInput, attempted, error.to_string()).with_source(error)
    };
    tokio::fs::read(path).await.map_err(unreadable)
}

/// Connection settings for one host of the URL. The redis crate reads the login and the port.
fn server(
    parts: &Parts<'_>,
    host: &str,
    db: &str,
    certificates: Option<&TlsCertificates>,
) -> EngineResult<ConnectionInfo> {
    let scheme = if parts.tls() { "rediss" } else { "redis" };
    let login = parts.login.map(|login| format!("{login}@")).unwrap_or_default();
    let insecure = if parts.tls() && parts.query.insecure {
        "#insecure"
    } else {
        ""
    };
    let info = format!("{scheme}://{login}{host}/{db}{insecure}").into_connection_info();
    let info = info.map_err(unusable)?.set_tcp_settings(tcp_settings());
    match certificates {
        Some(certificates) if parts.tls() => {
            let client = Client::build_with_tls(info, certificates.clone()).map_err(unusable)?;
            Ok(client.get_connection_info().clone())
        }
        Some(_) => Err(wrong("certificates are for TLS: write rediss://")),
        None => Ok(info),
    }
}

fn sentinel(parts: &Parts<'_>, certificates: Option<TlsCertificates>) -> EngineResult<SentinelClient> {
    let (master, db) = match parts.path[..] {
        [master] => (master, ""),
        [master, db] => (master, db),
        _ => {
            return Err(wrong(
                "write redis-sentinel://host:port,host:port/master, and /db after it if it is not 0",
            ));
        }
    };
    let hosts = parts.hosts.iter().map(|host| {
        let has_port = host.rsplit(']').next().is_some_and(|tail| tail.contains(':'));
        let host = if has_port {
            (*host).to_owned()
        } else {
            format!("{host}:{SENTINEL_PORT}")
        };
        server(parts, &host, db, certificates.as_ref())
    });
    let hosts = hosts.collect::<EngineResult<Vec<_>>>()?;
    let login: RedisConnectionInfo = hosts[0].redis_settings().clone();
    let addresses: Vec<ConnectionAddr> = hosts.iter().map(|host| host.addr().clone()).collect();

    let builder = SentinelClientBuilder::new(addresses, master, SentinelServerType::Master).map_err(unusable)?;
    let mut builder = builder
        .set_client_to_redis_db(login.db())
        .set_client_to_redis_tcp_settings(tcp_settings())
        .set_client_to_sentinel_tcp_settings(tcp_settings());
    if let Some(user) = login.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = login.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(user) = &parts.query.sentinel_user {
        builder = builder.set_client_to_sentinel_username(user);
    }
    if let Some(password) = &parts.query.sentinel_password {
        builder = builder.set_client_to_sentinel_password(password);
    }
    if parts.tls() {
        let mode = if parts.query.insecure {
            TlsMode::Insecure
        } else {
            TlsMode::Secure
        };
        builder = builder
            .set_client_to_redis_tls_mode(mode)
            .set_client_to_sentinel_tls_mode(mode);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    builder.build().map_err(unusable)
}

/// `unix:///path/to.sock?db=1&user=…&pass=…`; the redis crate reads it all.
fn unix(rest: &str) -> EngineResult<(String, Server)> {
    let info = format!("unix:{rest}").into_connection_info().map_err(unusable)?;
    let (path, _) = rest.split_once('?').unwrap_or((rest, ""));
    let mut location = format!("unix:{path}");
    let settings = info.redis_settings();
    if settings.db() != 0 {
        let _ = write!(location, "?db={}", settings.db());
    }
    Ok((location, Server::Single(Reconnecting::new(Source::Server(info)))))
}

/// A machine that vanished must be noticed also while nothing is sent, as in a blocking read.
fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true).set_keepalive(probes())
}

pub(super) fn probes() -> TcpKeepalive {
    TcpKeepalive::new().with_time(PROBE_AFTER).with_interval(PROBE_EVERY)
}

fn unusable(error: redis::RedisError) -> EngineError {
    engine_error("read the URL of the store", error)
}

fn wrong(reason: impl Into<String>) -> EngineError {
    EngineError::new(EngineErrorKind::InvalidInput, "read the URL of the store", reason)
}
