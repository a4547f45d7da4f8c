//! Histories: what happened to one resource, and what it looks like after that.
//!
//! # Layout
//!
//! - `replayable`: [`Replayable`], an event that belongs to a resource.
//! - `snapshot`: the record that is kept of each such event, to the byte as laravel-streamer writes it.
//! - `find`: where the message of a snapshot is now.
//! - `replay`: [`Replay`] puts a resource together again. `change`: [`Change`], what one message changed.
//! - `trim`: removes snapshots whose messages are gone.
//!
//! The snapshots of event `user` and identifier `u1` are in the list `user-u1`. Two events can share a list (`a-b` with
//! `c`, `a` with `b-c`), so everything here looks at the name and the identifier in each snapshot too.

mod change;
mod error;
mod find;
mod replay;
mod replayable;
mod snapshot;
mod trim;

pub(crate) use self::snapshot::snapshot;
pub use self::{
    change::Change,
    error::HistoryError,
    replay::{Replay, Replayed},
    replayable::Replayable,
    trim::TrimmedHistory,
};

/// How many snapshots, and their messages, are held at once.
const PAGE: usize = 128;
