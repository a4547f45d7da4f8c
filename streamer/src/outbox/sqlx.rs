//! Events in sqlx's transactions.

use std::future::Future;

#[cfg(feature = "outbox-sqlite")]
use sqlx::error::DatabaseError as _;

use super::{Column, Dialect, Once, OutboxRow};
use crate::{EmitError, Event, Replayable, message::ReceivedMessage, sql_error::in_words};

/// A connection of sqlx, or a transaction: `&mut *transaction`.
pub trait OutboxConnection: Send {
    /// The kind of database.
    const DIALECT: Dialect;

    /// Runs a statement with these values and returns the number of affected rows.
    fn run(&mut self, sql: String, columns: Vec<Column>) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

macro_rules! connection {
    ($feature:literal, $dialect:ident, $connection:ty) => {
        #[cfg(feature = $feature)]
        impl OutboxConnection for $connection {
            const DIALECT: Dialect = Dialect::$dialect;

            async fn run(&mut self, sql: String, columns: Vec<Column>) -> Result<u64, sqlx::Error> {
                let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
                for column in columns {
                    query = match column {
                        Column::Text(text) => query.bind(text),
                        Column::Bytes(bytes) => query.bind(bytes),
                        Column::Small(number) => query.bind(number),
                        Column::Big(number) => query.bind(number),
                    };
                }
                Ok(query.execute(self).await?.rows_affected())
            }
        }
    };
}

connection!("outbox-postgres", Postgres, sqlx::PgConnection);
connection!("outbox-mysql", MySql, sqlx::MySqlConnection);
connection!("outbox-sqlite", Sqlite, sqlx::SqliteConnection);

/// Writes an event in this transaction: it is emitted when the transaction commits, and only then. Events of one name keep
/// their order.
///
/// ```no_run
/// # use streamer::{DynamicEvent, outbox};
/// # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let mut transaction = pool.begin().await?;
/// sqlx::query("UPDATE orders SET paid = TRUE WHERE id = 7").execute(&mut *transaction).await?;
/// let event = DynamicEvent::new("order.paid", serde_json::json!({"id": 7}));
/// outbox::emit_in(&mut *transaction, &event, "shop").await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// What cannot be encoded; what the database refuses, where the transaction is still the caller's to roll back.
pub async fn emit_in<C: OutboxConnection, E: Event>(
    connection: &mut C,
    event: &E,
    domain: &str,
) -> Result<(), EmitInError> {
    emit_row_in(connection, OutboxRow::new(event, domain)?).await
}

/// Writes an event about a resource in this transaction, with a record for replays. The events of one resource keep their
/// order, provided that the transaction locks the resource's row before this.
///
/// # Errors
///
/// As [`emit_in`].
pub async fn emit_replayable_in<C: OutboxConnection, E: Replayable>(
    connection: &mut C,
    event: &E,
    domain: &str,
) -> Result<(), EmitInError> {
    emit_row_in(connection, OutboxRow::replayable(event, domain)?).await
}

/// Writes a row of the outbox in this transaction.
///
/// # Errors
///
/// An error of the database.
pub async fn emit_row_in<C: OutboxConnection>(connection: &mut C, row: OutboxRow) -> Result<(), EmitInError> {
    connection
        .run(OutboxRow::insert(C::DIALECT), row.columns().into())
        .await?;
    Ok(())
}

impl Once {
    /// Records in this transaction that the message is handled. Returns `true` the first time; `false` means that the message was
    /// handled before and there is nothing to do.
    ///
    /// # Errors
    ///
    /// An error of the database.
    pub async fn in_transaction<C: OutboxConnection>(
        connection: &mut C,
        message: &ReceivedMessage,
        group: &str,
    ) -> Result<bool, sqlx::Error> {
        let once = Self::new(message, group);
        Ok(connection
            .run(Self::statement(C::DIALECT), once.columns().into())
            .await?
            == 1)
    }
}

/// An event that could not be written in a transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitInError {
    /// The payload has no JSON text.
    #[error(transparent)]
    Encode(#[from] EmitError),
    /// The database refused.
    #[error("could not write the event to the table `streamer_outbox`: {reason}{advice}", reason = in_words(.0), advice = advice(.0))]
    Database(#[from] sqlx::Error),
}

/// What to do where the error alone does not say it: SQLite says "database is locked" to a transaction that has read before
/// somebody else wrote.
fn advice(error: &sqlx::Error) -> String {
    #[cfg(feature = "outbox-sqlite")]
    if let Some(error) = error.as_database_error()
        && let Some(error) = error.try_downcast_ref::<sqlx::sqlite::SqliteError>()
        && error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| matches!(code & 0xff, 5 | 6))
    {
        return format!("; {}", super::BEGIN_IMMEDIATE);
    }
    _ = error;
    String::new()
}
