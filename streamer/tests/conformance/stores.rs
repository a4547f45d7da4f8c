//! Opens an engine of each kind.

use std::{
    any::Any,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use streamer::engine::{Engine, RedisEngine};
use streamer_test_servers::RedisServer;

/// An engine and what must live as long as it.
pub(crate) struct Store {
    pub(crate) engine: Arc<dyn Engine>,
    _keep: Box<dyn Any + Send>,
}

/// An engine on a server that all cases of this process share, so long as one of them runs.
pub(crate) async fn redis() -> Store {
    static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
    let server = {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(RedisServer::start());
            *shared = Arc::downgrade(&server);
            server
        })
    };
    Store {
        engine: Arc::new(RedisEngine::connect(&server.url()).await.unwrap()),
        _keep: Box::new(server),
    }
}

// MERGE: with the embedded engine.
// pub(crate) async fn embedded_file() -> Store {
//     let directory = tempfile::TempDir::new().unwrap();
//     let url = format!("sqlite://{}", directory.path().join("events.db").display());
//     Store { engine: streamer::engine::open(&url).await.unwrap(), _keep: Box::new(directory) }
// }
//
// pub(crate) async fn embedded_memory() -> Store {
//     Store { engine: streamer::engine::open("memory:").await.unwrap(), _keep: Box::new(()) }
// }
