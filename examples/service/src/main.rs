//! A web service that emits events, and the worker that handles them: two processes of one program.
//!
//! # Layout
//!
//! - `events`: what happens.
//! - `web`: requests that emit; health; metrics.
//! - `worker`: listeners with state, retries and keyed order, and how the worker ends.
//! - `command`: the command line: `web` and `work`, and beside them every command of `streamer`.
//!
//! Try it, in three terminals:
//!
//! ```text
//! cargo run -p service -- --url sqlite://service.db web --address 127.0.0.1:3000
//! cargo run -p service -- --url sqlite://service.db work --metrics 127.0.0.1:9464
//! curl -d '{"order":1,"customer":"Ada","cents":850}' -H 'content-type: application/json' http://127.0.0.1:3000/orders
//! cargo run -p service -- --url sqlite://service.db status
//! ```

mod command;
mod events;
mod web;
mod worker;

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    command::run().await
}
