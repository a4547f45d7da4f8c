//! The command line of streamer-events: a library that an application embeds, and the stand-alone `streamer` binary.
//!
//! # Layout
//!
//! - [`App`] (`app`): an application's listeners under a command line. `args`: what the command line takes. `beside`: our
//!   commands beside those of an application.
//! - `commands/`: one file a command.
//! - `config/`: flags over environment over `streamer.toml` over defaults.
//! - `confirm`: the step before anything is deleted. `names`: what is not there, and what comes near.
//! - `listeners`: from the configuration to listeners. `program/` and `webhook`: the two sorts that it can define.
//! - `metrics`: for Prometheus. `otlp/`: spans and metrics for a collector of OpenTelemetry. `health`: for an orchestrator.
//!   `systemd`: what systemd is told.
//! - `output`, `logging`, `exit`: stdout, stderr, and the exit code. `terminal`: text that a terminal may get. `table`:
//!   tables that fit it.

mod app;
mod args;
mod beside;
mod commands;
mod config;
mod confirm;
#[cfg(test)]
mod documents;
mod exit;
mod health;
mod listeners;
mod logging;
mod metrics;
mod names;
#[cfg(feature = "otlp")]
mod otlp;
mod output;
mod program;
#[cfg(unix)]
mod systemd;
mod table;
mod terminal;
mod webhook;

pub use self::{
    app::App,
    beside::{Commands, Options},
};
