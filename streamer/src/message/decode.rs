//! From the fields of an entry to JSON, whoever wrote them.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::{OrderedJson, decodable::Decodable, exact, foreign, php_json::MAX_DEPTH};
use crate::entry::Fields;

/// How deep a payload may nest to be read: the package reads one level less than it writes.
const MAX_READ_DEPTH: usize = MAX_DEPTH - 1;

/// A payload that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The payload is not JSON, or not UTF-8, or nests too deep. Nobody can read it; its bytes are still in
    /// [`ReceivedMessage::fields`](super::ReceivedMessage::fields).
    #[error("the payload cannot be decoded: {0}")]
    Undecodable(String),
    /// The payload is JSON and does not fit the type asked for.
    #[error("the payload is not {expected}: {reason}{}", at(.path))]
    Mismatch {
        /// The type.
        expected: &'static str,
        /// What does not fit.
        reason: String,
        /// Where it does not, such as `items[0].price`; empty where that is not known.
        path: String,
    },
}

fn at(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" (in `{path}`)")
    }
}

/// The value of a field. Of several with one name the last counts, as it does in a PHP array.
pub(super) fn field<'a>(fields: &'a Fields, name: &[u8]) -> Option<&'a Bytes> {
    let named = |(field, value): &'a (Bytes, Bytes)| (field == name).then_some(value);
    fields.iter().rev().find_map(named)
}

/// A payload from its JSON text, nested as deep as listeners can read it: 511 levels. As a `Value`, or as
/// [`OrderedJson`], which keeps the order of keys.
///
/// # Errors
///
/// [`DecodeError::Undecodable`] when it is not JSON, not UTF-8, nests too deep, or does not fit the type.
pub fn payload_from_text<T: DeserializeOwned>(text: &[u8]) -> Result<T, DecodeError> {
    check_depth(text)?;
    parse(text).map_err(|error| undecodable(&error))
}

/// The payload as JSON.
pub(super) fn data(fields: &Fields) -> Result<Value, DecodeError> {
    match field(fields, b"data") {
        Some(text) => payload_from_text(text),
        None => Ok(foreign::object(fields).into()),
    }
}

/// The payload as JSON in its own order.
pub(super) fn ordered(fields: &Fields) -> Result<OrderedJson, DecodeError> {
    match field(fields, b"data") {
        Some(text) => payload_from_text(text),
        None => Ok(foreign::object(fields)),
    }
}

/// Whether there is a payload that can be decoded, without keeping it.
pub(super) fn check(fields: &Fields) -> Result<(), DecodeError> {
    match field(fields, b"data") {
        Some(text) if is_plain(text) => Ok(()),
        Some(text) => {
            check_depth(text)?;
            parse::<Decodable>(text).map(drop).map_err(|error| undecodable(&error))
        }
        None => Ok(()),
    }
}

/// Whether it can be decoded, in a third of the time, for nearly all texts: short ones without escapes and exponents. In
/// those only the syntax can be wrong.
fn is_plain(text: &[u8]) -> bool {
    // Neither a number out of range nor too deep. No JSON begins with a backslash.
    let suspect = |(byte, next): (&u8, &u8)| (*next == b'\\') | (byte.is_ascii_digit() & matches!(next, b'e' | b'E'));
    let pairs = || text.iter().zip(text.iter().skip(1));
    text.len() <= 300
        // To the end, whatever was found: without a way out the compiler looks at many bytes at once.
        && !pairs().fold(false, |found, pair| found | suspect(pair))
        && std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// The payload as a `T`, straight from its text.
pub(super) fn payload<T: DeserializeOwned>(fields: &Fields) -> Result<T, DecodeError> {
    let Some(text) = field(fields, b"data") else {
        return foreign::payload(fields).map_err(mismatch::<T>);
    };
    check_depth(text)?;
    match parse(text) {
        Ok(payload) => Ok(payload),
        // PHP has one empty array: `[]` stands for an empty object, and for a unit struct, too.
        Err(_) if text.trim_ascii() == b"[]" => parse(b"null")
            .or_else(|_| parse(b"{}"))
            .map_err(|_| explain::<T>(b"{}")),
        Err(_) => Err(explain::<T>(text)),
    }
}

/// Why a text is no `T`. It reads once more, with an eye on where it is, so that success costs nothing.
fn explain<T: DeserializeOwned>(text: &[u8]) -> DecodeError {
    // First whether it is JSON at all: a mismatch may stand before what is broken.
    if let Err(error) = parse::<Decodable>(text) {
        return undecodable(&error);
    }
    let read = match exact::is_needed(text) {
        true => match exact::Reader::new(text) {
            Ok(mut reader) => serde_path_to_error::deserialize::<_, T>(&mut reader),
            Err(error) => return undecodable(&error),
        },
        false => serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text)),
    };
    match read {
        Err(error) => mismatch::<T>(error),
        Ok(_) => DecodeError::Undecodable("it read differently the second time".to_owned()),
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    let text = &*without_negative_zeros(text);
    match exact::is_needed(text) {
        true => exact::read(text),
        false => serde_json::from_slice(text),
    }
}

/// PHP reads `-0` as the integer 0; serde_json reads it as a float. The text keeps its length, so that places in errors
/// stay right.
fn without_negative_zeros(text: &[u8]) -> Cow<'_, [u8]> {
    // To the end, whatever was found: without a way out the compiler looks at many bytes at once.
    let pairs = text.iter().zip(text.iter().skip(1));
    if !pairs.fold(false, |found, (byte, next)| found | (*byte == b'-') & (*next == b'0')) {
        return Cow::Borrowed(text);
    }
    let mut changed = text.to_vec();
    let (mut quoted, mut at) = (false, 0);
    while let Some(byte) = text.get(at) {
        match (quoted, byte) {
            (_, b'"') => quoted = !quoted,
            (true, b'\\') => at += 1,
            // That of an exponent (`1e-0`) is none of a number's.
            (false, b'-') if text.get(at + 1) == Some(&b'0') && !matches!(text[..at].last(), Some(b'e' | b'E')) => {
                let after = text.get(at + 2);
                // `-0.5`, `-0e1` and, which is not JSON, `-01` are left alone.
                if after.is_none_or(|byte| byte.is_ascii_whitespace() || b",]}".contains(byte)) {
                    changed[at] = b' ';
                }
            }
            _ => {}
        }
        at += 1;
    }
    Cow::Owned(changed)
}

fn undecodable(error: &serde_json::Error) -> DecodeError {
    DecodeError::Undecodable(error.to_string())
}

fn mismatch<T>(error: serde_path_to_error::Error<impl std::fmt::Display>) -> DecodeError {
    let path = match error.path().to_string() {
        root if root == "." => String::new(),
        path => path,
    };
    DecodeError::Mismatch {
        expected: std::any::type_name::<T>(),
        reason: error.into_inner().to_string(),
        path,
    }
}

/// Refuses what nests too deep before a recursive parser sees it.
fn check_depth(text: &[u8]) -> Result<(), DecodeError> {
    match exact::nests_deeper(text, MAX_READ_DEPTH) {
        true => Err(DecodeError::Undecodable(format!(
            "it nests deeper than {MAX_READ_DEPTH} levels"
        ))),
        false => Ok(()),
    }
}

/// Bytes as JSON: text, or `{"base64":"…"}` where they are not UTF-8.
pub(super) fn bytes_as_json(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "base64": BASE64.encode(bytes) }),
    }
}

/// The fields as JSON pairs in stored order; what is not UTF-8 is `{"base64":"…"}`.
pub(crate) fn fields_as_json(fields: &Fields) -> Value {
    fields
        .iter()
        .map(|(name, value)| json!([bytes_as_json(name), bytes_as_json(value)]))
        .collect()
}

/// The reverse of [`fields_as_json`]; `None` for anything else.
pub(crate) fn fields_from_json(pairs: &Value) -> Option<Fields> {
    let bytes = |value: &Value| match value {
        Value::String(text) => Some(Bytes::from(text.clone())),
        other => BASE64.decode(other.get("base64")?.as_str()?).ok().map(Bytes::from),
    };
    let field = |pair: &Value| Some((bytes(pair.get(0)?)?, bytes(pair.get(1)?)?));
    pairs.as_array()?.iter().map(field).collect()
}
