//! Derive macros for `streamer-events`, which re-exports them: depend on that crate, not on this one.
//!
//! # Layout
//!
//! - `event`: `#[derive(Event)]`.

mod event;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a serialisable type an event.
///
/// `#[event(name = "order.placed", kind = "command")]` says its name, which is the stream it goes to, and its type;
/// without `kind` it is an `event`. `identifier = "id"` names the field that says which resource it is about, and makes it
/// `Replayable`. The type must implement `serde::Serialize`: that is the payload.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::derive(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
