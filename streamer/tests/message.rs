//! Messages from whomever: what other producers leave out, add or break.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use streamer::{
    DecodeError, DynamicEvent, Entry, EntryId, OrderedJson, ReceivedMessage, StreamName, message::php_json,
};

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
    // It is not our envelope: what is called as one of our fields is its own all the same.
    assert_eq!(
        message.data(),
        Ok(&json!({"sku": "A-1", "amount": "2", "version": "9", "hash": "x"}))
    );
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
    assert_eq!(with_data("7").only(&["0"]), json!({}));
    assert_eq!(with_data("[1,2]").get("1"), Some(&json!(2)));
}

/// PHP's arrays have an order.
#[test]
fn the_order_of_keys_is_that_of_the_payload_wherever_it_is_passed_on() {
    const PAYLOAD: &str = r#"{"z":1,"b":{"y":[{"d":1,"c":2}],"x":3},"a":4}"#;
    let ours = with_data(PAYLOAD);
    assert_eq!(ours.payload::<OrderedJson>().unwrap().to_string(), PAYLOAD);
    assert!(ours.to_json().contains(&format!("\"data\":{PAYLOAD}")));
    assert_eq!(
        ours.only(&["a", "b"]).to_string(),
        r#"{"b":{"y":[{"d":1,"c":2}],"x":3},"a":4}"#
    );
    assert_eq!(
        ours.except(&["b.y.0.d"]).to_string(),
        r#"{"z":1,"b":{"y":[{"c":2}],"x":3},"a":4}"#
    );
    let passed_on = DynamicEvent::new("e", ours.except(&["z"]));
    assert_eq!(
        php_json::to_vec(&passed_on).unwrap(),
        br#"{"b":{"y":[{"d":1,"c":2}],"x":3},"a":4}"#
    );
    // Beyond the levels that serde_json reads by itself, and with a float of many digits.
    let deep = format!(
        "{}{}{}",
        r#"{"z":0.1234567890123456,"a":"#.repeat(200),
        1,
        "}".repeat(200)
    );
    assert_eq!(with_data(&deep).payload::<OrderedJson>().unwrap().to_string(), deep);
    // The fields of another program's entry.
    let foreign = message(&[("z", b"1"), ("b", b"\xff"), ("a", b"2")]);
    let expected = r#"{"z":"1","b":{"base64":"/w=="},"a":"2"}"#;
    assert_eq!(foreign.payload::<OrderedJson>().unwrap().to_string(), expected);
    assert_eq!(foreign.only(&["a", "b", "z"]).to_string(), expected);
    assert!(foreign.to_json().contains(&format!("\"data\":{expected}")));
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

/// Whether `serde_json` has its feature `arbitrary_precision`, as an application may have it.
fn numbers_keep_digits() -> bool {
    "1e400".parse::<serde_json::Number>().is_ok()
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
        if data == b"[1e999]" && numbers_keep_digits() {
            continue;
        }
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
                message.only(&["n"]).to_string(),
                message.except(&["n"]).to_string()
            ),
            (None, "{}".to_owned(), "{}".to_owned())
        );
        assert_eq!(message.field("data").unwrap(), data);
        assert_eq!(message.created(), Some(17));
    }
    // What is not UTF-8 keeps an entry of another program from nobody.
    let without_data = message(&[("sku", b"\xff")]);
    assert_eq!(without_data.data(), Ok(&json!({"sku": {"base64": "/w=="}})));
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
            .contains(r#""data":{"base64:/w==":{"base64":"/g=="}}"#)
    );
}

#[test]
fn all_fields_of_another_programs_entry_are_its_payload() {
    let message = message(&[
        ("id", b"7"),
        ("name", b"Ann"),
        ("type", b"admin"),
        ("created", b"2026-11-01"),
        ("version", b"3"),
        ("_id", b"x"),
        ("domain", b"d"),
        ("original_id", b"12"),
        ("email", b"a@x"),
        ("email", b"b@x"),
    ]);
    assert_eq!(message.name(), "order.placed");
    assert_eq!((message.kind(), message.domain()), ("event".into(), "".into()));
    assert_eq!((message.created(), message.original_id()), (None, None));
    let expected = json!({
        "id": "7", "name": "Ann", "type": "admin", "created": "2026-11-01", "version": "3", "_id": "x", "domain": "d",
        "original_id": "12", "email": "b@x",
    });
    assert_eq!(message.data(), Ok(&expected));
    assert_eq!(message.payload::<Value>(), Ok(expected));
    let json: Value = serde_json::from_str(&message.to_json()).unwrap();
    assert_eq!(
        (&json["name"], &json["data"]["name"]),
        (&json!("order.placed"), &json!("Ann"))
    );
}

#[test]
fn the_id_before_an_archiving_is_not_in_the_payload_of_a_foreign_entry() {
    let message = message(&[("original_id", b"1-2"), ("original_id", b"mine"), ("sku", b"A")]);
    assert_eq!(message.original_id(), Some(EntryId::new(1, 2)));
    assert_eq!(message.data(), Ok(&json!({"original_id": "mine", "sku": "A"})));
}

/// Entries as other programs write them, field by field.
#[test]
fn entries_of_other_libraries_reach_every_listener() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Watermill {
        _watermill_message_uuid: String,
        metadata: Vec<u8>,
        payload: Bytes2,
    }
    #[derive(Debug, PartialEq)]
    struct Bytes2(Vec<u8>);
    impl<'de> Deserialize<'de> for Bytes2 {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl serde::de::Visitor<'_> for Visitor {
                type Value = Bytes2;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("bytes")
                }
                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes2, E> {
                    Ok(Bytes2(bytes.to_vec()))
                }
            }
            deserializer.deserialize_bytes(Visitor)
        }
    }
    // watermill-redisstream: payload in JSON, metadata in msgpack.
    let watermill = message(&[
        ("_watermill_message_uuid", b"u-1"),
        ("metadata", b"\x81\xa4name\xa3foo"),
        ("payload", b"{\"id\":1}"),
    ]);
    assert_eq!(
        watermill.data(),
        Ok(&json!({
            "_watermill_message_uuid": "u-1", "metadata": {"base64": "gaRuYW1lo2Zvbw=="}, "payload": "{\"id\":1}",
        }))
    );
    assert_eq!(
        watermill.payload(),
        Ok(Watermill {
            _watermill_message_uuid: "u-1".to_owned(),
            metadata: b"\x81\xa4name\xa3foo".to_vec(),
            payload: Bytes2(b"{\"id\":1}".to_vec()),
        })
    );
    assert_eq!(&watermill.payload::<Value>().unwrap(), watermill.data().unwrap());
    assert_eq!(watermill.check(), Ok(()));

    // FastStream from 0.6 on: one binary field.
    let faststream = message(&[("__data__", b"\x89BIN\r\n\x1a\n\0\x01\0\0\0\x12\0\0\0\x14{\"id\":1}")]);
    assert_eq!(
        faststream.data(),
        Ok(&json!({"__data__": {"base64": "iUJJTg0KGgoAAQAAABIAAAAUeyJpZCI6MX0="}}))
    );

    // Spring Data Redis: with string serializers, and with Java's own for names and values.
    let spring = message(&[("_class", b"shop.Order"), ("id", b"7"), ("total", b"9.99")]);
    assert_eq!(
        spring.data(),
        Ok(&json!({"_class": "shop.Order", "id": "7", "total": "9.99"}))
    );
    let java = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        [&b"\xac\xed\0\x05t\0"[..], &[length], text.as_bytes()].concat()
    };
    let fields = vec![(Bytes::from(java("id")), Bytes::from(java("7")))];
    let entry = Entry {
        id: EntryId::new(5, 1),
        fields,
    };
    let spring = ReceivedMessage::new("order.placed".into(), entry, 1);
    assert_eq!(
        spring.data(),
        Ok(&json!({"base64:rO0ABXQAAmlk": {"base64": "rO0ABXQAATc="}}))
    );

    // sea-streamer: one field.
    assert_eq!(message(&[("msg", b"hello")]).data(), Ok(&json!({"msg": "hello"})));
    // redis-cli XADD.
    let plain = message(&[("sku", b"A-1"), ("amount", b"2"), ("empty", b"")]);
    assert_eq!(plain.data(), Ok(&json!({"sku": "A-1", "amount": "2", "empty": ""})));
    let json: Value = serde_json::from_str(&plain.to_json()).unwrap();
    assert_eq!((&json["data"]["amount"], &json["created"]), (&json!("2"), &Value::Null));
}

#[test]
fn minus_zero_is_what_php_makes_of_it() {
    assert_eq!(with_data("-0").data(), Ok(&json!(0)));
    // An exponent is no number of its own.
    let exponents = with_data("[1e-0, 25E-0,-2e-0]");
    assert_eq!(
        exponents.data().map(ToString::to_string),
        Ok(match numbers_keep_digits() {
            true => "[1e-0,25e-0,-2e-0]",
            false => "[1.0,25.0,-2.0]",
        }
        .to_owned())
    );
    assert_eq!(
        with_data(r#"{"a":-0,"b":[-0, -0 ],"c":"-0,","d":-0.5,"e":-0e1,"f":-7}"#)
            .data()
            .map(ToString::to_string),
        Ok(match numbers_keep_digits() {
            true => r#"{"a":0,"b":[0,0],"c":"-0,","d":-0.5,"e":-0e+1,"f":-7}"#,
            false => r#"{"a":0,"b":[0,0],"c":"-0,","d":-0.5,"e":-0.0,"f":-7}"#,
        }
        .to_owned())
    );
    #[derive(Deserialize)]
    struct Number {
        n: i64,
    }
    assert_eq!(with_data(r#"{"n":-0}"#).payload::<Number>().unwrap().n, 0);
    let read: Value = streamer::message::payload_from_text(br#"{"n":-0,"s":"\"-0"}"#).unwrap();
    assert_eq!(
        streamer::message::php_json::payload_to_vec(&read).unwrap(),
        br#"{"n":0,"s":"\"-0"}"#
    );
    assert!(with_data("-01").data().is_err());
}

#[test]
fn a_time_in_another_unit_or_after_the_id_is_not_believed() {
    let created = |id: u64, text: &str| {
        let entry = Entry {
            id: EntryId::new(id, 0),
            fields: vec![("data".into(), "1".into()), ("created".into(), text.to_owned().into())],
        };
        ReceivedMessage::new("s".into(), entry, 1).created()
    };
    assert_eq!(created(1_795_407_980_936, "1795407980"), Some(1_795_407_980));
    assert_eq!(created(1_795_407_980_936, "1795407980936"), Some(1_795_407_980));
    assert_eq!(created(1_795_407_980_936, "1895407980"), Some(1_795_407_980));
    assert_eq!(created(1_795_407_980_936, "soon"), None);
}
