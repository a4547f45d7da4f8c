//! Where a store is, and what cases begin with.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use streamer::{
    EntryId, NewId, RangeBound, StreamName,
    engine::{Append, AppendOptions, EmbeddedEngine, Engine, EngineResult, GroupStore, ReadMode, Reader},
};
use tempfile::TempDir;

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Place {
    pub(crate) directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("events.db")
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.file().display())
    }

    /// Waits until no process has the file open. SQLite then removes the log, whose content is in the file by then.
    pub(crate) async fn closed(&self) {
        let log = self.directory.path().join("events.db-wal");
        let gone = async {
            while log.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, gone)
            .await
            .expect("a connection stayed open");
    }

    pub(crate) async fn open(&self) -> EmbeddedEngine {
        EmbeddedEngine::open(&self.url()).await.unwrap()
    }
}

pub(crate) fn stream() -> StreamName {
    StreamName::from("orders")
}

pub(crate) fn an_append(size: usize) -> Append {
    Append {
        stream: stream(),
        id: NewId::Auto,
        fields: vec![("data".into(), vec![b'x'; size].into())],
        options: AppendOptions::default(),
    }
}

pub(crate) async fn ids(engine: &EmbeddedEngine) -> Vec<EntryId> {
    let (start, end) = (RangeBound::Unbounded, RangeBound::Unbounded);
    let all = engine.range(&stream(), start, end, None, false).await.unwrap();
    all.iter().map(|entry| entry.id).collect()
}

/// How many entries a stream has.
pub(crate) async fn length(engine: &EmbeddedEngine, stream: &StreamName) -> EngineResult<u64> {
    let engine: &dyn Engine = engine;
    engine.len(stream).await
}

/// The last ID that a stream has given out.
pub(crate) async fn last_id(engine: &EmbeddedEngine, stream: &StreamName) -> EntryId {
    let engine: &dyn Engine = engine;
    engine.last_id(stream).await.unwrap()
}

pub(crate) async fn consumer(engine: &EmbeddedEngine, name: &str) -> Box<dyn Reader> {
    let mode = ReadMode::Group {
        group: "workers".to_owned(),
        consumer: name.to_owned(),
        streams: vec![stream()],
    };
    engine.reader(mode).await.unwrap()
}

pub(crate) fn assert_intact(file: &Path) {
    let connection = rusqlite::Connection::open(file).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}
