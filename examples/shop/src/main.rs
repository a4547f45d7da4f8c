//! A shop that emits and listens, with every command of `streamer` in its own binary.
//!
//! # Layout
//!
//! - `events`: what happens in the shop.
//! - `listeners`: what the shop does about it, and the state that this shares.
//!
//! Try it, in two terminals:
//!
//! ```text
//! cargo run -p shop -- listen --all --group shop
//! cargo run -p shop -- emit order.placed '{"id":1,"customer":"Ada","items":[{"sku":"tea","quantity":2,"cents":850}]}'
//! ```

mod events;
mod listeners;

use std::process::ExitCode;

fn main() -> ExitCode {
    let app = streamer_cli::App::new(listeners::all())
        .name("shop")
        .domain("shop")
        .url("sqlite://shop.db");
    app.about("A shop that emits and listens").main()
}
