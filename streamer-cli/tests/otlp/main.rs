//! What arrives at a receiver of OTLP: spans and metrics of real processes.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

#[path = "../cli/bench.rs"]
#[allow(dead_code, reason = "it is made for the other tests")]
mod bench;

mod away;
mod metrics;
mod receiver;
mod traces;
