//! JSON that keeps the order of its keys, whatever the application's `serde_json` does.

use std::{fmt, ops::Index};

use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, Value};

use super::{as_text, decode::bytes_as_json};

mod build;

/// The members of an object, in their order.
pub(crate) type Members = IndexMap<String, OrderedJson>;

/// Any JSON, with the keys of objects in the order in which they were written, at every level.
///
/// PHP's arrays have an order, and so have the payloads of laravel-streamer. The `Value` of `serde_json` sorts its keys, unless
/// the application switches on the feature `preserve_order` of `serde_json`. This type does not depend on that feature. It is
/// for payloads that are passed on or printed; to look into one, make a `Value` of it, or read the payload as a struct.
///
/// As in a PHP array, the last of several members with one key counts, at the place of the first. Two objects are equal
/// when their members are, in any order.
///
/// ```
/// use serde_json::{Value, json};
/// use streamer::OrderedJson;
///
/// #[derive(serde::Serialize)]
/// struct Order { total: f64, id: u64 }
///
/// let order = OrderedJson::of(&Order { total: 9.5, id: 7 })?;
/// assert_eq!(order.to_string(), r#"{"total":9.5,"id":7}"#);
/// assert_eq!(order, json!({"id": 7, "total": 9.5}));
///
/// let read: OrderedJson = serde_json::from_str(r#"{"b": {"d": 1, "c": 2}, "a": 3}"#)?;
/// assert_eq!(read.to_string(), r#"{"b":{"d":1,"c":2},"a":3}"#);
/// assert_eq!(read["b"]["c"], json!(2));
/// assert_eq!(Value::from(read)["b"]["c"].as_u64(), Some(2));
///
/// let pairs: OrderedJson = [("id", json!(7)), ("city", json!("Oslo"))].into_iter().collect();
/// assert_eq!(pairs.to_string(), r#"{"id":7,"city":"Oslo"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OrderedJson(pub(crate) Node);

/// What it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Neither a list nor an object.
    Plain(Value),
    List(Vec<OrderedJson>),
    Object(Members),
}

impl OrderedJson {
    /// The JSON of any value, with the fields of structs in the order of their declaration.
    ///
    /// # Errors
    ///
    /// As `serde_json::to_value`: the value's own `Serialize` failed, or a key of a map has no text.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        value.serialize(build::Builder)
    }

    pub(crate) fn object(members: Members) -> Self {
        Self(Node::Object(members))
    }

    pub(crate) fn list(elements: Vec<Self>) -> Self {
        Self(Node::List(elements))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.0, Node::Plain(Value::Null))
    }

    /// The members of an object; a list has the keys `0`, `1`, …, as in PHP. `None` for everything else.
    pub(crate) fn into_members(self) -> Option<Members> {
        match self.0 {
            Node::Object(members) => Some(members),
            Node::List(list) => {
                let numbered = list.into_iter().enumerate();
                Some(numbered.map(|(index, value)| (index.to_string(), value)).collect())
            }
            Node::Plain(_) => None,
        }
    }
}

impl Default for OrderedJson {
    /// `null`.
    fn default() -> Self {
        Self(Node::Plain(Value::Null))
    }
}

impl From<Value> for OrderedJson {
    /// The keys have the order that they have in the `Value`.
    fn from(value: Value) -> Self {
        match value {
            Value::Array(list) => Self::list(list.into_iter().map(Self::from).collect()),
            Value::Object(object) => object.into_iter().collect(),
            plain => Self(Node::Plain(plain)),
        }
    }
}

impl From<&Value> for OrderedJson {
    /// The keys have the order that they have in the `Value`.
    fn from(value: &Value) -> Self {
        match value {
            Value::Array(list) => Self::list(list.iter().map(Self::from).collect()),
            Value::Object(object) => object.iter().collect(),
            plain => Self(Node::Plain(plain.clone())),
        }
    }
}

impl From<&OrderedJson> for OrderedJson {
    fn from(json: &Self) -> Self {
        json.clone()
    }
}

impl<T: Into<OrderedJson>> From<Option<T>> for OrderedJson {
    /// `null` for `None`.
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::default, Into::into)
    }
}

impl From<OrderedJson> for Value {
    /// The keys have the order of the application's `serde_json`.
    fn from(json: OrderedJson) -> Self {
        match json.0 {
            Node::Plain(value) => value,
            Node::List(list) => Self::Array(list.into_iter().map(Self::from).collect()),
            Node::Object(members) => {
                let members = members.into_iter().map(|(key, value)| (key, Self::from(value)));
                Self::Object(members.collect())
            }
        }
    }
}

impl<K: Into<String>, V: Into<OrderedJson>> FromIterator<(K, V)> for OrderedJson {
    /// An object of these members, in this order.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        Self::object(self::members(members))
    }
}

/// Members from pairs of a key and a value.
pub(crate) fn members<K: Into<String>, V: Into<OrderedJson>>(pairs: impl IntoIterator<Item = (K, V)>) -> Members {
    let pairs = pairs.into_iter();
    pairs.map(|(key, value)| (key.into(), value.into())).collect()
}

impl PartialEq<Value> for OrderedJson {
    fn eq(&self, other: &Value) -> bool {
        match (&self.0, other) {
            (Node::Plain(plain), other) => plain == other,
            (Node::List(list), Value::Array(other)) => list == other,
            (Node::Object(members), Value::Object(other)) => {
                let is_same = |(key, value): (&String, &Self)| other.get(key).is_some_and(|other| value == other);
                members.len() == other.len() && members.iter().all(is_same)
            }
            _ => false,
        }
    }
}

impl PartialEq<OrderedJson> for Value {
    fn eq(&self, other: &OrderedJson) -> bool {
        other == self
    }
}

/// Of what has no such member, too.
static NULL: OrderedJson = OrderedJson(Node::Plain(Value::Null));

impl Index<&str> for OrderedJson {
    type Output = Self;

    /// A member of an object; `null` where there is none.
    fn index(&self, key: &str) -> &Self {
        match &self.0 {
            Node::Object(members) => members.get(key).unwrap_or(&NULL),
            _ => &NULL,
        }
    }
}

impl fmt::Display for OrderedJson {
    /// Its JSON text; `{:#}` on several lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match f.alternate() {
            true => serde_json::to_string_pretty(self),
            false => serde_json::to_string(self),
        };
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl Serialize for OrderedJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Node::Plain(value) => value.serialize(serializer),
            Node::List(list) => serializer.collect_seq(list),
            Node::Object(members) => serializer.collect_map(members),
        }
    }
}

impl<'de> Deserialize<'de> for OrderedJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reading)
    }
}

/// The number that is read as an object where the application's `serde_json` keeps the digits of numbers.
fn number(members: &Members) -> Option<Number> {
    let (key, OrderedJson(Node::Plain(Value::String(text)))) = members.first()? else {
        return None;
    };
    let is_number = members.len() == 1 && key == as_text::NUMBER && as_text::numbers_keep_digits();
    is_number.then(|| text.parse().ok()).flatten()
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = OrderedJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<OrderedJson, E> {
        Ok(OrderedJson::default())
    }

    fn visit_none<E>(self) -> Result<OrderedJson, E> {
        Ok(OrderedJson::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<OrderedJson, D::Error> {
        OrderedJson::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<OrderedJson, E> {
        Ok(OrderedJson(Node::Plain(value.into())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<OrderedJson, E> {
        Ok(OrderedJson(Node::Plain(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<OrderedJson, E> {
        Ok(OrderedJson(Node::Plain(value.into())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<OrderedJson, E> {
        let number = Number::from_f64(value).map_or(Value::Null, Value::Number);
        Ok(OrderedJson(Node::Plain(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<OrderedJson, E> {
        Ok(OrderedJson(Node::Plain(value.into())))
    }

    fn visit_string<E>(self, value: String) -> Result<OrderedJson, E> {
        Ok(OrderedJson(Node::Plain(value.into())))
    }

    /// The bytes of another program's field, as everywhere where bytes are in JSON.
    fn visit_bytes<E>(self, value: &[u8]) -> Result<OrderedJson, E> {
        Ok(bytes_as_json(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<OrderedJson, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(OrderedJson::list(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<OrderedJson, A::Error> {
        let mut members = Members::new();
        while let Some((key, value)) = entries.next_entry()? {
            members.insert(key, value);
        }
        Ok(match number(&members) {
            Some(number) => OrderedJson(Node::Plain(number.into())),
            None => OrderedJson::object(members),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    enum Kind {
        Unit,
        New(u8),
        Tuple(u8, &'static str),
        Struct { z: u8, a: u8 },
    }

    #[derive(Serialize)]
    struct Everything {
        z: Option<u8>,
        unit: (),
        kinds: Vec<Kind>,
        keys: BTreeMap<u8, char>,
        nested: Nested,
        float: f64,
        none: Option<u8>,
        large: u64,
        small: i64,
        #[serde(flatten)]
        flat: Nested,
    }

    #[derive(Serialize)]
    struct Nested {
        y: bool,
        b: &'static str,
    }

    fn everything() -> Everything {
        Everything {
            z: Some(1),
            unit: (),
            kinds: vec![
                Kind::Unit,
                Kind::New(2),
                Kind::Tuple(3, "t"),
                Kind::Struct { z: 4, a: 5 },
            ],
            keys: BTreeMap::from([(10, 'x'), (9, 'y')]),
            nested: Nested { y: true, b: "n" },
            float: 1.5,
            none: None,
            large: u64::MAX,
            small: i64::MIN,
            flat: Nested { y: false, b: "f" },
        }
    }

    #[test]
    fn a_value_of_any_type_has_the_text_that_serde_json_writes() {
        let text = serde_json::to_string(&everything()).expect("it has JSON");
        assert_eq!(OrderedJson::of(&everything()).expect("it has JSON").to_string(), text);
        assert_eq!(
            serde_json::from_str::<OrderedJson>(&text)
                .expect("it has JSON")
                .to_string(),
            text
        );
    }

    #[test]
    fn the_last_of_several_members_with_one_key_counts_at_the_place_of_the_first() {
        let read: OrderedJson = serde_json::from_str(r#"{"b":1,"a":2,"b":3}"#).expect("it has JSON");
        assert_eq!(read.to_string(), r#"{"b":3,"a":2}"#);
    }

    #[test]
    fn what_has_no_json_is_refused() {
        assert_eq!(OrderedJson::of(&u128::MAX).is_ok(), as_text::numbers_keep_digits());
        assert!(OrderedJson::of(&BTreeMap::from([(vec![1], 2)])).is_err());
        assert_eq!(OrderedJson::of(&f64::NAN).expect("it has JSON"), Value::Null);
    }

    #[test]
    fn the_order_of_members_makes_no_difference_to_equality() {
        let read: OrderedJson = serde_json::from_str(r#"{"b":[{"d":1,"c":2}],"a":3}"#).expect("it has JSON");
        let other: OrderedJson = serde_json::from_str(r#"{"a":3,"b":[{"c":2,"d":1}]}"#).expect("it has JSON");
        assert_eq!(read, other);
        assert_eq!(read, json!({"a": 3, "b": [{"c": 2, "d": 1}]}));
        for different in [
            json!({"a": 3}),
            json!({"a": 3, "b": []}),
            json!({"a": 3, "c": 1}),
            json!([3]),
        ] {
            assert_ne!(read, different);
        }
    }

    proptest! {
        #[test]
        fn an_object_keeps_its_order(keys in prop::collection::vec("[a-z]{1,3}", 0..8)) {
            let mut distinct = Vec::new();
            for key in keys {
                if !distinct.contains(&key) {
                    distinct.push(key);
                }
            }
            let members = distinct.iter().map(|key| format!("\"{key}\":{{\"z\":1,\"{key}\":2}}"));
            let text = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            prop_assume!(!distinct.contains(&"z".to_owned()));
            let read: OrderedJson = serde_json::from_str(&text).expect("it is JSON");
            prop_assert_eq!(read.to_string(), text);
        }
    }
}
