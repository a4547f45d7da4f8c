//! Events that commit together with a row of the application's database: the transactional outbox.
//!
//! An application that saves a row and then emits an event loses the event when it is killed in between. Here the event is
//! a row too, in the table `streamer_outbox`, written in the application's own transaction. It is committed with the
//! application's rows or not at all. A relay (`OutboxRelay`) publishes committed rows, in order
//! for each key, at least once; the store recognises what is published twice.
//!
//! Where the streams are in the application's own SQLite file (`Streamer::connect("sqlite://shop.db")`), there is nothing to
//! relay: the engine makes `streamer_outbox` a view, and the same statement writes the event into its stream, in the
//! application's transaction.
//!
//! # Layout
//!
//! - `row`: [`OutboxRow`], an event on its way, and how it is written by SQL.
//! - `schema`: the tables, for each [`Dialect`]. `inbox`: [`Once`], for listeners that write to a database.
//! - `sqlx`: `emit_in`, for sqlx's connections and transactions; `rusqlite`: the same for rusqlite's.
//! - `handle`: `Outbox`, what an operator begins with: its status, rows that are blocked, the relay.
//! - `relay`: `OutboxRelay`. `database`: the rows and locks that it works with. `wake`: when it looks again. `report`: what
//!   it tells.

#[cfg(feature = "outbox-relay")]
mod database;
#[cfg(feature = "outbox-relay")]
mod error;
#[cfg(feature = "outbox-relay")]
mod handle;
mod inbox;
#[cfg(feature = "outbox-relay")]
mod relay;
#[cfg(feature = "outbox-relay")]
mod report;
mod row;
#[cfg(feature = "outbox-rusqlite")]
pub mod rusqlite;
mod schema;
#[cfg(feature = "outbox-relay")]
mod sqlx;
#[cfg(feature = "outbox-relay")]
mod wake;

#[cfg(feature = "embedded")]
pub(crate) use self::schema::SQLITE_INBOX;
#[cfg(feature = "outbox-relay")]
pub use self::{
    error::OutboxError,
    handle::{BlockedRow, Outbox, OutboxBacklog, OutboxStatus},
    relay::{OutboxRelay, RelaySummary},
    report::RelayReport,
    sqlx::{EmitInError, OutboxConnection, emit_in, emit_replayable_in, emit_row_in},
};
pub use self::{
    inbox::Once,
    row::{Column, OutboxRow, SHARDS},
    schema::{Dialect, IS_ONE_FILE, TABLE, schema, schema_of_one_file},
};

/// What to do when SQLite refuses a write at once.
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-rusqlite"))]
pub(crate) const BEGIN_IMMEDIATE: &str = "begin the transaction with BEGIN IMMEDIATE, so that it waits for its turn before it \
     reads anything, or roll it back and run all of it again";
