//! Derive macros for `streamer-events`, which re-exports them: depend on that crate, not on this one.
//!
//! # Layout
//!
//! - `event`: `#[derive(Event)]`. `model_events`: `#[derive(ModelEvents)]`, for the crate `streamer-sea-orm`.

mod event;
mod model_events;

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

/// Makes a SeaORM entity emit events: `<name>.created`, `<name>.updated` and `<name>.deleted`.
///
/// It belongs on `Model`, beside `DeriveEntityModel`. `#[model_events(name = "order")]` gives the base name of the events;
/// `hidden("password", …)` names columns that no payload shows, `kind = "…"` is the type of the events, `domain = "…"` their
/// domain, and `laravel` writes payloads as laravel-streamer does. With `custom` only the methods are written, and the
/// implementation of `ModelEvents` for `Entity` is the application's own.
#[proc_macro_derive(ModelEvents, attributes(model_events))]
pub fn derive_model_events(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    model_events::derive(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
