//! `remove_stream`.

use std::sync::Arc;

use streamer::{
    EntryId,
    engine::{Engine, EngineErrorKind, GroupStart},
};

use crate::given::{GROUP, a_set, a_stream, numbered_entries};

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
    let beside = a_stream();
    let stream = a_set(&engine, &beside).await;
    let error = engine.remove_stream(&stream).await.unwrap_err();
    assert_eq!(error.kind(), EngineErrorKind::WrongType, "{error}");
    let (_, handled) = engine.page_of_handled(&beside, None, 0, 10).await.unwrap();
    assert_eq!(handled, [EntryId::new(1, 0)]);
}

pub(crate) async fn what_is_kept_of_its_groups_goes_with_it(engine: Arc<dyn Engine>) {
    let stream = a_stream();
    let ids = numbered_entries(&engine, &stream, 2).await;
    engine
        .create_group(&stream, GROUP, GroupStart::Now, false)
        .await
        .unwrap();
    for group in [Some(GROUP), None] {
        engine.add_handled(&stream, group, &ids).await.unwrap();
    }
    let state = "state".into();
    let written = engine
        .replace_retry_state(&stream, GROUP, ids[0], None, Some(&state))
        .await;
    assert!(written.unwrap());
    assert!(engine.remove_stream(&stream).await.unwrap());
    assert_eq!(engine.retry_state(&stream, GROUP, ids[0]).await.unwrap(), None);
    for group in [Some(GROUP), None] {
        assert_eq!(
            engine.page_of_handled(&stream, group, 0, 10).await.unwrap(),
            (0, vec![])
        );
    }
}
