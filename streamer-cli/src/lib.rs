//! The command line of streamer-events: a library that an application embeds, and the stand-alone `streamer` binary.
//!
//! # Cargo features
//!
//! Each command of `streamer` that brings crates of its own can be left out; all of these are on by default.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `redis` | stores on Redis and Valkey; those in SQLite files are always there |
//! | `dashboard`, `top` | these commands |
//! | `endpoints` | `listen --metrics` and `listen --health` |
//! | `webhooks` | listeners that are URLs: `[listeners.NAME] webhook`, `listen --webhook` |
//! | `outbox-postgres`, `outbox-mysql`, `outbox-sqlite` | `outbox`, for these databases |
//!
//! Not by default: `otlp` (spans and metrics to a collector of OpenTelemetry), `archive-postgres`, `archive-mysql`, `archive-object`, `archive-s3`,
//! `archive-gcs` and `archive-azure` (archives elsewhere).
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
#[cfg(feature = "endpoints")]
mod health;
mod left_out;
mod listeners;
mod logging;
#[cfg(any(feature = "dashboard", feature = "endpoints"))]
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
#[cfg(feature = "webhooks")]
mod webhook;

pub use self::{
    app::App,
    beside::{Commands, Options},
};

/// The examples of guides that need what this crate depends on compile.
#[cfg(all(doctest, feature = "endpoints"))]
#[doc = include_str!("../../docs/archive.md")]
#[doc = include_str!("../../docs/observability.md")]
struct Guides;
