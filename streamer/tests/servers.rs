//! What the server supports that the tests run on, and whether docs/servers.md says the same of it.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

use streamer::{
    EntryId, NewId, StreamName,
    engine::{Append, AppendOptions, Engine, EngineErrorKind, GroupStart, ReadMode, open},
};
use streamer_test_servers::RedisServer;

/// Set by `cargo xtask servers`, which writes the page.
const RECORD: &str = "STREAMER_SERVERS_RECORD";

fn append(stream: &StreamName, id: NewId) -> Append {
    Append {
        stream: stream.clone(),
        id,
        fields: vec![("name".into(), "value".into())],
        options: AppendOptions::default(),
    }
}

/// As the server calls itself: `Redis 7.0.15`, `Valkey 9.1.2`.
fn name_and_version(server: &RedisServer) -> String {
    let info = server.command(&["INFO", "server"]);
    let value = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match value("valkey_version:") {
        Some(version) => format!("Valkey {version}"),
        None => format!("Redis {}", value("redis_version:").unwrap()),
    }
}

/// The rows of the table that are not suites.
async fn features(server: &RedisServer) -> Vec<(&'static str, String)> {
    let engine = open(&server.url()).await.unwrap();
    let engine: &dyn Engine = &*engine;
    let stream = StreamName::from("events");
    let numbered = match engine.append(append(&stream, NewId::AutoSequence(7))).await {
        Ok(id) => id == EntryId::new(7, 0),
        Err(error) if error.kind() == EngineErrorKind::Unsupported => false,
        Err(error) => panic!("{error}"),
    };
    engine.append(append(&stream, NewId::Auto)).await.unwrap();
    let info = engine.info(&stream).await.unwrap().unwrap();
    let start = GroupStart::After(EntryId::MIN);
    engine.create_group(&stream, "g", start, false).await.unwrap();
    let mode = ReadMode::Group {
        group: "g".to_owned(),
        consumer: "c".to_owned(),
        streams: vec![stream.clone()],
    };
    engine.reader(mode).await.unwrap().next(1, None).await.unwrap();
    let group = &engine.groups(&stream).await.unwrap()[0];
    let consumer = &engine.consumers(&stream, "g").await.unwrap()[0];
    let checks = server.command(&["EVAL", "return redis.acl_check_cmd and 1 or 0", "0"]) == "1";
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    vec![
        ("server", name_and_version(server)),
        (
            "lag and entries read of a group",
            yes(group.lag.is_some() && group.entries_read.is_some()),
        ),
        (
            "greatest deleted ID and number of entries ever appended",
            yes(info.max_deleted_id.is_some() && info.entries_added.is_some()),
        ),
        ("IDs that are numbered within a given millisecond", yes(numbered)),
        ("when a consumer last got a message", yes(consumer.inactive.is_some())),
        ("permissions are checked before the first write of a step", yes(checks)),
    ]
}

#[tokio::test]
async fn the_page_says_of_this_server_what_it_supports() {
    let server = RedisServer::start();
    let features = features(&server).await;
    for (title, answer) in &features {
        println!("feature: {title} = {answer}");
    }
    if std::env::var_os(RECORD).is_some() {
        return;
    }
    let page = include_str!("../../docs/servers.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let titles = rows.first().expect("docs/servers.md has a table");
    let column = titles.iter().position(|cell| *cell == features[0].1);
    // The page has one server of each line of versions. Any other may be tried too.
    let Some(column) = column else { return };
    for (title, answer) in &features[1..] {
        let row = rows.iter().find(|row| row[0] == *title);
        let row = row.unwrap_or_else(|| panic!("docs/servers.md has no row '{title}'"));
        assert_eq!(row[column], answer, "{title}");
    }
}
