//! `trim`.

use std::sync::Arc;

use streamer::{EntryId, Trim, engine::Engine};

use crate::given::{a_stream, all, ids_of, numbered_entries};

pub(crate) async fn exactly_the_newest_remain(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = numbered_entries(&engine, &stream, 10).await;
    assert_eq!(engine.trim(&stream, Trim::max_len(3).exactly()).await.unwrap(), 7);
    assert_eq!(ids_of(&all(&engine, &stream).await), ids[7..]);
    assert_eq!(engine.trim(&stream, Trim::max_len(3).exactly()).await.unwrap(), 0);
}

pub(crate) async fn exactly_those_from_an_id_on_remain(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = numbered_entries(&engine, &stream, 10).await;
    assert_eq!(engine.trim(&stream, Trim::min_id(ids[4]).exactly()).await.unwrap(), 4);
    assert_eq!(ids_of(&all(&engine, &stream).await), ids[4..]);
    // The ID need not be that of an entry.
    assert_eq!(
        engine
            .trim(&stream, Trim::min_id(EntryId::new(6, 1)).exactly())
            .await
            .unwrap(),
        2
    );
    assert_eq!(ids_of(&all(&engine, &stream).await), ids[6..]);
}

pub(crate) async fn an_approximate_trim_never_cuts_too_much(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = numbered_entries(&engine, &stream, 1000).await;
    let removed = engine.trim(&stream, Trim::max_len(10)).await.unwrap();
    let left = ids_of(&all(&engine, &stream).await);
    assert!(left.len() >= 10);
    assert_eq!(left, ids[ids.len() - left.len()..]);
    assert_eq!(removed as usize, ids.len() - left.len());
    engine.trim(&stream, Trim::min_id(ids[995])).await.unwrap();
    assert!(all(&engine, &stream).await.len() >= 5);
}

pub(crate) async fn trimming_to_nothing_keeps_the_stream_and_its_last_id(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = numbered_entries(&engine, &stream, 3).await;
    assert_eq!(engine.trim(&stream, Trim::max_len(0).exactly()).await.unwrap(), 3);
    assert_eq!(engine.len(&stream).await.unwrap(), 0);
    assert_eq!(engine.last_id(&stream).await.unwrap(), ids[2]);
}

pub(crate) async fn a_missing_stream_has_nothing_to_trim(engine: Arc<dyn Engine>) {
    assert_eq!(engine.trim(&a_stream(), Trim::max_len(0).exactly()).await.unwrap(), 0);
}
