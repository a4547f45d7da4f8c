//! The archive in a PostgreSQL table.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use sqlx::{PgPool, Row as _, postgres::PgPoolOptions};

use super::{
    ArchiveErrorKind, ArchiveResult, ArchiveStorage, ArchivedMessage, PAGE_BYTES, Stored, sql, stored::stored_message,
};
use crate::entry::{EntryId, StreamName};

const SCHEMA: &str = include_str!("postgres.sql");
/// How many connections one process uses at most, and how long it waits for one.
const CONNECTIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps messages in the table `streamer_archive` of a PostgreSQL database. The driver is called `postgres`.
#[derive(Clone, Debug)]
pub struct PostgresArchive {
    pool: PgPool,
    location: String,
}

impl PostgresArchive {
    /// An archive in the database that a URL such as `postgres://user:password@host/database?sslmode=require` names. It
    /// connects when it is first used. The table is made by [`ArchiveStorage::migrate`].
    ///
    /// # Errors
    ///
    /// [`ArchiveErrorKind::InvalidInput`] for a URL that is none.
    pub async fn open(url: &str) -> ArchiveResult<Self> {
        let location = sql::location(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(PATIENCE);
        let pool = pool
            .connect_lazy(url)
            .map_err(|error| sql::explain(&location, "open", "", error).with_kind(ArchiveErrorKind::InvalidInput))?;
        Ok(Self { pool, location })
    }

    fn explain(&self, attempted: &str) -> impl Fn(sqlx::Error) -> super::ArchiveError {
        // undefined_table
        move |error| sql::explain(&self.location, attempted, "42P01", error)
    }
}

#[async_trait]
impl ArchiveStorage for PostgresArchive {
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
        let explain = self.explain("store messages in");
        let (mut streams, mut ids, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        for message in messages {
            streams.push(message.stream.as_bytes().to_vec());
            ids.push(message.id.to_be_bytes().to_vec());
            texts.push(message.to_json());
        }
        let inserted = sqlx::query(
            "INSERT INTO streamer_archive (stream, id, message) SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[]) \
             ON CONFLICT DO NOTHING RETURNING stream, id",
        );
        let inserted = inserted
            .bind(&streams)
            .bind(&ids)
            .bind(&texts)
            .fetch_all(&self.pool)
            .await;
        let inserted = inserted.map_err(&explain)?;
        let new = inserted
            .iter()
            .map(|row| Ok(((row.try_get("stream")?, row.try_get("id")?), Stored::New)))
            .collect::<Result<HashMap<(Vec<u8>, Vec<u8>), Stored>, sqlx::Error>>()
            .map_err(&explain)?;
        let mut lots = Vec::with_capacity(messages.len());
        for (message, key) in messages.iter().zip(streams.into_iter().zip(ids)) {
            lots.push(match new.get(&key) {
                Some(new) => *new,
                None => sql::compare(message, self.find(&message.stream, message.id).await?),
            });
        }
        Ok(lots)
    }

    async fn find(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        let text =
            sqlx::query_scalar::<_, String>("SELECT message FROM streamer_archive WHERE stream = $1 AND id = $2")
                .bind(stream.as_bytes())
                .bind(&id.to_be_bytes()[..])
                .fetch_optional(&self.pool)
                .await
                .map_err(self.explain("find a message in"))?;
        text.map(|text| stored_message(&self.location, text.as_bytes()))
            .transpose()
    }

    async fn page(
        &self,
        stream: Option<&StreamName>,
        after: Option<(&StreamName, EntryId)>,
        count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        let (name, id) = sql::from(stream, after);
        let statement = match stream {
            Some(_) => "SELECT message FROM streamer_archive WHERE stream = $1 AND id > $2 ORDER BY id LIMIT $3",
            None => "SELECT message FROM streamer_archive WHERE (stream, id) > ($1, $2) ORDER BY stream, id LIMIT $3",
        };
        let page = sqlx::query_scalar::<_, String>(statement)
            .bind(name)
            .bind(id)
            .bind(count as i64);
        let mut rows = page.fetch(&self.pool);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES
            && let Some(text) = rows.try_next().await.map_err(self.explain("list the messages of"))?
        {
            bytes += text.len();
            messages.push(stored_message(&self.location, text.as_bytes())?);
        }
        Ok(messages)
    }

    async fn count(&self, most: u64) -> ArchiveResult<Option<u64>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let count =
            sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM (SELECT 1 FROM streamer_archive LIMIT $1) AS counted");
        let count = count.bind(most).fetch_one(&self.pool).await;
        Ok(Some(
            count.map_err(self.explain("count the messages of"))?.unsigned_abs(),
        ))
    }

    async fn delete(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<bool> {
        let deleted = sqlx::query("DELETE FROM streamer_archive WHERE stream = $1 AND id = $2")
            .bind(stream.as_bytes())
            .bind(&id.to_be_bytes()[..])
            .execute(&self.pool)
            .await
            .map_err(self.explain("delete a message from"))?;
        Ok(deleted.rows_affected() == 1)
    }

    async fn delete_stream(&self, stream: &StreamName) -> ArchiveResult<u64> {
        let deleted = sqlx::query("DELETE FROM streamer_archive WHERE stream = $1")
            .bind(stream.as_bytes())
            .execute(&self.pool)
            .await
            .map_err(self.explain("delete messages from"))?;
        Ok(deleted.rows_affected())
    }
}
