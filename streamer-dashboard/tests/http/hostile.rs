//! What others wrote is data: it comes as JSON, whatever it looks like.

use serde_json::json;
use streamer::stream::Stream;
use streamer_test_servers::Topology;

use crate::bench::{Bench, STORES};

const MARKUP: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>";

#[tokio::test]
async fn markup_in_names_payloads_and_errors_comes_as_json_text() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let id = bench.emit(MARKUP, json!({"html": MARKUP, "esc": "\u{1b}[31m"})).await;
        bench.group(MARKUP, MARKUP).await;
        bench.fail(MARKUP, id, MARKUP, MARKUP).await;
        let name = encoded(MARKUP);
        bench
            .until("/api/overview", |overview| {
                (overview["failures"] == 1 && overview["totals"]["entries"] == 1).then_some(())
            })
            .await;
        for path in [
            "/api/overview".to_owned(),
            format!("/api/stream?stream={name}"),
            format!("/api/entries?stream={name}"),
            format!("/api/entry?stream={name}&id={id}"),
            format!("/api/group?stream={name}&group={name}"),
            "/api/failed".to_owned(),
            format!("/api/failed?receiver={name}"),
            "/api/doctor".to_owned(),
        ] {
            let reply = bench.get(&path).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.body);
            assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
            assert!(
                reply.json().to_string().contains("<script>alert(1)"),
                "{path}: {}",
                reply.body
            );
        }
        for (path, status) in [
            (format!("/api/stream?stream=x{name}"), 200),
            (format!("/{name}"), 404),
            (format!("/api/replay?event={name}&id=1"), 200),
        ] {
            let reply = bench.get(&path).await;
            assert_eq!(reply.status, status, "{path}");
            assert_eq!(reply.json()["gone"].is_string(), status == 200, "{path}");
            assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        }
    }
}

#[tokio::test]
async fn entries_that_are_no_messages_are_shown_as_what_they_are() {
    let bench = Bench::new(Topology::Redis, |dashboard| dashboard).await;
    let stream = Stream::new(bench.streamer.engine().clone(), "odd");
    let undecodable = vec![
        ("name".into(), "odd".into()),
        ("data".into(), bytes::Bytes::from_static(b"{\xff\xfe")),
    ];
    let first = stream.add(undecodable).await.unwrap();
    let foreign = vec![
        ("temperature".into(), "21".into()),
        (bytes::Bytes::from_static(b"\xff"), bytes::Bytes::from_static(b"\0\xff")),
    ];
    stream.add(foreign).await.unwrap();
    let long = vec![
        ("name".into(), "odd".into()),
        ("data".into(), format!("\"{}\"", "é".repeat(100_000)).into()),
    ];
    stream.add(long).await.unwrap();
    let log = bench.json("/api/entries?stream=odd").await;
    let entries = log["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    assert!(entries[0]["preview"].as_str().unwrap().chars().count() <= 300);
    assert!(entries[1]["preview"].as_str().unwrap().contains("temperature"));
    assert!(entries[2]["undecodable"].is_string());
    let one = bench.json(&format!("/api/entry?stream=odd&id={first}")).await;
    assert!(one["message"]["undecodable"].is_string() && one["message"]["payload"].is_null());
    // A member of the failed list that is no record.
    assert_eq!(
        bench
            .store
            .command(&["SADD", streamer::failed::FAILED_KEY, "no record"]),
        "1"
    );
    let failed = bench.json("/api/failed").await;
    assert_eq!(
        (&failed["unreadable"], failed["failures"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    let member = failed["failures"][0]["member"].clone();
    let job = bench.job("/api/failed/forget", json!({"members": [member]})).await;
    assert_eq!(job["succeeded"], 1);
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_in_words() {
    let bench = Bench::new(Topology::Embedded, |dashboard| {
        dashboard.listeners(crate::bench::listeners())
    })
    .await;
    bench.emit("a", json!({})).await;
    for path in [
        "/api/entries",
        "/api/entries?stream=a&limit=-1",
        "/api/entries?stream=a&before=x",
        "/api/entry?stream=a&id=1-2-3",
        "/api/failed?since=never",
        "/api/group?stream=a",
    ] {
        let reply = bench.get(path).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.body);
        assert!(
            reply.json()["error"].as_str().is_some_and(|error| error.len() > 10),
            "{}",
            reply.body
        );
    }
    for (path, body) in [
        ("/api/failed/forget", json!({})),
        ("/api/failed/forget", json!({"members": []})),
        ("/api/failed/forget", json!({"members": ["zz"]})),
        ("/api/failed/forget", json!({"members": ["00"], "filter": {}})),
        ("/api/failed/forget", json!({"members": vec!["00"; 1_001]})),
        ("/api/failed/retry", json!({"members": ["00"]})),
        (
            "/api/group/reset",
            json!({"stream": "a", "group": "g", "to": "somewhere", "dry_run": true}),
        ),
    ] {
        let reply = bench.post(path, body.clone()).await;
        assert_eq!(reply.status, 400, "{path} {body}: {}", reply.body);
    }
    let long = "x".repeat(3 << 20);
    let reply = bench.post("/api/failed/forget", json!({"members": [long]})).await;
    assert_eq!(reply.status, 413);
    let unchanged = |overview: &serde_json::Value| (overview["totals"]["entries"] == 1).then_some(());
    bench.until("/api/overview", unchanged).await;
}

/// As a browser writes it into a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Its reader calls itself for each level.
#[tokio::test]
async fn a_million_levels_end_nothing_wherever_they_come_from() {
    let bench = Bench::new(Topology::Redis, |dashboard| dashboard).await;
    let headers = [("Content-Type", "application/json"), ("X-Streamer-Dashboard", "1")];
    let stream = Stream::new(bench.streamer.engine().clone(), "deep");
    for deep in ["[".repeat(1_000_000), "{\"a\":".repeat(300_000)] {
        for body in [
            deep.clone(),
            format!("{{\"members\":{deep}"),
            format!("{{\"other\":{deep}"),
        ] {
            let reply = bench.say("POST", "/api/failed/forget", &headers, &body).await;
            assert!((400..500).contains(&reply.status), "{} {}", reply.status, reply.body);
        }
        let id = stream.add(vec![("data".into(), deep.clone().into())]).await.unwrap();
        let answer = bench.store.command(&["SADD", streamer::failed::FAILED_KEY, &deep]);
        assert_eq!(answer, "1");
        for path in [
            "/api/entries?stream=deep".to_owned(),
            format!("/api/entry?stream=deep&id={id}"),
            "/api/failed".to_owned(),
        ] {
            let reply = bench.get(&path).await;
            assert_eq!(reply.status, 200, "{path}: {:.1000}", reply.body);
        }
    }
}
