//! The command line of streamer-events: a library that an application embeds, and the stand-alone `streamer` binary.
//!
//! # Layout
//!
//! - [`App`] (`app`): an application's listeners under a command line. `args`: what the command line takes.
//! - `commands/`: one file a command.
//! - `config/`: flags over environment over `streamer.toml` over defaults.
//! - `listeners`: from the configuration to listeners. `program/` and `webhook`: the two sorts that it can define.
//! - `output`, `logging`, `exit`: stdout, stderr, and the exit code.

mod app;
mod args;
mod commands;
mod config;
mod exit;
mod listeners;
mod logging;
mod output;
mod program;
mod webhook;

pub use app::App;
