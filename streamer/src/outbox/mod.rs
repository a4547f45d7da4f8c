//! Events that commit together with a row of the application's database: the transactional outbox.
//!
//! An application that saves a row and then emits an event loses the event when it is killed in between. Here the event is
//! a row too, in the table `streamer_outbox`, written in the application's own transaction. It is committed with the
//! application's rows or not at all.
//!
//! # Layout
//!
//! - `row`: [`OutboxRow`], an event on its way, and how it is written by SQL.
//! - `schema`: the tables, for each [`Dialect`].

mod row;
mod schema;

pub use self::{
    row::{Column, OutboxRow, SHARDS},
    schema::{Dialect, TABLE, schema},
};
