//! Opens an engine of each kind.

use std::{
    any::Any,
    sync::{Arc, LazyLock},
};

use streamer::engine::{Engine, RedisEngine};
use streamer_test_servers::{Options, RedisCluster, RedisServer};

/// An engine and what must live as long as it.
pub(crate) struct Store {
    pub(crate) engine: Arc<dyn Engine>,
    _keep: Box<dyn Any + Send>,
}

/// On a server that all cases share.
pub(crate) async fn redis() -> Store {
    static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);
    Store {
        engine: Arc::new(RedisEngine::connect(&SERVER.url()).await.unwrap()),
        _keep: Box::new(()),
    }
}

/// On a server with TLS that all cases share; clients show a certificate.
pub(crate) async fn redis_tls() -> Store {
    static SERVER: LazyLock<RedisServer> =
        LazyLock::new(|| Options::default().tls().line("tls-auth-clients yes").start());
    let (cert, key) = (SERVER.file("cert.pem"), SERVER.file("key.pem"));
    let url = format!("{}&cert={}&key={}", SERVER.url(), cert.display(), key.display());
    Store {
        engine: Arc::new(RedisEngine::connect(&url).await.unwrap()),
        _keep: Box::new(()),
    }
}

/// On a cluster that all cases share.
pub(crate) async fn redis_cluster() -> Store {
    static CLUSTER: LazyLock<RedisCluster> = LazyLock::new(RedisCluster::start);
    Store {
        engine: Arc::new(RedisEngine::connect(&CLUSTER.url()).await.unwrap()),
        _keep: Box::new(()),
    }
}

/// In a file of its own.
pub(crate) async fn embedded_file() -> Store {
    let directory = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}", directory.path().join("events.db").display());
    Store {
        engine: streamer::engine::open(&url).await.unwrap(),
        _keep: Box::new(directory),
    }
}

/// In a memory of its own.
pub(crate) async fn embedded_memory() -> Store {
    Store {
        engine: streamer::engine::open("memory:").await.unwrap(),
        _keep: Box::new(()),
    }
}
