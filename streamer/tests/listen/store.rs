//! A store of its own for each case.

use streamer::Streamer;
use streamer_test_servers::RedisServer;

pub(crate) struct Store {
    url: String,
    redis: Option<RedisServer>,
    _folder: Option<tempfile::TempDir>,
}

impl Store {
    pub(crate) fn redis() -> Self {
        let server = RedisServer::start();
        Self {
            url: server.url(),
            redis: Some(server),
            _folder: None,
        }
    }

    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        Self {
            url,
            redis: None,
            _folder: Some(folder),
        }
    }

    /// The server, on Redis.
    pub(crate) fn server(&mut self) -> Option<&mut RedisServer> {
        self.redis.as_mut()
    }

    pub(crate) async fn connect(&self) -> Streamer {
        Streamer::connect(&self.url).await.unwrap()
    }
}
