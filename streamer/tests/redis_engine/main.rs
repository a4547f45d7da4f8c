//! What only the engine on a Redis server promises: ways to connect, and what happens when servers fail.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod cluster;
mod connect;
mod durable;
mod earlier_versions;
mod failing;
mod refused;
mod round_trips;
mod sentinel;
mod slow;

use std::time::{Duration, Instant};

use bytes::Bytes;
use streamer::{
    EntryId, NewId, RangeBound, StreamName,
    engine::{
        Append, AppendOptions, Engine, EngineErrorKind, EngineResult, GroupAdmin, GroupStart, GroupStore, ReadMode,
        RedisEngine, Snapshots, StreamEntries,
    },
};
use streamer_test_servers::{Options, RedisCluster, RedisServer, SentinelSetup};

/// How long a server and an engine may need to find each other again.
const PATIENCE: Duration = Duration::from_secs(30);

fn an_append(stream: &str) -> Append {
    Append {
        stream: StreamName::from(stream),
        id: NewId::Auto,
        fields: vec![(Bytes::from("name"), Bytes::from("value"))],
        options: AppendOptions::default(),
    }
}

/// What `dyn Engine` tells of a stream, of an engine whose kind is known.
trait Told {
    async fn len(&self, stream: &StreamName) -> EngineResult<u64>;
    async fn last_id(&self, stream: &StreamName) -> EngineResult<EntryId>;
}

impl Told for RedisEngine {
    async fn len(&self, stream: &StreamName) -> EngineResult<u64> {
        let engine: &dyn Engine = self;
        engine.len(stream).await
    }

    async fn last_id(&self, stream: &StreamName) -> EngineResult<EntryId> {
        let engine: &dyn Engine = self;
        engine.last_id(stream).await
    }
}

async fn works(url: &str) -> RedisEngine {
    let engine = RedisEngine::connect(url).await.unwrap();
    let id = engine.append(an_append("events")).await.unwrap();
    assert_eq!(engine.last_id(&StreamName::from("events")).await.unwrap(), id);
    engine
}

async fn connect_error(url: &str) -> streamer::engine::EngineError {
    RedisEngine::connect(url).await.unwrap_err()
}

#[track_caller]
fn assert_kind<T: std::fmt::Debug>(result: EngineResult<T>, kind: EngineErrorKind) {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
}

/// Appends until it succeeds, which must not need a new engine. Gives the kinds of the errors before.
async fn append_until_it_works(engine: &RedisEngine) -> Vec<EngineErrorKind> {
    let begin = Instant::now();
    let mut kinds = Vec::new();
    while let Err(error) = engine.append(an_append("events")).await {
        assert!(begin.elapsed() < PATIENCE, "{error}");
        assert!(error.kind().is_transient(), "{error}");
        kinds.push(error.kind());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kinds
}
