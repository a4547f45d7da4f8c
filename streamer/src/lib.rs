//! Events between applications over Redis Streams, or over one SQLite file with no server at all.
//!
//! # Layout
//!
//! An event takes this road: event → message → emit → engine → listen → failed.
//!
//! - [`event`](Event): what a program emits. `#[derive(Event)]` is in the crate `streamer-macros`.
//! - [`message`]: what an event becomes on a stream, to the byte, and what a listener gets back.
//! - [`emit`](Streamer::emit): writes events, one or many. [`client`](Streamer): the handle that everything begins with.
//! - [`engine`]: the seam to what stores the streams, and the engines behind it.
//! - [`stream`]: streams, groups and consumers by hand, below events and listeners.
//! - [`listener`](Listener): what handles messages. [`listen`](Listening): gives messages to listeners.
//! - [`failed`]: the list of what listeners could not handle.
//! - [`archive`]: where messages go when they leave their stream, and how they come back.
//! - [`history`](Replayable): what happened to one resource, [replayed](Streamer::replay).
//! - [`inspect`]: what a store looks like at one moment, and what is wrong with it.
//! - [`metrics`]: numbers about what happens in this process. [`trace`]: spans, and traces from process to process.
//! - [`model`]: events about the records of a database.
//! - [`outbox`]: events that commit together with the row of a database.
//! - [`testing`]: for the tests of an application.
//! - `moment`: [`Moment`], a date or an age as people write it.
//! - `entry`: entries, their IDs and the names of streams. [`shown_url`]: URLs without their secrets.

pub mod archive;
mod client;
mod emit;
pub mod engine;
mod entry;
mod event;
pub mod failed;
mod history;
pub mod inspect;
mod listen;
mod listener;
pub mod message;
pub mod metrics;
pub mod model;
mod moment;
pub mod outbox;
mod read_only_file;
mod reserved;
mod shown_url;
pub mod stream;
pub mod testing;
pub mod trace;

pub use self::{
    client::{Streamer, StreamerBuilder},
    emit::{EmitAllError, EmitError, EmitErrorKind, EmitOptions},
    entry::{Entry, EntryId, Fields, InvalidEntryId, Keep, NewId, RangeBound, StreamName, Trim},
    event::{DynamicEvent, Event, NamedEvent},
    history::{Change, HistoryError, Replay, Replayable, Replayed, TrimmedHistory},
    listen::{
        AfterSuccess, Condition, Ended, Health, KeepAlive, Key, ListenError, Listening, OnNameInUse, Report,
        RunningListening, Scope, Start, Summary, When, Workers,
    },
    listener::{
        ArgumentsOfEvent, Context, FromMessage, FromRef, Handler, IntoOutcome, Listener, ListenerError, Listeners,
        Payload, RegisteredListener, RetryPolicy, State, StopHandle,
    },
    message::{DecodeError, ReceivedMessage},
    moment::{InvalidMoment, Moment},
    shown_url::shown_url,
};
pub use async_trait::async_trait;
pub use streamer_macros::{Event, listener};

#[doc(hidden)]
pub mod __private {
    pub use serde::Serialize;

    pub use crate::listener::check::{check_argument, check_future, check_outcome, never};
}

/// The examples of the README and the guides compile, and run where they can.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[doc = include_str!("../../docs/emit.md")]
#[doc = include_str!("../../docs/laravel.md")]
#[doc = include_str!("../../docs/listen.md")]
#[doc = include_str!("../../docs/observability.md")]
#[doc = include_str!("../../docs/testing.md")]
struct Guides;
