//! What archiving, purging and restoring promise: on each engine, and the storage contract on each driver.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

mod drivers;
mod golden;
mod killed;
mod listening;
mod needed;
#[cfg(any(feature = "archive-s3", feature = "archive-gcs", feature = "archive-azure"))]
mod object_services;
mod restore;
mod storage;
mod sweep;

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use serde_json::json;
use streamer::{
    DynamicEvent, Entry, EntryId, StreamName, Streamer,
    archive::{ArchiveStorage, ArchivedMessage, SqliteArchive},
    stream::Range,
};
use streamer_test_servers::{Store, Topology, User};
use tempfile::TempDir;

/// Runs each case on each engine. `STREAMER_TEST_TOPOLOGY` names another kind of servers than a plain Redis.
macro_rules! on_each_engine {
    ($($case:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::Place::redis().await).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::Place::embedded().await).await;
            })*
        }
    };
}
use on_each_engine;

/// A store of streams, and an archive in a SQLite file.
struct Place {
    streamer: Streamer,
    archive: Arc<dyn ArchiveStorage>,
    url: String,
    archive_url: String,
    archive_driver: &'static str,
    folder: TempDir,
    /// The servers, where there are some; they end with it.
    _servers: Option<Store>,
}

impl Place {
    async fn redis() -> Self {
        let servers = Store::new(Topology::of_servers());
        let url = servers.url_of(User::Application);
        Self::new(url, tempfile::tempdir().unwrap(), Some(servers)).await
    }

    async fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("store.db").display());
        Self::new(url, folder, None).await
    }

    async fn new(url: String, folder: TempDir, servers: Option<Store>) -> Self {
        let store = url.clone();
        let connecting = streamer_test_servers::connected(async move { Streamer::connect(&store).await });
        let archive_url = format!("sqlite://{}", folder.path().join("archive.db").display());
        Self {
            streamer: connecting.await.unwrap(),
            archive: Arc::new(SqliteArchive::open(&archive_url).await.unwrap()),
            url,
            archive_url,
            archive_driver: "sqlite",
            folder,
            _servers: servers,
        }
    }

    async fn emit(&self, event: &str, count: u64) -> Vec<EntryId> {
        let events = (0..count).map(|number| DynamicEvent::new(event, json!({ "n": number })));
        self.streamer.emit_all(events).await.unwrap()
    }

    /// Adds an entry as it is given, whoever might have written it.
    async fn add(&self, stream: &str, fields: &[(&str, &str)]) -> EntryId {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned().into(), (*value).to_owned().into()));
        self.streamer.stream(stream).add(fields.collect()).await.unwrap()
    }

    async fn on_stream(&self, stream: &str) -> Vec<Entry> {
        let pages = self.streamer.stream(stream).range(Range::all());
        pages.entries().try_collect().await.unwrap()
    }

    async fn ids_on_stream(&self, stream: &str) -> Vec<EntryId> {
        self.on_stream(stream).await.into_iter().map(|entry| entry.id).collect()
    }

    async fn in_archive(&self) -> Vec<ArchivedMessage> {
        self.archive.all().try_collect().await.unwrap()
    }

    async fn ids_in_archive(&self) -> Vec<EntryId> {
        self.in_archive().await.into_iter().map(|message| message.id).collect()
    }
}

fn name(stream: &str) -> StreamName {
    stream.into()
}
