//! Wakes readers when something was committed, by this process or by another.
//!
//! Within the process the worker announces its commits. For commits of other processes one thread looks, only while a
//! reader waits. SQLite tells of each of them by the file's `data_version`; but that question, asked by a thread that
//! has just woken, costs twice what it costs to see whether the log file was written to. So in quiet times the thread
//! does that, and only now and then asks SQLite. A file's time is coarse: two writes may share one. Therefore SQLite is
//! asked for a while after each change.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime},
};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    address::Address,
    session::{FileId, log_of},
    store,
};

/// How often to look while things happen, and how long that counts as now.
const SOON: Duration = Duration::from_millis(2);
const RECENTLY: Duration = Duration::from_millis(200);
/// How often to look otherwise. Readers of other processes wake within this and what the system takes.
const LATER: Duration = Duration::from_millis(8);
/// How often to ask SQLite in quiet times, should a file system not keep the times of files.
const SURELY: Duration = Duration::from_millis(200);

/// Announces commits.
#[derive(Clone)]
pub(super) struct Commits(watch::Sender<()>);

impl Commits {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(()))
    }

    pub(super) fn announce(&self) {
        self.0.send_replace(());
    }
}

/// Where readers wait for commits. Dropping it ends the thread.
pub(super) struct Watch {
    commits: Commits,
    shared: Arc<Shared>,
    /// `None` in memory, where there are no other processes.
    address: Option<Address>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How many readers wait.
    waiting: usize,
    /// Whether the thread was started.
    started: bool,
    /// Whether the thread must end.
    closed: bool,
}

impl Watch {
    pub(super) fn new(commits: Commits, address: &Address) -> Self {
        Self {
            commits,
            shared: Arc::default(),
            address: address.path.is_some().then(|| address.clone()),
        }
    }

    /// The file; `None` in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        self.address.as_ref()?.path.as_deref()
    }

    /// Begins a wait: commits from now on wake it. Look for entries after this, not before.
    pub(super) fn wait(&self) -> Wait {
        let commits = self.commits.0.subscribe();
        let mut state = self.shared.lock();
        state.waiting += 1;
        if let Some(address) = &self.address {
            if !state.started {
                let (shared, commits, address) = (self.shared.clone(), self.commits.clone(), address.clone());
                let watch = move || watch(&shared, &commits, &address);
                // Without it, only commits of this process wake the reader; the next wait tries again.
                state.started = thread::Builder::new()
                    .name("streamer-watch".to_owned())
                    .spawn(watch)
                    .is_ok();
            }
            self.shared.changed.notify_one();
        }
        drop(state);
        Wait {
            commits,
            shared: self.shared.clone(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
    }
}

/// A reader that waits, until dropped.
pub(super) struct Wait {
    commits: watch::Receiver<()>,
    shared: Arc<Shared>,
}

impl Wait {
    /// Waits for a commit since the wait began, or since the last one that this told of.
    pub(super) async fn committed(&mut self) {
        if self.commits.changed().await.is_err() {
            // The engine is gone; the reader's next look says so.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.shared.lock().waiting -= 1;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a reader waits; `false` when the engine is closed.
    fn until_somebody_waits(&self) -> bool {
        let idle = |state: &mut State| state.waiting == 0 && !state.closed;
        let state = self.changed.wait_while(self.lock(), idle);
        !state.unwrap_or_else(PoisonError::into_inner).closed
    }
}

fn watch(shared: &Shared, commits: &Commits, address: &Address) {
    let mut file = Watched::new(address);
    let mut last_change = Instant::now();
    while shared.until_somebody_waits() {
        if file.changed(last_change.elapsed() < RECENTLY) {
            commits.announce();
            last_change = Instant::now();
        }
        let recently = last_change.elapsed() < RECENTLY;
        thread::sleep(if recently { SOON } else { LATER });
    }
    if let Some(connection) = file.connection.take() {
        store::close(connection);
    }
}

/// The file as it was seen last.
struct Watched<'a> {
    address: &'a Address,
    log: Option<PathBuf>,
    connection: Option<Connection>,
    /// The file and its log.
    files: (Option<FileId>, Option<FileId>),
    version: Option<i64>,
    log_written: Option<SystemTime>,
    asked: Instant,
}

impl<'a> Watched<'a> {
    fn new(address: &'a Address) -> Self {
        let log = address.path.as_deref().map(log_of);
        Self {
            address,
            log,
            connection: None,
            files: (None, None),
            version: None,
            log_written: None,
            asked: Instant::now(),
        }
    }

    /// Whether something was committed since the last call; also true the first time.
    fn changed(&mut self, recently: bool) -> bool {
        let at = |path: Option<&Path>| path.and_then(FileId::at);
        let files = (at(self.address.path.as_deref()), at(self.log.as_deref()));
        if files != self.files {
            // Other files: who looks now is told so.
            self.files = files;
            self.version = None;
            if let Some(connection) = self.connection.take() {
                store::abandon(connection);
            }
            return true;
        }
        // Before SQLite is asked: what is written after this shows the next time.
        let written = self.log.as_ref().and_then(|log| log.metadata().ok()?.modified().ok());
        let touched = written != self.log_written;
        let told = written.is_some() && self.asked.elapsed() < SURELY;
        if told && !touched && !recently {
            return false;
        }
        self.log_written = written;
        self.asked = Instant::now();
        if self.connection.is_none() {
            self.connection = store::open_reader(self.address).ok();
        }
        let version = self.connection.as_ref().and_then(data_version);
        if version.is_none() {
            // The next look opens the file again.
            self.connection = None;
        }
        // A log that was written to has a commit that is about to be seen.
        let changed = touched || version != self.version;
        self.version = version;
        changed
    }
}

fn data_version(connection: &Connection) -> Option<i64> {
    let mut statement = connection.prepare_cached("PRAGMA data_version").ok()?;
    statement.query_row([], |row| row.get(0)).ok()
}
