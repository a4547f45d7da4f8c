//! Events in rusqlite's transactions. The application's rusqlite must be the one of this crate: version 0.39.
//!
//! ```
//! use rusqlite::{Connection, TransactionBehavior};
//! use streamer::{DynamicEvent, Streamer, outbox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("shop.db");
//! // The application's tables and the streams are in one file.
//! let streamer = Streamer::connect(&format!("sqlite://{}", path.display())).await?;
//! let mut shop = Connection::open(&path)?;
//! shop.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, paid INTEGER NOT NULL DEFAULT 0)", [])?;
//!
//! let transaction = shop.transaction_with_behavior(TransactionBehavior::Immediate)?;
//! transaction.execute("INSERT INTO orders (id) VALUES (7)", [])?;
//! let event = DynamicEvent::new("order.placed", serde_json::json!({"id": 7}));
//! outbox::rusqlite::emit_in(&transaction, &event, "shop")?;
//! assert_eq!(streamer.stream("order.placed").len().await?, 0);
//! transaction.commit()?;
//! assert_eq!(streamer.stream("order.placed").len().await?, 1);
//! # Ok(())
//! # }
//! ```

use rusqlite::{Connection, ToSql, ffi, params_from_iter, types::ToSqlOutput};

use super::{Column, Dialect, Once, OutboxRow};
use crate::{EmitError, Event, Replayable, message::ReceivedMessage};

/// Writes an event in this transaction: it is emitted when the transaction commits, and only then. Events of one name keep
/// their order. A transaction of rusqlite is a connection: give `&transaction`.
///
/// # Errors
///
/// What cannot be encoded; what the database refuses, where the transaction is still the caller's to roll back.
pub fn emit_in<E: Event>(connection: &Connection, event: &E, domain: &str) -> Result<(), EmitInError> {
    emit_row_in(connection, OutboxRow::new(event, domain)?)
}

/// Writes an event about a resource in this transaction, with a record for replays. The events of one resource keep their
/// order.
///
/// # Errors
///
/// As [`emit_in`].
pub fn emit_replayable_in<E: Replayable>(connection: &Connection, event: &E, domain: &str) -> Result<(), EmitInError> {
    emit_row_in(connection, OutboxRow::replayable(event, domain)?)
}

/// Writes a row of the outbox in this transaction.
///
/// # Errors
///
/// An error of the database.
pub fn emit_row_in(connection: &Connection, row: OutboxRow) -> Result<(), EmitInError> {
    let mut insert = connection
        .prepare_cached(OutboxRow::INSERT_SQLITE)
        .map_err(EmitInError::of)?;
    insert
        .execute(params_from_iter(row.columns()))
        .map_err(EmitInError::of)?;
    Ok(())
}

/// Records in this transaction that the message is handled. Returns `true` the first time; `false` means that the message was
/// handled before and there is nothing to do.
///
/// # Errors
///
/// An error of the database.
pub fn once_in(connection: &Connection, message: &ReceivedMessage, group: &str) -> Result<bool, rusqlite::Error> {
    let mut insert = connection.prepare_cached(&Once::statement(Dialect::Sqlite))?;
    let affected = insert.execute(params_from_iter(Once::new(message, group).columns()))?;
    Ok(affected == 1)
}

impl ToSql for Column {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Bytes(bytes) => bytes.to_sql(),
            Self::Small(number) => number.to_sql(),
            Self::Big(number) => number.to_sql(),
        }
    }
}

/// An event that could not be written in a transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitInError {
    /// The payload has no JSON text.
    #[error(transparent)]
    Encode(#[from] EmitError),
    /// Somebody else writes, or has written since this transaction began to read: roll it back and run it again.
    #[error("could not write the event to `streamer_outbox`: {0}; {advice}", advice = super::BEGIN_IMMEDIATE)]
    Busy(#[source] rusqlite::Error),
    /// The database refused.
    #[error("could not write the event to `streamer_outbox`: {0}")]
    Database(#[source] rusqlite::Error),
}

impl EmitInError {
    fn of(error: rusqlite::Error) -> Self {
        let code = error.sqlite_error().map(|error| error.extended_code & 0xff);
        match code {
            Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => Self::Busy(error),
            _ => Self::Database(error),
        }
    }
}
