//! What the command line promises, tried on the real binary with real processes, files and servers.
#![allow(missing_docs, clippy::unwrap_used)]

mod archive;
mod bench;
mod configuration;
mod dashboard;
mod deep;
mod demo;
mod documents;
mod emit;
mod failed;
#[cfg(feature = "outbox-sqlite")]
mod files;
mod guides;
mod health;
mod hostile;
mod list;
mod listen;
mod metrics;
mod operators;
#[cfg(all(feature = "outbox-postgres", feature = "outbox-mysql", feature = "outbox-sqlite"))]
mod outbox;
mod picture;
mod program;
mod replay;
mod scheduled;
mod secrets;
mod shell;
mod signals;
mod slips;
mod status;
mod tail;
mod terminal;
mod top;
mod trouble;
mod webhook;
