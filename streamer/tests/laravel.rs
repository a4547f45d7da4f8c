//! A Laravel application and this library on one Redis: what the PHP package left there is taken over, and what is
//! written here is what it reads. Its keys and commands are those of the captures in `tests/golden/`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EmitErrorKind, EmitOptions, EntryId, Event, Listeners, OrderedJson, ReceivedMessage, Report, StartAt,
    StopHandle, StreamName, Streamer, Summary,
    engine::{EngineErrorKind, GroupStart},
    extract::State,
    failed::{FAILED_KEY, FailedFilter},
};
use streamer_test_servers::RedisServer;

type Seen = Arc<Mutex<Vec<ReceivedMessage>>>;

async fn connect(server: &RedisServer) -> Streamer {
    Streamer::connect(&server.url()).await.unwrap().with_domain("shop")
}

fn lines(answer: &str) -> Vec<&str> {
    answer.lines().map(str::trim).collect()
}

/// Writes an entry as the PHP package writes it, hash and all.
fn php_emits(server: &RedisServer, id: &str, data: &str) -> EntryId {
    use sha2::{Digest as _, Sha256};
    let hash = hex::encode(Sha256::digest(format!("eventa.bshop{data}")));
    let fields = [
        "XADD",
        "a.b",
        id,
        "_id",
        "*",
        "type",
        "event",
        "version",
        "1.3",
        "name",
        "a.b",
        "domain",
        "shop",
        "created",
        "1795407984",
        "data",
        data,
        "hash",
        &hash,
    ];
    server.command(&fields).trim().parse().unwrap()
}

/// Lists a failure as the PHP package lists it.
fn php_fails(server: &RedisServer, id: EntryId, receiver: &str) -> String {
    let receiver = serde_json::to_string(receiver).unwrap();
    let member = format!(
        r#"{{"id":"{id}","stream":"a.b","receiver":{receiver},"error":"Connection refused","date":"2021-12-12 12:12:12"}}"#
    );
    server.command(&["SADD", FAILED_KEY, &member]);
    member
}

fn notes(seen: &Seen) -> Listeners<Seen> {
    async fn note(message: ReceivedMessage, State(seen): State<Seen>) {
        seen.lock().unwrap().push(message);
    }
    Listeners::with_state(Arc::clone(seen)).on("a.b", "note", note)
}

/// Listens in the group until nothing comes any more.
async fn drain(streamer: &Streamer, listeners: Listeners<Seen>, consumer: &str, reclaim: Duration) -> Summary {
    let listening = streamer.listen(listeners).group("g").consumer(consumer);
    let listening = listening
        .reclaim(Some(reclaim))
        .listen_timeout(Duration::from_millis(500));
    listening.run().await.unwrap()
}

fn numbers(seen: &Seen) -> Vec<u64> {
    let number = |message: &ReceivedMessage| message.get("n").and_then(Value::as_u64).unwrap();
    seen.lock().unwrap().iter().map(number).collect()
}

#[tokio::test]
async fn what_a_php_consumer_left_pending_is_taken_over_in_the_same_group() {
    let server = RedisServer::start();
    for n in 1..=4 {
        php_emits(&server, "*", &format!(r#"{{"n":{n}}}"#));
    }
    server.command(&["XGROUP", "CREATE", "a.b", "g", "0", "MKSTREAM"]);
    // It reads two, acknowledges the first, and dies.
    let read = ["XREADGROUP", "GROUP", "g", "c1", "COUNT", "2", "STREAMS", "a.b", ">"];
    server.command(&read);
    let first = lines(&server.command(&["XRANGE", "a.b", "-", "+", "COUNT", "1"]))[0].to_owned();
    server.command(&["XACK", "a.b", "g", &first]);

    let (streamer, seen) = (connect(&server).await, Seen::default());
    drain(&streamer, notes(&seen), "rust-1", Duration::from_millis(20)).await;
    let mut handled = numbers(&seen);
    handled.sort_unstable();
    assert_eq!(handled, [2, 3, 4]);
    let taken = seen.lock().unwrap().iter().map(ReceivedMessage::attempt).max();
    assert_eq!(taken, Some(2), "the delivery to c1 counts");
    assert_eq!(lines(&server.command(&["XPENDING", "a.b", "g"]))[0], "0");
}

/// A capture's bytes; what is not UTF-8 is `{"base64": "…"}`.
fn bytes(value: &Value) -> Bytes {
    match value {
        Value::String(text) => text.clone().into(),
        other => BASE64.decode(other["base64"].as_str().unwrap()).unwrap().into(),
    }
}

#[tokio::test]
async fn every_message_that_php_wrote_is_taken_over_from_its_dead_consumer() {
    async fn note(message: ReceivedMessage, State(seen): State<Seen>) {
        seen.lock().unwrap().push(message);
    }
    let server = RedisServer::start();
    let (streamer, seen) = (connect(&server).await, Seen::default());
    let records: Vec<Value> = serde_json::from_str(include_str!("golden/events.json")).unwrap();
    let mut written = BTreeSet::new();
    let mut listeners = Listeners::with_state(Arc::clone(&seen));
    for stored in records.iter().filter_map(|record| record.get("stored")) {
        let stream = StreamName::from(bytes(&stored["stream"]));
        let pairs = stored["fields"].as_array().unwrap();
        let fields = pairs.iter().map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect();
        // Some captures began with an empty stream, so their IDs do not follow each other.
        let id = streamer.stream(&stream).add(fields).await.unwrap();
        if !listeners.has(&stream, "note") {
            listeners = listeners.on(&stream, "note", note);
        }
        written.insert((stream, id));
    }
    assert_eq!(written.len(), 49);
    let streams: BTreeSet<_> = written.iter().map(|(stream, _)| stream.clone()).collect();
    for stream in streams.iter().map(|name| streamer.stream(name)) {
        stream
            .create_group("g", GroupStart::After(EntryId::MIN), true)
            .await
            .unwrap();
        assert!(!stream.consumer("g", "c1").read_new(100, None).await.unwrap().is_empty());
    }
    let summary = drain(&streamer, listeners, "rust-1", Duration::from_millis(20)).await;
    assert_eq!(summary.messages, 49);
    let handled: BTreeSet<_> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|seen| (seen.stream().clone(), seen.id()))
        .collect();
    // The one that PHP's own reader refuses, too: it nests as deep as can be written, and no deeper can be read.
    let failed = written.difference(&handled).count() as u64;
    assert_eq!((failed, streamer.failed().count().await.unwrap()), (1, 1));
    for stream in &streams {
        assert_eq!(streamer.stream(stream).pending_summary("g").await.unwrap().count, 0);
    }
}

#[tokio::test]
async fn a_php_consumers_own_name_takes_up_its_own_messages() {
    let server = RedisServer::start();
    php_emits(&server, "*", r#"{"n":1}"#);
    server.command(&["XGROUP", "CREATE", "a.b", "g", "0", "MKSTREAM"]);
    server.command(&["XREADGROUP", "GROUP", "g", "c1", "COUNT", "2", "STREAMS", "a.b", ">"]);
    let (streamer, seen) = (connect(&server).await, Seen::default());
    drain(&streamer, notes(&seen), "c1", Duration::from_secs(3600)).await;
    assert_eq!(numbers(&seen), [1]);
}

#[tokio::test]
async fn a_failure_that_php_listed_is_retried_by_the_listener_of_the_same_name_and_others_stay() {
    const CLASS: &str = r"App\Listeners\SendInvoice";
    let server = RedisServer::start();
    let id = php_emits(&server, "*", r#"{"n":7}"#);
    php_fails(&server, id, CLASS);
    let theirs = php_fails(&server, id, "OkReceiver");

    let (streamer, seen) = (connect(&server).await, Seen::default());
    async fn note(message: ReceivedMessage, State(seen): State<Seen>) {
        seen.lock().unwrap().push(message);
    }
    let listeners = Listeners::with_state(Arc::clone(&seen)).on("a.b", CLASS, note);
    let summary = streamer
        .failed()
        .retry(FailedFilter::all(), listeners)
        .run()
        .await
        .unwrap();
    assert_eq!((summary.retried, summary.skipped, numbers(&seen)), (1, 1, vec![7]));
    assert_eq!(lines(&server.command(&["SMEMBERS", FAILED_KEY])), [theirs]);
}

#[tokio::test]
async fn what_we_list_can_be_removed_by_php_to_the_byte() {
    async fn fails() -> Result<(), &'static str> {
        Err("kaputt / \"ż\"\nline 2")
    }
    let server = RedisServer::start();
    let streamer = connect(&server).await;
    let id = streamer.emit(&DynamicEvent::new("a.b", json!({"n": 1}))).await.unwrap();
    let listeners = Listeners::with_state(Seen::default()).on("a.b", r"App\Listeners\Foo", fails);
    drain(&streamer, listeners, "c1", Duration::from_secs(60)).await;

    let member = server.command(&["SMEMBERS", FAILED_KEY]);
    let member = member.trim();
    let date = member.rsplit('"').nth(1).unwrap();
    // Keys in PHP's order, escaped as `json_encode` does: this is what PHP re-encodes to remove it.
    let php = format!(
        r#"{{"id":"{id}","stream":"a.b","receiver":"App\\Listeners\\Foo","error":"kaputt \/ \"\u017c\"\nline 2","date":"{date}"}}"#
    );
    assert_eq!((member, date.len()), (php.as_str(), 19));
    assert_eq!(server.command(&["SREM", FAILED_KEY, &php]).trim(), "1");
}

#[tokio::test]
async fn what_we_emit_has_every_field_that_a_php_listener_reads() {
    let server = RedisServer::start();
    let streamer = connect(&server).await;
    let payload = r#"{"id":1,"path":"a/b","name":"Łódź","price":1.0,"none":null}"#;
    let payload: OrderedJson = serde_json::from_str(payload).unwrap();
    streamer.emit(&DynamicEvent::new("a.b", payload)).await.unwrap();
    let answer = server.command(&["XRANGE", "a.b", "-", "+"]);
    let entry = lines(&answer);
    let names: Vec<_> = entry[1..].iter().step_by(2).copied().collect();
    assert_eq!(
        names,
        ["_id", "type", "version", "name", "domain", "created", "data", "hash"]
    );
    let values: Vec<_> = entry[2..].iter().step_by(2).copied().collect();
    assert_eq!((values[0], values[2]), ("*", "1.3"));
    assert_eq!(
        values[6],
        r#"{"id":1,"path":"a\/b","name":"\u0141\u00f3d\u017a","price":1,"none":null}"#
    );
}

#[derive(Serialize, Event)]
#[event(name = "user", identifier = "id")]
struct UserChanged {
    id: String,
    city: &'static str,
}

#[tokio::test]
async fn a_history_goes_on_where_php_left_off() {
    let server = RedisServer::start();
    let streamer = connect(&server).await;
    let data = r#"{"name":"Ann","city":"Oslo"}"#;
    let id = server.command(&["XADD", "user", "*", "name", "user", "data", data]);
    let snapshot = format!(
        r#"{{"id":"{}","name":"user","identifier":"u1","date":"2021-12-12 12:00:00"}}"#,
        id.trim()
    );
    server.command(&["LPUSH", "user-u1", &snapshot]);
    let ours = streamer
        .emit_replayable(&UserChanged {
            id: "u1".to_owned(),
            city: "Bergen",
        })
        .await
        .unwrap();

    let replayed = streamer.replay("user", "u1").run().await.unwrap().unwrap();
    assert_eq!(replayed.data, json!({"name": "Ann", "city": "Bergen", "id": "u1"}));

    // PHP reads the newest first: ours, in its own form, then its own.
    let answer = server.command(&["LRANGE", "user-u1", "0", "-1"]);
    let list = lines(&answer);
    let beginning = format!(r#"{{"id":"{ours}","name":"user","identifier":"u1","date":""#);
    assert!(
        list[0].starts_with(&beginning) && list[0].ends_with("\"}"),
        "{}",
        list[0]
    );
    assert_eq!((list[0].len(), list[1]), (beginning.len() + 21, snapshot.as_str()));
}

#[tokio::test]
async fn an_emit_that_redis_refuses_is_an_error_and_never_an_empty_id() {
    let server = RedisServer::start();
    let streamer = connect(&server).await;
    let event = DynamicEvent::new("a.b", json!({}));
    let kind = |error: &streamer::EmitError| match error.kind() {
        EmitErrorKind::Engine(kind) => kind,
        other => panic!("{other:?}"),
    };
    server.command(&["SET", "a.b", "text"]);
    let error = streamer.emit(&event).await.unwrap_err();
    assert_eq!(kind(&error), EngineErrorKind::WrongType);
    server.command(&["DEL", "a.b"]);
    let id = EntryId::new(5, 0);
    streamer.emit_with(&event, EmitOptions::new().id(id)).await.unwrap();
    let error = streamer.emit_with(&event, EmitOptions::new().id(id)).await.unwrap_err();
    assert_eq!(kind(&error), EngineErrorKind::IdTooSmall);
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_listed_and_never_pending_for_ever() {
    let server = RedisServer::start();
    server.command(&["XADD", "a.b", "1-0", "data", "{broken"]);
    server.command(&["XADD", "a.b", "2-0", "n", "2"]);
    server.command(&["XADD", "a.b", "3-0", "data", r#"{"n":3}"#]);
    server.command(&["XGROUP", "CREATE", "a.b", "g", "0"]);
    server.command(&["XREADGROUP", "GROUP", "g", "c1", "STREAMS", "a.b", ">"]);
    server.command(&["XDEL", "a.b", "3-0"]);

    let (streamer, seen) = (connect(&server).await, Seen::default());
    drain(&streamer, notes(&seen), "c1", Duration::from_secs(60)).await;
    assert_eq!(lines(&server.command(&["XPENDING", "a.b", "g"]))[0], "0");
    assert!(server.command(&["SMEMBERS", FAILED_KEY]).contains(r#""id":"1-0""#));
    let seen: Vec<_> = seen.lock().unwrap().iter().map(ReceivedMessage::id).collect();
    assert_eq!(
        seen,
        [EntryId::new(2, 0)],
        "an entry without `data` is handled with its own fields"
    );
}

#[tokio::test]
async fn an_idle_wait_ends_nothing() {
    let server = RedisServer::start();
    let (streamer, seen) = (connect(&server).await, Seen::default());
    let (reads, mut read) = tokio::sync::mpsc::unbounded_channel();
    let listening = streamer
        .listen(notes(&seen))
        .group("g")
        .read_wait(Duration::from_secs(2));
    let stop = listening.stop_handle();
    let listening = listening.on_report(move |report| {
        let _ = match report {
            Report::Started { .. } => reads.send("started"),
            Report::Processed { .. } => reads.send("processed"),
            Report::Interrupted { .. } => reads.send("interrupted"),
            _ => Ok(()),
        };
    });
    let listening = tokio::spawn(listening.run());
    assert_eq!(read.recv().await, Some("started"));
    // The first wait has run out by itself, long after a client library's usual time-out, and the next has begun.
    let reads = || {
        let statistics = server.command(&["INFO", "commandstats"]);
        let calls = statistics.split("cmdstat_xreadgroup:calls=").nth(1).unwrap_or("0");
        calls.split(',').next().unwrap().trim().parse::<u64>().unwrap_or(0)
    };
    let before = reads();
    while reads() < before.max(1) + 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    php_emits(&server, "*", r#"{"n":1}"#);
    assert_eq!(read.recv().await, Some("processed"));
    stop.stop();
    listening.await.unwrap().unwrap();
    assert_eq!(numbers(&seen), [1]);
}

#[tokio::test]
async fn after_an_interruption_listening_goes_on_where_it_was_and_not_at_its_start() {
    let server = RedisServer::start();
    let (streamer, seen) = (connect(&server).await, Seen::default());
    php_emits(&server, "*", r#"{"n":1}"#);
    let listening = streamer
        .listen(notes(&seen))
        .start(StartAt::Beginning)
        .keep_alive(streamer::KeepAlive::default());
    let stop: StopHandle = listening.stop_handle();
    let (happened, mut happens) = tokio::sync::mpsc::unbounded_channel();
    let listening = listening.on_report(move |report| {
        let _ = match report {
            Report::Processed { .. } => happened.send("processed"),
            Report::Resumed { .. } => happened.send("resumed"),
            _ => Ok(()),
        };
    });
    let listening = tokio::spawn(listening.run());
    assert_eq!(happens.recv().await, Some("processed"));
    let killed = server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert!(killed.trim().parse::<u32>().unwrap() > 0, "{killed}");
    php_emits(&server, "*", r#"{"n":2}"#);
    while happens.recv().await != Some("processed") {}
    stop.stop();
    listening.await.unwrap().unwrap();
    assert_eq!(numbers(&seen), [1, 2]);
}

#[tokio::test]
async fn keys_are_those_that_were_named_and_no_other() {
    let server = RedisServer::start();
    let streamer = connect(&server).await;
    streamer.emit(&DynamicEvent::new("a.b", json!({}))).await.unwrap();
    streamer
        .emit_replayable(&UserChanged {
            id: "u1".to_owned(),
            city: "Oslo",
        })
        .await
        .unwrap();
    let answer = server.command(&["KEYS", "*"]);
    let mut keys = lines(&answer);
    keys.sort_unstable();
    assert_eq!(keys, ["a.b", "user", "user-u1"]);
}

#[tokio::test]
async fn last_id_0_is_the_beginning() {
    let server = RedisServer::start();
    php_emits(&server, "*", r#"{"n":1}"#);
    let (streamer, seen) = (connect(&server).await, Seen::default());
    let start = StartAt::After("0".parse().unwrap());
    let listening = streamer.listen(notes(&seen)).start(start);
    listening
        .listen_timeout(Duration::from_millis(200))
        .run()
        .await
        .unwrap();
    assert_eq!(numbers(&seen), [1]);
}

/// Every source file of the tests under a folder, as one text.
fn sources(folder: &Path, text: &mut String) {
    for entry in folder.read_dir().unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_guide_names_is_there() {
    let mut tests = String::new();
    for folder in ["tests", "../streamer-cli/tests"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut tests);
    }
    let guide = include_str!("../../docs/laravel.md");
    let (_, table) = guide.split_once("## What is different on purpose").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(2);
    let mut named = 0;
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for test in cell.split(", ") {
            let test = test.trim_matches('`');
            assert!(tests.contains(&format!("fn {test}(")), "no test is called {test}");
            named += 1;
        }
    }
    assert!(named >= 30, "{named}");
}
