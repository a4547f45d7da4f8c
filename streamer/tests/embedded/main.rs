//! What only the embedded engine promises: one file, many processes, nothing lost.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "tests")]

mod callers;
mod damage;
mod durable;
mod file;
mod full;
mod group_store;
mod killed;
mod layout;
mod log;
mod one_file;
mod other_process;
mod place;
mod replaced;
