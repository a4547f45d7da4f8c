//! What `serde_json` hands over as text, in a struct with one field and a name that is its own: with its feature
//! `arbitrary_precision` a number, with `raw_value` a `RawValue`. An application may switch on either, for the whole program.

use std::sync::LazyLock;

use serde_json::Number;

/// The name of a number, and of its only field.
pub(super) const NUMBER: &str = "$serde_json::private::Number";
/// The name of a `RawValue`, and of its only field.
const JSON: &str = "$serde_json::private::RawValue";

/// What the text of such a struct is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AsText {
    Number,
    /// Any JSON.
    Json,
}

impl AsText {
    /// `None` for the name of any other struct.
    pub(super) fn of(name: &'static str) -> Option<Self> {
        match name {
            NUMBER => Some(Self::Number),
            JSON => Some(Self::Json),
            _ => None,
        }
    }
}

/// Whether the feature `arbitrary_precision` is on: a number keeps the digits that it was written with. Without the feature, an
/// object with this name as a key is an object like any other.
pub(super) fn numbers_keep_digits() -> bool {
    static KEPT: LazyLock<bool> = LazyLock::new(|| "1e400".parse::<Number>().is_ok());
    *KEPT
}
