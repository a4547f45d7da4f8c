//! A link that carries little: what takes longer than a time-out is not asked for again and again.

use serde_json::json;
use streamer::{DynamicEvent, EmitOptions};

use crate::{Running, Seen, assert_each_once, numbered, on, quick, store::Store, until};

on!(
    slow_link,
    Distant,
    a_batch_that_takes_longer_than_a_time_out_arrives
    an_emit_that_takes_longer_than_a_time_out_is_stored_once
);

const COUNT: u64 = 12;
const SIZE: usize = 300_000;
/// Bytes a second: the whole batch takes longer than the ten seconds after which a silent server counts as gone.
const RATE: u64 = 280_000;

fn large(number: u64) -> DynamicEvent {
    DynamicEvent::new("e", json!({ "n": number, "text": "x".repeat(SIZE) }))
}

async fn a_batch_that_takes_longer_than_a_time_out_arrives(store: Store) {
    let streamer = store.connect().await;
    streamer.emit_all((0..COUNT).map(large)).await.unwrap();
    let network = store.network().unwrap();
    network.set_rate(Some(RATE));
    let before = network.bytes_down();
    let seen = Seen::default();
    let listening = streamer.listen(seen.listener("e")).group("g").keep_alive(quick());
    let running = Running::start(listening);
    until("all are handled", async || {
        seen.len() as u64 >= COUNT && store.pending("e", "g").is_empty()
    })
    .await;
    running.stop().await;
    assert_each_once(seen.numbers(), 0..COUNT);
    let sent = network.bytes_down() - before;
    assert!(sent < COUNT * SIZE as u64 * 3 / 2, "{sent} bytes were sent");
}

async fn an_emit_that_takes_longer_than_a_time_out_is_stored_once(store: Store) {
    let streamer = store.connect().await;
    streamer
        .emit_with(&numbered("e", 0), EmitOptions::default())
        .await
        .unwrap();
    store.network().unwrap().set_rate(Some(RATE));
    let ids = streamer.emit_all((1..=COUNT).map(large)).await.unwrap();
    assert_eq!(ids.len() as u64, COUNT);
    store.network().unwrap().set_rate(None);
    assert_eq!(store.command(&["XLEN", "e"]), (COUNT + 1).to_string());
}
