//! Opens an engine of each kind.

use std::{
    any::Any,
    sync::{Arc, LazyLock},
};

use streamer::engine::{Engine, RedisEngine};
use streamer_test_servers::{Topology, User};
use tokio::runtime::{Builder, Runtime};

/// An engine and what must live as long as it.
pub(crate) struct Store {
    pub(crate) engine: Arc<dyn Engine>,
    _keep: Box<dyn Any + Send>,
}

/// On servers that all cases share, as a user with exactly the documented permissions (with those to look for streams).
async fn on(servers: &streamer_test_servers::Store) -> Store {
    let url = servers.url_of(User::Operator);
    Store {
        engine: Arc::new(RedisEngine::connect(&url).await.unwrap()),
        _keep: Box::new(()),
    }
}

macro_rules! on_servers {
    ($($name:ident: $topology:expr;)*) => {
        $(pub(crate) async fn $name() -> Store {
            static SERVERS: LazyLock<streamer_test_servers::Store> =
                LazyLock::new(|| streamer_test_servers::Store::new($topology));
            on(&SERVERS).await
        })*
    };
}

on_servers! {
    // A plain server, or what `STREAMER_TEST_TOPOLOGY` names.
    redis: Topology::of_servers();
    redis_tls: Topology::Tls;
    redis_cluster: Topology::Cluster;
    redis_sentinel: Topology::Sentinel;
}

/// All cases, each in a runtime of its own, share an engine that was made in another runtime.
pub(crate) async fn redis_of_another_runtime() -> Store {
    static SHARED: LazyLock<(Runtime, Arc<dyn Engine>, streamer_test_servers::Store)> = LazyLock::new(|| {
        std::thread::spawn(|| {
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let servers = streamer_test_servers::Store::new(Topology::Redis);
            let engine = runtime.block_on(on(&servers)).engine;
            (runtime, engine, servers)
        })
        .join()
        .unwrap()
    });
    Store {
        engine: Arc::clone(&SHARED.1),
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
