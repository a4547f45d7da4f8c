//! The outbox of a database, for operators.

use std::time::Duration;

use sqlx::Row as _;

use super::{Dialect, OutboxError, OutboxRelay, OutboxRow, TABLE, database::Database};
use crate::{
    Streamer,
    entry::{Fields, unix_ms},
};

/// The columns of [`BlockedRow`].
const BLOCKED: &str = "SELECT event_id, stream, ordering_key, attempts, last_error FROM streamer_outbox WHERE blocked";

/// The outbox in an application's database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbox {
    database: Database,
}

/// The state of an outbox.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct OutboxStatus {
    /// The number of rows that are not published.
    pub waiting: u64,
    /// How long ago the oldest of them was written, in milliseconds; `None` when there is none.
    pub oldest_ms: Option<u64>,
    /// The rows that could not be published, oldest first, at most 100. Each keeps its key waiting.
    pub blocked: Vec<BlockedRow>,
    /// The number of blocked rows.
    pub blocked_count: u64,
    /// The number of published rows that are kept.
    pub published: u64,
}

/// How much waits in an outbox, counted within a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct OutboxBacklog {
    /// How many rows are not published, of those that were looked at.
    pub waiting: u64,
    /// How many of them are blocked.
    pub blocked: u64,
    /// How long ago the oldest of them was written, in milliseconds; `None` when there is none.
    pub oldest_ms: Option<u64>,
    /// Whether these are all rows.
    pub exact: bool,
}

/// A row that could not be published.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BlockedRow {
    /// Its event ID, which [`Outbox::skip`] and [`Outbox::retry`] take.
    pub event_id: String,
    /// The stream.
    pub stream: String,
    /// Its key, whose other rows wait.
    pub ordering_key: String,
    /// The number of attempts to publish it.
    pub attempts: u64,
    /// The error of the last attempt.
    pub error: String,
}

impl Outbox {
    /// Connects to the application's database: `postgres://`, `mysql://`, `mariadb://` or `sqlite://`, as sqlx takes them.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]
    pub async fn connect(url: &str) -> Result<Self, OutboxError> {
        Ok(Self {
            database: Database::connect(url).await?,
        })
    }

    /// For how long the database may be silent before what was asked ends with [`OutboxError::Silent`], and a relay connects
    /// again. Default: 30 seconds. Creating the tables has no limit.
    #[must_use]
    pub fn answer_timeout(mut self, limit: Duration) -> Self {
        self.database.answer_timeout = limit;
        self
    }

    /// The kind of database.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.database.dialect
    }

    /// Creates the tables where they are missing.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]
    pub async fn migrate(&self) -> Result<(), OutboxError> {
        self.database.migrate().await
    }

    /// A relay that publishes its rows to a store.
    pub fn relay(&self, streamer: &Streamer) -> OutboxRelay {
        OutboxRelay::new(streamer.clone(), self.database.clone())
    }

    /// How much waits, of the oldest `most` rows: one query whose cost does not grow with the outbox.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]
    pub async fn backlog(&self, most: u64) -> Result<OutboxBacklog, OutboxError> {
        let of = OutboxError::of("count what waits");
        let sql = format!(
            "SELECT COUNT(*), COUNT(CASE WHEN blocked THEN 1 END), COALESCE(MIN(created_ms), -1) \
             FROM (SELECT blocked, created_ms FROM {TABLE} ORDER BY position LIMIT {}) AS oldest",
            most.saturating_add(1).min(i64::MAX as u64)
        );
        let row = async {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql));
            query.fetch_one(&self.database.pool).await.map_err(&of)
        };
        let row = self.database.answer("count what waits", row).await?;
        let number = |column: usize| row.try_get::<i64, _>(column).map_err(&of);
        let (seen, blocked) = (number(0)?.unsigned_abs(), number(1)?.unsigned_abs());
        Ok(OutboxBacklog {
            waiting: seen.min(most),
            blocked: blocked.min(most),
            oldest_ms: u64::try_from(number(2)?)
                .ok()
                .map(|oldest| unix_ms().saturating_sub(oldest)),
            exact: seen <= most,
        })
    }

    /// The state of the outbox: what waits, what is blocked, what is kept.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]
    pub async fn status(&self) -> Result<OutboxStatus, OutboxError> {
        self.database.answer("tell its status", self.ask_status()).await
    }

    async fn ask_status(&self) -> Result<OutboxStatus, OutboxError> {
        let of = OutboxError::of("tell its status");
        let pool = &self.database.pool;
        let count =
            |row: &sqlx::any::AnyRow, column: usize| row.try_get::<i64, _>(column).map(|count| count.max(0) as u64);
        let sql = format!("SELECT COUNT(*), COALESCE(MIN(created_ms), -1) FROM {TABLE}");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_one(pool)
            .await
            .map_err(&of)?;
        let waiting = count(&row, 0).map_err(&of)?;
        let oldest = row.try_get::<i64, _>(1).map_err(&of)?;
        let sql = format!("SELECT COUNT(*) FROM {TABLE} WHERE blocked");
        let blocked_count = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_one(pool)
            .await
            .map_err(&of)?;
        let sql = format!("SELECT COUNT(*) FROM {TABLE}_published");
        let published = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_one(pool)
            .await
            .map_err(&of)?;
        let sql = format!("{BLOCKED} ORDER BY position LIMIT 100");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .fetch_all(pool)
            .await
            .map_err(&of)?;
        let blocked = rows
            .iter()
            .map(blocked_row)
            .collect::<Result<Vec<_>, _>>()
            .map_err(&of)?;
        Ok(OutboxStatus {
            waiting,
            oldest_ms: u64::try_from(oldest)
                .ok()
                .map(|oldest| unix_ms().saturating_sub(oldest)),
            blocked,
            blocked_count: count(&blocked_count, 0).map_err(&of)?,
            published: count(&published, 0).map_err(&of)?,
        })
    }

    /// A blocked row; `None` when there is no such row, or it is not blocked.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]
    pub async fn blocked(&self, event_id: &str) -> Result<Option<BlockedRow>, OutboxError> {
        let of = OutboxError::of("look for a row");
        let sql = format!("{BLOCKED} AND event_id = {}", self.database.dialect.placeholder(1));
        let row = async {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(event_id.to_owned());
            query.fetch_optional(&self.database.pool).await.map_err(&of)
        };
        let row = self.database.answer("look for a row", row).await?;
        row.as_ref().map(blocked_row).transpose().map_err(&of)
    }

    /// The fields of a blocked row's message: what [`Outbox::skip`] would throw away. `None` when there is no such row, it is not
    /// blocked, or its fields cannot be decoded.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]
    pub async fn blocked_fields(&self, event_id: &str) -> Result<Option<Fields>, OutboxError> {
        let of = OutboxError::of("read a row");
        let sql = format!(
            "SELECT fields FROM {TABLE} WHERE blocked AND event_id = {}",
            self.database.dialect.placeholder(1)
        );
        let row = async {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(event_id.to_owned());
            query.fetch_optional(&self.database.pool).await.map_err(&of)
        };
        let Some(row) = self.database.answer("read a row", row).await? else {
            return Ok(None);
        };
        let fields = row.try_get::<Vec<u8>, _>(0).map_err(&of)?;
        Ok(OutboxRow::decode_fields(&fields))
    }

    /// Unblocks a blocked row, or all of them (`None`), so that the relay tries them again. Returns the number of rows.
    ///
    /// # Errors
    ///
    /// [`OutboxError::NotBlocked`] for a row that is not there or not blocked.
    pub async fn retry(&self, event_id: Option<&str>) -> Result<u64, OutboxError> {
        let sql = format!("UPDATE {TABLE} SET blocked = FALSE, attempts = 0 WHERE blocked");
        self.change_blocked(sql, event_id, "retry a row").await
    }

    /// Deletes a blocked row, which is then never published; the relay continues with the next row of its key. Returns the number of
    /// rows.
    ///
    /// # Errors
    ///
    /// [`OutboxError::NotBlocked`] for a row that is not there or not blocked.
    pub async fn skip(&self, event_id: &str) -> Result<u64, OutboxError> {
        let sql = format!("DELETE FROM {TABLE} WHERE blocked");
        self.change_blocked(sql, Some(event_id), "skip a row").await
    }

    async fn change_blocked(
        &self,
        mut sql: String,
        event_id: Option<&str>,
        attempted: &'static str,
    ) -> Result<u64, OutboxError> {
        if event_id.is_some() {
            sql.push_str(" AND event_id = ");
            sql.push_str(&self.database.dialect.placeholder(1));
        }
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        if let Some(event_id) = event_id {
            query = query.bind(event_id.to_owned());
        }
        let changed = async {
            let changed = query.execute(&self.database.pool).await;
            changed.map_err(OutboxError::of(attempted))
        };
        let changed = self.database.answer(attempted, changed).await?.rows_affected();
        match event_id {
            Some(event_id) if changed == 0 => Err(OutboxError::NotBlocked(event_id.to_owned())),
            _ => Ok(changed),
        }
    }
}

fn blocked_row(row: &sqlx::any::AnyRow) -> Result<BlockedRow, sqlx::Error> {
    Ok(BlockedRow {
        event_id: row.try_get(0)?,
        stream: String::from_utf8_lossy(&row.try_get::<Vec<u8>, _>(1)?).into_owned(),
        ordering_key: row.try_get(2)?,
        attempts: row.try_get::<i64, _>(3)?.max(0) as u64,
        error: row.try_get::<Option<String>, _>(4)?.unwrap_or_default(),
    })
}
