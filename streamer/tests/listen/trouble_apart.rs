//! Trouble with one node or one stream stays there.

use streamer::{Listeners, Streamer};
use streamer_test_servers::Options;

use crate::{Running, Seen, Told, emit, numbered, on, on_each_engine, quick, store::Store, until};

on_each_engine!(
    a_key_of_another_kind_holds_up_no_other_stream,
    a_stream_that_becomes_another_kind_of_key_holds_up_no_other,
);
on!(cluster_nodes, Cluster, a_node_that_is_gone_holds_up_no_other a_process_starts_while_a_node_is_gone);
on!(permissions, Redis, a_stream_without_permission_holds_up_no_other);

fn to_all(seen: &Seen, names: &[String]) -> Listeners {
    let mut listeners = Listeners::new();
    for name in names {
        listeners.add_many(seen.listener(name));
    }
    listeners
}

async fn a_key_of_another_kind_holds_up_no_other_stream(store: Store) {
    let streamer = store.connect().await;
    store.occupy("wrong");
    let names = ["right".to_owned(), "wrong".to_owned()];
    let (seen, told) = (Seen::default(), Told::default());
    let listening = streamer.listen(to_all(&seen, &names)).group("g").keep_alive(quick());
    let running = Running::start(told.by(listening));
    emit(&streamer, "right", 0..10).await;
    until("the other stream is listened to", async || seen.len() == 10).await;
    until("the trouble is told", async || told.has("Interrupted")).await;
    store.vacate("wrong");
    emit(&streamer, "wrong", 10..20).await;
    until("it goes on when the trouble is over", async || seen.len() == 20).await;
    running.stop().await;
}

async fn a_stream_that_becomes_another_kind_of_key_holds_up_no_other(store: Store) {
    let streamer = store.connect().await;
    let names = ["right".to_owned(), "wrong".to_owned()];
    let (seen, told) = (Seen::default(), Told::default());
    let listening = streamer.listen(to_all(&seen, &names)).group("g").keep_alive(quick());
    let running = Running::start(told.by(listening));
    emit(&streamer, "right", 0..5).await;
    emit(&streamer, "wrong", 5..10).await;
    until("both are listened to", async || seen.len() == 10).await;
    streamer.engine().remove_stream(&"wrong".into()).await.unwrap();
    store.occupy("wrong");
    until("the trouble is told", async || told.has("Interrupted")).await;
    for number in 10..20 {
        emit(&streamer, "right", number..number + 1).await;
        until("the other stream is listened to", async || {
            seen.len() as u64 == number + 1
        })
        .await;
    }
    store.vacate("wrong");
    emit(&streamer, "wrong", 20..30).await;
    until("it goes on when the trouble is over", async || seen.len() == 30).await;
    running.stop().await;
}

/// One stream on each node at least; the owner of each.
async fn on_all_nodes(store: &Store) -> Vec<(String, usize)> {
    let streamer = store.connect().await;
    for server in store.servers() {
        assert_eq!(
            server.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]),
            "OK"
        );
    }
    let mut owners = Vec::new();
    for number in 0..12 {
        let name = format!("s{number}");
        streamer.emit(&numbered(&name, 0)).await.unwrap();
        let has = |server: &&streamer_test_servers::RedisServer| {
            server.command(&["KEYS", "*"]).lines().any(|key| key == name)
        };
        let owner = store.servers().iter().position(has).unwrap();
        owners.push((name, owner));
    }
    assert!((0..3).all(|node| owners.iter().any(|(_, owner)| *owner == node)));
    owners
}

/// Emits as soon as the cluster lets it: nodes need a moment to agree that one is gone.
async fn emit_soon(streamer: &Streamer, name: &str, number: u64) {
    until("it can be emitted", async || {
        streamer.emit(&numbered(name, number)).await.is_ok()
    })
    .await;
}

async fn a_node_that_is_gone_holds_up_no_other(mut store: Store) {
    let owners = on_all_nodes(&store).await;
    let names = owners.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let streamer = store.connect().await;
    for gone in [0, 2] {
        let (seen, told) = (Seen::default(), Told::default());
        let listening = streamer
            .listen(to_all(&seen, &names))
            .group(format!("g{gone}"))
            .keep_alive(quick());
        let running = Running::start(told.by(listening));
        until("all are listened to", async || seen.len() >= 12).await;
        store.cluster().unwrap().nodes_mut()[gone].kill9();
        let mut expected = seen.len();
        for round in 0..3 {
            for (name, _) in owners.iter().filter(|(_, owner)| *owner != gone) {
                emit_soon(&streamer, name, round).await;
                expected += 1;
            }
            until("streams on other nodes are handled", async || seen.len() >= expected).await;
        }
        until("the trouble is told", async || told.has("Interrupted")).await;
        store.cluster().unwrap().nodes_mut()[gone].restart();
        for (name, _) in owners.iter().filter(|(_, owner)| *owner == gone) {
            emit_soon(&streamer, name, 0).await;
            expected += 1;
        }
        until("its streams are handled when the node is back", async || {
            seen.len() >= expected
        })
        .await;
        running.stop().await;
    }
}

async fn a_process_starts_while_a_node_is_gone(mut store: Store) {
    let owners = on_all_nodes(&store).await;
    let names = owners.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    // The first serves slot 0, and stands first in the URL.
    for gone in [0, 2] {
        store.cluster().unwrap().nodes_mut()[gone].kill9();
        let streamer = store.connect().await;
        let seen = Seen::default();
        let listening = streamer
            .listen(to_all(&seen, &names))
            .group(format!("g{gone}"))
            .keep_alive(quick());
        let running = Running::start(listening);
        let others = owners.iter().filter(|(_, owner)| *owner != gone);
        let mut expected = 0;
        for (name, _) in others {
            emit_soon(&streamer, name, 0).await;
            expected += 1;
        }
        until("streams on other nodes are handled", async || seen.len() >= expected).await;
        store.cluster().unwrap().nodes_mut()[gone].restart();
        for (name, _) in owners.iter().filter(|(_, owner)| *owner == gone) {
            emit_soon(&streamer, name, 1).await;
        }
        let whole = |name: &String| {
            seen.0
                .lock()
                .unwrap()
                .iter()
                .any(|message| *message.stream() == name.as_str().into())
        };
        until("and the others when the node is back", async || names.iter().all(whole)).await;
        running.stop().await;
    }
}

async fn a_stream_without_permission_holds_up_no_other(_: Store) {
    let options = Options::default().user("app on >secret ~right* ~{right}* ~failed* ~streamer* &* +@all");
    let store = streamer_test_servers::Store::with_options(options);
    let url = store.url().replace("redis://", "redis://app:secret@");
    let streamer = Streamer::connect(&url).await.unwrap();
    let names = ["right".to_owned(), "wrong".to_owned()];
    let (seen, told) = (Seen::default(), Told::default());
    let listening = streamer.listen(to_all(&seen, &names)).group("g").keep_alive(quick());
    let running = Running::start(told.by(listening));
    emit(&streamer, "right", 0..10).await;
    until("the other stream is listened to", async || seen.len() == 10).await;
    until("the trouble is told", async || told.has("Interrupted")).await;
    let rules = ["ACL", "SETUSER", "app", "~wrong*", "~{wrong}*"];
    assert_eq!(store.servers()[0].command(&rules), "OK");
    emit(&streamer, "wrong", 10..20).await;
    until("it goes on when it may", async || seen.len() == 20).await;
    running.stop().await;
}
