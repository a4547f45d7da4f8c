//! Histories: what is recorded of a resource, and what a replay makes of it, on every engine.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod cost;
mod emitting;
mod golden;
mod killed;
mod replaying;
mod store;
mod trimming;
