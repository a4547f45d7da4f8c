//! The application's database, as the relay sees it: the rows, and the locks that divide them among relays.

#[cfg(feature = "outbox-postgres")]
use std::sync::Arc;
use std::{
    collections::HashSet,
    fmt,
    fs::File,
    path::{self, Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use sqlx::{
    Any, AnyConnection, AnyPool, Connection as _, Executor as _, Row as _,
    any::{AnyArguments, AnyPoolOptions, AnyRow},
    query::Query,
};

use super::{Dialect, IS_ONE_FILE, OutboxError, SHARDS, TABLE, schema, schema_of_one_file};
use crate::{shown_url, sql_error::in_words, sqlite_file};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take, unless the application says otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take to show that it can be used again, or to end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A row that is to be published.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) position: i64,
    pub(super) event_id: String,
    pub(super) ordering_key: String,
    pub(super) stream: Bytes,
    pub(super) fields: Vec<u8>,
    pub(super) identifier: Option<String>,
    pub(super) history: Option<String>,
    pub(super) attempts: i64,
}

/// A pool of connections to the application's database.
#[derive(Clone)]
pub(super) struct Database {
    pub(super) pool: AnyPool,
    pub(super) dialect: Dialect,
    /// For a connection that waits for notices.
    #[cfg(feature = "outbox-postgres")]
    url: Arc<str>,
    /// The SQLite file, beside which the relays' lock lies.
    file: Option<PathBuf>,
    /// How long an answer may take.
    pub(super) answer_timeout: Duration,
}

impl Database {
    pub(super) async fn connect(url: &str) -> Result<Self, OutboxError> {
        let dialect = Dialect::of_url(url).ok_or_else(|| OutboxError::unknown(url))?;
        if !is_built_in(dialect) {
            return Err(OutboxError::NotBuiltIn(dialect));
        }
        sqlx::any::install_default_drivers();
        let shown = shown_url(url);
        // sqlx has no name of its own for MariaDB's URLs.
        let url = url.replacen("mariadb:", "mysql:", 1);
        let file = (dialect == Dialect::Sqlite).then(|| {
            let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
            PathBuf::from(path.split('?').next().unwrap_or_default())
        });
        // Each connection to a database in memory would have one of its own.
        if file
            .as_ref()
            .is_some_and(|file| file.as_os_str().is_empty() || file.as_os_str() == ":memory:")
        {
            return Err(OutboxError::unknown(&url));
        }
        // One attempt first: a pool would try for its whole time-out, and then say only that it timed out.
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect_once(&url, dialect)).await;
        match connected {
            Ok(Ok(())) => {}
            // Its text may quote the URL.
            Ok(Err(sqlx::Error::Configuration(_))) => return Err(OutboxError::unknown(&url)),
            Ok(Err(error)) => return Err(why_not_connected(shown, file.as_deref(), error)),
            Err(_) => return Err(OutboxError::Connect(shown, sqlx::Error::PoolTimedOut)),
        }
        let options = AnyPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if dialect == Dialect::MySql {
                        // Under REPEATABLE READ a read of the outbox that locks would hold up every insert into it.
                        connection
                            .execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
                            .await?;
                    }
                    Ok(())
                })
            })
            // The pool pings a connection that comes back, and would wait for ever for one whose other end is silent.
            .after_release(|connection, _| {
                Box::pin(async move {
                    match tokio::time::timeout(RELEASE_TIMEOUT, connection.ping()).await {
                        Ok(answer) => answer.map(|()| true),
                        Err(_) => Err(sqlx::Error::PoolTimedOut),
                    }
                })
            });
        let pool = options
            .connect(&url)
            .await
            .map_err(|error| OutboxError::Connect(shown, error))?;
        Ok(Self {
            pool,
            dialect,
            #[cfg(feature = "outbox-postgres")]
            url: url.into(),
            file,
            answer_timeout: ANSWER_TIMEOUT,
        })
    }

    /// What the database answers, or an error when it is silent for too long: behind a broken network a connection may stay
    /// open for hours.
    pub(super) async fn answer<T>(
        &self,
        attempted: &'static str,
        call: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        let answered = tokio::time::timeout(self.answer_timeout, call).await;
        answered.unwrap_or_else(|_| Err(OutboxError::Silent(attempted, self.answer_timeout)))
    }

    #[cfg(feature = "outbox-postgres")]
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Shows that a relay is alive, and tells how many are.
    pub(super) async fn alive(&self, relay: &str, now_ms: i64, gone_ms: i64) -> Result<usize, OutboxError> {
        let attempted = OutboxError::of("share its shards with other relays");
        // Of SQLite's relays one is active: the lock on the file says which.
        if self.dialect == Dialect::Sqlite {
            return Ok(1);
        }
        let (first, second) = (self.dialect.placeholder(1), self.dialect.placeholder(2));
        let update = match self.dialect {
            Dialect::MySql => "ON DUPLICATE KEY UPDATE seen_ms = VALUES(seen_ms)",
            _ => "ON CONFLICT (relay_id) DO UPDATE SET seen_ms = excluded.seen_ms",
        };
        let show = format!("INSERT INTO {TABLE}_relays (relay_id, seen_ms) VALUES ({first}, {second}) {update}");
        let show = sqlx::query(sqlx::AssertSqlSafe(show))
            .bind(relay.to_owned())
            .bind(now_ms);
        show.execute(&self.pool).await.map_err(&attempted)?;
        let forget = format!("DELETE FROM {TABLE}_relays WHERE seen_ms < {first}");
        let forget = sqlx::query(sqlx::AssertSqlSafe(forget)).bind(gone_ms);
        forget.execute(&self.pool).await.map_err(&attempted)?;
        let count = format!("SELECT COUNT(*) FROM {TABLE}_relays");
        let count = sqlx::query(sqlx::AssertSqlSafe(count))
            .fetch_one(&self.pool)
            .await
            .map_err(&attempted)?;
        Ok(usize::try_from(count.try_get::<i64, _>(0).map_err(&attempted)?).unwrap_or(1))
    }

    /// The relay does not count any more.
    pub(super) async fn leave(&self, relay: &str) {
        if self.dialect == Dialect::Sqlite {
            return;
        }
        let sql = format!(
            "DELETE FROM {TABLE}_relays WHERE relay_id = {}",
            self.dialect.placeholder(1)
        );
        let attempted = "say that this relay ends";
        let left = async {
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(relay.to_owned());
            query.execute(&self.pool).await.map_err(OutboxError::of(attempted))
        };
        let left = tokio::time::timeout(self.answer_timeout.min(RELEASE_TIMEOUT), left).await;
        if let Err(error) = left.unwrap_or(Err(OutboxError::Silent(attempted, RELEASE_TIMEOUT))) {
            tracing::debug!("a relay that ends could not say so; the others notice it soon: {error}");
        }
    }

    /// Creates the tables where they are missing.
    pub(super) async fn migrate(&self) -> Result<(), OutboxError> {
        let attempted = OutboxError::of("create its tables");
        // Where the streams are in the same file, the engine has made the outbox.
        let is_one_file = self.dialect == Dialect::Sqlite
            && self
                .pool
                .fetch_optional(IS_ONE_FILE)
                .await
                .map_err(&attempted)?
                .is_some();
        let statements = if is_one_file {
            schema_of_one_file()
        } else {
            schema(self.dialect)
        };
        for statement in statements {
            self.pool.execute(*statement).await.map_err(&attempted)?;
        }
        Ok(())
    }

    /// The first rows of these shards, without those of keys that wait, by position.
    pub(super) async fn read(
        &self,
        shards: &[i16],
        waiting_keys: &HashSet<String>,
        count: usize,
    ) -> Result<Vec<Waiting>, OutboxError> {
        let mut number = 0;
        let mut placeholders = |count: usize| {
            let next = (0..count).map(|_| {
                number += 1;
                self.dialect.placeholder(number)
            });
            next.collect::<Vec<_>>().join(", ")
        };
        let mut conditions = Vec::new();
        if shards.len() < usize::from(SHARDS.unsigned_abs()) {
            conditions.push(format!("o.shard IN ({})", placeholders(shards.len())));
        }
        if !waiting_keys.is_empty() {
            conditions.push(format!("o.ordering_key NOT IN ({})", placeholders(waiting_keys.len())));
        }
        conditions.push(format!(
            "NOT EXISTS (SELECT 1 FROM {TABLE} b WHERE b.blocked AND b.ordering_key = o.ordering_key \
             AND b.position <= o.position)"
        ));
        let sql = format!(
            "SELECT o.position, o.event_id, o.ordering_key, o.stream, o.fields, o.identifier, o.history, o.attempts \
             FROM {TABLE} o WHERE {} ORDER BY o.position LIMIT {count}",
            conditions.join(" AND ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        if shards.len() < usize::from(SHARDS.unsigned_abs()) {
            for shard in shards {
                query = query.bind(*shard);
            }
        }
        for key in waiting_keys {
            query = query.bind(key.clone());
        }
        let rows = query.fetch_all(&self.pool).await.map_err(OutboxError::of("read it"))?;
        rows.iter()
            .map(waiting)
            .collect::<Result<_, _>>()
            .map_err(OutboxError::of("read it"))
    }

    /// Removes rows that are published; with `keep` they move to the table of published rows.
    pub(super) async fn remove(&self, positions: &[i64], keep: Option<i64>) -> Result<(), OutboxError> {
        for some in positions.chunks(500) {
            let list = |from: usize| {
                let placeholders = (from..from + some.len()).map(|number| self.dialect.placeholder(number));
                placeholders.collect::<Vec<_>>().join(", ")
            };
            let attempted = "remove what is published";
            let mut transaction = self.pool.begin().await.map_err(OutboxError::of(attempted))?;
            if let Some(now_ms) = keep {
                let sql = format!(
                    "INSERT INTO {TABLE}_published (event_id, ordering_key, stream, fields, created_ms, published_ms) \
                     SELECT event_id, ordering_key, stream, fields, created_ms, {} FROM {TABLE} WHERE position IN ({})",
                    self.dialect.placeholder(1),
                    list(2)
                );
                let copy = with_positions(sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now_ms), some);
                copy.execute(&mut *transaction)
                    .await
                    .map_err(OutboxError::of(attempted))?;
            }
            let sql = format!("DELETE FROM {TABLE} WHERE position IN ({})", list(1));
            let delete = with_positions(sqlx::query(sqlx::AssertSqlSafe(sql)), some);
            delete
                .execute(&mut *transaction)
                .await
                .map_err(OutboxError::of(attempted))?;
            transaction.commit().await.map_err(OutboxError::of(attempted))?;
        }
        Ok(())
    }

    /// Notes that a row could not be published.
    pub(super) async fn note_failure(&self, position: i64, error: &str, blocked: bool) -> Result<(), OutboxError> {
        let sql = format!(
            "UPDATE {TABLE} SET attempts = attempts + 1, last_error = {}, blocked = {} WHERE position = {}",
            self.dialect.placeholder(1),
            if blocked { "TRUE" } else { "FALSE" },
            self.dialect.placeholder(2)
        );
        let error: String = error.chars().take(2000).collect();
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(error).bind(position);
        query
            .execute(&self.pool)
            .await
            .map_err(OutboxError::of("note a failure"))?;
        Ok(())
    }

    /// Deletes rows that were published before this moment, in milliseconds since the Unix epoch.
    pub(super) async fn forget_published(&self, before_ms: i64) -> Result<u64, OutboxError> {
        let sql = format!(
            "DELETE FROM {TABLE}_published WHERE published_ms < {}",
            self.dialect.placeholder(1)
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(before_ms);
        let deleted = query
            .execute(&self.pool)
            .await
            .map_err(OutboxError::of("delete old published rows"))?;
        Ok(deleted.rows_affected())
    }

    /// A connection that holds locks.
    pub(super) async fn locks(&self) -> Result<Locks, OutboxError> {
        let held = match self.dialect {
            Dialect::Sqlite => Held::File(None),
            _ => {
                // Not the pool's: a connection that goes back to the pool would keep its locks.
                let connection = self.pool.acquire().await.map_err(OutboxError::of("lock its shards"))?;
                Held::Session(Box::new(connection.detach()))
            }
        };
        Ok(Locks {
            dialect: self.dialect,
            file: self.file.clone(),
            held,
            shards: Vec::new(),
        })
    }
}

impl fmt::Debug for Database {
    /// Without the URL, which has a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("dialect", &self.dialect)
            .finish_non_exhaustive()
    }
}

/// The shards that this relay has to itself. A lock ends with its connection, or with its process.
pub(super) struct Locks {
    dialect: Dialect,
    file: Option<PathBuf>,
    held: Held,
    pub(super) shards: Vec<i16>,
}

enum Held {
    /// One lock of the database for each shard.
    Session(Box<AnyConnection>),
    /// A lock on a file beside the database: one relay at a time, and all its processes are on this machine.
    File(Option<File>),
}

impl Locks {
    /// Gives all of them back at once. Without this they end a moment later, when the database notices.
    pub(super) async fn release(self) {
        let Held::Session(connection) = self.held else { return };
        match tokio::time::timeout(RELEASE_TIMEOUT, connection.close()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("a relay that ends could not close its connection: {error}"),
            Err(_) => tracing::debug!("a relay that ends did not wait for its connection to close"),
        }
    }

    /// Brings the number of shards that are held to `wanted`, as far as others leave some.
    pub(super) async fn hold(&mut self, wanted: usize) -> Result<(), OutboxError> {
        let attempted = "lock its shards";
        let dialect = self.dialect;
        match &mut self.held {
            Held::File(held) => {
                let Some(file) = &self.file else { return Ok(()) };
                if held.is_none() {
                    let mut path = file.clone().into_os_string();
                    path.push("-outbox.lock");
                    let lock = File::options()
                        .create(true)
                        .truncate(false)
                        .write(true)
                        .open(&path)
                        .map_err(|error| OutboxError::Lock(path.clone().into(), error))?;
                    *held = match lock.try_lock() {
                        Ok(()) => Some(lock),
                        Err(std::fs::TryLockError::WouldBlock) => None,
                        Err(std::fs::TryLockError::Error(error)) => return Err(OutboxError::Lock(path.into(), error)),
                    };
                }
                self.shards = held.iter().flat_map(|_| 0..SHARDS).collect();
            }
            Held::Session(connection) => {
                // A connection that broke has lost its locks.
                if connection.ping().await.is_err() {
                    self.shards.clear();
                    return Err(OutboxError::LocksLost);
                }
                while self.shards.len() > wanted {
                    let Some(shard) = self.shards.pop() else { break };
                    lock(connection, dialect, shard, false)
                        .await
                        .map_err(OutboxError::of(attempted))?;
                }
                for shard in 0..SHARDS {
                    if self.shards.len() >= wanted {
                        break;
                    }
                    if !self.shards.contains(&shard)
                        && lock(connection, dialect, shard, true)
                            .await
                            .map_err(OutboxError::of(attempted))?
                    {
                        self.shards.push(shard);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Takes or releases the lock of a shard; tells whether that was done.
async fn lock(connection: &mut AnyConnection, dialect: Dialect, shard: i16, take: bool) -> Result<bool, sqlx::Error> {
    // The class number is arbitrary: the first four letters of "outbox".
    let sql = match (dialect, take) {
        (Dialect::Postgres, true) => {
            "SELECT CASE WHEN pg_try_advisory_lock(1869968482, $1) THEN 1 ELSE 0 END".to_owned()
        }
        (Dialect::Postgres, false) => {
            "SELECT CASE WHEN pg_advisory_unlock(1869968482, $1) THEN 1 ELSE 0 END".to_owned()
        }
        (_, true) => format!(
            "SELECT CAST(COALESCE(GET_LOCK(CONCAT('streamer_outbox:', LEFT(DATABASE(), 40), ':', {shard}), 0), 0) AS SIGNED)"
        ),
        (_, false) => format!(
            "SELECT CAST(COALESCE(RELEASE_LOCK(CONCAT('streamer_outbox:', LEFT(DATABASE(), 40), ':', {shard})), 0) AS SIGNED)"
        ),
    };
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    if dialect == Dialect::Postgres {
        query = query.bind(i32::from(shard));
    }
    let row = query.fetch_one(connection).await?;
    let done = match dialect {
        Dialect::Postgres => i64::from(row.try_get::<i32, _>(0)?),
        _ => row.try_get::<i64, _>(0)?,
    };
    Ok(done == 1)
}

async fn connect_once(url: &str, dialect: Dialect) -> Result<(), sqlx::Error> {
    let mut connection = AnyConnection::connect(url).await?;
    if dialect == Dialect::Sqlite {
        // SQLite does not look into the file before that.
        connection.execute("SELECT count(*) FROM sqlite_schema").await?;
    }
    drop(connection.close().await);
    Ok(())
}

/// `file` is that of a SQLite database.
fn why_not_connected(shown: String, file: Option<&Path>, error: sqlx::Error) -> OutboxError {
    let text = in_words(&error);
    // A name with an escape is SQLite's to read.
    let Some(path) = file.filter(|path| !path.to_string_lossy().contains('%')) else {
        return OutboxError::Connect(shown, error);
    };
    let absolute = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let reason = if let Some(obstacle) = sqlite_file::obstacle(path) {
        obstacle.reason
    } else if text.ends_with("file is not a database") {
        format!("{} is not a SQLite database: name another file", absolute.display())
    } else if !text.ends_with("unable to open database file") {
        return OutboxError::Connect(shown, error);
    } else if path.exists() {
        format!("{text} (this user must be able to write the file and its directory)")
    } else {
        format!(
            "{} does not exist: name the application's file, or add `?mode=rwc` to the URL, which makes an empty one where \
             this user may write",
            absolute.display()
        )
    };
    OutboxError::File(shown, reason, error)
}

fn is_built_in(dialect: Dialect) -> bool {
    match dialect {
        Dialect::Postgres => cfg!(feature = "outbox-postgres"),
        Dialect::MySql => cfg!(feature = "outbox-mysql"),
        Dialect::Sqlite => cfg!(feature = "outbox-sqlite"),
    }
}

fn with_positions<'q>(mut query: Query<'q, Any, AnyArguments>, positions: &[i64]) -> Query<'q, Any, AnyArguments> {
    for position in positions {
        query = query.bind(*position);
    }
    query
}

fn waiting(row: &AnyRow) -> Result<Waiting, sqlx::Error> {
    Ok(Waiting {
        position: row.try_get(0)?,
        event_id: row.try_get(1)?,
        ordering_key: row.try_get(2)?,
        stream: row.try_get::<Vec<u8>, _>(3)?.into(),
        fields: row.try_get(4)?,
        identifier: row.try_get(5)?,
        history: row.try_get(6)?,
        attempts: row.try_get(7)?,
    })
}
