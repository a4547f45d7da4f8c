//! From a URL to an engine.

use std::sync::Arc;

#[cfg(feature = "embedded")]
use super::EmbeddedEngine;
#[cfg(feature = "redis")]
use super::RedisEngine;
use super::{Engine, EngineError, EngineErrorKind, EngineResult};
use crate::shown_url::encoding_hint;

/// Opens the engine that a URL names. Those of `redis` and `unix` need the cargo feature `redis`, those of `sqlite` and
/// `memory` the feature `embedded`; both are on by default.
///
/// | URL | engine |
/// | --- | --- |
/// | `redis://[user:password@]host[:port][/db]` | a Redis or Valkey server |
/// | `rediss://…` | the same over TLS; see `RedisEngine` for certificates |
/// | `unix:///path/to.sock[?db=1&user=…&pass=…]` | the same over a Unix socket |
/// | `redis-sentinel://[user:password@]host:port,host:port/master[/db]` | the master that Sentinels name (`rediss-sentinel` with TLS) |
/// | `redis-cluster://[user:password@]host:port,host:port` | a Redis Cluster (`rediss-cluster` with TLS) |
/// | `sqlite://path` | the embedded engine on one file, made when missing; `sqlite:///var/lib/shop.db` is absolute |
/// | `memory:` | the embedded engine in memory, a new and empty one each time |
///
/// # Errors
///
/// [`EngineErrorKind::InvalidInput`] for a URL of another form, or of an engine that was not compiled in; [`EngineErrorKind::Connection`] and others when the
/// server or file cannot be reached.
pub async fn open(url: &str) -> EngineResult<Arc<dyn Engine>> {
    open_for(url, false).await
}

/// Opens the engine that a URL names to look into it: the file of an embedded store is not made, and it may be read-only
/// ([`EmbeddedEngine::open_to_read`]). Other stores are opened as by [`open`].
///
/// # Errors
///
/// As [`open`]; [`EngineErrorKind::Unavailable`] where the file is missing.
pub async fn open_to_read(url: &str) -> EngineResult<Arc<dyn Engine>> {
    open_for(url, true).await
}

async fn open_for(url: &str, only_reads: bool) -> EngineResult<Arc<dyn Engine>> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        "redis" | "rediss" | "unix" | "redis+unix" | "redis-sentinel" | "rediss-sentinel" | "redis-cluster"
        | "rediss-cluster" => redis(url).await,
        "sqlite" | "memory" => embedded(url, only_reads).await,
        // The URL is not quoted: without a scheme it may begin with a password.
        _ => Err(EngineError::new(
            EngineErrorKind::InvalidInput,
            "open the store",
            format!(
                "its URL has another scheme, or none; write redis://, rediss://, unix://, redis-sentinel://, \
                 redis-cluster://, sqlite:// or memory:{}",
                encoding_hint(url)
            ),
        )),
    }
}

#[cfg(feature = "redis")]
async fn redis(url: &str) -> EngineResult<Arc<dyn Engine>> {
    Ok(Arc::new(RedisEngine::connect(url).await?))
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &str) -> EngineResult<Arc<dyn Engine>> {
    Err(not_compiled_in("the Redis engine", "redis"))
}

#[cfg(feature = "embedded")]
async fn embedded(url: &str, only_reads: bool) -> EngineResult<Arc<dyn Engine>> {
    Ok(Arc::new(match only_reads && url.starts_with("sqlite:") {
        true => EmbeddedEngine::open_to_read(url).await?,
        false => EmbeddedEngine::open(url).await?,
    }))
}

#[cfg(not(feature = "embedded"))]
async fn embedded(_: &str, _: bool) -> EngineResult<Arc<dyn Engine>> {
    Err(not_compiled_in("the embedded engine", "embedded"))
}

#[cfg(not(all(feature = "redis", feature = "embedded")))]
fn not_compiled_in(engine: &str, feature: &str) -> EngineError {
    EngineError::new(
        EngineErrorKind::InvalidInput,
        "open the store",
        format!(
            "its URL is for {engine}, and this program was built without it; build it with the cargo feature `{feature}`"
        ),
    )
}
