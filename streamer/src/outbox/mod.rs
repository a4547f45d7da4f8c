//! Events that commit together with a row of the application's database: the transactional outbox.
//!
//! An application that saves a row and then emits an event loses the event when it is killed in between. Here the event is
//! a row too, in the table `streamer_outbox`, written in the application's own transaction. It is committed with the
//! application's rows or not at all. A relay (`OutboxRelay`) publishes committed rows, in order
//! for each key, at least once; the store recognises what is published twice.
//!
//! # Layout
//!
//! - `row`: [`OutboxRow`], an event on its way, and how it is written by SQL.
//! - `schema`: the tables, for each [`Dialect`]. `inbox`: [`Once`], for listeners that write to a database.
//! - `sqlx`: `emit_in`, for sqlx's connections and transactions.
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
mod schema;
#[cfg(feature = "outbox-relay")]
mod sqlx;
#[cfg(feature = "outbox-relay")]
mod wake;

#[cfg(feature = "outbox-relay")]
pub use self::{
    error::OutboxError,
    handle::{BlockedRow, Outbox, OutboxStatus},
    relay::{OutboxRelay, RelaySummary},
    report::RelayReport,
    sqlx::{EmitInError, OutboxConnection, emit_in, emit_replayable_in, emit_row_in},
};
pub use self::{
    inbox::Once,
    row::{Column, OutboxRow, SHARDS},
    schema::{Dialect, TABLE, schema},
};
