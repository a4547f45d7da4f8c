//! Histories that the PHP package wrote, and ours beside them.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Value, json};
use streamer::{
    DynamicEvent, EmitOptions, EntryId, Fields, OrderedJson, RangeBound, Replayed, StreamName, Streamer,
    engine::{Append, AppendOptions},
};

use crate::store::{elements, push, stores};

fn records() -> Vec<Value> {
    let records: Vec<Value> = serde_json::from_str(include_str!("../golden/history.json")).unwrap();
    assert_eq!(records.len(), 15);
    records
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn str(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn fields(entry: &Value) -> Fields {
    let bytes = |value: &Value| Bytes::copy_from_slice(str(value).as_bytes());
    list(&entry["fields"])
        .map(|pair| (bytes(&pair[0]), bytes(&pair[1])))
        .collect()
}

/// Puts on a store what the PHP package had put on its Redis. What it failed to write, under an empty ID, is left out.
async fn load(streamer: &Streamer, record: &Value, prefix: &str) {
    for stream in list(&record["stored_streams"]) {
        for entry in list(&stream["entries"]) {
            let append = Append {
                stream: str(&stream["stream"]).into(),
                id: str(&entry["id"]).parse::<EntryId>().unwrap().into(),
                fields: fields(entry),
                options: AppendOptions::default(),
            };
            streamer.engine().append(append).await.unwrap();
        }
    }
    let mut count = 0;
    for stored in list(&record["stored_lists"]) {
        let oldest_first = list(&stored["elements"]).collect::<Vec<_>>().into_iter().rev();
        for element in oldest_first.filter(|element| !str(element).contains(r#""id":"""#)) {
            count += 1;
            push(
                streamer,
                str(&stored["key"]),
                str(element),
                &format!("{prefix}scratch{count}"),
            )
            .await;
        }
    }
    for id in record["deleted_ids"].as_array().into_iter().flatten() {
        let stream = str(&record["input"][0]["event"]).into();
        assert_eq!(
            streamer
                .engine()
                .delete(&stream, &[str(id).parse().unwrap()])
                .await
                .unwrap(),
            1
        );
    }
}

/// `Y-m-d H:i:s`, perhaps with a fraction, which the capture has in UTC.
fn instant(date: &str) -> SystemTime {
    let timestamp: jiff::Timestamp = format!("{}Z", date.replace(' ', "T")).parse().unwrap();
    timestamp.try_into().unwrap()
}

async fn replay(streamer: &Streamer, asked: &Value) -> Option<Replayed> {
    let mut replay = streamer.replay(str(&asked["event"]), str(&asked["identifier"]));
    if let Some(until) = asked["until"].as_str() {
        replay = replay.until(instant(until));
    }
    replay.run().await.unwrap()
}

#[tokio::test]
async fn every_history_that_php_wrote_replays_as_it_does_there() {
    let (mut replays, mut without_history) = (0, 0);
    for record in records() {
        for store in stores().await {
            load(&store.streamer, &record, "").await;
            for asked in list(&record["replays"]) {
                // PHP could not write this one's snapshot, and text is all that ours takes.
                if !asked["identifier"].is_string() {
                    continue;
                }
                let replayed = replay(&store.streamer, asked).await;
                let Some(expected) = asked["result_json"].as_str() else {
                    assert_eq!(replayed, None, "{}: {asked}", record["id"]);
                    without_history += 1;
                    continue;
                };
                // What PHP never wrote (an empty ID) was not loaded.
                let data = replayed.map_or(json!([]).into(), |replayed| replayed.data);
                // The text, so that the order of the fields counts, and whether a number is an integer.
                // What a PHP array does not know is whether it was an empty object.
                let data = data.to_string().replace("{}", "[]");
                assert_eq!(data, expected, "{}: {asked}", record["id"]);
                replays += 1;
            }
        }
    }
    assert_eq!((replays, without_history), (2 * 27, 2 * 2));
}

#[tokio::test]
async fn what_was_deleted_is_reported_where_php_is_silently_partial() {
    let mut checked = 0;
    for record in records() {
        let Some(deleted) = record["deleted_ids"].as_array() else {
            continue;
        };
        for store in stores().await {
            load(&store.streamer, &record, "").await;
            let replayed = replay(&store.streamer, &record["replays"][0]).await.unwrap();
            let missing: Vec<String> = replayed.missing.iter().map(EntryId::to_string).collect();
            assert_eq!(json!(missing), json!(deleted));
            assert!(!replayed.is_whole());
            checked += 1;
        }
    }
    assert_eq!(checked, 3 * 2);
}

#[tokio::test]
async fn a_snapshot_whose_message_php_failed_to_write_is_reported() {
    let record = records().into_iter().find(|record| record["id"] == "hist-13").unwrap();
    let server = streamer_test_servers::RedisServer::start();
    let streamer = Streamer::connect(&server.url()).await.unwrap();
    load(&streamer, &record, "").await;
    let stored = &record["stored_lists"][1];
    server.command(&["LPUSH", str(&stored["key"]), str(&stored["elements"][0])]);
    let replayed = streamer.replay("doc-7", "z").run().await.unwrap().unwrap();
    assert_eq!(replayed.data, json!([]));
    assert!(replayed.unreadable[0].contains("never written"), "{replayed:?}");
}

/// The second in which an entry was created, as snapshots have it.
fn date(fields: &Fields) -> String {
    let created = fields.iter().find(|(name, _)| name == "created").unwrap();
    let created: i64 = std::str::from_utf8(&created.1).unwrap().parse().unwrap();
    let timestamp = jiff::Timestamp::from_second(created).unwrap();
    timestamp.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn without_created(mut fields: Fields) -> Fields {
    fields.retain(|(name, _)| name != "created");
    fields
}

#[tokio::test]
async fn what_we_emit_has_the_bytes_that_php_writes() {
    let (mut snapshots, mut refused) = (0, 0);
    for record in records() {
        for store in stores().await {
            let streamer = &store.streamer;
            for input in list(&record["input"]) {
                let (event, Some(identifier)) = (str(&input["event"]), input["identifier"].as_str()) else {
                    continue;
                };
                let payload: OrderedJson = serde_json::from_str(str(&input["payload_json"])).unwrap();
                let options = EmitOptions::new().identifier(identifier);
                let emitted = streamer.emit_with(&DynamicEvent::new(event, payload), options).await;
                if input["returned_id"] == "" {
                    // Here PHP answers an empty ID and writes a snapshot of nothing.
                    emitted.unwrap_err();
                    assert!(elements(streamer, &format!("{event}-{identifier}")).await.is_empty());
                    refused += 1;
                    continue;
                }
                let id = emitted.unwrap();
                // The same entry, but for its time.
                let exactly = RangeBound::Inclusive(id);
                let stream = StreamName::from(event);
                let ours = streamer
                    .engine()
                    .range(&stream, exactly, exactly, None, false)
                    .await
                    .unwrap();
                let stored = list(&record["stored_streams"])
                    .find(|stored| stored["stream"] == event)
                    .unwrap();
                let theirs = list(&stored["entries"])
                    .find(|entry| entry["id"] == input["returned_id"])
                    .unwrap();
                assert_eq!(without_created(ours[0].fields.clone()), without_created(fields(theirs)));
                // The same snapshot, but for ID and date.
                let key = format!("{event}-{identifier}");
                let stored = list(&record["stored_lists"])
                    .find(|stored| stored["key"] == key)
                    .unwrap();
                let returned_id = str(&input["returned_id"]);
                let theirs = list(&stored["elements"]).map(str).find(|element| {
                    let element: Value = serde_json::from_str(element).unwrap();
                    element["id"] == returned_id && element["name"] == event
                });
                let expected = theirs.unwrap().replace(returned_id, &id.to_string());
                let expected = expected.replace(str(&input["now"]), &date(&ours[0].fields));
                assert_eq!(elements(streamer, &key).await.pop().unwrap(), expected);
                snapshots += 1;
            }
        }
    }
    assert_eq!((snapshots, refused), (2 * 53, 2));
}
