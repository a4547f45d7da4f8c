//! Entries of other programs: those without a field `data`. All their fields are the payload.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use serde::{
    de::{self, DeserializeOwned, Deserializer, IntoDeserializer, Visitor, value},
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::{
    OrderedJson,
    decode::{bytes_as_json, field},
};
use crate::entry::{EntryId, Fields};

/// Whether an entry is of another program: it has no `data`, so that its other fields are its own, whatever their names.
pub(super) fn is_foreign(fields: &Fields) -> bool {
    field(fields, b"data").is_none()
}

/// The ID that such an entry had before it was archived. Restoring puts it in front of the entry's own fields.
pub(super) fn original_id(fields: &Fields) -> Option<EntryId> {
    let (name, value) = fields.first()?;
    let text = std::str::from_utf8(value).ok()?;
    (name == "original_id" && text.contains('-')).then(|| text.parse().ok())?
}

/// The entry's own fields.
fn own(fields: &Fields) -> &[(Bytes, Bytes)] {
    match original_id(fields) {
        Some(_) => &fields[1..],
        None => fields,
    }
}

/// A field's name as the key of a JSON object. Names that are not UTF-8 must not fall together.
fn key(name: &Bytes) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => name.to_owned(),
        Err(_) => format!("base64:{}", BASE64.encode(name)),
    }
}

/// The payload as JSON. Of several fields with one name the last counts, as in a PHP array.
pub(super) fn object(fields: &Fields) -> OrderedJson {
    let own = own(fields).iter();
    own.map(|(name, value)| (key(name), bytes_as_json(value))).collect()
}

/// The payload as a `T`. Values are text, or bytes where `T` asks for bytes or they are not UTF-8.
pub(super) fn payload<T: DeserializeOwned>(fields: &Fields) -> Result<T, serde_path_to_error::Error<value::Error>> {
    let own = own(fields);
    // Of several with one name the last is in the map. An entry may have many thousand fields: none is compared with all.
    let places = own.iter().enumerate().map(|(at, (name, _))| (name, at));
    let lasts = places.collect::<HashMap<_, _>>();
    let last = own
        .iter()
        .enumerate()
        .filter(|(at, (name, _))| lasts.get(name) == Some(at))
        .map(|(_, (name, value))| (key(name), Field(value)));
    let map = de::value::MapDeserializer::new(last);
    serde_path_to_error::deserialize(map).or_else(|error| {
        // What takes any JSON does not take bytes; it gets them as JSON has them.
        T::deserialize(Value::from(object(fields))).map_err(|_| error)
    })
}

/// A field's value.
struct Field<'a>(&'a Bytes);

impl<'de> IntoDeserializer<'de> for Field<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Field<'_> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => visitor.visit_str(text),
            Err(_) => visitor.visit_bytes(self.0),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_bytes(self.0)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_byte_buf(self.0.to_vec())
    }

    /// `Vec<u8>` asks for a sequence.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_seq(value::SeqDeserializer::new(self.0.iter().copied()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        let text = std::str::from_utf8(self.0)
            .map_err(|_| de::Error::invalid_value(de::Unexpected::Bytes(self.0), &"the name of a variant"))?;
        IntoDeserializer::<value::Error>::into_deserializer(text).deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct tuple tuple_struct map
        struct identifier ignored_any
    }
}
