//! Listeners that write to a database through SeaORM handle each message once.

use sea_orm::{ConnectionTrait, DbErr, Statement};
use streamer::{ReceivedMessage, outbox};

use crate::emit::{dialect, value};

/// [`streamer::outbox::Once`] for SeaORM's transactions.
#[derive(Clone, Copy, Debug)]
pub struct Once;

impl Once {
    /// Records in this transaction that the message is handled. Returns `true` the first time; `false` means that the message was
    /// handled before and there is nothing to do. On a plain connection the record is committed at once and promises nothing.
    ///
    /// ```no_run
    /// # use sea_orm::{DatabaseConnection, DbErr, TransactionTrait};
    /// use streamer::ReceivedMessage;
    /// use streamer_sea_orm::Once;
    ///
    /// async fn charge(db: &DatabaseConnection, message: &ReceivedMessage) -> Result<(), DbErr> {
    ///     let transaction = db.begin().await?;
    ///     if Once::in_transaction(&transaction, message, "billing").await? {
    ///         // Write what the message asks for, in this transaction.
    ///     }
    ///     transaction.commit().await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// An error of the database.
    pub async fn in_transaction<C: ConnectionTrait>(
        db: &C,
        message: &ReceivedMessage,
        group: &str,
    ) -> Result<bool, DbErr> {
        let backend = db.get_database_backend();
        let insert = outbox::Once::statement(dialect(backend)?);
        let values = outbox::Once::new(message, group).columns().map(value);
        let noted = db
            .execute_raw(Statement::from_sql_and_values(backend, insert, values))
            .await?;
        Ok(noted.rows_affected() == 1)
    }
}
