//! Model events: what happened to one record of a database, as an event.
//!
//! # Layout
//!
//! - `spec`: [`ModelSpec`], what a model's events are called and what they carry.
//! - `event`: [`ModelEvent`], one event, and its payload.
//! - `tracked`: [`Tracked`], a plain value that knows what changed since it was saved.
//! - `state`: what a model's events make of its record, for replays.

mod event;
mod spec;
mod state;
mod tracked;

pub(crate) use self::state::apply;
pub use self::{
    event::{ModelAction, ModelEvent},
    spec::{ModelSpec, PayloadFormat},
    tracked::{TrackError, Tracked},
};
