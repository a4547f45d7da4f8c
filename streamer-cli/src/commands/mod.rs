//! The commands, one a file. Each says what it takes, in its help too, and does it.

pub(crate) mod archive;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod consumer;
#[cfg(feature = "dashboard")]
pub(crate) mod dashboard;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod emit;
pub(crate) mod failed;
pub(crate) mod group;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod listen;
#[cfg(feature = "outbox")]
pub(crate) mod outbox;
pub(crate) mod prometheus;
pub(crate) mod replay;
pub(crate) mod scheduled;
pub(crate) mod show;
mod start;
pub(crate) mod status;
pub(crate) mod tail;
#[cfg(feature = "top")]
pub(crate) mod top;
