//! Writes events in a transaction of the application.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, Statement, Value};
use streamer::{
    EmitError, Event, Replayable,
    outbox::{self, Column, Dialect, OutboxRow},
};

/// An event that could not be written in the transaction. The transaction is still the caller's to roll back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitInError {
    /// The payload has no JSON text.
    #[error(transparent)]
    Encode(#[from] EmitError),
    /// The database refused.
    #[error("could not write the event to the table `streamer_outbox`: {0}{advice}", advice = advice(.0))]
    Database(#[from] DbErr),
}

impl From<EmitInError> for DbErr {
    fn from(error: EmitInError) -> Self {
        match error {
            EmitInError::Database(error) => error,
            EmitInError::Encode(error) => Self::Custom(error.to_string()),
        }
    }
}

/// What to do when SQLite refuses a transaction that has read before somebody else wrote.
fn advice(error: &DbErr) -> &'static str {
    if error.to_string().contains("database is locked") {
        "; begin the transaction with BEGIN IMMEDIATE (SqliteTransactionMode::Immediate), so that it waits for its turn before it \
         reads anything, or roll it back and run all of it again"
    } else {
        ""
    }
}

/// Writes an event in this transaction: it is emitted when the transaction commits, and only then. Events of one name
/// keep their order.
///
/// On a plain connection the event is committed at once.
///
/// # Errors
///
/// [`EmitInError`]
pub async fn emit_in<C: ConnectionTrait, E: Event>(db: &C, event: &E, domain: &str) -> Result<(), EmitInError> {
    emit_row_in(db, OutboxRow::new(event, domain)?).await
}

/// Writes an event about a resource in this transaction, with a record for replays. The events of one resource keep their
/// order, provided that the transaction locks the resource's row before this.
///
/// # Errors
///
/// [`EmitInError`]
pub async fn emit_replayable_in<C: ConnectionTrait, E: Replayable>(
    db: &C,
    event: &E,
    domain: &str,
) -> Result<(), EmitInError> {
    emit_row_in(db, OutboxRow::replayable(event, domain)?).await
}

/// Writes a row of the outbox in this transaction.
///
/// # Errors
///
/// [`EmitInError::Database`]
pub async fn emit_row_in<C: ConnectionTrait>(db: &C, row: OutboxRow) -> Result<(), EmitInError> {
    let backend = db.get_database_backend();
    let insert = OutboxRow::insert(dialect(backend)?);
    db.execute_raw(Statement::from_sql_and_values(
        backend,
        insert,
        row.columns().map(value),
    ))
    .await?;
    Ok(())
}

pub(crate) fn value(column: Column) -> Value {
    match column {
        Column::Text(text) => Value::String(text),
        Column::Bytes(bytes) => Value::Bytes(Some(bytes)),
        Column::Small(number) => Value::SmallInt(Some(number)),
        Column::Big(number) => Value::BigInt(Some(number)),
    }
}

/// Creates the tables of the outbox and of the inbox where they are missing. For SeaORM's migrator there is `Migration` (the
/// cargo feature `migration`); for others, the statements of [`outbox::schema`].
///
/// Where a store's SQLite file holds the application's tables too, the engine has made what [`emit_in`] needs, and this leaves
/// it as it is.
///
/// # Errors
///
/// An error of the database.
pub async fn install<C: ConnectionTrait>(db: &C) -> Result<(), DbErr> {
    let dialect = dialect(db.get_database_backend())?;
    let is_one_file = dialect == Dialect::Sqlite
        && db
            .query_one_raw(Statement::from_string(DbBackend::Sqlite, outbox::IS_ONE_FILE))
            .await?
            .is_some();
    let statements = if is_one_file {
        outbox::schema_of_one_file()
    } else {
        outbox::schema(dialect)
    };
    for statement in statements {
        db.execute_unprepared(statement).await?;
    }
    Ok(())
}

/// The outbox's name for a kind of database.
///
/// # Errors
///
/// [`DbErr::BackendNotSupported`] for one that it does not know.
pub fn dialect(backend: DbBackend) -> Result<Dialect, DbErr> {
    match backend {
        DbBackend::Postgres => Ok(Dialect::Postgres),
        DbBackend::MySql => Ok(Dialect::MySql),
        DbBackend::Sqlite => Ok(Dialect::Sqlite),
        #[allow(unreachable_patterns, reason = "SeaORM's list of databases grows")]
        _ => Err(DbErr::BackendNotSupported {
            db: "unknown",
            ctx: "model events",
        }),
    }
}
