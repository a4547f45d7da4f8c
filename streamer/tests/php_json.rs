//! PHP's JSON text: the values that the captures do not have.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use streamer::{
    OrderedJson,
    message::{
        payload_from_text,
        php_json::{self, EncodeError},
    },
};

fn php(value: &(impl Serialize + ?Sized)) -> String {
    String::from_utf8(php_json::to_vec(value).unwrap()).unwrap()
}

fn payload(value: &(impl Serialize + ?Sized)) -> String {
    String::from_utf8(php_json::payload_to_vec(value).unwrap()).unwrap()
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(i8),
    Tuple(u8, char),
    Struct { a: Option<bool> },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    unit: (),
    none: Option<u8>,
    some: Option<u8>,
    text: String,
    character: char,
    list: Vec<u16>,
    tuple: (i32, f64),
    shapes: Vec<Shape>,
    by_number: BTreeMap<i64, Shape>,
    by_flag: BTreeMap<bool, u8>,
    by_letter: BTreeMap<char, u8>,
    empty_list: Vec<u8>,
    empty_object: BTreeMap<String, u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    absent: Option<u8>,
}

#[test]
fn it_has_the_shape_that_serde_json_gives_it() {
    let everything = Everything {
        unit: (),
        none: None,
        some: Some(1),
        text: "a/b\"c\\d\u{7f}é\u{1f600}\u{1}".into(),
        character: '/',
        list: vec![1, 2],
        tuple: (-5, 0.25),
        shapes: vec![
            Shape::Unit,
            Shape::Newtype(-1),
            Shape::Tuple(1, 'é'),
            Shape::Struct { a: Some(true) },
        ],
        by_number: BTreeMap::from([(-3, Shape::Unit), (7, Shape::Newtype(0))]),
        by_flag: BTreeMap::from([(true, 1)]),
        by_letter: BTreeMap::from([('é', 1), ('/', 2)]),
        empty_list: vec![],
        empty_object: BTreeMap::new(),
        absent: None,
    };
    let text = php(&everything);
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        serde_json::to_value(&everything).unwrap()
    );
    assert_eq!(serde_json::from_str::<Everything>(&text).unwrap(), everything);
    assert!(text.contains(r#""shapes":["Unit",{"Newtype":-1},{"Tuple":[1,"\u00e9"]},{"Struct":{"a":true}}]"#));
    assert!(text.contains(r#""by_number":{"-3":"Unit","7":{"Newtype":0}},"by_flag":{"true":1}"#));
}

#[test]
fn of_two_nearest_shortest_texts_the_even_one_is_written() {
    // Both texts read back as the float, both are as near: PHP rounds half to even.
    assert_eq!(php(&(2_f64.powi(50) + 0.25)), "1125899906842624.2");
    assert_eq!(php(&f64::from_bits(0x430505a0e1d828f2)), "739645381608734.2");
    assert_eq!(php(&5e-324), "5.0e-324");
}

#[test]
fn small_floats_keep_their_own_digits() {
    assert_eq!(php(&0.1_f32), "0.1");
    assert_eq!(php(&16_777_216_f32), "16777216");
    assert_eq!(php(&f32::MIN_POSITIVE), "1.1754944e-38");
    assert_eq!(php_json::to_vec(&f32::NAN), Err(EncodeError::NotFinite));
}

#[test]
fn integers_keep_every_digit() {
    assert_eq!(php(&i64::MIN), "-9223372036854775808");
    assert_eq!(php(&u64::MAX), "18446744073709551615");
    assert_eq!(php(&u128::MAX), u128::MAX.to_string());
    assert_eq!(php(&i128::MIN), i128::MIN.to_string());
}

#[test]
fn an_empty_payload_is_an_empty_array() {
    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct NoFields {}
    #[derive(Serialize)]
    struct Wrapper(NoFields);
    assert_eq!(payload(&Unit), "[]");
    assert_eq!(payload(&NoFields {}), "[]");
    assert_eq!(payload(&Wrapper(NoFields {})), "[]");
    assert_eq!(payload(&json!({})), "[]");
    assert_eq!(payload(&json!([])), "[]");
    assert_eq!(payload(&json!({"a": {}, "b": [{}]})), r#"{"a":{},"b":[{}]}"#);
    assert_eq!(payload(&[Unit]), "[null]");
    assert_eq!(payload(&json!(null)), "null");
}

#[test]
fn the_deepest_level_is_the_512th() {
    fn nested(levels: usize) -> Value {
        (1..levels).fold(json!([]), |inner, level| match level % 2 {
            0 => Value::Array(vec![inner]),
            _ => Value::Object([("k".to_owned(), inner)].into_iter().collect()),
        })
    }
    assert_eq!(serde_json::to_string(&nested(512)).unwrap(), php(&nested(512)));
    assert_eq!(php_json::to_vec(&nested(513)), Err(EncodeError::TooDeep));
    assert_eq!(php_json::to_vec(&nested(2_000)), Err(EncodeError::TooDeep));
    // An enum's content is a level below the variant's name.
    let around = |levels: usize, shape: Shape| (0..levels).fold(json!(shape), |inner, _| Value::Array(vec![inner]));
    assert!(php_json::to_vec(&around(510, Shape::Tuple(1, 'x'))).is_ok());
    assert!(php_json::to_vec(&around(511, Shape::Newtype(1))).is_ok());
    assert_eq!(
        php_json::to_vec(&around(511, Shape::Tuple(1, 'x'))),
        Err(EncodeError::TooDeep)
    );
}

#[test]
fn what_has_no_text_is_refused_as_a_key() {
    let keyed = |key: Vec<u8>| BTreeMap::from([(key, 1)]);
    assert_eq!(php_json::to_vec(&keyed(vec![1])), Err(EncodeError::Key("a list")));
    assert_eq!(
        php_json::to_vec(&BTreeMap::from([(Shape::Tuple(1, 'x'), 1)])),
        Err(EncodeError::Key("an enum with content"))
    );
    assert_eq!(php(&BTreeMap::from([(Shape::Unit, 1)])), r#"{"Unit":1}"#);
}

#[test]
fn a_value_shown_as_text_is_escaped() {
    struct Shown;
    impl Serialize for Shown {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(&format_args!("{}/{}", 'é', "\""))
        }
    }
    assert_eq!(php(&Shown), r#""\u00e9\/\"""#);
}

fn any_json() -> impl Strategy<Value = OrderedJson> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Integral floats read back as integers.
        any::<f64>()
            .prop_filter("has a fraction", |float| float.fract() != 0.0)
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_map(OrderedJson::from).prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(|list| OrderedJson::of(&list).unwrap()),
            prop::collection::vec((any::<String>(), inner), 0..8).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn strings_read_back(text in any::<String>()) {
        let json = php(&text);
        prop_assert!(json.is_ascii());
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn floats_read_back(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite());
        let json = php(&float);
        prop_assert_eq!(payload_from_text::<Value>(json.as_bytes()).unwrap().as_f64(), Some(float));
        prop_assert_eq!(json.parse::<f64>().unwrap().to_bits(), bits);
    }

    #[test]
    fn floats_with_few_digits_are_written_with_these(digits in 1_u64..100_000_000, exponent in -30_i32..30) {
        let float: f64 = format!("{digits}e{exponent}").parse().unwrap();
        let magnitude = digits.to_string().len() as i32 + exponent;
        prop_assert_eq!(php(&float).contains('e'), !(-3..=17).contains(&magnitude));
        let written: String = php(&float).split('e').next().unwrap().replace('.', "");
        let digits = digits.to_string();
        prop_assert_eq!(written.trim_matches('0'), digits.trim_end_matches('0'));
    }

    #[test]
    fn json_reads_back_in_its_order(value in any_json()) {
        let json = php(&value);
        let read: OrderedJson = payload_from_text(json.as_bytes()).unwrap();
        prop_assert_eq!(&read, &value);
        prop_assert_eq!(read.to_string(), value.to_string());
        prop_assert_eq!(php(&read), json);
    }
}

/// As `serde_json` hands over a number when its feature `arbitrary_precision` is on.
#[derive(Serialize)]
#[serde(rename = "$serde_json::private::Number")]
struct Digits {
    #[serde(rename = "$serde_json::private::Number")]
    text: &'static str,
}

/// As `serde_json` hands over a `RawValue`.
#[derive(Serialize)]
#[serde(rename = "$serde_json::private::RawValue")]
struct RawJson {
    #[serde(rename = "$serde_json::private::RawValue")]
    text: &'static str,
}

#[test]
fn a_number_that_comes_as_text_is_a_number() {
    let numbers = ["7", "-7", "19.90", "1.0", "1e20", "12345678901234567.89"].map(|text| Digits { text });
    let expected = "[7,-7,19.9,1,1.0e+20,12345678901234567.89]";
    assert_eq!(payload(&numbers), expected);
    assert_eq!(
        payload(&BTreeMap::from([("total", Digits { text: "9.99" })])),
        r#"{"total":9.99}"#
    );
    let ordered = OrderedJson::of(&numbers[..3]).unwrap();
    assert_eq!(payload(&ordered), "[7,-7,19.9]");
    for text in ["1e999", "seven", "[7]", ""] {
        assert!(php_json::to_vec(&Digits { text }).is_err(), "{text}");
    }
}

#[test]
fn a_raw_value_is_the_json_that_it_holds_in_the_spelling_of_php() {
    let raw = RawJson {
        text: r#" {"b": 1.0, "a/b": ["é", {}]} "#,
    };
    let expected = r#"{"b":1,"a\/b":["\u00e9",{}]}"#;
    assert_eq!(payload(&raw), expected);
    assert_eq!(payload(&[&raw]), format!("[{expected}]"));
    assert_eq!(payload(&OrderedJson::of(&raw).unwrap()), expected);
    assert_eq!(payload(&RawJson { text: "{}" }), "[]");
    assert!(php_json::to_vec(&RawJson { text: "{" }).is_err());
}
