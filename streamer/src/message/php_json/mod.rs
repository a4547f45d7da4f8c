//! JSON text as PHP's `json_encode` writes it with its default flags and `serialize_precision = -1`, to the byte.
//!
//! PHP programs remove records from sets by encoding them again, and message hashes cover this text: another spelling of
//! the same value would be another record. Hence a serialiser of our own. It takes the data model exactly as `serde_json`
//! does and differs in the spelling only:
//!
//! - characters from U+0080 on are `\uxxxx` in lower case, in surrogate pairs above U+FFFF; `/` is `\/`;
//! - floats have the shortest digits that read back as the same float; integral ones have no fraction (`1.0` is `1`,
//!   `-0.0` is `-0`); from 1e17 up and below 1e-4 they are in exponent form, `1.0e+17`;
//! - NaN, infinities, and nesting deeper than [`MAX_DEPTH`] are refused.
//!
//! Integers that PHP has no type for (beyond 64 bits signed) keep their digits.

use std::fmt;

use serde::{Serialize, ser};

mod key;
mod number;
mod serializer;
mod text;

use self::serializer::Serializer;
pub(crate) use self::text::write_str;

/// How deep arrays and objects may nest. PHP's limit.
pub const MAX_DEPTH: usize = 512;

/// A value as PHP's JSON text.
///
/// # Errors
///
/// [`EncodeError`]: PHP would have refused the value, or its own `Serialize` failed.
///
/// ```
/// use streamer::message::php_json;
///
/// #[derive(serde::Serialize)]
/// struct Product { url: &'static str, name: &'static str, total: f64 }
///
/// let text = php_json::to_vec(&Product { url: "a/b", name: "é", total: 10.0 })?;
/// assert_eq!(text, br#"{"url":"a\/b","name":"\u00e9","total":10}"#);
/// # Ok::<(), php_json::EncodeError>(())
/// ```
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(128);
    value.serialize(Serializer::new(&mut out))?;
    Ok(out)
}

/// A payload as PHP's JSON text. An empty one (no fields, or a unit struct) is `[]`, as PHP writes an empty array.
///
/// # Errors
///
/// As [`to_vec`].
pub fn payload_to_vec<T: Serialize + ?Sized>(payload: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(128);
    payload.serialize(Serializer::for_payload(&mut out))?;
    if out == b"{}" {
        out.copy_from_slice(b"[]");
    }
    Ok(out)
}

/// A value that has no JSON text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A float that JSON has no text for.
    #[error("NaN and infinities cannot be written as JSON; send null, or leave the field out")]
    NotFinite,
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    #[error("it nests deeper than {MAX_DEPTH} levels, which PHP's JSON refuses; flatten it")]
    TooDeep,
    /// A map key that is neither text nor a number, a boolean or a unit variant.
    #[error("a map key must be text, a number, a boolean or a unit variant, not {0}")]
    Key(&'static str),
    /// The value's own `Serialize` failed.
    #[error("{0}")]
    Custom(String),
}

impl ser::Error for EncodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}
