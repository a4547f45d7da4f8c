//! `remove_stream`.

use std::sync::Arc;

use bytes::Bytes;
use streamer::{
    EntryId,
    engine::{Engine, EngineErrorKind, GroupStart},
};

use crate::given::{a_stream, numbered_entries};

pub(crate) async fn a_removed_stream_is_gone_with_its_groups(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    numbered_entries(&engine, &stream, 3).await;
    engine.create_group(&stream, "g", GroupStart::Now, false).await.unwrap();
    assert!(engine.remove_stream(&stream).await.unwrap());
    assert_eq!(engine.info(&stream).await.unwrap(), None);
    assert_eq!(engine.last_id(&stream).await.unwrap(), EntryId::MIN);
    assert!(engine.groups(&stream).await.unwrap().is_empty());
    assert!(!engine.remove_stream(&stream).await.unwrap());
    // The name is free again.
    numbered_entries(&engine, &stream, 2).await;
    assert_eq!(engine.len(&stream).await.unwrap(), 2);
    assert!(engine.groups(&stream).await.unwrap().is_empty());
}

pub(crate) async fn what_is_no_stream_is_not_removed(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let key = stream.to_string();
    engine.set_add(&key, &[Bytes::from("member")]).await.unwrap();
    let error = engine.remove_stream(&stream).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::WrongType, "{error}");
    assert_eq!(engine.set_len(&key).await.unwrap(), 1);
}
