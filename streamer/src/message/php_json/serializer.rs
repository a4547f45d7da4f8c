//! The serde side: which value becomes which JSON.

use std::fmt;

use serde::{Serialize, ser};
use serde_json::Value;

use super::{
    EncodeError, MAX_DEPTH,
    key::KeySerializer,
    number::{write_float, write_number},
    text::{write_escaped, write_str},
};
use crate::message::{OrderedJson, as_text::AsText, payload_from_text};

type Result<T = (), E = EncodeError> = std::result::Result<T, E>;

/// Writes one value.
pub(super) struct Serializer<'a> {
    out: &'a mut Vec<u8>,
    /// How many arrays and objects are open around the value.
    depth: usize,
    /// Whether the value is a whole payload, whose unit struct is `[]`.
    payload: bool,
}

impl<'a> Serializer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            depth: 0,
            payload: false,
        }
    }

    pub(super) fn for_payload(out: &'a mut Vec<u8>) -> Self {
        Self {
            payload: true,
            ..Self::new(out)
        }
    }

    fn literal(self, text: &[u8]) -> Result {
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn integer(self, value: impl itoa::Integer) -> Result {
        self.literal(itoa::Buffer::new().format(value).as_bytes())
    }

    fn open(self, open: u8, close: &'static [u8]) -> Result<Compound<'a>> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(EncodeError::TooDeep);
        }
        self.out.push(open);
        Ok(Compound {
            out: self.out,
            depth,
            empty: true,
            close,
        })
    }

    /// The content of an enum variant: an object with the variant's name, around an array or object.
    fn open_variant(self, variant: &str, open: u8, close: &'static [u8]) -> Result<Compound<'a>> {
        let Compound { out, depth, .. } = self.open(b'{', close)?;
        write_str(out, variant);
        out.push(b':');
        let content = Self {
            out,
            depth,
            payload: false,
        };
        content.open(open, close)
    }
}

/// An array or object that is being written.
pub(super) struct Compound<'a> {
    out: &'a mut Vec<u8>,
    depth: usize,
    empty: bool,
    close: &'static [u8],
}

impl Compound<'_> {
    fn comma(&mut self) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        value.serialize(Serializer {
            out: self.out,
            depth: self.depth,
            payload: false,
        })
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.comma();
        self.value(value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result {
        self.comma();
        write_str(self.out, key);
        self.out.push(b':');
        self.value(value)
    }

    fn close(self) -> Result {
        self.out.extend_from_slice(self.close);
        Ok(())
    }
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Struct<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn serialize_bool(self, value: bool) -> Result {
        self.literal(if value { b"true" } else { b"false" })
    }

    fn serialize_i8(self, value: i8) -> Result {
        self.integer(value)
    }

    fn serialize_i16(self, value: i16) -> Result {
        self.integer(value)
    }

    fn serialize_i32(self, value: i32) -> Result {
        self.integer(value)
    }

    fn serialize_i64(self, value: i64) -> Result {
        self.integer(value)
    }

    fn serialize_i128(self, value: i128) -> Result {
        self.integer(value)
    }

    fn serialize_u8(self, value: u8) -> Result {
        self.integer(value)
    }

    fn serialize_u16(self, value: u16) -> Result {
        self.integer(value)
    }

    fn serialize_u32(self, value: u32) -> Result {
        self.integer(value)
    }

    fn serialize_u64(self, value: u64) -> Result {
        self.integer(value)
    }

    fn serialize_u128(self, value: u128) -> Result {
        self.integer(value)
    }

    fn serialize_f32(self, value: f32) -> Result {
        write_float(self.out, value)
    }

    fn serialize_f64(self, value: f64) -> Result {
        write_float(self.out, value)
    }

    fn serialize_char(self, value: char) -> Result {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result {
        write_str(self.out, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result {
        self.literal(b"null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result {
        self.literal(b"null")
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result {
        let text: &[u8] = if self.payload { b"[]" } else { b"null" };
        self.literal(text)
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result {
        let mut object = self.open(b'{', b"}")?;
        object.field(variant, value)?;
        object.close()
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Compound<'a>> {
        self.open(b'[', b"]")
    }

    fn serialize_tuple(self, _length: usize) -> Result<Compound<'a>> {
        self.open(b'[', b"]")
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Compound<'a>> {
        self.open(b'[', b"]")
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Compound<'a>> {
        self.open_variant(variant, b'[', b"]}")
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Compound<'a>> {
        self.open(b'{', b"}")
    }

    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Struct<'a>> {
        match AsText::of(name) {
            Some(kind) => Ok(Struct::AsText(kind, self)),
            None => self.open(b'{', b"}").map(Struct::Fields),
        }
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Compound<'a>> {
        self.open_variant(variant, b'{', b"}}")
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result {
        struct Escaping<'a>(&'a mut Vec<u8>);
        impl fmt::Write for Escaping<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                write_escaped(self.0, text);
                Ok(())
            }
        }
        self.out.push(b'"');
        fmt::write(&mut Escaping(self.out), format_args!("{value}")).map_err(ser::Error::custom)?;
        self.out.push(b'"');
        Ok(())
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.element(value)
    }

    fn end(self) -> Result {
        self.close()
    }
}

impl ser::SerializeTuple for Compound<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.element(value)
    }

    fn end(self) -> Result {
        self.close()
    }
}

impl ser::SerializeTupleStruct for Compound<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.element(value)
    }

    fn end(self) -> Result {
        self.close()
    }
}

impl ser::SerializeTupleVariant for Compound<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.element(value)
    }

    fn end(self) -> Result {
        self.close()
    }
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result {
        self.comma();
        key.serialize(KeySerializer::new(self.out))?;
        self.out.push(b':');
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result {
        self.value(value)
    }

    fn end(self) -> Result {
        self.close()
    }
}

/// A struct that is being written.
pub(super) enum Struct<'a> {
    Fields(Compound<'a>),
    /// Its only field is the text of a value, which is written in its place.
    AsText(AsText, Serializer<'a>),
}

impl ser::SerializeStruct for Struct<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result {
        let (kind, serializer) = match self {
            Self::Fields(fields) => return fields.field(key, value),
            Self::AsText(kind, serializer) => (*kind, serializer),
        };
        let Ok(Value::String(text)) = serde_json::to_value(value) else {
            return Err(ser::Error::custom(format!("{key} is not a text")));
        };
        if kind == AsText::Number {
            return write_number(serializer.out, &text);
        }
        // Not as it stands: PHP has its own spelling.
        let json: OrderedJson = payload_from_text(text.as_bytes()).map_err(ser::Error::custom)?;
        json.serialize(Serializer {
            out: serializer.out,
            depth: serializer.depth,
            payload: false,
        })
    }

    fn end(self) -> Result {
        match self {
            Self::Fields(fields) => fields.close(),
            Self::AsText(..) => Ok(()),
        }
    }
}

impl ser::SerializeStructVariant for Compound<'_> {
    type Ok = ();
    type Error = EncodeError;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result {
        self.field(key, value)
    }

    fn end(self) -> Result {
        self.close()
    }
}
