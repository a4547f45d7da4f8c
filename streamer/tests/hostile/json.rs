//! PHP's JSON, read and written, against slow models.

use serde_json::{Number, Value};
use streamer::{
    OrderedJson,
    message::{payload_from_text, php_json},
};

use crate::{corpus, kind, php_model::php};

#[test]
fn json_is_read_and_written_as_the_models_do() {
    let corpus = corpus("json").with_tokens(&[
        "null", "true", "false", "-0", "-0.0", "1e308", "\\u00e9", "\\ud83d", "\\ude00", "\"\"", "{}", "[]", "\":",
        ",\"a\":",
    ]);
    corpus.check(8_000, |text| {
        let read = payload_from_text::<Value>(text);
        let ordered = payload_from_text::<OrderedJson>(text);
        compare_with_usual_reader(text, &read);
        let value = match read {
            Err(error) => {
                assert_eq!(ordered, Err(error.clone()));
                return format!("refused: {}", kind(&error));
            }
            Ok(value) => value,
        };
        let depth = depth(&value);
        assert!(depth <= 511, "{depth} levels");
        let written = String::from_utf8(php_json::to_vec(&value).unwrap()).unwrap();
        assert!(written.is_ascii());
        assert_eq!(written, php(&value));
        let payload = String::from_utf8(php_json::payload_to_vec(&value).unwrap()).unwrap();
        assert_eq!(payload, if written == "{}" { "[]" } else { &*written });
        let ordered = ordered.unwrap();
        assert_eq!(ordered, value);
        assert_eq!(
            payload_from_text::<OrderedJson>(ordered.to_string().as_bytes())
                .unwrap()
                .to_string(),
            ordered.to_string()
        );
        // What we wrote we read, and write in the same way again.
        let again: Value = payload_from_text(written.as_bytes()).unwrap();
        let again = String::from_utf8(php_json::to_vec(&again).unwrap()).unwrap();
        assert_eq!(again.replace("-0", "0"), written.replace("-0", "0"));
        format!("{depth} {} {}", shape(&value), written.len().ilog2())
    });
}

/// serde_json alone reads the same, as far as its own limit of depth goes, but for the last digit of floats, and for `-0`, which PHP
/// takes for an integer.
fn compare_with_usual_reader(text: &[u8], read: &Result<Value, streamer::message::DecodeError>) {
    match (serde_json::from_slice::<Value>(text), read) {
        (Ok(expected), Ok(read)) => assert_eq!(alike(read.clone()), alike(expected)),
        (Ok(expected), Err(error)) => panic!("{expected} is refused: {error}"),
        // Near the largest float its last digit decides whether it takes one for too large.
        (Err(error), Ok(_)) if error.to_string().starts_with("number out of range") => {}
        (Err(error), Ok(read)) => assert!(depth(read) >= 128, "{read} is no JSON: {error}"),
        (Err(_), Err(_)) => {}
    }
}

fn alike(value: Value) -> Value {
    match value {
        Value::Number(number) if number.as_f64() == Some(0.0) => Value::Number(Number::from(0)),
        Value::Number(number) if number.is_f64() => format!("{:.12e}", number.as_f64().unwrap()).into(),
        Value::Array(list) => list.into_iter().map(alike).collect(),
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, alike(value))).collect(),
        other => other,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Which kinds of values there are.
fn shape(value: &Value) -> String {
    let all = value.to_string();
    let signs = [
        "null", "true", "false", "e-", "e+", "e1", "-", ".", "\\u", "\\\"", "{}", "[]", "\u{7f}",
    ];
    signs
        .iter()
        .map(|sign| if all.contains(sign) { '1' } else { '0' })
        .collect()
}
