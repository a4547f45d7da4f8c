//! The engine without a server: one SQLite file that any number of processes share, or memory.
//!
//! # Layout
//!
//! - `address`: what the URL says. `store`: opens the file. `layout`: what lies in it (`schema.sql`, `scheduled.sql`, `outbox.sql`), and how an
//!   older file comes to that (`layout1_to_2.sql`).
//! - `worker`: handles on the threads that own the connections; a caller who is alone uses the connection itself.
//!   `store_thread`: such a thread; operations that wait at once share a commit. `answers`: how their callers are answered.
//!   `session`: a connection, and whether the file that it is open on is still the one at the path. `shared_session`: the same,
//!   used by one at a time. `checkpoint`: one more thread, that copies the log into the database.
//! - `transaction`: one transaction, and the streams it works on.
//! - `operations`: each operation of the contract; `group_admin`: those on groups; `entries`, `group`, `consumers`, `pending`,
//!   `acknowledge`, `lag`, `info`, `records`, `lists`: the same on a transaction.
//! - `group_store`: the verbs of a delivery; `deliveries`, `settlement`: the same on a transaction.
//! - `name_users`: who uses a consumer's name. `retry_claims`: who retries a failed message. `inspection`: what views of the
//!   store look at; `states`: the state of a stream, for them.
//! - `stores/`: what is kept beside the streams. `gone_groups`: what groups have left there.
//! - `read_only`: a file that may not be written. `reader`: reads and waits. `watch`: wakes it, also after a commit of another
//!   process or of the application; `notices`: what the file system tells of.
//! - `durable`: appends whose commit is flushed. `once`: appends with an idempotency key. `room`: how much may be appended.
//!   `open_threads`: which threads have connections still, for a process that ends. `failure`: what goes wrong below the contract's errors.
//!
//! What each operation answers is what Redis 7.0 answers; `tests/differential` compares the two.

mod acknowledge;
mod address;
mod answers;
mod checkpoint;
mod consumers;
mod deliveries;
mod durable;
mod entries;
mod failure;
mod gone_groups;
mod group;
mod group_admin;
mod group_store;
mod info;
mod inserts;
mod inspection;
mod lag;
mod layout;
mod lists;
mod name_users;
mod notices;
mod once;
mod open_threads;
mod operations;
mod pending;
mod read_only;
mod reader;
mod records;
mod retry_claims;
mod room;
mod session;
mod settlement;
mod shared_session;
mod states;
mod store;
mod store_thread;
mod stores;
mod transaction;
mod watch;
mod worker;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use self::{
    address::Address,
    failure::{Failure, Step},
    session::{Purpose, Replacements},
    transaction::Transaction,
    watch::Watch,
    worker::Worker,
};
use super::{EngineErrorKind, EngineResult};
use crate::shown_url::shown_url;

/// Streams in one SQLite file, or in memory, with no server.
///
/// Any number of processes may emit and listen on one file at once. A handle is cheap to clone; when the last one and
/// the last reader are dropped, the file is closed soon after; nothing that was answered depends on that.
/// [`EmbeddedEngine::wait_until_closed`] waits for it.
///
/// ```
/// use streamer::engine::{Append, AppendOptions, EmbeddedEngine, Engine};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = EmbeddedEngine::open("memory:").await?;
/// let id = engine
///     .append(Append {
///         stream: "order.placed".into(),
///         id: Default::default(),
///         fields: vec![("data".into(), "{}".into())],
///         options: AppendOptions::default(),
///     })
///     .await?;
/// assert_eq!(engine.info(&"order.placed".into()).await?.unwrap().last_id, id);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EmbeddedEngine(Arc<Shared>);

/// What the engine and its readers share.
struct Shared {
    location: String,
    /// Runs what changes the store.
    write: Worker,
    /// Runs what only looks, so that it does not wait for writers. In memory it is the same thread.
    look: Worker,
    watch: Watch,
    /// How often the file at the path was found to be another one.
    replacements: Arc<Replacements>,
    /// Whether a commit waits until the device has it; for people.
    full_sync: bool,
}

impl EmbeddedEngine {
    /// Blocks until this process has closed the stores whose handles are all dropped, at most so long; tells whether no store is
    /// open any more. For a program that ends: if it does so before, SQLite's two files stay beside the store until the next
    /// process closes it. Nothing is lost, but a copy of the store needs them too, and who may not write the directory may not
    /// be able to read it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streamer::{Streamer, engine::EmbeddedEngine};
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// runtime.block_on(async { Streamer::connect("memory:").await.map(drop) })?;
    /// drop(runtime);
    /// assert!(EmbeddedEngine::wait_until_closed(Duration::from_secs(60)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_until_closed(timeout: Duration) -> bool {
        open_threads::wait_for_none(timeout)
    }

    /// Opens a store, and makes it if it is missing.
    ///
    /// - `sqlite://shop.db` is a file in the current directory, `sqlite:///var/lib/shop.db` an absolute path. Special
    ///   characters are percent-encoded. SQLite keeps two more files beside it, `-wal` and `-shm`.
    /// - `memory:` is a new, empty store each time, gone with its last handle.
    ///
    /// Options follow as `?name=value&name=value`:
    ///
    /// - `synchronous`: `normal` (default) keeps what was answered when the process dies, also by `kill -9`; `full`
    ///   also when the machine loses power, at the price of a device flush in every commit.
    /// - `busy_timeout`: how many milliseconds to wait for another process that writes; default 5000.
    /// - `max_size`: how many bytes appends may fill; beyond it they fail with [`EngineErrorKind::Full`]. What frees space
    ///   still works, and may take up to 1 MiB or 2 % more, whichever is more, for the records of failures. Default: as
    ///   the device allows.
    ///
    /// A file that is deleted or replaced while it is open is noticed with the next operation or wait, which fails with
    /// [`EngineErrorKind::Moved`]; the operation after it uses the file that is there now, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// [`EngineErrorKind::InvalidInput`] for a URL of another form, a directory, a missing parent directory, or a file
    /// of another application, which is left as it is; [`EngineErrorKind::Permission`] when the file may not be
    /// written; [`EngineErrorKind::Unsupported`] for a file of a newer version.
    ///
    /// [`EngineErrorKind::Full`]: crate::engine::EngineErrorKind::Full
    /// [`EngineErrorKind::InvalidInput`]: crate::engine::EngineErrorKind::InvalidInput
    /// [`EngineErrorKind::Moved`]: crate::engine::EngineErrorKind::Moved
    /// [`EngineErrorKind::Permission`]: crate::engine::EngineErrorKind::Permission
    /// [`EngineErrorKind::Unsupported`]: crate::engine::EngineErrorKind::Unsupported
    pub async fn open(url: &str) -> EngineResult<Self> {
        let attempted = || format!("open the store {}", shown_url(url));
        let opened = match address::parse(url) {
            Ok(address) => Self::open_address(url, address).await,
            Err(failure) => Err(failure),
        };
        opened.map_err(|failure| failure.attempted(attempted()))
    }

    /// Opens a store to look into it: the file is not made where it is missing, and it may be read-only, in a read-only
    /// directory too. A file that may be written is opened as by [`open`](Self::open); of another one every change fails
    /// with [`EngineErrorKind::Permission`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and [`EngineErrorKind::Unavailable`] when there is no such file. A read-only file whose log
    /// (`-wal`) was left behind, in a directory that may not be written, cannot be read: [`EngineErrorKind::Permission`].
    ///
    /// [`EngineErrorKind::Permission`]: crate::engine::EngineErrorKind::Permission
    /// [`EngineErrorKind::Unavailable`]: crate::engine::EngineErrorKind::Unavailable
    pub async fn open_to_read(url: &str) -> EngineResult<Self> {
        let attempted = |failure: Failure| failure.attempted(format!("open the store {}", shown_url(url)));
        let mut address = address::parse(url).map_err(attempted)?;
        // A file in a directory that this user may not look into may be there.
        let is_missing = |path: &&PathBuf| matches!(path.try_exists(), Ok(false));
        if let Some(path) = address.path.as_ref().filter(is_missing) {
            let reason = format!("{} does not exist", path.display());
            return Err(attempted(Failure::refused(EngineErrorKind::Unavailable, reason)));
        }
        match Self::open_address(url, address.clone()).await {
            Err(failure) if failure.is_permission() => {
                address.read_only = true;
                Self::open_address(url, address).await.map_err(attempted)
            }
            opened => opened.map_err(attempted),
        }
    }

    async fn open_address(url: &str, address: Address) -> Step<Self> {
        let watch = Watch::of(&address);
        let commits = watch.commits();
        let replacements = Arc::new(Replacements::default());
        let start = |purpose| Worker::start(address.clone(), purpose, commits.clone(), replacements.clone());
        let (write, look) = if address.read_only {
            let look = start(Purpose::Look).await?;
            (look.clone(), look)
        } else {
            let write = start(Purpose::Write).await?;
            let look = match &address.path {
                None => write.clone(),
                Some(_) => start(Purpose::Look).await?,
            };
            (write, look)
        };
        Ok(Self(Arc::new(Shared {
            location: shown_url(url),
            write,
            look,
            watch,
            replacements,
            full_sync: address.full_sync,
        })))
    }

    /// How many transactions this handle and its clones have committed. Operations that run at once share one. Those in which
    /// a waiting reader found nothing new count, too.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.0.write.commits()
    }

    async fn write<T: Send + 'static>(
        &self,
        attempted: impl FnOnce() -> String,
        operation: impl FnMut(&mut Transaction<'_>) -> Step<T> + Send + 'static,
    ) -> EngineResult<T> {
        let result = self.0.write.run(operation).await;
        result.map_err(|failure| failure.attempted(attempted()))
    }

    /// As [`EmbeddedEngine::write`], for short operations: one that comes alone is run in the caller's task.
    async fn write_at_once<T: Send + 'static>(
        &self,
        attempted: impl FnOnce() -> String,
        operation: impl FnMut(&mut Transaction<'_>) -> Step<T> + Send + 'static,
    ) -> EngineResult<T> {
        let result = self.0.write.run_at_once(operation).await;
        result.map_err(|failure| failure.attempted(attempted()))
    }

    async fn look<T: Send + 'static>(
        &self,
        attempted: impl FnOnce() -> String,
        operation: impl FnMut(&mut Transaction<'_>) -> Step<T> + Send + 'static,
    ) -> EngineResult<T> {
        let result = self.0.look.run(operation).await;
        result.map_err(|failure| failure.attempted(attempted()))
    }
}

impl fmt::Debug for EmbeddedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedEngine")
            .field("location", &self.0.location)
            .finish_non_exhaustive()
    }
}
