//! What a URL says: how to reach the server, and how to name it without the password.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use redis::IntoConnectionInfo;
use rustls::ClientConfig;

use super::{
    cluster::Cluster,
    endpoint::Endpoint,
    error::engine_error,
    reconnecting::{Reconnecting, Source},
    sentinel::Sentinels,
    tls::Certificates,
};
use crate::{
    engine::{EngineError, EngineErrorKind, EngineResult},
    shown_url::encoding_hint,
};

const SENTINEL_PORT: u16 = 26_379;

/// Where commands go.
#[derive(Clone)]
pub(super) enum Server {
    /// One server, or the master that Sentinels name.
    Single(Arc<Reconnecting>),
    Cluster(Arc<Cluster>),
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
    // No error quotes the URL: it may hold a password at a place where none is looked for.
    read(url).await.map_err(|error| {
        let hint = encoding_hint(url);
        if hint.is_empty() || error.kind() != EngineErrorKind::InvalidInput {
            return error;
        }
        let reason = format!("{}{hint}", error.reason());
        wrong(reason).with_source(error)
    })
}

async fn read(url: &str) -> EngineResult<(String, Server)> {
    if let Some(rest) = url.strip_prefix("unix:").or_else(|| url.strip_prefix("redis+unix:")) {
        return unix(rest);
    }
    let parts = split(url)?;
    let tls = parts.tls().await?;
    let location = parts.location();
    let server = match parts.scheme {
        "redis-sentinel" | "rediss-sentinel" => {
            Server::Single(Reconnecting::new(Source::Sentinel(sentinels(&parts, tls.as_ref())?)))
        }
        "redis-cluster" | "rediss-cluster" => {
            let [] = parts.path[..] else {
                return Err(wrong("a Redis Cluster has database 0 only; leave the path out"));
            };
            let seeds = parts.hosts.iter().map(|host| endpoint(&parts, host, "", tls.clone()));
            Server::Cluster(Cluster::new(seeds.collect::<EngineResult<_>>()?))
        }
        "redis" | "rediss" => {
            let ([host], [] | [_]) = (&parts.hosts[..], &parts.path[..]) else {
                return Err(wrong(
                    "write redis://host:port/db; several hosts are for redis-sentinel:// and redis-cluster://",
                ));
            };
            let db = parts.path.first().copied().unwrap_or_default();
            let server = endpoint(&parts, host, db, tls)?;
            Server::Single(Reconnecting::new(Source::Server(server)))
        }
        _ => return Err(wrong("its scheme is none of Redis")),
    };
    Ok((location, server))
}

fn split(url: &str) -> EngineResult<Parts<'_>> {
    let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it has no '://'"))?;
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if fragment == "insecure" {
        return Err(wrong(
            "it ends with '#insecure'; write '?insecure' to switch off the check of certificates",
        ));
    }
    if !fragment.is_empty() {
        return Err(wrong("it has a '#', which means nothing here"));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if path.contains('@') {
        return Err(wrong("it has an '@' after a '/'"));
    }
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let hosts: Vec<&str> = hosts.split(',').collect();
    if hosts.iter().any(|host| host.is_empty()) {
        return Err(wrong("a host is missing"));
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
    /// The settings of TLS; `None` for plain connections.
    async fn tls(&self) -> EngineResult<Option<Arc<ClientConfig>>> {
        let certificates = self.query.certificates().await?;
        if !self.scheme.starts_with("rediss") {
            let without = certificates.authorities.is_none() && certificates.client.is_none();
            return without
                .then_some(None)
                .ok_or_else(|| wrong("certificates are for TLS: write rediss://"));
        }
        let config = tokio::task::spawn_blocking(|| certificates.into_config()).await;
        let config = config.map_err(|error| wrong(format!("TLS cannot be set up: {error}")))?;
        Ok(Some(Arc::new(config.map_err(unusable)?)))
    }

    fn location(&self) -> String {
        let mut location = format!("{}://", self.scheme);
        // A name without a password may be a token.
        let user = self.login.and_then(|login| login.split_once(':'));
        let user = user.filter(|(_, password)| !password.is_empty()).map(|(user, _)| user);
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
                // It is not quoted: after a raw '?' in a password it is the rest of that password.
                _ => {
                    return Err(wrong(
                        "it has a parameter that is not known; known are ca, cert, key, insecure, sentinel_user and \
                         sentinel_password",
                    ));
                }
            }
        }
        Ok(parsed)
    }

    /// What the certificate files hold.
    async fn certificates(&self) -> EngineResult<Certificates> {
        let client = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((file(cert).await?, file(key).await?)),
            (None, None) => None,
            _ => return Err(wrong("the parameters cert and key belong together")),
        };
        let authorities = match &self.ca {
            Some(ca) => Some(file(ca).await?),
            None => None,
        };
        Ok(Certificates {
            authorities,
            client,
            insecure: self.insecure,
        })
    }
}

async fn file(path: &Path) -> EngineResult<Vec<u8>> {
    let unreadable = |error: std::io::Error| {
        let attempted = format!("read the certificate file '{}'", path.display());
        EngineError::new(EngineErrorKind::InvalidInput, attempted, error.to_string()).with_source(error)
    };
    let read = tokio::task::spawn_blocking({
        let path = path.to_owned();
        move || std::fs::read(path)
    });
    read.await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(unreadable)
}

/// One host of the URL. The redis crate reads the login and the port.
fn endpoint(parts: &Parts<'_>, host: &str, db: &str, tls: Option<Arc<ClientConfig>>) -> EngineResult<Endpoint> {
    let login = parts.login.map(|login| format!("{login}@")).unwrap_or_default();
    if !db.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("the database after the '/' is not a number"));
    }
    let info = format!("redis://{login}{host}/{db}").into_connection_info();
    // The library's words do not say which part is wrong.
    let info =
        info.map_err(|_| wrong("its host, port or login does not parse; write redis://user:password@host:port/db"))?;
    Ok(Endpoint::new(&info, tls))
}

fn sentinels(parts: &Parts<'_>, tls: Option<&Arc<ClientConfig>>) -> EngineResult<Sentinels> {
    let (name, db) = match parts.path[..] {
        [name] => (name, ""),
        [name, db] => (name, db),
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
        endpoint(parts, &host, db, tls.cloned())
    });
    let hosts = hosts.collect::<EngineResult<Vec<_>>>()?;
    let master = hosts[0].clone();
    let sentinel = |host| Endpoint {
        user: parts.query.sentinel_user.clone(),
        password: parts.query.sentinel_password.clone(),
        db: 0,
        ..host
    };
    let sentinels = hosts.into_iter().map(sentinel).collect();
    Ok(Sentinels::new(sentinels, name.to_owned(), master))
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
    let server = Source::Server(Endpoint::new(&info, None));
    Ok((location, Server::Single(Reconnecting::new(server))))
}

fn unusable(error: redis::RedisError) -> EngineError {
    engine_error("read the URL of the store", error)
}

fn wrong(reason: impl Into<String>) -> EngineError {
    EngineError::new(EngineErrorKind::InvalidInput, "read the URL of the store", reason)
}

#[cfg(test)]
mod fuzz {
    use streamer_fuzz::Corpus;

    use super::parse;
    use crate::engine::EngineErrorKind;

    #[test]
    fn a_url_is_understood_or_refused_without_its_password() {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else {
            panic!("no runtime");
        };
        let corpus = Corpus::at(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/redis_urls.txt"));
        let tokens = [
            "://",
            "@",
            ":",
            ",",
            "/",
            "?",
            "&",
            "=",
            "#insecure",
            "%40",
            "%",
            "[::1]",
            "65536",
            "sentinel_password=",
            "db=",
            "unix:",
        ];
        corpus.with_tokens(&tokens).check(10_000, |text| {
            let url = String::from_utf8_lossy(text);
            // A file that a mutation names may be any, also one that never ends.
            if ["ca=", "cert=", "key="].iter().any(|option| url.contains(option)) {
                return None;
            }
            let parsed = runtime.block_on(parse(&url));
            let password = url
                .rsplit_once('@')
                .and_then(|(login, _)| Some(login.split_once("://")?.1));
            let password = password.filter(|password| password.len() > 12 && !url.contains("unix:"));
            match parsed {
                Ok((location, _)) => {
                    assert!(
                        password.is_none_or(|password| !location.contains(password)),
                        "{location}"
                    );
                    Some((true, location.matches([':', ',', '/', '*']).count(), 0))
                }
                Err(error) => {
                    assert_eq!(error.kind(), EngineErrorKind::InvalidInput, "{error}");
                    assert!(
                        password.is_none_or(|password| !error.to_string().contains(password)),
                        "{error}"
                    );
                    Some((false, 0, error.to_string().len()))
                }
            }
        });
    }
}
