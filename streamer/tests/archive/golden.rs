//! What the PHP package archived and restored, in `tests/golden/archive.json`: read and restored here, to the byte.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde_json::Value;
use streamer::{
    EntryId, Fields,
    archive::{ArchivedMessage, OlderThan, Restore, Sweep},
};

use crate::{Place, name, on_each_engine};

on_each_engine! {
    our_cycles_write_what_php_writes_where_php_keeps_the_message,
    what_php_archived_is_restored_as_php_restores_it,
}

fn records() -> Vec<Value> {
    let records = serde_json::from_str::<Vec<Value>>(include_str!("../golden/archive.json")).unwrap();
    assert_eq!(records.len(), 4);
    records
}

fn bytes(value: &Value) -> Bytes {
    match value {
        Value::String(text) => text.clone().into(),
        other => BASE64.decode(other["base64"].as_str().unwrap()).unwrap().into(),
    }
}

fn fields(pairs: &Value) -> Fields {
    let pairs = pairs.as_array().unwrap().iter();
    pairs.map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect()
}

fn id(value: &Value) -> EntryId {
    value.as_str().unwrap().parse().unwrap()
}

/// The fields of an entry with the IDs of this run in place of those of the capture.
fn with_ids(mut fields: Fields, original_id: EntryId) -> Fields {
    for (name, value) in &mut fields {
        if name == "original_id" {
            *value = original_id.to_string().into();
        }
    }
    fields
}

async fn our_cycles_write_what_php_writes_where_php_keeps_the_message(place: Place) {
    let mut compared = 0;
    for record in records() {
        let stream = record["input"]["event"].as_str().unwrap();
        let stored = fields(&record["stored"]["fields"]);
        let mut last = place.streamer.stream(stream).add(stored.clone()).await.unwrap();
        for cycle in record["cycles"].as_array().unwrap() {
            let sweep = Sweep::archive(&place.streamer, place.archive.clone());
            sweep.run(&name(stream), OlderThan::now()).await.unwrap();
            assert_eq!(cycle["stream_len_after_archive"], place.on_stream(stream).await.len());
            let restore = Restore::new(&place.streamer, place.archive.clone());
            let new = restore.one(&name(stream), last).await.unwrap().unwrap();
            assert_eq!(cycle["storage_count_after_restore"], place.in_archive().await.len());
            let restored = place.on_stream(stream).await.remove(0);
            assert_eq!(restored.id, new);
            let php = with_ids(fields(&cycle["restored"]["fields"]), last);
            // PHP loses the type, and encodes the payload anew.
            let php_keeps_it = php
                .iter()
                .filter(|(name, _)| name != "original_id")
                .eq(&with_ids(stored.clone(), last));
            if php_keeps_it {
                assert_eq!(restored.fields, php, "{}", record["id"]);
                compared += 1;
            } else {
                let mut ours = restored.fields.clone();
                assert_eq!(ours.remove(1).0, "original_id");
                assert_eq!(ours, stored, "{}", record["id"]);
            }
            last = new;
        }
        place.streamer.engine().remove_stream(&name(stream)).await.unwrap();
    }
    assert_eq!(compared, 4, "two cycles of two records");
}

async fn what_php_archived_is_restored_as_php_restores_it(place: Place) {
    for record in records() {
        let stream = record["input"]["event"].as_str().unwrap();
        for cycle in record["cycles"].as_array().unwrap() {
            let content = fields(&cycle["archived_message_content"]);
            let archived = ArchivedMessage {
                stream: name(stream),
                id: id(&cycle["archived_message_content"][0][1]),
                original_ids: Vec::new(),
                fields: content,
            };
            place.archive.create(std::slice::from_ref(&archived)).await.unwrap();
            let restore = Restore::new(&place.streamer, place.archive.clone());
            let new = restore.one(&archived.stream, archived.id).await.unwrap().unwrap();
            let restored = place.on_stream(stream).await;
            let restored = restored.iter().find(|entry| entry.id == new).unwrap();
            assert_eq!(
                restored.fields,
                fields(&cycle["restored"]["fields"]),
                "{}",
                record["id"]
            );
        }
    }
}
