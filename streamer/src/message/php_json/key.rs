//! Map keys: what is text, or has a text.

use std::{fmt, io::Write as _};

use serde::{
    Serialize,
    ser::{self, Impossible},
};

use super::{EncodeError, number::write_float, serializer::Serializer, text::write_str};

type Result<T = (), E = EncodeError> = std::result::Result<T, E>;
type Never = Impossible<(), EncodeError>;

/// Writes one map key, always in quotes.
pub(super) struct KeySerializer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> KeySerializer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// For texts that need no escapes.
    fn quoted(self, key: impl fmt::Display) -> Result {
        write!(self.out, "\"{key}\"").map_err(ser::Error::custom)
    }

    fn float<F: zmij::Float + Into<f64>>(self, key: F) -> Result {
        self.out.push(b'"');
        write_float(self.out, key)?;
        self.out.push(b'"');
        Ok(())
    }
}

impl ser::Serializer for KeySerializer<'_> {
    type Ok = ();
    type Error = EncodeError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_bool(self, key: bool) -> Result {
        self.quoted(key)
    }

    fn serialize_i8(self, key: i8) -> Result {
        self.quoted(key)
    }

    fn serialize_i16(self, key: i16) -> Result {
        self.quoted(key)
    }

    fn serialize_i32(self, key: i32) -> Result {
        self.quoted(key)
    }

    fn serialize_i64(self, key: i64) -> Result {
        self.quoted(key)
    }

    fn serialize_i128(self, key: i128) -> Result {
        self.quoted(key)
    }

    fn serialize_u8(self, key: u8) -> Result {
        self.quoted(key)
    }

    fn serialize_u16(self, key: u16) -> Result {
        self.quoted(key)
    }

    fn serialize_u32(self, key: u32) -> Result {
        self.quoted(key)
    }

    fn serialize_u64(self, key: u64) -> Result {
        self.quoted(key)
    }

    fn serialize_u128(self, key: u128) -> Result {
        self.quoted(key)
    }

    fn serialize_f32(self, key: f32) -> Result {
        self.float(key)
    }

    fn serialize_f64(self, key: f64) -> Result {
        self.float(key)
    }

    fn serialize_char(self, key: char) -> Result {
        self.serialize_str(key.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, key: &str) -> Result {
        write_str(self.out, key);
        Ok(())
    }

    fn serialize_bytes(self, _key: &[u8]) -> Result {
        Err(EncodeError::Key("bytes"))
    }

    fn serialize_none(self) -> Result {
        Err(EncodeError::Key("null"))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, key: &T) -> Result {
        key.serialize(self)
    }

    fn serialize_unit(self) -> Result {
        Err(EncodeError::Key("null"))
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result {
        Err(EncodeError::Key("a unit struct"))
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, key: &T) -> Result {
        key.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _key: &T,
    ) -> Result {
        Err(EncodeError::Key("an enum with content"))
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Never> {
        Err(EncodeError::Key("a list"))
    }

    fn serialize_tuple(self, _length: usize) -> Result<Never> {
        Err(EncodeError::Key("a tuple"))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Never> {
        Err(EncodeError::Key("a tuple"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Never> {
        Err(EncodeError::Key("an enum with content"))
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Never> {
        Err(EncodeError::Key("a map"))
    }

    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Never> {
        Err(EncodeError::Key("a struct"))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Never> {
        Err(EncodeError::Key("an enum with content"))
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, key: &T) -> Result {
        ser::Serializer::collect_str(Serializer::new(self.out), key)
    }
}
