//! Names and values are bytes.

use std::sync::Arc;

use bytes::Bytes;
use streamer::{
    EntryId, Fields, NewId, StreamName,
    engine::{Append, Engine, FailureRecord, GroupStart},
};

use crate::given::{GROUP, a_consumer, a_stream, all, an_append, fields, unique};

/// Every byte, none of it UTF-8 as a whole.
fn odd_bytes() -> Bytes {
    (0..=255).rev().collect::<Vec<u8>>().into()
}

async fn come_back(engine: &Arc<dyn Engine>, stream: &StreamName, written: Fields) {
    engine
        .append(Append {
            fields: written.clone(),
            ..an_append(stream, NewId::Auto)
        })
        .await
        .unwrap();
    assert_eq!(all(engine, stream).await.last().unwrap().fields, written);
}

pub(crate) async fn any_bytes_come_back_as_they_went_in(engine: Arc<dyn Engine>) {
    let mut name = unique("stream").into_bytes();
    name.extend([0xFF, 0x00, b'\r', b'\n', 0xC3]);
    let stream = StreamName::from(name);
    come_back(
        &engine,
        &stream,
        vec![(odd_bytes(), odd_bytes()), (Bytes::from("\r\n"), Bytes::from("\0"))],
    )
    .await;
    assert_eq!(engine.len(&stream).await.unwrap(), 1);
}

pub(crate) async fn a_field_may_come_twice_and_keeps_its_place(engine: Arc<dyn Engine>) {
    come_back(
        &engine,
        &a_stream(),
        fields(&[("z", "1"), ("a", "2"), ("z", "3"), ("a", "2")]),
    )
    .await;
}

pub(crate) async fn empty_names_and_values_are_values(engine: Arc<dyn Engine>) {
    come_back(&engine, &a_stream(), fields(&[("", "1"), ("a", ""), ("", "")])).await;
}

pub(crate) async fn a_large_value_comes_back(engine: Arc<dyn Engine>) {
    let large = Bytes::from(vec![0xA5; 5_000_000]);
    come_back(&engine, &a_stream(), vec![(Bytes::from("data"), large)]).await;
}

pub(crate) async fn a_group_reads_any_bytes(engine: Arc<dyn Engine>) {
    let mut name = unique("stream").into_bytes();
    name.extend([0xFE, 0x00]);
    let stream = StreamName::from(name);
    engine
        .create_group(&stream, GROUP, GroupStart::Now, true)
        .await
        .unwrap();
    let written = vec![(odd_bytes(), odd_bytes())];
    let append = Append {
        fields: written.clone(),
        ..an_append(&stream, NewId::Auto)
    };
    let id = engine.append(append).await.unwrap();
    let read = a_consumer(&engine, &stream, "ä").await.next(10, None).await.unwrap();
    assert_eq!((&read[0].stream, &read[0].entries[0].fields), (&stream, &written));
    let claimed = engine
        .claim(&stream, GROUP, "ö", std::time::Duration::ZERO, &[id])
        .await
        .unwrap();
    assert_eq!(claimed.entries[0].entry.fields, written);
    assert_eq!(
        engine.pending_summary(&stream, GROUP).await.unwrap().consumers,
        [("ö".to_owned(), 1)]
    );
}

pub(crate) async fn what_is_kept_beside_streams_holds_any_bytes(engine: Arc<dyn Engine>) {
    let mut name = unique("stream").into_bytes();
    name.extend([0xFD, 0x00]);
    let (stream, id) = (StreamName::from(name), EntryId::new(5, 1));
    let state = odd_bytes();
    let written = engine.replace_retry_state(&stream, "ä", id, None, Some(&state)).await;
    assert!(written.unwrap());
    assert_eq!(engine.retry_state(&stream, "ä", id).await.unwrap(), Some(state));
    let member = [odd_bytes(), Bytes::from(unique("member"))].concat();
    let record = FailureRecord {
        member: member.clone().into(),
        details: Some(odd_bytes()),
    };
    let (member, details) = (record.member.clone(), record.details.clone());
    engine.add_failures(&[record]).await.unwrap();
    assert_eq!(
        engine.failure_details(std::slice::from_ref(&member)).await.unwrap(),
        [details]
    );
    assert_eq!(engine.remove_failures(&[member]).await.unwrap(), 1);
}
