//! Macros for `streamer-events`, which re-exports them: depend on that crate, not on this one.
//!
//! # Layout
//!
//! - `event`: `#[derive(Event)]`. `listener`: `#[listener]`. `model_events`: `#[derive(ModelEvents)]`, for the crate `streamer-sea-orm`.

mod event;
mod listener;
mod model_events;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemFn, parse_macro_input};

/// Makes a serialisable type an event.
///
/// `#[event(name = "order.placed", kind = "command")]` says its name, which is the stream it goes to, and its type;
/// without `kind` it is an `event`. `identifier = "id"` names the field that says which resource it is about, and makes it
/// `Replayable`. The type must implement `serde::Serialize`: that is the payload. `crate = path::to::streamer` says where the
/// library is, for applications that have it under another name.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    event::derive(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Checks a listener function where it is written.
///
/// The function stays as it is. What cannot be a listener does not compile, with an error at the cause: an argument that no
/// listener can be given, a payload without `Deserialize`, a return type that is no outcome, a value that is not `Send` and
/// is held across an `.await`. Without this, the compiler says only that the function is no listener, where it is
/// registered.
///
/// The state is that of the function's `State<T>`. A function that takes a part of it (`FromRef`), or several parts, says
/// what they are parts of: `#[listener(state = Shop)]`. `crate = path::to::streamer` says where the library is, for
/// applications that have it under another name.
///
/// ```ignore
/// #[streamer::listener]
/// async fn receipt(Payload(order): Payload<OrderPlaced>, State(shop): State<Shop>) -> Result<(), std::io::Error> {
///     shop.print(order).await
/// }
/// ```
#[proc_macro_attribute]
pub fn listener(attributes: TokenStream, function: TokenStream) -> TokenStream {
    let attributes = parse_macro_input!(attributes as listener::Attributes);
    let function = parse_macro_input!(function as ItemFn);
    listener::check(attributes, &function)
        .unwrap_or_else(|error| {
            // The function too, so that nothing else is reported as missing.
            let error = error.into_compile_error();
            quote::quote! { #function #error }
        })
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
