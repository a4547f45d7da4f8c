//! The dashboard as a browser asks it, on real stores.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod actions;
mod bench;
mod guard;
mod hostile;
mod live;
mod pages;
