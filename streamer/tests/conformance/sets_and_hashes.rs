//! The records beside the streams.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use streamer::engine::Engine;

use crate::given::{fields, unique};

fn members(names: &[&str]) -> Vec<Bytes> {
    names
        .iter()
        .map(|name| Bytes::copy_from_slice(name.as_bytes()))
        .collect()
}

async fn scan(engine: &Arc<dyn Engine>, key: &str, count: usize) -> HashSet<Bytes> {
    let (mut seen, mut cursor) = (HashSet::new(), 0);
    loop {
        let (next, page) = engine.set_scan(key, cursor, count).await.unwrap();
        seen.extend(page);
        if next == 0 {
            return seen;
        }
        cursor = next;
    }
}

pub(crate) async fn a_set_counts_what_changed(engine: Arc<dyn Engine>) {
    let key = unique("set");
    assert_eq!(engine.set_add(&key, &members(&["a", "b"])).await.unwrap(), 2);
    assert_eq!(engine.set_add(&key, &members(&["b", "c"])).await.unwrap(), 1);
    assert_eq!(engine.set_len(&key).await.unwrap(), 3);
    assert_eq!(engine.set_remove(&key, &members(&["a", "z"])).await.unwrap(), 1);
    assert_eq!(engine.set_add(&key, &[]).await.unwrap(), 0);
    assert_eq!(engine.set_remove(&key, &[]).await.unwrap(), 0);
    assert_eq!(
        scan(&engine, &key, 10).await,
        members(&["b", "c"]).into_iter().collect()
    );
}

pub(crate) async fn a_scan_gives_every_member(engine: Arc<dyn Engine>) {
    let key = unique("set");
    let all: Vec<Bytes> = (0..1000).map(|n| Bytes::from(format!("member {n}"))).collect();
    engine.set_add(&key, &all).await.unwrap();
    assert_eq!(scan(&engine, &key, 7).await, all.iter().cloned().collect());
    // What stays comes, whatever goes meanwhile.
    let (cursor, mut seen) = engine.set_scan(&key, 0, 100).await.unwrap();
    engine.set_remove(&key, &all[500..]).await.unwrap();
    let mut cursor = cursor;
    while cursor != 0 {
        let (next, page) = engine.set_scan(&key, cursor, 100).await.unwrap();
        seen.extend(page);
        cursor = next;
    }
    let seen: HashSet<Bytes> = seen.into_iter().collect();
    assert!(all[..500].iter().all(|member| seen.contains(member)));
}

pub(crate) async fn a_missing_set_is_empty(engine: Arc<dyn Engine>) {
    let key = unique("set");
    assert_eq!(engine.set_len(&key).await.unwrap(), 0);
    assert_eq!(engine.set_scan(&key, 0, 10).await.unwrap(), (0, Vec::new()));
    assert_eq!(engine.set_remove(&key, &members(&["a"])).await.unwrap(), 0);
}

pub(crate) async fn a_hash_gives_values_in_the_order_asked(engine: Arc<dyn Engine>) {
    let key = unique("hash");
    engine.hash_put(&key, &fields(&[("a", "1"), ("b", "2")])).await.unwrap();
    engine.hash_put(&key, &fields(&[("b", "3")])).await.unwrap();
    engine.hash_put(&key, &[]).await.unwrap();
    let values = engine.hash_get(&key, &members(&["b", "z", "a"])).await.unwrap();
    assert_eq!(values, [Some(Bytes::from("3")), None, Some(Bytes::from("1"))]);
    assert_eq!(engine.hash_get(&key, &[]).await.unwrap(), []);
    assert_eq!(
        engine.hash_get(&unique("hash"), &members(&["a"])).await.unwrap(),
        [None]
    );
}

pub(crate) async fn a_hash_counts_what_was_removed(engine: Arc<dyn Engine>) {
    let key = unique("hash");
    engine.hash_put(&key, &fields(&[("a", "1"), ("b", "2")])).await.unwrap();
    assert_eq!(engine.hash_remove(&key, &members(&["a", "z"])).await.unwrap(), 1);
    assert_eq!(engine.hash_remove(&key, &[]).await.unwrap(), 0);
    assert_eq!(engine.hash_get(&key, &members(&["a"])).await.unwrap(), [None]);
}
