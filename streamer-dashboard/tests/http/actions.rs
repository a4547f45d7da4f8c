//! What operators change: each changes what it says, and no more.

use std::sync::Arc;

use serde_json::{Value, json};
use streamer::{
    EntryId,
    archive::{ArchiveStorage, MemoryArchive, OlderThan, Sweep},
};

use crate::bench::{Bench, STORES, listeners, orders};

/// The member of a listener's failure.
async fn member(bench: &Bench, receiver: &str) -> Value {
    let failed = bench.json(&format!("/api/failed?receiver={receiver}")).await;
    failed["failures"][0]["member"].clone()
}

#[tokio::test]
async fn one_failure_a_selection_and_all_matches_are_retried() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard.listeners(listeners())).await;
        let ids = orders(&bench).await;
        for id in &ids[1..] {
            bench.fail("order.placed", *id, "receipt", "no paper").await;
        }
        let blank = bench.emit("order.placed", json!({"paper": false})).await;
        bench.fail("order.placed", blank, "receipt", "no paper").await;
        // Five failures: audit has no listener here, and one order still has no paper.
        let of_first = bench.json(&format!("/api/failed?id={}", ids[0])).await;
        let of_first = of_first["failures"][0]["member"].clone();
        let job = bench.job("/api/failed/retry", json!({"members": [of_first]})).await;
        assert_eq!(
            (&job["state"], &job["succeeded"], &job["done"]),
            (&json!("done"), &json!(1), &json!(1)),
            "{store:?}: {job}"
        );
        assert_eq!(bench.streamer.failed().count().await.unwrap(), 4);

        let job = bench
            .job("/api/failed/retry", json!({"filter": {"receiver": "receipt"}}))
            .await;
        assert_eq!(
            (&job["succeeded"], &job["failed"]),
            (&json!(2), &json!(1)),
            "{store:?}: {job}"
        );
        assert!(job["lines"][0].as_str().unwrap().contains("no paper"), "{job}");
        let job = bench.job("/api/failed/retry", json!({"filter": {}})).await;
        assert_eq!(
            (&job["skipped"], &job["failed"]),
            (&json!(1), &json!(1)),
            "{store:?}: {job}"
        );
        assert_eq!(bench.streamer.failed().count().await.unwrap(), 2);
    }
}

#[tokio::test]
async fn without_listeners_a_retry_is_refused_with_the_reason() {
    let bench = Bench::new(STORES[2], |dashboard| dashboard.cannot_retry("They are elsewhere.")).await;
    orders(&bench).await;
    let reply = bench.post("/api/failed/retry", json!({"filter": {}})).await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.json()["error"], "They are elsewhere.");
    assert_eq!(bench.streamer.failed().count().await.unwrap(), 2);
}

#[tokio::test]
async fn one_failure_and_all_matches_are_forgotten_and_messages_stay() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let ids = orders(&bench).await;
        bench.fail("order.placed", ids[2], "receipt", "no paper").await;
        let audit = member(&bench, "audit").await;
        let job = bench
            .job("/api/failed/forget", json!({"members": [audit], "expected": 1}))
            .await;
        assert_eq!((&job["succeeded"], &job["of"]), (&json!(1), &json!(1)), "{store:?}");
        assert_eq!(bench.streamer.failed().count().await.unwrap(), 2);
        // Again it is gone already.
        let job = bench.job("/api/failed/forget", json!({"members": [audit]})).await;
        assert_eq!((&job["succeeded"], &job["skipped"]), (&json!(0), &json!(1)));
        let job = bench
            .job("/api/failed/forget", json!({"filter": {"error": "for 17"}}))
            .await;
        assert_eq!(job["succeeded"], 1);
        let job = bench.job("/api/failed/forget", json!({"filter": {}})).await;
        assert_eq!(job["succeeded"], 1);
        assert_eq!(bench.streamer.failed().count().await.unwrap(), 0);
        assert_eq!(bench.json("/api/failed").await["listed"], 0);
        let entries = bench.json("/api/entries?stream=order.placed").await;
        assert_eq!(entries["entries"].as_array().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_group_is_moved_after_a_dry_run_that_moves_nothing() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let ids = orders(&bench).await;
        let position = async || {
            let groups = bench.streamer.engine().groups(&"order.placed".into()).await.unwrap();
            groups[0].last_delivered_id
        };
        let reset =
            |to: &str, dry_run| json!({"stream": "order.placed", "group": "billing", "to": to, "dry_run": dry_run});
        let plan = bench.post("/api/group/reset", reset("now", true)).await.json();
        assert_eq!(
            (&plan["left_out"], &plan["again"], &plan["pending"]),
            (&json!(2), &json!(0), &json!(1)),
            "{store:?}"
        );
        assert_eq!(position().await, ids[0]);
        bench.post("/api/group/reset", reset("now", false)).await;
        assert_eq!(position().await, ids[2]);
        let done = bench.post("/api/group/reset", reset("start", false)).await.json();
        assert_eq!((&done["again"], &done["exact"]), (&json!(3), &json!(true)));
        assert_eq!(position().await, EntryId::MIN);
        bench.post("/api/group/reset", reset(&ids[1].to_string(), false)).await;
        assert_eq!(position().await, ids[1]);
        let missing = json!({"stream": "order.placed", "group": "nobody", "to": "now", "dry_run": true});
        let gone = bench.post("/api/group/reset", missing).await.json();
        assert_eq!(gone, json!({"gone": "the stream 'order.placed' has no group 'nobody'"}));
    }
}

#[tokio::test]
async fn archived_messages_are_restored_one_by_one_by_stream_and_all() {
    for store in STORES {
        let archive = Arc::new(MemoryArchive::default());
        let bench = Bench::new(store, |dashboard| dashboard.archive(archive.clone())).await;
        let mut first = None;
        for stream in ["a", "b", "b", "c"] {
            let id = bench.emit(stream, json!({})).await;
            first.get_or_insert(id);
        }
        let sweep = Sweep::archive(&bench.streamer, archive.clone() as Arc<dyn ArchiveStorage>);
        for stream in ["a", "b", "c"] {
            sweep.run(&stream.into(), OlderThan::now()).await.unwrap();
        }
        assert_eq!(bench.json("/api/archive/count").await["count"], 4);
        let one = json!({"stream": "a", "id": first.unwrap().to_string()});
        let job = bench.job("/api/archive/restore", one.clone()).await;
        assert_eq!(
            (&job["state"], &job["succeeded"]),
            (&json!("done"), &json!(1)),
            "{store:?}: {job}"
        );
        let job = bench.job("/api/archive/restore", one).await;
        assert_eq!(job["state"], "failed");
        assert!(job["error"].as_str().unwrap().contains("has no message"), "{job}");
        let job = bench.job("/api/archive/restore", json!({"stream": "b"})).await;
        assert_eq!(job["succeeded"], 2);
        let job = bench.job("/api/archive/restore", json!({"all": true})).await;
        assert_eq!(job["succeeded"], 1);
        assert_eq!(bench.json("/api/archive/count").await["count"], 0);
        assert_eq!(bench.post("/api/archive/restore", json!({})).await.status, 400);
        for (stream, length) in [("a", 1), ("b", 2), ("c", 1)] {
            let log = bench.json(&format!("/api/entries?stream={stream}")).await;
            assert_eq!(log["entries"].as_array().unwrap().len(), length, "{stream}");
        }
    }
}
