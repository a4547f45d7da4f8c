//! Listeners that are programs.
//!
//! - `command`: what is started, and the check that it can be.
//! - `group`: a child's process group, which goes when its owner goes.
//! - `child`: one long-lived process: ask, answer, end.
//! - `lines`: the listener of `mode = "lines"`, with its pool of children.
//! - `message`: the listener of `mode = "message"`.
//! - `last_words`: what a program writes to stderr: to our log, and its tail into errors.

mod child;
mod command;
mod group;
mod last_words;
mod lines;
mod message;

pub(crate) use self::{command::Program, group::Groups, lines::Lines, message::OnePerMessage};

use std::time::Duration;

use streamer::ListenerError;

/// The failure of a program that took longer than it may, and what else than a longer time may help.
fn too_late(limit: Duration, hint: &str) -> ListenerError {
    ListenerError::new(format!(
        "the program did not finish within {}; it was ended (`timeout` says how long it may take{hint})",
        humantime::format_duration(limit)
    ))
}
