//! The captures in `tests/golden/` are what the PHP package stored and read. Every record, in both directions, to the
//! byte.
//!
//! In a capture, bytes that are not UTF-8 are `{"base64": "…"}`; `payload_json` is JSON text of what was emitted, in which
//! `1.0` is a float; `data_reencoded` is what a PHP listener saw.
#![allow(clippy::unwrap_used, missing_docs)]

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use streamer::{
    DecodeError, Entry, Fields, OrderedJson, ReceivedMessage, StreamName,
    failed::FailedMessage,
    message::{
        Envelope, payload_from_text,
        php_json::{self, EncodeError},
    },
};

#[test]
fn every_event_is_stored_and_received_as_php_does() {
    let records = golden(include_str!("golden/events.json"), 54);
    let mut refused = 0;
    for record in &records {
        if record.get("error").is_some() {
            assert_refused(record);
            refused += 1;
        } else {
            assert_event(record);
        }
    }
    assert_eq!((records.len() - refused, refused), (49, 5));
}

fn assert_event(record: &Value) {
    let (input, stored, received) = (&record["input"], &record["stored"], &record["received"]);
    let message = message(&stored["stream"], stored);

    let payload: OrderedJson = parse(input["payload_json"].as_str().unwrap());
    let envelope = Envelope {
        name: bytes(&input["event"]),
        kind: bytes(&input["type"]),
        domain: bytes(&input["domain"]),
        original_id: None,
        created: message.created().unwrap(),
        data: php_json::payload_to_vec(&payload).unwrap().into(),
    };
    assert_eq!(&envelope.encode(), message.fields(), "{}", record["id"]);

    if let Some(error) = received.get("error") {
        assert_eq!(error, "JsonException: Maximum stack depth exceeded");
        assert!(
            matches!(message.data(), Err(DecodeError::Undecodable(_))),
            "{}",
            record["id"]
        );
        return;
    }
    let names: Vec<_> = message.fields().iter().map(|(name, _)| text(name)).collect();
    assert_eq!(json!(names), received["content_keys"]);
    assert_eq!(received["id"], message.id().to_string());
    assert_eq!(
        message.name().as_bytes(),
        String::from_utf8_lossy(&bytes(&input["event"])).as_bytes()
    );
    assert_eq!(message.kind().as_bytes(), bytes(&input["type"]));
    assert_eq!(
        message.domain().as_bytes(),
        String::from_utf8_lossy(&bytes(&input["domain"])).as_bytes()
    );
    let seen_by_php = as_php_sees(&parse(received["data_reencoded"].as_str().unwrap()));
    assert_eq!(as_php_sees(message.data().unwrap()), seen_by_php, "{}", record["id"]);
    assert_eq!(
        as_php_sees(&message.payload().unwrap()),
        seen_by_php,
        "{}",
        record["id"]
    );
}

fn assert_refused(record: &Value) {
    assert!(record.get("stored").is_none());
    let reason = record["error"]["message"].as_str().unwrap();
    match record["id"].as_str().unwrap() {
        "ev-067" => {
            assert_eq!(reason, "Inf and NaN cannot be JSON encoded");
            for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert_eq!(php_json::to_vec(&[float]), Err(EncodeError::NotFinite));
            }
        }
        "ev-070" => {
            assert_eq!(reason, "Maximum stack depth exceeded");
            let deep: Value = parse(&("[".repeat(513) + &"]".repeat(513)));
            assert_eq!(php_json::payload_to_vec(&deep), Err(EncodeError::TooDeep));
        }
        // No payload in Rust can hold such text; what another producer stored is refused when it is read.
        "ev-065" => {
            assert_eq!(reason, "Malformed UTF-8 characters, possibly incorrectly encoded");
            assert_undecodable(b"{\"m\":\"caf\xe9\"}");
        }
        "ev-066" => {
            assert_eq!(reason, "Malformed UTF-8 characters, possibly incorrectly encoded");
            assert_undecodable(b"{\"caf\xe9\":1}");
        }
        "ev-071" => {
            assert_eq!(reason, "Malformed UTF-8 characters, possibly incorrectly encoded");
            assert_undecodable(b"{\"m\":\"\xed\xa0\x80\"}");
        }
        other => panic!("{other} is refused, and nothing here says why"),
    }
}

fn assert_undecodable(data: &'static [u8]) {
    let entry = Entry {
        id: "1-0".parse().unwrap(),
        fields: vec![(Bytes::from_static(b"data"), Bytes::from_static(data))],
    };
    let message = ReceivedMessage::new("s".into(), entry, 1);
    assert!(matches!(message.data(), Err(DecodeError::Undecodable(_))));
    assert!(matches!(message.payload::<Value>(), Err(DecodeError::Undecodable(_))));
}

#[test]
fn every_float_is_written_as_php_does_and_reads_back() {
    for record in golden(include_str!("golden/floats.json"), 371) {
        let float = f64::from_bits(u64::from_str_radix(record["bits"].as_str().unwrap(), 16).unwrap());
        let json = record["json"].as_str().unwrap();
        assert_eq!(text(&php_json::to_vec(&float).unwrap()), json);
        assert_eq!(text(&php_json::to_vec(&json!([float])).unwrap()), format!("[{json}]"));
        assert_eq!(
            payload_from_text::<Value>(json.as_bytes()).unwrap().as_f64(),
            Some(float),
            "{json}"
        );
    }
}

#[test]
fn every_character_is_written_as_php_does_and_reads_back() {
    for record in golden(include_str!("golden/strings.json"), 553) {
        let codepoint = u32::try_from(record["codepoint"].as_u64().unwrap()).unwrap();
        let character = char::from_u32(codepoint).unwrap();
        assert_eq!(hex::encode(character.to_string()), record["utf8_hex"]);
        let json = record["json"].as_str().unwrap();
        assert_eq!(text(&php_json::to_vec(&character).unwrap()), json);
        assert_eq!(
            text(&php_json::to_vec(&json!({character.to_string(): 1})).unwrap()),
            format!("{{{json}:1}}")
        );
        assert_eq!(serde_json::from_str::<char>(json).unwrap(), character);
    }
}

#[test]
fn every_failed_message_is_written_as_php_does_and_reads_back() {
    let mut foreign = 0;
    for record in golden(include_str!("golden/failed.json"), 20) {
        let (id, input) = (record["id"].as_str().unwrap(), &record["input"]);
        if input.get("member").is_some() {
            foreign += 1;
            assert_foreign_failed_message(id, &record);
            continue;
        }
        let field = |key: &str, in_store: &str| {
            let value = input.get(key).or_else(|| input.get(in_store));
            value.unwrap().as_str().unwrap().to_owned()
        };
        let failed = FailedMessage {
            id: field("id", "message_id"),
            stream: field("stream", "event"),
            receiver: field("receiver", ""),
            error: field("error", ""),
            date: field("date", "now"),
        };
        assert_eq!(json!([text(&failed.to_member())]), record["members"], "{id}");
        assert_eq!(php_json::to_vec(&failed).unwrap(), failed.to_member(), "{id}");
        assert_eq!(FailedMessage::from_member(&failed.to_member()), Ok(failed), "{id}");
    }
    assert_eq!(foreign, 6);
}

/// A member that something else than the package wrote: PHP reads it by position, and can remove it only if it would
/// have written the same bytes.
fn assert_foreign_failed_message(id: &str, record: &Value) {
    let member = record["input"]["member"].as_str().unwrap().as_bytes();
    let failed = FailedMessage::from_member(member).unwrap();
    let mut by_php = record["decoded"].clone();
    match id {
        // PHP takes the values in the order in which they stand; the keys say which is which.
        "fail-21" => by_php = parse(record["input"]["member"].as_str().unwrap()),
        // PHP takes the moment of reading for a missing date.
        "fail-23" => by_php["date"] = json!(""),
        _ => {}
    }
    assert_eq!(serde_json::to_value(&failed).unwrap(), by_php, "{id}");
    let removable = failed.to_member() == member;
    assert_eq!(record["left_after_remove"], u8::from(!removable), "{id}");
}

#[test]
fn every_archived_and_restored_entry_is_written_again_to_the_byte() {
    let mut entries = 0;
    for record in golden(include_str!("golden/archive.json"), 4) {
        let stream = &record["input"]["event"];
        assert_stored(stream, &record["stored"], Some(&record["input"]["payload_json"]));
        let first = &record["stored"]["id"];
        for cycle in record["cycles"].as_array().unwrap() {
            let restored = assert_stored(stream, &cycle["restored"], None);
            assert!(restored.original_id().is_some());
            if first == &cycle["archived_message_content"][0][1] {
                assert_eq!(restored.original_id().unwrap().to_string(), *first);
            }
            entries += 1;
        }
        entries += 1;
    }
    assert_eq!(entries, 4 * 3);
}

#[test]
fn every_model_event_is_written_again_to_the_byte() {
    let mut entries = 0;
    for record in golden(include_str!("golden/eloquent.json"), 10) {
        for emitted in record["emitted"].as_array().unwrap() {
            assert_stored(&emitted["stream"], emitted, None);
            entries += 1;
        }
    }
    assert_eq!(entries, 13);
}

#[test]
fn every_entry_and_snapshot_of_a_history_is_written_again_to_the_byte() {
    let (mut entries, mut snapshots) = (0, 0);
    for record in golden(include_str!("golden/history.json"), 15) {
        let mut inputs = record["input"].as_array().unwrap().iter();
        for stream in record["stored_streams"].as_array().unwrap() {
            for stored in stream["entries"].as_array().unwrap() {
                let emitted =
                    |input: &&Value| input["event"] == stream["stream"] && input["returned_id"] == stored["id"];
                let input = inputs.clone().find(emitted);
                assert_stored(&stream["stream"], stored, input.map(|input| &input["payload_json"]));
                entries += 1;
            }
        }
        assert!(inputs.all(|input| input["payload_json"].is_string()));
        for list in record["stored_lists"].as_array().unwrap() {
            for element in list["elements"].as_array().unwrap() {
                let element = element.as_str().unwrap();
                assert_eq!(
                    text(&php_json::to_vec(&parse::<OrderedJson>(element)).unwrap()),
                    element
                );
                snapshots += 1;
            }
        }
    }
    assert_eq!((entries, snapshots), (54, 54));
}

/// Reads a stored entry, and writes it again from what was read; from `payload_json` too, where that is known.
fn assert_stored(stream: &Value, stored: &Value, payload_json: Option<&Value>) -> ReceivedMessage {
    let message = message(stream, stored);
    let raw = |field: &str| message.field(field).unwrap().clone();
    let read: OrderedJson = message.payload().unwrap();
    assert_eq!(message.data().unwrap(), &read);
    let given = payload_json.map(|text| parse(text.as_str().unwrap()));
    for payload in [Some(read), given].into_iter().flatten() {
        let envelope = Envelope {
            name: raw("name"),
            kind: raw("type"),
            domain: raw("domain"),
            original_id: message.original_id(),
            created: message.created().unwrap(),
            data: php_json::payload_to_vec(&payload).unwrap().into(),
        };
        assert_eq!(&envelope.encode(), message.fields());
    }
    message
}

fn golden(file: &str, records: usize) -> Vec<Value> {
    let Value::Array(list) = parse(file) else {
        panic!("the capture is a list of records")
    };
    assert_eq!(list.len(), records);
    list
}

/// JSON with every digit of its floats.
fn parse<T: DeserializeOwned>(text: &str) -> T {
    payload_from_text(text.as_bytes()).unwrap_or_else(|_| {
        // One that PHP writes, and reads no more.
        let mut deserializer = serde_json::Deserializer::from_str(text);
        deserializer.disable_recursion_limit();
        T::deserialize(&mut deserializer).unwrap()
    })
}

fn message(stream: &Value, stored: &Value) -> ReceivedMessage {
    let pairs = stored["fields"].as_array().unwrap().iter();
    let fields: Fields = pairs.map(|pair| (bytes(&pair[0]), bytes(&pair[1]))).collect();
    let id = stored["id"].as_str().unwrap().parse().unwrap();
    ReceivedMessage::new(StreamName::from(bytes(stream)), Entry { id, fields }, 1)
}

fn bytes(value: &Value) -> Bytes {
    match value {
        Value::String(text) => text.clone().into(),
        other => BASE64.decode(other["base64"].as_str().unwrap()).unwrap().into(),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A PHP array does not know whether it was a list or an object: here both are objects with the keys `0`, `1`, …
fn as_php_sees(value: &Value) -> Value {
    match value {
        Value::Array(list) => {
            let numbered = list.iter().enumerate();
            numbered
                .map(|(index, value)| (index.to_string(), as_php_sees(value)))
                .collect()
        }
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| (key.clone(), as_php_sees(value)))
            .collect(),
        other => other.clone(),
    }
}
