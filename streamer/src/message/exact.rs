//! JSON that `serde_json` by itself cannot read, or not to the last digit: more than 127 levels, and floats of many digits.
//!
//! It has Cargo features for both (`unbounded_depth`, `float_roundtrip`). A feature holds for the whole program, and the second
//! makes every float of every other library slower to read. So the rare text that needs it is read here.
//!
//! What is JSON, and what is wrong with a text that is none, is for `serde_json` alone to say: a text is checked first, and then
//! taken apart without another look.

use std::{borrow::Cow, ops::Range};

use serde::{
    de::{
        self, DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, IntoDeserializer, MapAccess,
        SeqAccess, VariantAccess, Visitor,
    },
    forward_to_deserialize_any,
};
use serde_json::{Error, Result};

use super::as_text::numbers_keep_digits;

/// How deep `serde_json` reads.
const DEPTH: usize = 127;
/// A float of this many digits, its point counted, is read exactly: the digits are a number below 2^53, and one division by a
/// power of ten below 10^22 follows.
const EXACT: usize = 16;
/// A longer integer may have no place in 64 bits, and is a float then.
const INTEGER: usize = 19;

/// Whether a text needs this reader. It may say so of a text that does not.
pub(super) fn is_needed(text: &[u8]) -> bool {
    nests_deeper(text, DEPTH) || has_long_float(text) || has_exponent(text)
}

/// Whether arrays and objects nest in more levels than this.
pub(super) fn nests_deeper(text: &[u8], levels: usize) -> bool {
    // So many levels need as many brackets, of which `[` and `{` differ in this bit.
    if text.len() <= levels || text.iter().filter(|byte| **byte | 0x20 == b'{').count() <= levels {
        return false;
    }
    let (mut depth, mut quoted) = (0_usize, false);
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match (quoted, byte) {
            (_, b'"') => quoted = !quoted,
            (true, b'\\') => drop(bytes.next()),
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > levels {
            return true;
        }
    }
    false
}

fn is_of_float(byte: &u8) -> bool {
    byte.is_ascii_digit() || *byte == b'.'
}

/// Whether a float may be longer than those that are read exactly. One byte in sixteen is looked at: no such float lies between two.
fn has_long_float(text: &[u8]) -> bool {
    let mut looks = (EXACT - 1..text.len()).step_by(EXACT);
    looks.any(|at| {
        is_of_float(&text[at]) && {
            let number = around(text, at, is_of_float);
            number.len() > INTEGER || number.len() > EXACT && text[number].contains(&b'.')
        }
    })
}

/// Whether a number has an exponent.
fn has_exponent(text: &[u8]) -> bool {
    let is_one = |(byte, next): (&u8, &u8)| byte.is_ascii_digit() & (*next | 0x20 == b'e');
    let pairs = || text.iter().zip(text.iter().skip(1));
    // To the end, whatever was found: without a way out the compiler looks at many bytes at once.
    if !pairs().fold(false, |found, pair| found | is_one(pair)) {
        return false;
    }
    let mut looked_at = 0;
    for (at, pair) in pairs().enumerate() {
        // A text may be one long run of digits and `e`, each of which would lead to all of it.
        if at < looked_at || !is_one(pair) {
            continue;
        }
        // Most of them are in a text: a hash, a UUID. There a letter or a quote comes before the digits.
        let number = around(text, at, |byte| {
            is_of_float(byte) || matches!(byte, b'e' | b'E' | b'+' | b'-')
        });
        looked_at = number.end;
        let before = text[..number.start].iter().rfind(|byte| !byte.is_ascii_whitespace());
        if before.is_none_or(|before| matches!(before, b':' | b',' | b'[')) {
            return true;
        }
    }
    false
}

/// The bytes around a place for which this holds.
fn around(text: &[u8], at: usize, holds: impl Fn(&u8) -> bool) -> Range<usize> {
    let before = text[..at].iter().rev().take_while(|byte| holds(byte)).count();
    let after = text[at..].iter().take_while(|byte| holds(byte)).count();
    at - before..at + after
}

/// Reads a text. Whoever calls bounds its depth: each level is a call.
pub(super) fn read<T: de::DeserializeOwned>(text: &[u8]) -> Result<T> {
    T::deserialize(&mut Reader::new(text)?)
}

/// A text that is JSON, and how far it is read.
pub(super) struct Reader<'de> {
    text: &'de str,
    at: usize,
}

impl<'de> Reader<'de> {
    /// An error when it is not JSON.
    pub(super) fn new(text: &'de [u8]) -> Result<Self> {
        let Ok(text) = std::str::from_utf8(text) else {
            // It has the words for what is no UTF-8.
            let error = serde_json::from_slice::<super::decodable::Decodable>(text).err();
            return Err(error.unwrap_or_else(|| Error::custom("invalid unicode code point")));
        };
        // This one needs no call for a level.
        serde_json::from_str::<IgnoredAny>(text)?;
        Ok(Self { text, at: 0 })
    }

    /// The next byte that is no space. There is one: the text is JSON.
    fn peek(&mut self) -> u8 {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    /// The next so many bytes.
    fn take(&mut self, length: usize) -> &'de str {
        let begin = self.at;
        self.at += length;
        self.text.get(begin..self.at).unwrap_or_default()
    }

    /// The text that begins here, in its quotes.
    fn quoted(&mut self) -> &'de str {
        let mut bytes = self.text.as_bytes()[self.at..].iter().enumerate().skip(1);
        let mut length = 1;
        while let Some((at, byte)) = bytes.next() {
            length = at + 1;
            match byte {
                b'"' => break,
                b'\\' => drop(bytes.next()),
                _ => {}
            }
        }
        self.take(length)
    }

    fn string(&mut self) -> Result<Cow<'de, str>> {
        let quoted = self.quoted();
        match quoted.contains('\\') {
            false => Ok(Cow::Borrowed(&quoted[1..quoted.len() - 1])),
            // Half of a surrogate pair is an error only here.
            true => serde_json::from_str(quoted).map(Cow::Owned),
        }
    }

    fn number(&mut self) -> &'de str {
        let rest = self.text.as_bytes()[self.at..].iter();
        let of_number = |byte: &&u8| is_of_float(byte) || matches!(byte, b'e' | b'E' | b'+' | b'-');
        self.take(rest.take_while(of_number).count())
    }

    /// The whole value that begins here.
    fn value(&mut self) -> &'de str {
        self.peek();
        let (begin, mut depth) = (self.at, 0_usize);
        loop {
            match self.peek() {
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                b'"' => _ = self.quoted(),
                b'n' | b't' => self.at += 4,
                b'f' => self.at += 5,
                _ => _ = self.number(),
            }
            if depth == 0 {
                return self.text.get(begin..self.at).unwrap_or_default();
            }
        }
    }

    /// What comes after the last element that was taken.
    fn close<T>(&mut self, taken: T, close: u8) -> Result<T> {
        match self.peek() == close {
            true => self.at += 1,
            false => return Err(Error::custom("trailing characters")),
        }
        Ok(taken)
    }
}

/// A number as `serde_json` gives it: whole ones as integers where they fit.
fn visit_number<'de, V: Visitor<'de>>(number: &str, visitor: V) -> Result<V::Value> {
    if !number.contains(['.', 'e', 'E']) {
        if let Ok(number) = number.parse() {
            return visitor.visit_u64(number);
        }
        if let Ok(number) = number.parse() {
            return visitor.visit_i64(number);
        }
    }
    match number.parse::<f64>() {
        Ok(number) if number.is_finite() => visitor.visit_f64(number),
        _ => Err(Error::custom("number out of range")),
    }
}

macro_rules! number {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.peek() {
                b'-' | b'0'..=b'9' => visit_number(self.number(), visitor),
                _ => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            b'n' => {
                self.at += 4;
                visitor.visit_unit()
            }
            b't' => {
                self.at += 4;
                visitor.visit_bool(true)
            }
            b'f' => {
                self.at += 5;
                visitor.visit_bool(false)
            }
            b'"' => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            b'[' => {
                self.at += 1;
                let list = visitor.visit_seq(Elements { reader: &mut *self })?;
                self.close(list, b']')
            }
            b'{' => {
                self.at += 1;
                let object = visitor.visit_map(Elements { reader: &mut *self })?;
                self.close(object, b'}')
            }
            // Only `serde_json` can hand over digits.
            _ if numbers_keep_digits() => serde_json::Deserializer::from_str(self.number()).deserialize_any(visitor),
            _ => visit_number(self.number(), visitor),
        }
    }

    number! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
    }

    /// Integers that have no place in 64 bits.
    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        serde_json::Deserializer::from_str(self.value()).deserialize_i128(visitor)
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        serde_json::Deserializer::from_str(self.value()).deserialize_u128(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            b'"' => match self.string()? {
                Cow::Borrowed(text) => visitor.visit_borrowed_bytes(text.as_bytes()),
                Cow::Owned(text) => visitor.visit_byte_buf(text.into_bytes()),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek() {
            b'n' => {
                self.at += 4;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value> {
        // Its `RawValue` asks for the text itself.
        match name.starts_with("$serde_json::private::") {
            true => serde_json::Deserializer::from_str(self.value()).deserialize_newtype_struct(name, visitor),
            false => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self.peek() {
            b'{' => {
                self.at += 1;
                let value = visitor.visit_enum(Elements { reader: &mut *self })?;
                self.close(value, b'}')
            }
            b'"' => visitor.visit_enum(self.string()?.into_deserializer()),
            _ => Err(Error::custom("expected value")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.value();
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool char str string unit unit_struct seq tuple tuple_struct map struct identifier
    }
}

/// What is between brackets.
struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
}

impl Elements<'_, '_> {
    /// Whether another element comes.
    fn has_next(&mut self) -> bool {
        match self.reader.peek() {
            b']' | b'}' => false,
            b',' => {
                self.reader.at += 1;
                true
            }
            _ => true,
        }
    }

    fn skip_colon(&mut self) {
        self.reader.peek();
        self.reader.at += 1;
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        match self.has_next() {
            true => seed.deserialize(&mut *self.reader).map(Some),
            false => Ok(None),
        }
    }
}

impl<'de> MapAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        match self.has_next() {
            true => {
                self.reader.peek();
                seed.deserialize(Key(self.reader.string()?)).map(Some)
            }
            false => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        self.skip_colon();
        seed.deserialize(&mut *self.reader)
    }
}

impl<'de> EnumAccess<'de> for Elements<'_, 'de> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self)> {
        if !self.has_next() {
            return Err(Error::custom("expected value"));
        }
        self.reader.peek();
        let variant = seed.deserialize(Key(self.reader.string()?))?;
        self.skip_colon();
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Elements<'_, 'de> {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        de::Deserialize::deserialize(self.reader)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value> {
        self.reader.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.reader.deserialize_any(visitor)
    }
}

/// The key of an object. Types that are no text read it as one: the key `"5"` as the number 5.
struct Key<'de>(Cow<'de, str>);

macro_rules! key {
    ($($method:ident $visit:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self.0.parse() {
                Ok(key) if !self.0.starts_with('+') => visitor.$visit(key),
                _ => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.0 {
            Cow::Borrowed(key) => visitor.visit_borrowed_str(key),
            Cow::Owned(key) => visitor.visit_string(key),
        }
    }

    key! {
        deserialize_bool visit_bool,
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
        deserialize_i128 visit_i128,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
        deserialize_u128 visit_u128,
        deserialize_f32 visit_f32, deserialize_f64 visit_f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        let key = IntoDeserializer::<Error>::into_deserializer(self.0);
        key.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Kind {
        Unit,
        New(f64),
        Pair(f64, String),
        Named { a: Option<u8>, b: [i64; 2] },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole {
        kinds: Vec<Kind>,
        by_number: BTreeMap<i32, char>,
        by_kind: BTreeMap<bool, Kind>,
        large: u128,
        nothing: (),
        text: String,
        optional: Option<Box<Whole>>,
    }

    fn whole() -> Whole {
        Whole {
            kinds: vec![
                Kind::Unit,
                Kind::New(0.1 + 0.2),
                Kind::Pair(-1e-7, "\"\\/\u{1f980}\n".to_owned()),
                Kind::Named {
                    a: None,
                    b: [i64::MIN, 0],
                },
            ],
            by_number: BTreeMap::from([(-5, 'x'), (7, 'ł')]),
            by_kind: BTreeMap::from([(true, Kind::Unit)]),
            large: u128::MAX,
            nothing: (),
            text: "]},:[{".to_owned(),
            optional: None,
        }
    }

    #[test]
    fn every_kind_of_type_reads_what_it_wrote() {
        let whole = Whole {
            optional: Some(Box::new(whole())),
            ..whole()
        };
        for text in [serde_json::to_string(&whole), serde_json::to_string_pretty(&whole)] {
            let text = text.expect("it has a text");
            assert_eq!(read::<Whole>(text.as_bytes()).expect("it is read"), whole, "{text}");
        }
    }

    #[test]
    fn what_serde_json_refuses_is_refused() {
        for text in [
            "",
            " ",
            "nul",
            "[1,]",
            "{\"a\"}",
            "[1 2]",
            "1 2",
            "\"\\ud800\"",
            "\"\u{1}\"",
            "01",
            "1e999",
            "-",
            "[",
        ] {
            if text == "1e999" && numbers_keep_digits() {
                continue;
            }
            assert!(read::<Value>(text.as_bytes()).is_err(), "{text}");
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
        assert!(read::<Value>(b"\"\xff\"").is_err());
        assert!(read::<(u8, u8)>(b"[1,2,3]").is_err());
        assert!(read::<Kind>(b"{\"Unit\":null,\"New\":1}").is_err());
        assert!(read::<Kind>(b"{}").is_err());
        assert!(read::<u8>(b"300").is_err());
        assert!(read::<u8>(b"1.0").is_err());
    }

    #[test]
    fn texts_that_need_no_such_reader_are_left_to_the_faster_one() {
        for (text, needed) in [
            (
                json!({"total": 9.99, "id": 1_795_407_980_936_000_u64}).to_string(),
                false,
            ),
            (
                json!({"key": "5e3f1e22-0e9a-4e7b-8e1d-1e2e3e4e5e6e"}).to_string(),
                false,
            ),
            (json!([i64::MAX, i64::MIN]).to_string(), false),
            ("[100000000000000000000]".to_owned(), true),
            (json!({"at": "2026-11-27T14:22:16.123456789Z"}).to_string(), false),
            ("[1.0e+25]".to_owned(), true),
            ("1E5".to_owned(), true),
            (json!({"lat": 52.520_006_599_999_99}).to_string(), true),
            (json!(vec![json!({"a": []}); 200]).to_string(), false),
            (json!("[".repeat(200)).to_string(), false),
            (format!("{}{}", "[".repeat(127), "]".repeat(127)), false),
            (format!("{}{}", "[".repeat(128), "]".repeat(128)), true),
        ] {
            assert_eq!(is_needed(text.as_bytes()), needed, "{text}");
        }
    }

    /// With a look at the whole run for each of its parts this takes hours.
    #[test]
    fn a_long_text_is_looked_at_once() {
        let text = json!("9e".repeat(2 << 20)).to_string();
        assert!(!is_needed(text.as_bytes()));
        let spaces = format!("[\"{}\"]", "x9e9 ".repeat(1 << 20));
        assert!(!is_needed(spaces.as_bytes()));
        let digits = json!("1.".repeat(2 << 20)).to_string();
        assert!(is_needed(digits.as_bytes()));
        assert_eq!(read::<String>(digits.as_bytes()).expect("it is JSON").len(), 4 << 20);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop::num::f64::NORMAL.prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..4).prop_map(|map| map.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_read_as_it_was_written(value in value()) {
            prop_assert_eq!(&read::<Value>(value.to_string().as_bytes()).expect("it is JSON"), &value);
            let pretty = serde_json::to_string_pretty(&value).expect("it has a text");
            prop_assert_eq!(&read::<Value>(pretty.as_bytes()).expect("it is JSON"), &value);
        }

        /// As messages are read, whichever reader that takes.
        #[test]
        fn a_float_is_read_to_the_last_bit(float in prop::num::f64::ANY.prop_filter("JSON has it", |float| float.is_finite())) {
            for text in [format!("{float}"), format!("{float:e}"), format!("{{\"a\":[1,{float:?}]}}")] {
                let value = super::super::payload_from_text::<Value>(text.as_bytes()).expect("it is JSON");
                let read = value.pointer("/a/1").unwrap_or(&value).as_f64().expect("a number");
                // PHP has no negative zero among its integers.
                prop_assert!(read == float && (read.to_bits() == float.to_bits() || float == 0.0), "{} {} {}", text, read, float);
            }
        }

        #[test]
        fn a_float_of_few_digits_is_read_to_the_last_bit(whole in 0_u64..10_000_000, fraction in 0_u64..100_000_000) {
            let text = format!("{whole}.{fraction:08}");
            let value = super::super::payload_from_text::<Value>(text.as_bytes()).expect("it is JSON");
            prop_assert!(!is_needed(text.as_bytes()));
            prop_assert_eq!(value.as_f64(), text.parse().ok());
        }
    }
}
