//! Each page, on each kind of store.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;
use streamer::{
    EntryId,
    archive::{ArchiveStorage, MemoryArchive, OlderThan, Sweep},
    engine::FailingListener,
    failed::{self, FailedMessage},
    outbox::Outbox,
};
use streamer_test_servers::Topology;

use crate::bench::{Bench, STORES, listeners, orders};

#[tokio::test]
async fn the_overview_has_each_stream_and_group_with_lag_pending_and_who_is_alive() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let ids = orders(&bench).await;
        bench.emit("lonely", json!({})).await;
        bench.looked().await;
        let overview = bench.json("/api/overview").await;
        assert_eq!(overview["count"], 2, "{store:?}");
        let row = &overview["rows"][0];
        assert_eq!(row["stream"], "order.placed", "{store:?}");
        let group = &row["group"];
        assert_eq!((&group["name"], &group["pending"]), (&json!("billing"), &json!(1)));
        assert_eq!(group["lag"], json!({"messages": 2, "exact": true}));
        assert_eq!(group["oldest"]["id"], ids[0].to_string());
        assert_eq!(group["oldest"]["consumer"], "worker-1");
        assert_eq!((&group["alive"], &group["stale"]), (&json!(1), &json!(0)));
        assert_eq!(overview["rows"][1]["group"], json!(null));
        assert_eq!(overview["failures"], 2);
        assert_eq!(overview["totals"]["entries"], 4);
        let found = bench.json("/api/overview?q=LONE").await;
        assert_eq!(
            (&found["count"], &found["rows"][0]["stream"]),
            (&json!(1), &json!("lonely"))
        );
        let one = bench.json("/api/overview?sort=stream&limit=1").await;
        assert_eq!((&one["count"], one["rows"].as_array().unwrap().len()), (&json!(2), 1));
        assert_eq!(one["rows"][0]["stream"], "lonely");
    }
}

#[tokio::test]
async fn events_for_later_are_counted_and_listed() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        bench.emit("cart.reminder", json!({"cart": 1})).await;
        for cart in [7, 8] {
            let event = streamer::DynamicEvent::new("cart.reminder", json!({"cart": cart}));
            let tomorrow = streamer::EmitOptions::new().deliver_after(std::time::Duration::from_secs(86_400));
            bench.streamer.emit_with(&event, tomorrow).await.unwrap();
        }
        bench.looked().await;
        let overview = bench.json("/api/overview").await;
        let totals = &overview["totals"];
        assert_eq!(
            (&totals["scheduled"], &totals["overdue"]),
            (&json!(2), &json!(0)),
            "{store:?}"
        );
        assert_eq!(overview["rows"][0]["scheduled"]["waiting"], 2);
        let stream = bench.json("/api/stream?stream=cart.reminder").await;
        let scheduled = &stream["stream"]["scheduled"];
        assert_eq!((&scheduled["waiting"], &scheduled["exact"]), (&json!(2), &json!(true)));
        assert!(
            scheduled["next_due_ms"].is_u64() && scheduled["overdue_ms"].is_null(),
            "{scheduled}"
        );
        let listed = bench.json("/api/scheduled?stream=cart.reminder").await;
        let previews = listed["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| &event["preview"]);
        assert_eq!(
            previews.collect::<Vec<_>>(),
            [r#"{"cart":7}"#, r#"{"cart":8}"#],
            "{store:?}"
        );
        // A stream that has nothing else is there like the others.
        let event = streamer::DynamicEvent::new("only.later", json!({}));
        let tomorrow = streamer::EmitOptions::new().deliver_after(std::time::Duration::from_secs(86_400));
        bench.streamer.emit_with(&event, tomorrow).await.unwrap();
        bench.looked().await;
        let overview = bench.json("/api/overview").await;
        assert_eq!(
            (&overview["count"], &overview["totals"]["scheduled"]),
            (&json!(2), &json!(3)),
            "{store:?}"
        );
        let stream = bench.json("/api/stream?stream=only.later").await;
        assert_eq!(
            (&stream["stream"]["length"], &stream["stream"]["scheduled"]["waiting"]),
            (&json!(0), &json!(1)),
            "{store:?}"
        );
        let none = bench.json("/api/scheduled?stream=other").await;
        assert_eq!(none["events"], json!([]));
    }
}

#[tokio::test]
async fn the_log_is_newest_first_filtered_and_in_pages() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let ids = orders(&bench).await;
        let newest = bench.json("/api/entries?stream=order.placed&limit=2").await;
        let entries = newest["entries"].as_array().unwrap();
        assert_eq!(entries[0]["id"], ids[2].to_string(), "{store:?}");
        assert_eq!(entries[1]["preview"], r#"{"n":1,"sku":"A-1"}"#);
        let next = newest["next"].as_str().unwrap();
        let older = bench
            .json(&format!("/api/entries?stream=order.placed&before={next}"))
            .await;
        assert_eq!(older["entries"].as_array().unwrap().len(), 1);
        assert_eq!(older["next"], json!(null));
        for (filter, found) in [
            ("field=sku&text=A-1", vec![ids[1]]),
            ("field=n&text=2", vec![ids[2]]),
            ("text=A-0", vec![ids[0]]),
            ("kind=event", vec![ids[2], ids[1], ids[0]]),
            ("kind=command", vec![]),
            ("from=2%20hours", vec![ids[2], ids[1], ids[0]]),
            ("to=2%20hours", vec![]),
        ] {
            let log = bench.json(&format!("/api/entries?stream=order.placed&{filter}")).await;
            let listed = log["entries"].as_array().unwrap().iter();
            let listed = listed
                .map(|entry| entry["id"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>();
            assert_eq!(
                listed,
                found.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "{filter}"
            );
        }
        let reply = bench.get("/api/entries?stream=order.placed&from=yesterday").await;
        assert_eq!(reply.status, 400);
        assert!(
            reply.json()["error"].as_str().unwrap().contains("2026-11-01"),
            "{}",
            reply.body
        );
    }
}

#[tokio::test]
async fn an_entry_has_its_payload_and_its_life() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let ids = orders(&bench).await;
        let life = bench
            .json(&format!("/api/entry?stream=order.placed&id={}", ids[0]))
            .await;
        assert_eq!(life["groups"][0]["state"], "pending", "{store:?}");
        assert_eq!(life["groups"][0]["consumer"], "worker-1");
        assert_eq!(life["failures"][0]["error"], "no paper for 17");
        assert!(
            life["message"]["payload"]
                .as_str()
                .unwrap()
                .contains("\"sku\": \"A-0\"")
        );
        assert!(life["message"]["fields"].as_array().unwrap().len() > 3);
        let unknown = bench.json("/api/entry?stream=order.placed&id=1-1").await;
        assert_eq!(unknown["known"], false);
        let payload = bench
            .json(&format!("/api/payload?stream=order.placed&id={}", ids[2]))
            .await;
        assert_eq!(payload["from"], "stream");
        // It is nowhere: an answer, so that no browser's console shows an error.
        let gone = bench.json("/api/payload?stream=order.placed&id=1-1").await;
        assert_eq!(gone["message"], json!(null));
        assert!(gone["gone"].as_str().unwrap().starts_with("message 1-1 is "), "{gone}");
        assert_eq!(bench.get("/api/entry?stream=order.placed&id=x").await.status, 400);
    }
}

#[tokio::test]
async fn a_number_keeps_all_its_digits() {
    let bench = Bench::new(Topology::Embedded, |dashboard| dashboard).await;
    let id = bench.emit("big", json!({"id": 9_007_199_254_740_993_u64})).await;
    let payload = bench.json(&format!("/api/payload?stream=big&id={id}")).await;
    assert!(
        payload["message"]["payload"]
            .as_str()
            .unwrap()
            .contains("9007199254740993")
    );
}

#[tokio::test]
async fn a_group_has_its_consumers_and_what_is_pending_by_age() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let ids = orders(&bench).await;
        bench.looked().await;
        let group = bench.json("/api/group?stream=order.placed&group=billing").await;
        assert_eq!(group["consumers"][0]["name"], "worker-1", "{store:?}");
        assert_eq!(group["pending"][0]["id"], ids[0].to_string());
        assert_eq!(group["pending"][0]["deliveries"], 1);
        assert_eq!(group["last_id"], ids[2].to_string());
        let none = bench
            .json("/api/group?stream=order.placed&group=billing&consumer=nobody")
            .await;
        assert_eq!(none["pending"], json!([]));
        let gone = bench.json("/api/group?stream=order.placed&group=nobody").await;
        assert_eq!(gone, json!({"gone": "the stream 'order.placed' has no group 'nobody'"}));
        let stream = bench.json("/api/stream?stream=order.placed").await;
        assert_eq!(stream["stream"]["length"], 3);
        assert_eq!(stream["stream"]["groups"][0]["name"], "billing");
        let gone = bench.json("/api/stream?stream=nothing").await;
        assert_eq!(gone, json!({"gone": "there is no stream 'nothing'"}));
    }
}

#[tokio::test]
async fn failures_are_grouped_by_kind_and_filtered() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let ids = orders(&bench).await;
        bench.fail("order.placed", ids[2], "receipt", "no paper for 99").await;
        let failed = bench.json("/api/failed").await;
        assert_eq!(
            (&failed["listed"], &failed["matching"]),
            (&json!(3), &json!(3)),
            "{store:?}"
        );
        assert_eq!(failed["kinds"][0]["error"], "no paper for #");
        assert_eq!(failed["kinds"][0]["count"], 2);
        assert_eq!(failed["kinds"].as_array().unwrap().len(), 2);
        for (filter, count) in [
            ("receiver=audit", 1),
            ("error=paper", 2),
            ("stream=other", 0),
            ("since=1%20hour", 3),
            ("receiver=receipt&error=99", 1),
        ] {
            let some = bench.json(&format!("/api/failed?{filter}")).await;
            assert_eq!(some["matching"], count, "{filter}");
            let counted = bench.json(&format!("/api/failed/count?{filter}")).await;
            assert_eq!(counted, json!({"count": count, "exact": true}), "{filter}");
        }
    }
}

#[tokio::test]
async fn every_failure_is_on_a_page_with_its_group() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let engine = bench.streamer.engine().as_ref();
        let failures = (0..450_u64).map(|n| FailedMessage {
            date: format!("2026-11-05 10:{:02}:00", n % 60),
            ..FailedMessage::new(
                EntryId::new(n + 1, 0),
                &"order.placed".into(),
                "receipt",
                format!("error {n}"),
            )
        });
        failed::record(engine, &failures.collect::<Vec<_>>()).await.unwrap();
        let listener = FailingListener {
            stream: "order.placed",
            receiver: "receipt",
        };
        engine.keep_failing_group(listener, "billing").await.unwrap();
        let (mut members, mut dates, mut path) = (BTreeSet::new(), Vec::new(), "/api/failed".to_owned());
        loop {
            let page = bench.json(&path).await;
            assert_eq!((&page["matching"], &page["complete"]), (&json!(450), &json!(true)));
            for failure in page["failures"].as_array().unwrap() {
                assert_eq!(failure["group"], "billing", "{store:?}: {failure}");
                assert!(members.insert(failure["member"].to_string()), "{failure} came twice");
                dates.push(failure["date"].to_string());
            }
            assert_eq!(page["next_is_part"], false);
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/failed?from={next}");
        }
        assert_eq!(members.len(), 450);
        assert!(dates.is_sorted_by(|newer, older| newer >= older));
        assert_eq!(bench.get("/api/failed?from=elsewhere").await.status, 400);
    }
}

#[tokio::test]
async fn the_archive_is_browsed_and_replays_find_messages_there() {
    for store in STORES {
        let archive = Arc::new(MemoryArchive::default());
        let bench = Bench::new(store, |dashboard| dashboard.archive(archive.clone())).await;
        bench
            .emit_for("{user}", "7", json!({"name": "Ann", "city": "Oslo"}))
            .await;
        let second = bench.emit_for("{user}", "7", json!({"city": "Bergen"})).await;
        let sweep = Sweep::archive(&bench.streamer, archive.clone() as Arc<dyn ArchiveStorage>);
        sweep.run(&"{user}".into(), OlderThan::now()).await.unwrap();
        let listed = bench.json("/api/archive").await;
        assert_eq!(listed["messages"].as_array().unwrap().len(), 2, "{store:?}");
        assert_eq!(listed["messages"][1]["id"], second.to_string());
        let after = format!("/api/archive?after_stream=%7Buser%7D&after_id={second}");
        assert_eq!(bench.json(&after).await["messages"], json!([]));
        assert_eq!(bench.json("/api/archive?stream=other").await["messages"], json!([]));
        assert_eq!(bench.json("/api/archive/count").await["count"], 2);
        let archived = bench.until("/api/overview", |overview| {
            (overview["archive"]["messages"] == 2).then_some(())
        });
        archived.await;
        let payload = bench.json(&format!("/api/payload?stream=%7Buser%7D&id={second}")).await;
        assert_eq!(payload["from"], "archive");

        let replay = bench.json("/api/replay?event=%7Buser%7D&id=7").await;
        assert_eq!(replay["steps"].as_array().unwrap().len(), 2);
        let change = &replay["steps"][1]["changes"][0];
        assert_eq!(
            (&change["field"], &change["from"], &change["to"]),
            (&json!("city"), &json!("\"Oslo\""), &json!("\"Bergen\""))
        );
        assert!(replay["data"].as_str().unwrap().contains("Bergen"));
        let gone = bench.json("/api/replay?event=%7Buser%7D&id=8").await;
        assert!(
            gone["gone"].as_str().unwrap().starts_with("there is no history"),
            "{gone}"
        );
    }
}

#[tokio::test]
async fn doctor_tells_what_is_wrong_and_how_to_fix_it() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard.listeners(listeners()).events(["never"])).await;
        orders(&bench).await;
        let doctor = bench.json("/api/doctor?again=true").await;
        let findings = doctor["findings"].as_array().unwrap();
        let found = |check: &str| findings.iter().any(|one| one["check"] == check && one["fix"] != "");
        assert!(
            found("failures_listed") && found("stream_missing"),
            "{store:?}: {findings:#?}"
        );
        assert!(doctor["checks"].as_array().unwrap().len() > 20);
        // It stands on top of the overview, too.
        bench
            .until("/api/overview", |overview| {
                (overview["warnings"].as_u64()? + overview["critical"].as_u64()? > 0).then_some(())
            })
            .await;
    }
}

#[tokio::test]
async fn the_outbox_shows_what_waits_and_what_is_blocked() {
    let folder = tempfile::TempDir::new().unwrap();
    let url = format!("sqlite://{}?mode=rwc", folder.path().join("shop.db").display());
    let outbox = Outbox::connect(&url).await.unwrap();
    outbox.migrate().await.unwrap();
    let bench = Bench::new(Topology::Embedded, |dashboard| dashboard.outbox(outbox.clone())).await;
    let status = bench.json("/api/outbox").await;
    assert_eq!((&status["waiting"], &status["blocked_count"]), (&json!(0), &json!(0)));
    assert_eq!(bench.json("/api/session").await["outbox"], true);
    let waits = bench.until("/api/overview", |overview| {
        overview.get("outbox").filter(|one| !one.is_null()).cloned()
    });
    let waits = waits.await;
    assert_eq!(
        waits,
        json!({"waiting": 0, "blocked": 0, "oldest_ms": null, "exact": true})
    );
    let reply = bench.post("/api/outbox/skip", json!({"event_id": "nothing"})).await;
    assert!(
        reply.status == 200 && reply.json()["gone"].is_string(),
        "{}",
        reply.body
    );
    let reply = bench.post("/api/outbox/retry", json!({"all": true})).await;
    assert_eq!(reply.json()["rows"], 0);
}

#[tokio::test]
async fn it_works_under_any_path_and_names_its_files_below_it() {
    let mut mounted = Bench::new(Topology::Embedded, |dashboard| dashboard).await;
    let router = axum::Router::new().nest(
        "/ops/{team}/streamer",
        streamer_dashboard::Dashboard::new(mounted.streamer.clone()).router(),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    mounted.port = port;
    let page = mounted.get("/ops/shop/streamer").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("src=\"streamer/assets/main.js\""), "{}", page.body);
    let script = mounted.get("/ops/shop/streamer/assets/main.js").await;
    assert_eq!(script.header("content-type"), Some("text/javascript; charset=utf-8"));
    assert_eq!(mounted.json("/ops/shop/streamer/api/overview").await["count"], 0);
    assert_eq!(mounted.get("/ops/shop/streamer/api/nothing").await.status, 404);
    assert_eq!(mounted.get("/ops/shop/streamer/assets/../../x").await.status, 404);
}

#[tokio::test]
async fn what_is_not_configured_is_said_with_what_to_do() {
    let bench = Bench::new(Topology::Embedded, |dashboard| dashboard).await;
    let session = bench.json("/api/session").await;
    assert_eq!((&session["archive"], &session["outbox"]), (&json!(null), &json!(false)));
    assert!(
        session["cannot_retry"]
            .as_str()
            .unwrap()
            .contains("streamer failed retry")
    );
    for path in ["/api/archive", "/api/outbox"] {
        let reply = bench.get(path).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(
            reply.json()["error"].as_str().unwrap().contains("streamer.toml"),
            "{}",
            reply.body
        );
    }
}
