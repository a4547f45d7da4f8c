//! A planned fail-over of Sentinels: the old master stays a master for ten seconds, and nobody may stay with it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use streamer::Streamer;
use streamer_test_servers::SentinelSetup;

use crate::{Running, Seen, numbered, on, quick, store::Store, until};

on!(
    sentinel,
    Redis,
    emitters_and_listeners_follow_a_planned_fail_over_when_it_is_announced
);

async fn emitters_and_listeners_follow_a_planned_fail_over_when_it_is_announced(_: Store) {
    let setup = tokio::task::spawn_blocking(|| SentinelSetup::start(3)).await.unwrap();
    let streamer = Streamer::connect(&setup.url()).await.unwrap();
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).group("g").keep_alive(quick());
    let running = Running::start(listening);
    let (emitter, done) = (
        Streamer::connect(&setup.url()).await.unwrap(),
        Arc::new(AtomicBool::new(false)),
    );
    let emitting = tokio::spawn({
        let done = done.clone();
        async move {
            let mut number = 0;
            while !done.load(Ordering::SeqCst) {
                let _ = emitter.emit(&numbered("e", number)).await;
                number += 1;
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
    });
    until("messages flow", async || seen.len() > 50).await;
    let length = |server: &streamer_test_servers::RedisServer| server.command(&["XLEN", "e"]).parse::<u64>().unwrap();
    setup.fail_over();
    setup.wait_for_master(setup.replica.port());
    let (at_the_switch, before) = (length(&setup.replica), seen.len());
    until("both follow", async || {
        length(&setup.replica) > at_the_switch + 50 && seen.len() > before + 50
    })
    .await;
    // Connections to it are good, and what it is asked it does: only the announcement tells.
    assert!(
        setup.master.command(&["ROLE"]).starts_with("master"),
        "they stayed until the old master was told that it is a replica"
    );
    done.store(true, Ordering::SeqCst);
    emitting.await.unwrap();
    running.stop().await;
}
