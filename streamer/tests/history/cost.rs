//! What a replay costs: the resource's own history, however long the stream is.

use std::collections::BTreeMap;

use serde_json::json;
use streamer::{DynamicEvent, EntryId, Streamer};
use streamer_test_servers::RedisServer;

use crate::store::emit;

/// A million in a release build; a debug build takes too long for so many.
const MANY: usize = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };

/// How often the server ran each command, but for those that ask for it.
fn commands(server: &RedisServer) -> BTreeMap<String, u64> {
    let info = server.command(&["INFO", "commandstats"]);
    let one = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    let mut commands: BTreeMap<String, u64> = info.lines().filter_map(one).collect();
    commands.retain(|name, _| !name.starts_with("info") && !name.starts_with("config"));
    commands
}

/// The commands of a replay of 1,000 snapshots, evenly among `others` other messages.
async fn cost(others: usize) -> BTreeMap<String, u64> {
    let server = RedisServer::start();
    let streamer = Streamer::connect(&server.url()).await.unwrap();
    for n in 0..1000 {
        emit(&streamer, "user", "7", json!({"n": n})).await;
        let filler = (0..others / 1000).map(|_| DynamicEvent::new("user", json!({"of": "another"})));
        streamer.emit_all(filler).await.unwrap();
    }
    assert_eq!(
        streamer.engine().len(&"user".into()).await.unwrap() as usize,
        1000 + others
    );
    assert_ne!(streamer.engine().last_id(&"user".into()).await.unwrap(), EntryId::MIN);
    server.command(&["CONFIG", "RESETSTAT"]);
    let replayed = streamer.replay("user", "7").run().await.unwrap().unwrap();
    assert_eq!((replayed.messages, replayed.data), (1000, json!({"n": 999}).into()));
    commands(&server)
}

#[tokio::test]
async fn a_replay_among_many_messages_asks_the_server_no_more_than_among_few() {
    let (few, many) = (cost(1000).await, cost(MANY).await);
    assert_eq!(few, many);
    // Its snapshots in pages, and each of its messages once.
    let asked: Vec<(&str, u64)> = few.iter().map(|(name, calls)| (name.as_str(), *calls)).collect();
    assert_eq!(asked, [("lrange", 8), ("xrange", 1000)]);
}
