//! Events between applications over Redis Streams, or over one SQLite file with no server at all.
//!
//! One application emits, others listen in consumer groups, and each group handles every message at least once. A message that
//! a listener cannot handle is in the failed list, and can be retried. The bytes on the wire are those of the PHP package
//! laravel-streamer.
//!
//! ```no_run
//! use streamer::prelude::*;
//!
//! #[derive(serde::Serialize, serde::Deserialize, Event)]
//! #[event(name = "order.placed")]
//! struct OrderPlaced { id: u64, total: f64 }
//!
//! async fn receipt(Payload(order): Payload<OrderPlaced>) -> Result<(), std::io::Error> {
//!     println!("order {}: {:.2}", order.id, order.total);
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let streamer = Streamer::connect("sqlite://shop.db").await?; // or redis://127.0.0.1:6379
//!     streamer.emit(&OrderPlaced { id: 1, total: 9.99 }).await?;
//!     let listening = streamer.listen(Listeners::new().on_event("receipt", receipt)).group("billing");
//!     listening.stop_handle().on_signals()?; // Ctrl-C finishes what runs, then ends
//!     listening.run().await?;
//!     Ok(())
//! }
//! ```
//!
//! | to | begin at |
//! | --- | --- |
//! | emit | [`Streamer::emit`], [`emit_all`](Streamer::emit_all), [`EmitOptions`]; [`outbox`] for an event in a transaction |
//! | listen | [`Listeners`], [`Streamer::listen`], [`Listening`], [`RetryPolicy`] |
//! | see and retry what failed | [`Streamer::failed`] |
//! | look at a store | [`Streamer::inspect`], [`Streamer::stream`] |
//! | archive, restore, replay | [`archive`], [`Streamer::replay`] |
//! | test | `testing` |
//!
//! # Cargo features
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `redis` (default) | the engine on Redis and Valkey, with TLS |
//! | `embedded` (default) | the engine on one SQLite file or in memory, and `testing`, which needs it |
//! | `archive-sqlite` (default) | archives in SQLite files |
//! | `archive-postgres`, `archive-mysql`, `archive-object`, `archive-s3`, `archive-gcs`, `archive-azure` | archives elsewhere |
//! | `outbox-postgres`, `outbox-mysql`, `outbox-sqlite` | the outbox's relay, and `emit_in` for sqlx's transactions |
//! | `outbox-rusqlite` | `emit_in` for rusqlite's transactions |
//!
//! At least one engine is needed. With `redis` alone no SQLite is compiled; with `embedded` alone no Redis client and no TLS.
//!
//! # What an application gets with this crate
//!
//! Cargo features of shared dependencies hold for the whole program. This crate switches on none that changes what a dependency
//! does elsewhere, and behaves the same whether the application switches on `preserve_order`, `unbounded_depth` or
//! `float_roundtrip` of `serde_json` or not. Payloads that nest deep or have floats of many digits are read exactly all the same. Keys
//! keep the order of the payload, as in PHP, wherever payloads are written, passed on or printed: typed payloads have the order of
//! the struct, and [`OrderedJson`] is any JSON in its own order. Only the `serde_json::Value`s that an application reads
//! ([`ReceivedMessage::data`], [`get`](ReceivedMessage::get)) or emits are sorted, unless it switches on `preserve_order`. The features
//! of `tokio` (`macros`, `rt-multi-thread`, `signal`, `sync`, `time`, `io-util`, and `net` for Redis) only add functions.
//!
//! # Layout
//!
//! The flow of an event: event → message → emit → engine → listen → failed.
//!
//! - [`event`](Event): what a program emits. `#[derive(Event)]` is in the crate `streamer-macros`.
//! - [`message`]: what an event becomes on a stream, to the byte, and what a listener gets back.
//! - [`emit`](Streamer::emit): writes events, one or many. [`client`](Streamer): the handle that all other handles come from.
//! - [`engine`]: the interface to the store, and the engines that implement it.
//! - [`stream`]: plain handles for streams, groups and consumers, without events and listeners.
//! - [`listener`](Listener): what handles messages. [`listen`](Listening): gives messages to listeners.
//! - [`failed`]: the list of failures, by message and listener.
//! - [`archive`]: moves messages from their stream to an archive, and back.
//! - [`history`](Replayable): the events about one resource, [replayed](Streamer::replay).
//! - [`inspect`]: the state of a store at one moment, and what is wrong with it.
//! - [`metrics`]: counters and times of this process. [`trace`]: spans, and traces from process to process.
//! - [`model`]: events about the records of a database.
//! - [`outbox`]: events that commit together with the row of a database.
//! - [`testing`]: for the tests of an application.
//! - `moment`: [`Moment`], a date or an age as people write it.
//! - `entry`: entries, their IDs and the names of streams. [`shown_url`]: URLs without their secrets.

#[cfg(not(any(feature = "redis", feature = "embedded")))]
compile_error!(
    "streamer-events has no engine: give it the feature \"redis\" (Redis, Valkey), \"embedded\" (one SQLite file), or both, \
     or leave out `default-features = false`"
);

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
mod raw;
#[cfg(any(feature = "embedded", feature = "archive-sqlite"))]
mod read_only_file;
mod reserved;
#[cfg(test)]
mod schedules;
mod shown_url;
#[cfg(any(feature = "archive-postgres", feature = "archive-mysql", feature = "outbox-relay"))]
mod sql_error;
#[cfg(any(feature = "embedded", feature = "archive-sqlite", feature = "outbox-relay"))]
mod sqlite_file;
pub mod stream;
#[cfg(feature = "embedded")]
pub mod testing;
pub mod trace;

pub use self::{
    client::{Streamer, StreamerBuilder},
    emit::{EmitAllError, EmitError, EmitErrorKind, EmitOptions, ScheduledEvents},
    entry::{Entry, EntryId, Fields, InvalidEntryId, NewId, RangeBound, StreamName, Trim, TrimLimit},
    event::{DynamicEvent, Event, NamedEvent},
    history::{Change, HistoryError, Replay, Replayable, Replayed, TrimmedHistory},
    listen::{
        AfterSuccess, Condition, EndReason, Health, KeepAlive, LeaveWhen, ListenError, Listening, OnNameInUse,
        OrderKey, Report, RunningListening, Scope, StartAt, Summary, Timing, Workers,
    },
    listener::{
        ArgumentsOfEvent, CircuitBreaker, ConcurrencyLimit, Gather, Handler, IntoOutcome, IntoOutcomes, Layer,
        Listener, ListenerContext, ListenerError, Listeners, Next, Payload, RateLimit, RegisteredListener, RetryPolicy,
        StopHandle,
    },
    message::{DecodeError, OrderedJson, ReceivedMessage},
    moment::{InvalidMoment, Moment},
    raw::{Raw, RawEvent},
    shown_url::shown_url,
};
pub use async_trait::async_trait;

/// What the arguments of a listener are made of: [`State`](extract::State) and [`Payload`], and the traits for an
/// application's own.
///
/// `State` is here alone because web frameworks have one, too.
pub mod extract {
    pub use crate::listener::{FromMessage, FromRef, Payload, State};
}

/// What most programs use: `use streamer::prelude::*;`.
pub mod prelude {
    pub use crate::{
        DynamicEvent, EmitOptions, Event, KeepAlive, ListenerError, Listeners, NamedEvent, Payload, ReceivedMessage,
        RetryPolicy, StopHandle, Streamer, Workers,
    };
}
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
#[doc = include_str!("../../docs/getting-started.md")]
#[doc = include_str!("../../docs/laravel.md")]
#[doc = include_str!("../../docs/listen.md")]
#[doc = include_str!("../../docs/replay.md")]
#[doc = include_str!("../../docs/retry.md")]
#[doc = include_str!("../../docs/scale-out.md")]
#[doc = include_str!("../../docs/testing.md")]
struct Guides;
