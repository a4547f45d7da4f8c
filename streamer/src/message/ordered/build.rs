//! From any value to [`OrderedJson`]. What is neither a list nor an object is left to `serde_json`.

use serde::{Serialize, ser};
use serde_json::{Error, Number, Result, Value};

use super::{Members, Node, OrderedJson};
use crate::message::{as_text::AsText, payload_from_text};

pub(super) struct Builder;

/// Adds the variant of an enum around its content.
fn in_variant(variant: Option<&'static str>, content: OrderedJson) -> OrderedJson {
    match variant {
        Some(variant) => [(variant, content)].into_iter().collect(),
        None => content,
    }
}

fn plain(value: impl Serialize) -> Result<OrderedJson> {
    serde_json::to_value(value).map(OrderedJson::from)
}

/// A list that is being built.
pub(super) struct Elements {
    list: Vec<OrderedJson>,
    variant: Option<&'static str>,
}

impl Elements {
    fn new(variant: Option<&'static str>, length: usize) -> Self {
        Self {
            // The length is the word of somebody else.
            list: Vec::with_capacity(length.min(1024)),
            variant,
        }
    }

    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.list.push(OrderedJson::of(value)?);
        Ok(())
    }

    fn finish(self) -> OrderedJson {
        in_variant(self.variant, OrderedJson::list(self.list))
    }
}

/// An object that is being built.
pub(super) struct Fields {
    members: Members,
    /// The key whose value comes next.
    key: Option<String>,
    variant: Option<&'static str>,
}

impl Fields {
    fn new(variant: Option<&'static str>) -> Self {
        Self {
            members: Members::new(),
            key: None,
            variant,
        }
    }

    fn insert<T: Serialize + ?Sized>(&mut self, key: impl Into<String>, value: &T) -> Result<()> {
        self.members.insert(key.into(), OrderedJson::of(value)?);
        Ok(())
    }

    fn finish(self) -> OrderedJson {
        in_variant(self.variant, OrderedJson::object(self.members))
    }
}

/// The text of a key, as `serde_json` writes it: that of the only member of a map.
fn key_text<T: Serialize + ?Sized>(key: &T) -> Result<String> {
    use ser::{SerializeMap as _, Serializer as _};
    let mut map = serde_json::value::Serializer.serialize_map(Some(1))?;
    map.serialize_entry(key, &())?;
    let key = match map.end()? {
        Value::Object(map) => map.into_iter().next().map(|(key, _)| key),
        _ => None,
    };
    key.ok_or_else(|| ser::Error::custom("key must be a string"))
}

impl ser::Serializer for Builder {
    type Ok = OrderedJson;
    type Error = Error;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Elements;
    type SerializeMap = Fields;
    type SerializeStruct = Struct;
    type SerializeStructVariant = Fields;

    fn serialize_bool(self, value: bool) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_i8(self, value: i8) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_i16(self, value: i16) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_i32(self, value: i32) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_i64(self, value: i64) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_i128(self, value: i128) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_u8(self, value: u8) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_u16(self, value: u16) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_u32(self, value: u32) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_u64(self, value: u64) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_u128(self, value: u128) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_f32(self, value: f32) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_f64(self, value: f64) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_char(self, value: char) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_str(self, value: &str) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<OrderedJson> {
        plain(value)
    }

    fn serialize_none(self) -> Result<OrderedJson> {
        Ok(OrderedJson::default())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<OrderedJson> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<OrderedJson> {
        Ok(OrderedJson::default())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<OrderedJson> {
        Ok(OrderedJson::default())
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<OrderedJson> {
        plain(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<OrderedJson> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<OrderedJson> {
        Ok(in_variant(Some(variant), value.serialize(self)?))
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Elements> {
        Ok(Elements::new(None, length.unwrap_or_default()))
    }

    fn serialize_tuple(self, length: usize) -> Result<Elements> {
        Ok(Elements::new(None, length))
    }

    fn serialize_tuple_struct(self, _name: &'static str, length: usize) -> Result<Elements> {
        Ok(Elements::new(None, length))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Elements> {
        Ok(Elements::new(Some(variant), length))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Fields> {
        Ok(Fields::new(None))
    }

    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Struct> {
        Ok(match AsText::of(name) {
            Some(kind) => Struct::AsText(kind, OrderedJson::default()),
            None => Struct::Fields(Fields::new(None)),
        })
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Fields> {
        Ok(Fields::new(Some(variant)))
    }
}

impl ser::SerializeSeq for Elements {
    type Ok = OrderedJson;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.push(value)
    }

    fn end(self) -> Result<OrderedJson> {
        Ok(self.finish())
    }
}

impl ser::SerializeTuple for Elements {
    type Ok = OrderedJson;
    type Error = Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.push(value)
    }

    fn end(self) -> Result<OrderedJson> {
        Ok(self.finish())
    }
}

impl ser::SerializeTupleStruct for Elements {
    type Ok = OrderedJson;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.push(value)
    }

    fn end(self) -> Result<OrderedJson> {
        Ok(self.finish())
    }
}

impl ser::SerializeTupleVariant for Elements {
    type Ok = OrderedJson;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.push(value)
    }

    fn end(self) -> Result<OrderedJson> {
        Ok(self.finish())
    }
}

impl ser::SerializeMap for Fields {
    type Ok = OrderedJson;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.key = Some(key_text(key)?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        let key = self.key.take().unwrap_or_default();
        self.insert(key, value)
    }

    fn end(self) -> Result<OrderedJson> {
        Ok(self.finish())
    }
}

/// A struct that is being built.
pub(super) enum Struct {
    Fields(Fields),
    /// Its only field is the text of a value, which takes its place.
    AsText(AsText, OrderedJson),
}

impl ser::SerializeStruct for Struct {
    type Ok = OrderedJson;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        let (kind, built) = match self {
            Self::Fields(fields) => return fields.insert(key, value),
            Self::AsText(kind, built) => (*kind, built),
        };
        let Value::String(text) = serde_json::to_value(value)? else {
            return Err(ser::Error::custom(format!("{key} is not a text")));
        };
        *built = match kind {
            AsText::Number => OrderedJson(Node::Plain(text.parse::<Number>()?.into())),
            AsText::Json => payload_from_text(text.as_bytes()).map_err(ser::Error::custom)?,
        };
        Ok(())
    }

    fn end(self) -> Result<OrderedJson> {
        Ok(match self {
            Self::Fields(fields) => fields.finish(),
            Self::AsText(_, built) => built,
        })
    }
}

impl ser::SerializeStructVariant for Fields {
    type Ok = OrderedJson;
    type Error = Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        self.insert(key, value)
    }

    fn end(self) -> Result<OrderedJson> {
        Ok(self.finish())
    }
}
