//! The archive in a MySQL or MariaDB table.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::{MySqlPool, QueryBuilder, mysql::MySqlPoolOptions};

use super::{
    ArchiveErrorKind, ArchiveResult, ArchiveStorage, ArchivedMessage, PAGE_BYTES, Stored, sql, stored::stored_message,
};
use crate::entry::{EntryId, StreamName};

const SCHEMA: &str = include_str!("mysql.sql");
/// How many connections one process uses at most, and how long it waits for one.
const CONNECTIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps messages in the table `streamer_archive` of a MySQL or MariaDB database. The driver is called `mysql`.
///
/// A stream's name may have 3000 bytes. A message must fit into the server's `max_allowed_packet`.
#[derive(Clone, Debug)]
pub struct MysqlArchive {
    pool: MySqlPool,
    location: String,
}

impl MysqlArchive {
    /// An archive in the database that a URL such as `mysql://user:password@host/database?ssl-mode=required` names. It
    /// connects when it is first used. The table is made by [`ArchiveStorage::migrate`].
    ///
    /// # Errors
    ///
    /// [`ArchiveErrorKind::InvalidInput`] for a URL that is none.
    pub async fn open(url: &str) -> ArchiveResult<Self> {
        let location = sql::location(url)?;
        let pool = MySqlPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE);
        let pool = pool
            .connect_lazy(url)
            .map_err(|error| sql::explain(&location, "open", "", error).with_kind(ArchiveErrorKind::InvalidInput))?;
        Ok(Self { pool, location })
    }

    /// Inserts all of them or none.
    async fn insert(&self, messages: &[ArchivedMessage]) -> Result<(), sqlx::Error> {
        let mut insert = QueryBuilder::new("INSERT INTO streamer_archive (stream, id, message) ");
        insert.push_values(messages, |mut row, message| {
            row.push_bind(message.stream.as_bytes())
                .push_bind(message.id.to_be_bytes().to_vec())
                .push_bind(message.to_json().into_bytes());
        });
        insert.build().execute(&self.pool).await.map(drop)
    }

    fn explain(&self, attempted: &str) -> impl Fn(sqlx::Error) -> super::ArchiveError {
        // no such table
        move |error| sql::explain(&self.location, attempted, "42S02", error)
    }
}

#[async_trait]
impl ArchiveStorage for MysqlArchive {
    fn location(&self) -> &str {
        &self.location
    }

    fn schema(&self) -> Option<&str> {
        Some(SCHEMA)
    }

    async fn migrate(&self) -> ArchiveResult<()> {
        let migrate = || sqlx::raw_sql(SCHEMA).execute(&self.pool);
        // Two that make the table at once get in each other's way, and the second time it is there.
        let made = match migrate().await {
            Err(sqlx::Error::Database(_)) => migrate().await,
            made => made,
        };
        made.map(drop).map_err(self.explain("make the table of"))
    }

    async fn create(&self, messages: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        // Nearly always all of them are new. If one is not, the statement does nothing, as a whole.
        match self.insert(messages).await {
            Ok(()) => return Ok(vec![Stored::New; messages.len()]),
            Err(sqlx::Error::Database(_)) => {}
            Err(error) => return Err(self.explain("store messages in")(error)),
        }
        let mut lots = Vec::with_capacity(messages.len());
        for message in messages {
            lots.push(match self.insert(std::slice::from_ref(message)).await {
                Ok(()) => Stored::New,
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                    sql::compare(message, self.find(&message.stream, message.id).await?)
                }
                Err(error) => return Err(self.explain("store messages in")(error)),
            });
        }
        Ok(lots)
    }

    async fn find(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        let text = sqlx::query_scalar::<_, Vec<u8>>("SELECT message FROM streamer_archive WHERE stream = ? AND id = ?")
            .bind(stream.as_bytes())
            .bind(&id.to_be_bytes()[..])
            .fetch_optional(&self.pool)
            .await
            .map_err(self.explain("find a message in"))?;
        text.map(|text| stored_message(&self.location, &text)).transpose()
    }

    async fn page(
        &self,
        stream: Option<&StreamName>,
        after: Option<(&StreamName, EntryId)>,
        count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        let (name, id) = sql::from(stream, after);
        // Not `(stream, id) > (?, ?)`: MySQL does not use the index for that.
        let page = match stream {
            Some(_) => sqlx::query_scalar::<_, Vec<u8>>(
                "SELECT message FROM streamer_archive WHERE stream = ? AND id > ? ORDER BY id LIMIT ?",
            ),
            None => sqlx::query_scalar::<_, Vec<u8>>(
                "SELECT message FROM streamer_archive WHERE stream > ? OR (stream = ? AND id > ?) \
                 ORDER BY stream, id LIMIT ?",
            )
            .bind(name.clone()),
        };
        let page = page.bind(name).bind(id).bind(count as u64);
        let mut rows = page.fetch(&self.pool);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES
            && let Some(text) = rows.try_next().await.map_err(self.explain("list the messages of"))?
        {
            bytes += text.len();
            messages.push(stored_message(&self.location, &text)?);
        }
        Ok(messages)
    }

    async fn count(&self, most: u64) -> ArchiveResult<Option<u64>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let count =
            sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM (SELECT 1 FROM streamer_archive LIMIT ?) AS counted");
        let count = count.bind(most).fetch_one(&self.pool).await;
        Ok(Some(
            count.map_err(self.explain("count the messages of"))?.unsigned_abs(),
        ))
    }

    async fn delete(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<bool> {
        let deleted = sqlx::query("DELETE FROM streamer_archive WHERE stream = ? AND id = ?")
            .bind(stream.as_bytes())
            .bind(&id.to_be_bytes()[..])
            .execute(&self.pool)
            .await
            .map_err(self.explain("delete a message from"))?;
        Ok(deleted.rows_affected() == 1)
    }

    async fn delete_stream(&self, stream: &StreamName) -> ArchiveResult<u64> {
        let deleted = sqlx::query("DELETE FROM streamer_archive WHERE stream = ?")
            .bind(stream.as_bytes())
            .execute(&self.pool)
            .await
            .map_err(self.explain("delete messages from"))?;
        Ok(deleted.rows_affected())
    }
}
