//! The archive in a SQLite file, with no server.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, TransactionBehavior, ffi, params};

use super::{
    ArchiveError, ArchiveErrorKind, ArchiveResult, ArchiveStorage, ArchivedMessage, PAGE_BYTES, Stored,
    stored::stored_message,
};
use crate::{
    entry::{EntryId, StreamName},
    read_only_file,
    shown_url::shown_url,
    sqlite_file,
};

const SCHEMA: &str = include_str!("sqlite.sql");
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// Keeps messages in a table of a SQLite file. The driver is called `sqlite`.
///
/// A batch is one commit, which is flushed to the device: it survives a loss of power.
#[derive(Clone, Debug)]
pub struct SqliteArchive {
    connection: Arc<Mutex<Connection>>,
    location: Arc<str>,
}

impl SqliteArchive {
    /// The statements that make its table.
    pub const SCHEMA: &str = SCHEMA;

    /// Opens a file, and makes it and its table where they are missing. `url` is `sqlite://` and a path, or the path.
    /// An application's own database will do; the table is called `streamer_archive`.
    ///
    /// # Errors
    ///
    /// [`ArchiveErrorKind::InvalidInput`] for an empty path; [`ArchiveErrorKind::Other`] when the file cannot be opened
    /// or is no database.
    pub async fn open(url: &str) -> ArchiveResult<Self> {
        let path = file_of(url)?;
        let attempted = format!("open the archive {}", shown_url(url));
        let connection = open_file(attempted, path, connect).await?;
        let archive = Self {
            connection: Arc::new(Mutex::new(connection)),
            location: shown_url(url).into(),
        };
        archive.migrate().await?;
        Ok(archive)
    }

    /// Opens a file to look into it: it may be read-only, and it is not made where it is missing. Storing into it fails.
    ///
    /// # Errors
    ///
    /// As [`SqliteArchive::open`]; [`ArchiveErrorKind::Unavailable`] when there is no such file, and
    /// [`ArchiveErrorKind::NotMigrated`] when it has no such table.
    pub async fn open_to_read(url: &str) -> ArchiveResult<Self> {
        let path = file_of(url)?;
        let attempted = format!("open the archive {}", shown_url(url));
        // One in a directory that this user may not look into may be there.
        if let Ok(false) = Path::new(&path).try_exists() {
            return Err(ArchiveError::new(
                ArchiveErrorKind::Unavailable,
                attempted,
                "the file does not exist; it is made when something is archived",
            ));
        }
        let connection = open_file(attempted.clone(), path, connect_to_read).await?;
        let archive = Self {
            connection: Arc::new(Mutex::new(connection)),
            location: shown_url(url).into(),
        };
        let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'streamer_archive'";
        let there = archive.run("look for the table", |connection| {
            connection.query_row(tables, [], |row| row.get(0))
        });
        match there.await? {
            0_i64 => Err(ArchiveError::new(
                ArchiveErrorKind::NotMigrated,
                attempted,
                "its table is missing: run `archive migrate`",
            )),
            _ => Ok(archive),
        }
    }

    async fn run<T: Send + 'static>(
        &self,
        attempted: impl Into<String>,
        operation: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> ArchiveResult<T> {
        let connection = Arc::clone(&self.connection);
        let attempted = format!("{} in the archive {}", attempted.into(), self.location);
        blocking(
            attempted,
            move || {
                // A panic elsewhere rolled its transaction back.
                operation(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
            },
            explain,
        )
        .await
    }
}

/// The file that a URL names, or that is named without a scheme.
fn file_of(url: &str) -> ArchiveResult<String> {
    let path = url.strip_prefix("sqlite://").unwrap_or(url).to_owned();
    let invalid = |reason| {
        let attempted = format!("open the archive {}", shown_url(url));
        Err(ArchiveError::new(ArchiveErrorKind::InvalidInput, attempted, reason))
    };
    if path.is_empty() {
        return invalid("no file is named: give a URL such as sqlite://archive.db");
    }
    if let Some((scheme, _)) = path.split_once("://") {
        return invalid(match scheme {
            "postgres" | "postgresql" => "this URL is for the driver `postgres`: set `archive_driver` to that",
            "mysql" | "mariadb" => "this URL is for the driver `mysql`: set `archive_driver` to that",
            "file" | "s3" | "gs" | "az" => "this URL is for the driver `object`: set `archive_driver` to that",
            _ => {
                "the driver `sqlite` needs a file, sqlite://archive.db; set `archive_driver` to the driver of this URL"
            }
        });
    }
    Ok(path)
}

/// A connection that looks, also where this user may not write the file or its directory.
fn connect_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let usual = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    };
    let opened = match sqlite_file::may_write(path) {
        true => usual(),
        false => read_only_file::open(path),
    };
    match opened {
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
            ) =>
        {
            let connection =
                read_only_file::open(path).map_err(|error| match read_only_file::explain(path, &error) {
                    Some(reason) => rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_PERM), Some(reason)),
                    None => error,
                })?;
            connection.busy_timeout(BUSY)?;
            Ok(connection)
        }
        opened => opened,
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    // Two processes that create one file get in each other's way here, and SQLite itself does not wait then.
    let begun = Instant::now();
    while let Err(error) = connection.pragma_update(None, "journal_mode", "wal") {
        if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) || begun.elapsed() > BUSY {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(1));
    }
    // The message is deleted from its stream next, so that this is the only copy.
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// Opens a file, and says what is in the way of it.
async fn open_file(
    attempted: String,
    path: String,
    connect: fn(&Path) -> rusqlite::Result<Connection>,
) -> ArchiveResult<Connection> {
    let path = Arc::<Path>::from(Path::new(&path));
    let opening = Arc::clone(&path);
    let why = move |attempted, error: rusqlite::Error| {
        let is_no_database = error.sqlite_error_code() == Some(ErrorCode::NotADatabase);
        let reason = match sqlite_file::obstacle(&path) {
            Some(obstacle) => obstacle.reason,
            None if is_no_database => format!("{} is not a SQLite database: name another file", path.display()),
            None => return explain(attempted, error),
        };
        ArchiveError::new(kind_of(&error), attempted, reason).with_source(error)
    };
    blocking(attempted, move || connect(&opening), why).await
}

async fn blocking<T: Send + 'static>(
    attempted: String,
    operation: impl FnOnce() -> rusqlite::Result<T> + Send + 'static,
    explain: impl FnOnce(String, rusqlite::Error) -> ArchiveError,
) -> ArchiveResult<T> {
    match tokio::task::spawn_blocking(operation).await {
        Ok(result) => result.map_err(|error| explain(attempted, error)),
        Err(error) => Err(ArchiveError::new(ArchiveErrorKind::Other, attempted, error.to_string())),
    }
}

fn kind_of(error: &rusqlite::Error) -> ArchiveErrorKind {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => {
            ArchiveErrorKind::Unavailable
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => ArchiveErrorKind::Corrupt,
        _ => ArchiveErrorKind::Other,
    }
}

fn explain(attempted: String, error: rusqlite::Error) -> ArchiveError {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            " (this user must be able to write the file and its directory)"
        }
        _ => "",
    };
    ArchiveError::new(kind_of(&error), attempted, format!("{error}{advice}")).with_source(error)
}

#[async_trait]
impl ArchiveStorage for SqliteArchive {
    fn location(&self) -> &str {
        &self.location
    }

    fn schema(&self) -> Option<&str> {
        Some(SCHEMA)
    }

    async fn migrate(&self) -> ArchiveResult<()> {
        self.run("make the table", |connection| connection.execute_batch(SCHEMA))
            .await
    }

    async fn create(&self, messages: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        let messages = messages.to_vec();
        self.run("store messages", move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let stored = {
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO streamer_archive (stream, id, message) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                )?;
                let mut there =
                    transaction.prepare_cached("SELECT message FROM streamer_archive WHERE stream = ?1 AND id = ?2")?;
                let mut store = |message: &ArchivedMessage| {
                    let key = (message.stream.as_bytes(), message.id.to_be_bytes());
                    if insert.execute(params![key.0, key.1, message.to_json()])? == 1 {
                        return Ok(Stored::New);
                    }
                    let there: String = there.query_row(key, |row| row.get(0))?;
                    Ok(match ArchivedMessage::from_json(there.as_bytes()) {
                        Some(there) if there.fields == message.fields => Stored::AlreadyThere,
                        _ => Stored::Conflict,
                    })
                };
                messages.iter().map(&mut store).collect::<rusqlite::Result<Vec<_>>>()?
            };
            transaction.commit()?;
            Ok(stored)
        })
        .await
    }

    async fn find(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        let name = stream.clone();
        let text = self
            .run(format!("find message {id} of '{stream}'"), move |connection| {
                let mut find =
                    connection.prepare_cached("SELECT message FROM streamer_archive WHERE stream = ?1 AND id = ?2")?;
                let row = find.query_row((name.as_bytes(), id.to_be_bytes()), |row| row.get::<_, String>(0));
                row.optional()
            })
            .await?;
        text.map(|text| stored_message(&self.location, text.as_bytes()))
            .transpose()
    }

    async fn page(
        &self,
        stream: Option<&StreamName>,
        after: Option<(&StreamName, EntryId)>,
        count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        let only = stream.is_some();
        let from = stream.or(after.map(|(stream, _)| stream));
        let name = from.map(|stream| stream.as_bytes().to_vec()).unwrap_or_default();
        let id = after.map(|(_, id)| id.to_be_bytes().to_vec()).unwrap_or_default();
        let texts = self
            .run("list messages", move |connection| {
                let mut page = connection.prepare_cached(match only {
                    true => "SELECT message FROM streamer_archive WHERE stream = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
                    false => {
                        "SELECT message FROM streamer_archive WHERE (stream, id) > (?1, ?2) \
                         ORDER BY stream, id LIMIT ?3"
                    }
                })?;
                let mut rows = page.query(params![name, id, count as i64])?;
                let (mut texts, mut bytes) = (Vec::new(), 0);
                while bytes < PAGE_BYTES
                    && let Some(row) = rows.next()?
                {
                    let text: String = row.get(0)?;
                    bytes += text.len();
                    texts.push(text);
                }
                Ok(texts)
            })
            .await?;
        texts
            .iter()
            .map(|text| stored_message(&self.location, text.as_bytes()))
            .collect()
    }

    async fn count(&self, most: u64) -> ArchiveResult<Option<u64>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let count = self.run("count the messages", move |connection| {
            let mut count = connection
                .prepare_cached("SELECT COUNT(*) FROM (SELECT 1 FROM streamer_archive LIMIT ?1) AS counted")?;
            count.query_row([most], |row| row.get::<_, i64>(0))
        });
        Ok(Some(count.await?.unsigned_abs()))
    }

    async fn delete(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<bool> {
        let name = stream.clone();
        self.run(format!("delete message {id} of '{stream}'"), move |connection| {
            let mut delete = connection.prepare_cached("DELETE FROM streamer_archive WHERE stream = ?1 AND id = ?2")?;
            Ok(delete.execute((name.as_bytes(), id.to_be_bytes()))? == 1)
        })
        .await
    }

    async fn delete_many(&self, stream: &StreamName, ids: &[EntryId]) -> ArchiveResult<Vec<bool>> {
        let (name, ids) = (stream.clone(), ids.to_vec());
        self.run(
            format!("delete {} messages of '{stream}'", ids.len()),
            move |connection| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let mut were_there = Vec::with_capacity(ids.len());
                {
                    let mut delete =
                        transaction.prepare_cached("DELETE FROM streamer_archive WHERE stream = ?1 AND id = ?2")?;
                    for id in &ids {
                        were_there.push(delete.execute((name.as_bytes(), id.to_be_bytes()))? == 1);
                    }
                }
                transaction.commit()?;
                Ok(were_there)
            },
        )
        .await
    }

    async fn delete_stream(&self, stream: &StreamName) -> ArchiveResult<u64> {
        let name = stream.clone();
        self.run(format!("delete the messages of '{stream}'"), move |connection| {
            let deleted = connection.execute("DELETE FROM streamer_archive WHERE stream = ?1", [name.as_bytes()])?;
            Ok(deleted as u64)
        })
        .await
    }
}
