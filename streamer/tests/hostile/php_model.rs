//! JSON text as PHP writes it: a slow model, written from PHP's documentation and not from our serializer.

use serde_json::{Number, Value};

pub(crate) fn php(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(true) => "true".to_owned(),
        Value::Bool(false) => "false".to_owned(),
        Value::Number(number) => php_number(number),
        Value::String(text) => php_string(text),
        Value::Array(list) => format!("[{}]", list.iter().map(php).collect::<Vec<_>>().join(",")),
        Value::Object(object) => {
            let field = |(key, value): (&String, &Value)| format!("{}:{}", php_string(key), php(value));
            format!("{{{}}}", object.iter().map(field).collect::<Vec<_>>().join(","))
        }
    }
}

fn php_number(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => php_float(float),
        None => number.to_string(),
    }
}

/// `serialize_precision = -1`: the fewest digits that read back; of those the nearest, and of two as near the even one.
/// The exponent form begins where `zend_gcvt` with a precision of 17 begins it.
fn php_float(float: f64) -> String {
    if float == 0.0 {
        return if float.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let shortest = format!("{:e}", float.abs());
    let count =
        shortest.bytes().filter(u8::is_ascii_digit).count() - exponent(&shortest).unsigned_abs().to_string().len();
    let nearest = format!("{:.*e}", count - 1, float.abs());
    let text = match nearest.parse::<f64>() == Ok(float.abs()) {
        true => nearest,
        false => shortest,
    };
    let digits = text.split('e').next().unwrap().replace('.', "");
    let sign = if float < 0.0 { "-" } else { "" };
    let point = exponent(&text) + 1;
    if !(-3..=17).contains(&point) {
        let (first, rest) = digits.split_at(1);
        let rest = if rest.is_empty() { "0" } else { rest };
        return format!("{sign}{first}.{rest}e{:+}", point - 1);
    }
    let number = match usize::try_from(point) {
        Err(_) | Ok(0) => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        Ok(point) if point >= digits.len() => format!("{digits}{}", "0".repeat(point - digits.len())),
        Ok(point) => format!("{}.{}", &digits[..point], &digits[point..]),
    };
    sign.to_owned() + &number
}

fn exponent(text: &str) -> i32 {
    text.split('e').nth(1).unwrap().parse().unwrap()
}

fn php_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' => out.push_str("\\/"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='\u{7f}' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out + "\""
}
