//! What views of a store show, on every kind of store.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod doctor;
mod life;
mod overview;
mod scale;

use std::sync::Arc;

use serde_json::json;
use streamer::{
    DynamicEvent, EntryId, StreamName, Streamer,
    engine::{Engine, GroupStart, ReadMode},
};
use streamer_test_servers::{Store, Topology};

/// Runs a case on one server, on a Cluster and on a file.
macro_rules! on_all_stores {
    ($($case:ident)*) => {
        mod redis { $(#[tokio::test] async fn $case() { super::$case(crate::open(streamer_test_servers::Topology::Redis).await).await; })* }
        mod cluster { $(#[tokio::test] async fn $case() { super::$case(crate::open(streamer_test_servers::Topology::Cluster).await).await; })* }
        mod embedded { $(#[tokio::test] async fn $case() { super::$case(crate::open(streamer_test_servers::Topology::Embedded).await).await; })* }
    };
}
pub(crate) use on_all_stores;

/// A store, and a handle on it.
pub(crate) struct Subject {
    pub(crate) streamer: Streamer,
    pub(crate) store: Store,
}

pub(crate) async fn open(topology: Topology) -> Subject {
    let store = Store::new(topology);
    let streamer = Streamer::connect(store.url()).await.unwrap();
    Subject { streamer, store }
}

impl Subject {
    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        self.streamer.engine()
    }

    /// Emits so many events.
    pub(crate) async fn emit(&self, name: &str, count: usize) -> Vec<EntryId> {
        let events = (0..count).map(|n| DynamicEvent::new(name, json!({"n": n})));
        self.streamer.emit_all(events).await.unwrap()
    }

    pub(crate) async fn group(&self, stream: &str, group: &str) {
        let (stream, start) = (StreamName::from(stream), GroupStart::After(EntryId::MIN));
        self.engine().create_group(&stream, group, start, true).await.unwrap();
    }

    /// Delivers so many entries to a consumer.
    pub(crate) async fn deliver(&self, stream: &str, group: &str, consumer: &str, count: usize) -> Vec<EntryId> {
        let mode = ReadMode::Group {
            group: group.to_owned(),
            consumer: consumer.to_owned(),
            streams: vec![stream.into()],
        };
        let mut reader = self.engine().reader(mode).await.unwrap();
        let read = reader.next(count, None).await.unwrap();
        read.into_iter()
            .flat_map(|read| read.entries)
            .map(|entry| entry.id)
            .collect()
    }
}
