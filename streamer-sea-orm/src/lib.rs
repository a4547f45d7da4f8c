//! Model events for [SeaORM](sea_orm) 2: an entity emits `<model>.created`, `.updated` and `.deleted` when its rows change.
//!
//! # Layout
//!
//! - [`ModelEvents`]: which events an entity emits. `#[derive(ModelEvents)]` writes it, with methods beside the model.
//! - `save`: [`insert`], [`update`], [`save`], [`delete`]: a row is saved and its event is written in one transaction.
//! - `bulk`: [`insert_many`], [`update_many`], [`delete_many`]: the same for many rows.
//! - `event`: from a saved row to its event. `row`: a row as JSON. `columns`: which columns of an active model were set.
//! - `direct`: [`direct::insert`] and the functions beside it, to emit at once, without the outbox.
//! - `emit`: [`emit_in`], for any event in any transaction. `inbox`: [`Once`], for listeners that write to a database.
//! - `migration`: the tables, for SeaORM's migrator (the cargo feature `migration`).
//!
//! An event is a row of the table `streamer_outbox` ([`install`] creates it), written in the transaction that saves the
//! model's row. It is committed with that row or not at all; a relay publishes it.

mod bulk;
mod columns;
pub mod direct;
mod emit;
mod entity;
mod event;
mod inbox;
#[cfg(feature = "migration")]
mod migration;
mod row;
mod save;

pub use streamer::model::{ModelAction, ModelEvent, PayloadFormat};
pub use streamer_macros::ModelEvents;

#[cfg(feature = "migration")]
pub use self::migration::Migration;
pub use self::{
    bulk::{delete_many, insert_many, update_many},
    emit::{EmitInError, dialect, emit_in, emit_replayable_in, emit_row_in, install},
    entity::ModelEvents,
    inbox::Once,
    row::{DateFormat, row_fields},
    save::{begin, change, delete, delete_known, insert, save, update, update_known},
};

/// The examples of the guide compile, and run where they can.
#[cfg(doctest)]
#[doc = include_str!("../../docs/model-events.md")]
#[doc = include_str!("../../docs/transactions.md")]
struct Guides;
