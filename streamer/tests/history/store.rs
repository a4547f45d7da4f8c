//! What tests begin with: an engine of each kind, and what is on it.

use std::{
    any::Any,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use serde_json::Value;
use streamer::{
    DynamicEvent, EmitOptions, EntryId, Fields, RangeBound, StreamName, Streamer,
    archive::{ArchiveStorage as _, ArchivedMessage, MemoryArchive},
    engine::{Append, AppendOptions, Record},
};
use streamer_test_servers::{Topology, User, connected};

/// A store and what must live as long as it.
pub(crate) struct Store {
    pub(crate) streamer: Streamer,
    pub(crate) url: String,
    _keep: Box<dyn Any>,
}

/// One of each engine. `STREAMER_TEST_TOPOLOGY` names another kind of servers than a plain Redis.
pub(crate) async fn stores() -> Vec<Store> {
    let servers = streamer_test_servers::Store::new(Topology::of_servers());
    let url = servers.url_of(User::Application);
    let file = tempfile::TempDir::new().unwrap();
    let sqlite = format!("sqlite://{}", file.path().join("events.db").display());
    let urls = (url.clone(), sqlite.clone());
    let redis = connected(async move { Streamer::connect(&urls.0).await })
        .await
        .unwrap();
    let embedded = connected(async move { Streamer::connect(&urls.1).await })
        .await
        .unwrap();
    vec![
        Store {
            streamer: redis.with_domain("shop"),
            url,
            _keep: Box::new(servers),
        },
        Store {
            streamer: embedded.with_domain("shop"),
            url: sqlite,
            _keep: Box::new(file),
        },
    ]
}

pub(crate) async fn emit(streamer: &Streamer, event: &str, identifier: &str, payload: Value) -> EntryId {
    let options = EmitOptions::new().identifier(identifier);
    let event = DynamicEvent::new(event, payload);
    streamer.emit_with(&event, options).await.unwrap()
}

/// The elements of a list, oldest first.
pub(crate) async fn elements(streamer: &Streamer, list: &str) -> Vec<String> {
    let elements = streamer.engine().snapshots(&list.into(), 0, 100_000).await.unwrap();
    let text = |element: Bytes| String::from_utf8(element.to_vec()).unwrap();
    elements.into_iter().map(text).collect()
}

/// Pushes an element as it is, which must hold an ID. The entry that every push comes with goes to a stream of its own.
pub(crate) async fn push(streamer: &Streamer, list: &str, element: &str, scratch: &str) {
    let id = serde_json::from_str::<Value>(element).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (before, after) = element.split_once(&id).unwrap();
    let append = Append {
        stream: scratch.into(),
        id: id.parse::<EntryId>().unwrap().into(),
        fields: vec![("a".into(), "b".into())],
        options: AppendOptions::default(),
    };
    let record = Record::Push {
        list: list.into(),
        before: Bytes::copy_from_slice(before.as_bytes()),
        after: Bytes::copy_from_slice(after.as_bytes()),
    };
    streamer.engine().append_recorded(append, record).await.unwrap();
}

/// Takes entries off their stream.
pub(crate) async fn take(streamer: &Streamer, stream: &StreamName, ids: &[EntryId]) -> Vec<Fields> {
    let mut taken = Vec::new();
    for id in ids {
        let exactly = RangeBound::Inclusive(*id);
        let entry = streamer
            .engine()
            .range(stream, exactly, exactly, None, false)
            .await
            .unwrap();
        taken.extend(entry.into_iter().map(|entry| entry.fields));
    }
    assert_eq!(streamer.engine().delete(stream, ids).await.unwrap(), ids.len() as u64);
    taken
}

/// Messages of `stream`, as an archive has them.
pub(crate) async fn archived(stream: &str, messages: impl IntoIterator<Item = (EntryId, Fields)>) -> MemoryArchive {
    let archive = MemoryArchive::default();
    let message = |(id, fields)| ArchivedMessage {
        stream: stream.into(),
        id,
        original_ids: Vec::new(),
        fields,
    };
    let messages: Vec<_> = messages.into_iter().map(message).collect();
    archive.create(&messages).await.unwrap();
    archive
}

/// An instant, in seconds since the Unix epoch.
pub(crate) fn second(second: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(second)
}
