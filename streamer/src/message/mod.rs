//! A message: what an event becomes on a stream, and what a listener gets back.
//!
//! # Layout
//!
//! - `php_json`: the JSON text that PHP would have written, to the byte.
//! - `encode`: from an [`Envelope`] to the fields of an entry.
//! - `decode`: from the fields of an entry to JSON, whoever wrote them.
//! - `foreign`: entries of other programs. `created`: when a message was emitted, if that is to be believed.
//! - `decodable`: whether it is JSON at all. `exact`: JSON that nests deep, or has floats of many digits.
//! - `as_text`: numbers and JSON that `serde_json` hands over as text.
//! - `received`: [`ReceivedMessage`], which listeners work with.
//! - `headers`: fields that come after those of the envelope.
//! - `lookup`: dotted paths into a payload.
//! - `ordered`: [`OrderedJson`], JSON that keeps the order of its keys.

mod as_text;
mod created;
mod decodable;
mod decode;
mod encode;
mod exact;
mod foreign;
mod headers;
mod lookup;
mod ordered;
pub mod php_json;
mod received;

pub(crate) use self::{
    created::created_ms,
    decode::{fields_as_json, fields_from_json},
    encode::{Head, hash},
    headers::is_header_name,
    ordered::{Members, Node, members},
};
pub use self::{
    decode::{DecodeError, payload_from_text},
    encode::Envelope,
    headers::{CAUSATION_ID, CORRELATION_ID, SCHEDULED_ID, TRACEPARENT, TRACESTATE},
    ordered::OrderedJson,
    received::ReceivedMessage,
};
