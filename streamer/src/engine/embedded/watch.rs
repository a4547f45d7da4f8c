//! Wakes readers when something was committed, by this process or by another.
//!
//! Within the process the worker announces its commits. For commits of other processes one thread asks SQLite for the
//! file's `data_version`, which changes with each of them; it does so only while a reader waits, and the longer nothing
//! happens, the less often.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{address::Address, store};

/// How often to look while things happen, and how long that counts as now.
const SOON: Duration = Duration::from_millis(2);
const RECENTLY: Duration = Duration::from_millis(200);
/// How often to look otherwise. Readers of other processes wake within this and what the system takes.
const LATER: Duration = Duration::from_millis(8);

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
    let mut connection: Option<Connection> = None;
    let mut seen = None;
    let mut last_change = Instant::now();
    while shared.until_somebody_waits() {
        if connection.is_none() {
            connection = store::open_reader(address).ok();
        }
        let version = connection.as_ref().and_then(data_version);
        if version.is_none() {
            // Perhaps the file is gone. Readers look by themselves then, and get the error.
            connection = None;
        }
        // Also the first time, and after a pause: what was committed meanwhile shows as a change here.
        if version.is_none() || version != seen {
            commits.announce();
            last_change = Instant::now();
            seen = version;
        }
        let recently = version.is_some() && last_change.elapsed() < RECENTLY;
        thread::sleep(if recently { SOON } else { LATER });
    }
}

fn data_version(connection: &Connection) -> Option<i64> {
    let mut statement = connection.prepare_cached("PRAGMA data_version").ok()?;
    statement.query_row([], |row| row.get(0)).ok()
}
