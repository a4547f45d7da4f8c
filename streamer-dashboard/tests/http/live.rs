//! What browsers are told as it happens, and what that costs the store.

use serde_json::json;
use streamer_test_servers::Topology;

use crate::bench::{Bench, STORES, orders};

#[tokio::test]
async fn a_browser_is_told_of_each_look_at_the_store() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        let mut events = bench.events("/api/live").await;
        let first = events.next("look").await;
        assert_eq!(
            first["totals"].get("entries"),
            first["totals"]["entries"].as_u64().map(|_| &first["totals"]["entries"])
        );
        bench.emit("a", json!({})).await;
        loop {
            let look = events.next("look").await;
            if look["totals"]["entries"] == 1 {
                assert_eq!(look["load"]["viewers"], 1);
                assert!(look["load"]["pause_ms"].as_u64().unwrap() >= 500);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_live_tail_brings_each_new_entry_once_to_all_who_follow() {
    for store in STORES {
        let bench = Bench::new(store, |dashboard| dashboard).await;
        bench.emit("a", json!({"n": 0})).await;
        let mut viewers = Vec::new();
        for _ in 0..3 {
            let mut viewer = bench.events("/api/live?stream=a").await;
            // It follows from here on.
            viewer.next("look").await;
            viewers.push(viewer);
        }
        for n in 1..=5 {
            bench.emit("a", json!({"n": n})).await;
        }
        for viewer in &mut viewers {
            let mut told = Vec::new();
            while told.len() < 5 {
                let tail = viewer.next("tail").await;
                let entries = tail["entries"].as_array().unwrap().iter();
                told.extend(entries.map(|entry| entry["preview"].as_str().unwrap().to_owned()));
            }
            let expected = (1..=5).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>();
            assert_eq!(told, expected, "{store:?}");
        }
    }
}

/// How often the server was asked for a stream, a page of entries, and so on.
fn calls(bench: &Bench, command: &str) -> u64 {
    let text = bench.store.command(&["INFO", "commandstats"]);
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("cmdstat_{command}:")));
    let calls = line.and_then(|line| line.split("calls=").nth(1)?.split(',').next()?.parse().ok());
    calls.unwrap_or(0)
}

#[tokio::test]
async fn twenty_viewers_cost_the_store_what_one_costs() {
    let bench = Bench::new(Topology::Redis, |dashboard| dashboard).await;
    orders(&bench).await;
    let mut viewers = Vec::new();
    for _ in 0..20 {
        viewers.push(bench.events("/api/live?stream=order.placed").await);
    }
    // The checks have been made once; they are not made again for a minute.
    bench
        .until("/api/overview", |overview| overview["diagnosed_at_ms"].as_u64())
        .await;
    let asked = async |viewer: &mut crate::bench::Events| {
        let mut looks = std::collections::BTreeSet::new();
        while looks.len() < 5 {
            looks.insert(viewer.next("look").await["at_ms"].as_u64());
        }
        looks.len() as u64
    };
    let before = calls(&bench, "xinfo|stream");
    let mut seen = Vec::new();
    for viewer in &mut viewers {
        seen.push(asked(viewer).await);
    }
    let last = viewers[0].next("look").await;
    assert_eq!(last["load"]["viewers"], 20);
    let looked = calls(&bench, "xinfo|stream") - before;
    // One stream: a question a look. The first viewer saw five, and those that were asked after it read on while the
    // store was looked at at most a few times more.
    assert!(
        before > 0 && (1..40).contains(&looked),
        "{looked} questions for {seen:?} looks of 20 viewers"
    );
}

#[tokio::test]
async fn the_end_of_the_server_ends_what_would_go_on_for_ever() {
    let bench = Bench::new(Topology::Embedded, |dashboard| dashboard).await;
    let mut events = bench.events("/api/live").await;
    events.next("look").await;
    drop(bench);
    events.ended().await;
}
