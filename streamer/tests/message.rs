//! Messages from whomever: what other producers leave out, add or break.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use streamer::{DecodeError, Entry, EntryId, ReceivedMessage, StreamName};

fn message(fields: &[(&str, &[u8])]) -> ReceivedMessage {
    let bytes = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let fields = fields
        .iter()
        .map(|(name, value)| (bytes(name.as_bytes()), bytes(value)));
    let entry = Entry {
        id: EntryId::new(5, 1),
        fields: fields.collect(),
    };
    ReceivedMessage::new("order.placed".into(), entry, 3)
}

fn with_data(data: &str) -> ReceivedMessage {
    message(&[("name", b"order.placed"), ("data", data.as_bytes())])
}

#[derive(Debug, PartialEq, Deserialize)]
struct Order {
    id: u64,
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Item {
    price: f64,
}

#[test]
fn an_entry_without_our_fields_is_a_message_with_defaults() {
    let message = message(&[("sku", b"A-1"), ("amount", b"2"), ("version", b"9"), ("hash", b"x")]);
    assert_eq!(message.name(), "order.placed");
    assert_eq!((message.kind(), message.domain()), ("event".into(), "".into()));
    assert_eq!((message.created(), message.original_id()), (None, None));
    assert_eq!((message.id(), message.attempt()), (EntryId::new(5, 1), 3));
    assert_eq!(message.data(), Ok(&json!({"sku": "A-1", "amount": "2"})));
    assert_eq!(message.payload::<BTreeMap<String, String>>().unwrap()["sku"], "A-1");
    assert_eq!(message.get("amount"), Some(&json!("2")));
    assert_eq!(message.field("hash").unwrap(), "x");
}

#[test]
fn unknown_fields_are_kept_and_wrong_ones_ignored() {
    let message = message(&[
        ("data", b"1"),
        ("created", b"yesterday"),
        ("original_id", b"none"),
        ("trace", b"abc"),
        ("data", b"2"),
    ]);
    assert_eq!((message.created(), message.original_id()), (None, None));
    assert_eq!(message.field("trace").unwrap(), "abc");
    assert_eq!(message.fields().len(), 5);
    // As in a PHP array, the last of two fields with one name counts.
    assert_eq!(message.data(), Ok(&json!(2)));
}

#[test]
fn a_payload_need_not_be_an_object() {
    assert_eq!(with_data("[1,2]").payload::<Vec<u8>>().unwrap(), [1, 2]);
    assert_eq!(with_data("\"text\"").payload::<String>().unwrap(), "text");
    assert_eq!(with_data(" 7 ").data(), Ok(&json!(7)));
    assert_eq!(with_data("7").get("0"), None);
    assert_eq!(with_data("7").only(&["0"]).len(), 0);
    assert_eq!(with_data("[1,2]").get("1"), Some(&json!(2)));
}

#[test]
fn phps_empty_array_is_also_an_empty_object_and_a_unit_struct() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Unit;
    #[derive(Debug, PartialEq, Deserialize)]
    struct AllOptional {
        note: Option<String>,
    }
    assert_eq!(with_data("[]").payload::<Unit>(), Ok(Unit));
    assert_eq!(with_data("[]").payload::<BTreeMap<String, u8>>(), Ok(BTreeMap::new()));
    assert_eq!(with_data("[]").payload::<AllOptional>(), Ok(AllOptional { note: None }));
    assert_eq!(with_data("[]").payload::<Vec<u8>>(), Ok(vec![]));
    let missing = with_data("[]").payload::<Order>().unwrap_err();
    assert!(missing.to_string().contains("missing field `id`"), "{missing}");
}

#[test]
fn what_does_not_fit_is_named_with_its_place() {
    let error = with_data(r#"{"id":1,"items":[{"price":1},{"price":"free"}]}"#)
        .payload::<Order>()
        .unwrap_err();
    let DecodeError::Mismatch { path, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(path, "items[1].price");
    assert!(error.to_string().contains("Order"), "{error}");
    assert!(error.to_string().contains("(in `items[1].price`)"), "{error}");
    let error = with_data("7").payload::<Order>().unwrap_err();
    assert!(
        matches!(&error, DecodeError::Mismatch { path, .. } if path.is_empty()),
        "{error}"
    );
    let error = message(&[("id", b"one")])
        .payload::<BTreeMap<String, u8>>()
        .unwrap_err();
    assert!(
        matches!(&error, DecodeError::Mismatch { path, .. } if path == "id"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_decoded_is_still_there_in_raw() {
    let deep = "[".repeat(200_000);
    let broken: [&[u8]; 12] = [
        b"",
        b"{\"n\":",
        b"{\"n\":1}x",
        b"not json",
        b"{\"n\":\"\xff\"}",
        b"\xff",
        b"\"\\ud800\"",
        b"NaN",
        b"[1e999]",
        b"{\"\\udc00\":1}",
        b"{\"\xff\":1}",
        deep.as_bytes(),
    ];
    for data in broken {
        let message = message(&[("data", data), ("created", b"17")]);
        assert!(matches!(message.check(), Err(DecodeError::Undecodable(_))), "{data:?}");
        assert!(matches!(message.data(), Err(DecodeError::Undecodable(_))), "{data:?}");
        assert!(
            matches!(message.payload::<Value>(), Err(DecodeError::Undecodable(_))),
            "{data:?}"
        );
        assert!(
            matches!(message.payload::<Order>(), Err(DecodeError::Undecodable(_))),
            "{data:?}"
        );
        assert_eq!(
            (
                message.get("n"),
                message.only(&["n"]).len(),
                message.except(&["n"]).len()
            ),
            (None, 0, 0)
        );
        assert_eq!(message.field("data").unwrap(), data);
        assert_eq!(message.created(), Some(17));
    }
    let without_data = message(&[("sku", b"\xff")]);
    assert!(matches!(without_data.data(), Err(DecodeError::Undecodable(_))));
}

#[test]
fn nesting_is_read_as_deep_as_php_reads_it() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(with_data(&nested(511)).check().is_ok());
    assert!(with_data(&nested(511)).data().is_ok());
    assert!(with_data(&nested(511)).payload::<Value>().is_ok());
    assert!(with_data(&nested(512)).data().is_err());
    // Also where the explanation of what does not fit has to go down all the way.
    #[derive(Debug, Deserialize)]
    struct Nested(#[allow(dead_code)] Vec<Nested>);
    let to_the_ground = format!("{}7{}", "[".repeat(511), "]".repeat(511));
    let error = with_data(&to_the_ground).payload::<Nested>().unwrap_err();
    assert!(matches!(error, DecodeError::Mismatch { .. }), "{error}");
    // Brackets in texts and beside each other do not nest.
    let wide = format!("[{}\"\\\"{}\"]", "[{}],".repeat(600), "[".repeat(600));
    assert!(with_data(&wide).data().is_ok());
}

#[test]
fn a_program_gets_one_line_with_its_keys_in_order() {
    let stored: &[(&str, &[u8])] = &[
        ("_id", b"*"),
        ("original_id", b"4-0"),
        ("type", b"command"),
        ("name", b"order.cancel"),
        ("domain", b"shop"),
        ("created", b"1795407980"),
        ("data", b"{\"z\":1,\"a\":\"b\\/c\"}"),
    ];
    assert_eq!(
        message(stored).to_json(),
        r#"{"id":"5-1","stream":"order.placed","name":"order.cancel","type":"command","domain":"shop","created":1795407980,"original_id":"4-0","attempt":3,"data":{"z":1,"a":"b/c"}}"#
    );
    assert_eq!(
        message(&[("data", b"\xff"), ("x", b"y")]).to_json(),
        r#"{"id":"5-1","stream":"order.placed","name":"order.placed","type":"event","domain":"","created":null,"original_id":null,"attempt":3,"data":null,"raw":[["data",{"base64":"/w=="}],["x","y"]]}"#
    );
}

#[test]
fn names_that_are_not_text_do_no_harm() {
    let entry = Entry {
        id: EntryId::new(1, 0),
        fields: vec![(Bytes::from_static(b"\xff"), Bytes::from_static(b"\xfe"))],
    };
    let message = ReceivedMessage::new(StreamName::from(b"caf\xe9".to_vec()), entry, 1);
    assert_eq!(message.name(), "caf\u{fffd}");
    assert_eq!(message.stream().as_bytes(), b"caf\xe9");
    assert!(
        message
            .to_json()
            .contains(r#""raw":[[{"base64":"/w=="},{"base64":"/g=="}]]"#)
    );
}
