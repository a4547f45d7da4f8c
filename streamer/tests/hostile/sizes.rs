//! Sizes at which something gives way.

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use serde_json::json;
use streamer::{
    DynamicEvent, Fields, ListenerError, Listeners, ReceivedMessage, Streamer,
    archive::{ArchiveStorage, OlderThan, Restore, SqliteArchive, Sweep},
    engine::EngineErrorKind,
    failed::FailedFilter,
    stream::Range,
};
use streamer_test_servers::{Place, Proxy, RedisServer};

async fn connect(place: &Place) -> Streamer {
    Streamer::connect(place.url()).await.unwrap()
}

async fn archive(place: &Place) -> Arc<dyn ArchiveStorage> {
    let url = format!("sqlite://{}", place.file("archive.db").display());
    Arc::new(SqliteArchive::open(&url).await.unwrap())
}

on_each_engine! {
    an_entry_of_10_000_fields_is_handled_listed_as_failed_and_retried,
    names_of_64_kib_go_all_the_way,
}

#[tokio::test]
async fn a_value_of_more_than_512_mib_is_refused_before_anything_is_sent() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let streamer = Streamer::connect(&format!("redis://127.0.0.1:{}", proxy.port()))
        .await
        .unwrap();
    streamer.emit(&DynamicEvent::new("e", json!({}))).await.unwrap();
    let sent = proxy.bytes_up();
    // Never touched: it takes no memory.
    let huge = Bytes::from(vec![0; (512 << 20) + 1]);
    for fields in [vec![("data".into(), huge.clone())], vec![(huge.clone(), "x".into())]] {
        let error = streamer.stream("e").add(fields).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::InvalidInput);
        assert!(
            error
                .to_string()
                .contains("536870913 bytes, and Redis takes at most 512 MiB"),
            "{error}"
        );
    }
    assert_eq!(proxy.bytes_up(), sent);
    // The connection is that of before, and so are those who wait on it.
    let connections = proxy.connections();
    streamer.emit(&DynamicEvent::new("e", json!({}))).await.unwrap();
    assert_eq!(proxy.connections(), connections);
}

/// Listens until the stream was quiet for a while.
async fn listen(streamer: &Streamer, listeners: Listeners, group: &str) -> streamer::Summary {
    let listening = streamer
        .listen(listeners)
        .group(group)
        .start(streamer::StartAt::Beginning);
    listening
        .listen_timeout(Duration::from_millis(300))
        .run()
        .await
        .unwrap()
}

async fn an_entry_of_10_000_fields_is_handled_listed_as_failed_and_retried(place: Place) {
    async fn refuse() -> Result<(), ListenerError> {
        Err(ListenerError::new("no"))
    }
    async fn look(message: ReceivedMessage) -> Result<(), ListenerError> {
        let all = message.payload::<std::collections::BTreeMap<String, String>>()?;
        match all.len() == 10_001 && all["odd"] == "last" && message.get("n9999") == Some(&"v".into()) {
            true => Ok(()),
            false => Err(ListenerError::new(format!("{} fields", all.len()))),
        }
    }
    let streamer = connect(&place).await;
    let mut fields = (0..10_000)
        .map(|number| (format!("n{number}").into(), "v".into()))
        .collect::<Fields>();
    fields.insert(0, ("odd".into(), "first".into()));
    fields.push(("odd".into(), "last".into()));
    streamer.stream("e").add(fields.clone()).await.unwrap();
    let listeners = Listeners::new().on("e", "refuse", refuse).on("e", "look", look);
    let summary = listen(&streamer, listeners, "g").await;
    assert_eq!(
        (summary.messages, streamer.failed().count().await.unwrap()),
        (1, 1),
        "{summary:?}"
    );
    let retried = streamer
        .failed()
        .retry(FailedFilter::default(), Listeners::new().on("e", "refuse", look));
    let retried = retried.run().await.unwrap();
    assert_eq!(streamer.failed().count().await.unwrap(), 0, "{retried:?}");
    let entries = streamer.stream("e").range(Range::all()).entries();
    assert_eq!(entries.try_collect::<Vec<_>>().await.unwrap()[0].fields, fields);
}

async fn names_of_64_kib_go_all_the_way(place: Place) {
    async fn refuse() -> Result<(), ListenerError> {
        Err(ListenerError::new("no \u{0}\r\n\u{1b}[2J"))
    }
    async fn accept() {}
    let streamer = connect(&place).await;
    let long = |odd: &str| format!("{odd}{}", "é\0\r\n".repeat(13_000));
    let (event, group, listener) = (long("event"), long("group"), long("listener"));
    streamer
        .emit(&DynamicEvent::new(&*event, json!({ long("key"): long("value") })))
        .await
        .unwrap();
    let listeners = Listeners::new()
        .on(&*event, &*listener, accept)
        .on(&*event, "refuse", refuse);
    let summary = listen(&streamer, listeners, &group).await;
    assert_eq!(summary.messages, 1);
    let pending = streamer.stream(&*event).pending_summary(&group).await.unwrap();
    assert_eq!((pending.count, streamer.failed().count().await.unwrap()), (0, 1));
    let archive = archive(&place).await;
    let swept = Sweep::archive(&streamer, Arc::clone(&archive))
        .run(&(&*event).into(), OlderThan::now())
        .await
        .unwrap();
    assert_eq!(swept.removed, 1);
    let restored = Restore::new(&streamer, Arc::clone(&archive)).run(None).await.unwrap();
    assert_eq!((restored.restored, restored.failed), (1, 0));
    let entries = streamer.stream(&*event).range(Range::all()).entries();
    let entries = entries.try_collect::<Vec<_>>().await.unwrap();
    let message = ReceivedMessage::new((&*event).into(), entries[0].clone(), 1);
    assert_eq!(message.data().unwrap()[long("key")], long("value"));
}

const LARGE: usize = 100_000_000;
const HOW_MANY: u64 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_100_mb_need_bounded_memory_on_redis() {
    payloads_of_100_mb_need_bounded_memory(Place::redis(), 340, 530).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_of_100_mb_need_bounded_memory_on_the_embedded_engine() {
    payloads_of_100_mb_need_bounded_memory(Place::embedded(), 530, 530).await;
}

/// Emitted and handled by processes of their own. An emit has the event and its encoded form (on Redis twice: the fields and the
/// command). The embedded engine's SQLite makes three more copies for a moment: of the parameter, of the row, and of the row
/// beside which the new one comes.
async fn payloads_of_100_mb_need_bounded_memory(place: Place, emit: u64, listen: u64) {
    for (what, most_mib) in [("emit", emit), ("listen", listen)] {
        let output = place.command("sizes::child", what).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let peak = text.lines().find_map(|line| line.strip_prefix("peak KiB: ")).unwrap();
        let peak = peak.trim().parse::<u64>().unwrap() / 1024;
        assert!(peak < most_mib, "{what} took {peak} MiB");
    }
    assert_eq!(connect(&place).await.stream("e").len().await.unwrap(), HOW_MANY);
}

/// Not a test of its own: what a child process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by another test in a process of its own"]
async fn child() {
    let streamer = Streamer::connect(&std::env::var("STORE").unwrap()).await.unwrap();
    match std::env::var("CHILD").unwrap().as_str() {
        "emit" => {
            for _ in 0..HOW_MANY {
                let event = DynamicEvent::new("e", json!({ "text": "x".repeat(LARGE) }));
                streamer.emit(&event).await.unwrap();
            }
        }
        _ => {
            async fn look(message: ReceivedMessage) -> Result<(), ListenerError> {
                let length = message.get("text").and_then(|text| text.as_str()).map(str::len);
                assert_eq!(length, Some(LARGE));
                Ok(())
            }
            let summary = listen(&streamer, Listeners::new().on("e", "look", look), "g").await;
            assert_eq!((summary.messages, summary.failed), (HOW_MANY, 0));
        }
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("peak KiB: {}", peak.trim().trim_end_matches(" kB"));
}
