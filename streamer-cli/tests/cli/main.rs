//! What the command line promises, tried on the real binary with real processes, files and servers.
#![allow(missing_docs, clippy::unwrap_used)]

mod archive;
mod bench;
mod configuration;
mod demo;
mod emit;
mod failed;
mod list;
mod listen;
mod program;
mod replay;
mod shell;
mod signals;
mod tail;
mod trouble;
mod webhook;
