//! Wakes readers when something was committed, by this process or by another.
//!
//! Within the process the worker announces its commits. For commits of other processes, and of other connections of this one,
//! there is one thread for each file, which works only while a reader waits. It waits for the file system's notices of the
//! log, and then asks SQLite for the file's `data_version`, which changes with each commit of somebody else.
//!
//! A notice comes before its commit can be seen, so the thread asks again a few times after the last one. Now and then it asks
//! without a notice. What it finds then, no notice told of: some file systems give none for what other machines or
//! containers write, so from then on, and for a while, the thread looks often. It does so too where there are no notices at
//! all; in quiet times it then looks whether the log was written to, which costs half of what the question does. A file's
//! time is coarse: two writes may share one. Therefore SQLite is asked for a while after each change.

use std::{
    path::{Path, PathBuf},
    sync::{self, Arc, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};
#[cfg(not(test))]
use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread,
};

use rusqlite::Connection;
use tokio::sync::watch;

use super::{
    address::Address,
    notices::{Bell, Notices, Wait as Waited},
    open_threads::OpenThread,
    session::{Content, FileId, log_of},
    store,
};
#[cfg(test)]
use crate::schedules::{Condvar, Mutex, MutexGuard, thread};

/// When to ask again after a notice, counted from the notice.
const AFTER_NOTICE: [Duration; 12] = [
    Duration::ZERO,
    Duration::from_micros(60),
    Duration::from_micros(120),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_micros(1000),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(60),
    Duration::from_millis(120),
];
/// How long after a question the next one comes at the earliest, whatever is noticed: many commits a millisecond must not keep
/// a core busy.
const BREATH: Duration = Duration::from_micros(60);
/// How often to ask without a notice: this is what an idle listener costs.
const RARELY: Duration = Duration::from_millis(500);
/// Without notices: how often to ask in quiet times, whatever the log's time says.
const SURELY: Duration = Duration::from_millis(200);
/// For how long notices are not relied on after a commit that none told of.
const DISTRUST: Duration = Duration::from_secs(10);
/// Without notices: how often to look while things happen, and how long that counts as now.
const SOON: Duration = Duration::from_millis(2);
const RECENTLY: Duration = Duration::from_millis(200);
/// Without notices: how often to look otherwise.
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

/// Where readers wait for commits. All engines of this process on one file share it.
#[derive(Clone)]
pub(super) struct Watch(Arc<Inner>);

/// Dropping it ends the thread.
struct Inner {
    commits: Commits,
    shared: Arc<Shared>,
    /// `None` in memory, where there are no other processes.
    address: Option<Address>,
}

/// The watches of this process, by their files. A file that may not be written is read in another way, perhaps without its
/// log, so its watch is another one.
static WATCHES: sync::Mutex<Vec<(PathBuf, bool, Weak<Inner>)>> = sync::Mutex::new(Vec::new());

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends the thread's wait for notices.
    bell: Bell,
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
    /// The watch of a file. Each store in memory has one of its own.
    pub(super) fn of(address: &Address) -> Self {
        let Some(path) = &address.path else {
            return Self(Arc::new(Inner::new(None)));
        };
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|(.., watch)| watch.strong_count() > 0);
        let known = watches
            .iter()
            .find(|(of, read_only, _)| of == path && *read_only == address.read_only);
        if let Some(known) = known.and_then(|(.., watch)| watch.upgrade()) {
            return Self(known);
        }
        let watch = Arc::new(Inner::new(Some(address.clone())));
        watches.push((path.clone(), address.read_only, Arc::downgrade(&watch)));
        Self(watch)
    }

    pub(super) fn commits(&self) -> Commits {
        self.0.commits.clone()
    }

    /// The file; `None` in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        self.0.address.as_ref()?.path.as_deref()
    }

    /// Begins a wait: commits from now on wake it. Look for entries after this, not before.
    pub(super) fn wait(&self) -> Wait {
        self.0.wait(self.0.address.as_ref(), File::new)
    }
}

impl Inner {
    fn new(address: Option<Address>) -> Self {
        Self {
            commits: Commits::new(),
            shared: Arc::new(Shared {
                state: Mutex::default(),
                changed: Condvar::new(),
                bell: Bell::new(),
            }),
            address,
        }
    }

    /// Begins a wait. Where there is an address, a thread looks at what is there.
    fn wait<A, L>(&self, address: Option<&A>, look_at: fn(A) -> L) -> Wait
    where
        A: Clone + Send + 'static,
        L: LookedAt + 'static,
    {
        let receiver = self.commits.0.subscribe();
        let mut state = self.shared.lock();
        state.waiting += 1;
        if let Some(address) = address {
            if !state.started {
                let (shared, commits, address) = (self.shared.clone(), self.commits.clone(), address.clone());
                let open = OpenThread::new();
                let watch = move || {
                    let _open = open;
                    watch(&shared, &commits, look_at(address));
                };
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
            commits: receiver,
            shared: self.shared.clone(),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        self.shared.bell.ring();
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

    /// Returns when a reader waits, and tells whether nobody did for a time; `None` when the engine is closed.
    fn until_somebody_waits(&self) -> Option<bool> {
        let mut was_idle = false;
        let idle = |state: &mut State| {
            let is_idle = state.waiting == 0 && !state.closed;
            was_idle |= is_idle;
            is_idle
        };
        let state = self.changed.wait_while(self.lock(), idle);
        let is_closed = state.unwrap_or_else(PoisonError::into_inner).closed;
        (!is_closed).then_some(was_idle)
    }
}

/// What the thread looks at while a reader waits.
trait LookedAt {
    /// Whether something was committed since the last look. `was_idle`: nobody has looked for a time.
    fn changed(&mut self, was_idle: bool) -> bool;
    /// Waits until the next look, or until the bell rings.
    fn pause(&mut self, bell: &Bell);
    fn close(self);
}

fn watch(shared: &Shared, commits: &Commits, mut looked_at: impl LookedAt) {
    while let Some(was_idle) = shared.until_somebody_waits() {
        if looked_at.changed(was_idle) {
            commits.announce();
        }
        looked_at.pause(&shared.bell);
    }
    looked_at.close();
}

/// A file, with the notices of it where there are any.
struct File {
    watched: Watched,
    rhythm: Rhythm,
    notices: Option<Notices>,
}

impl File {
    fn new(address: Address) -> Self {
        let mut file = Self {
            watched: Watched::new(address),
            rhythm: Rhythm::new(),
            notices: None,
        };
        file.ask_for_notices();
        file
    }

    fn ask_for_notices(&mut self) {
        self.notices = self.watched.address.path.as_deref().and_then(Notices::of);
    }
}

impl LookedAt for File {
    fn changed(&mut self, was_idle: bool) -> bool {
        if was_idle {
            // Nobody has read the notices of that time.
            self.rhythm.noticed();
        }
        let look = self.rhythm.look(self.notices.is_some());
        let changed = self.watched.changed(look);
        if changed && self.rhythm.changed(look) {
            // Perhaps the notices are those of a directory that lies elsewhere by now.
            self.ask_for_notices();
        }
        changed
    }

    fn pause(&mut self, bell: &Bell) {
        let pause = self.rhythm.pause(self.notices.is_some());
        match &self.notices {
            None => thread::sleep(pause),
            Some(notices) => match notices.wait(pause, bell) {
                Waited::Noticed => {
                    self.rhythm.noticed();
                    thread::sleep(BREATH.saturating_sub(self.watched.asked.elapsed()));
                }
                Waited::TimedOut => {}
                Waited::Ended => self.notices = None,
            },
        }
        if self.notices.is_none() && self.rhythm.may_try_notices_again() {
            self.ask_for_notices();
        }
    }

    fn close(self) {
        if let Some(connection) = self.watched.connection {
            store::close(connection);
        }
    }
}

/// How a look is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// A notice came a short time ago.
    Noticed,
    /// No notice came for a while, though notices are relied on.
    Unnoticed,
    /// In a rhythm, while things happen.
    Often,
    /// In a rhythm, in quiet times.
    Seldom,
}

/// When to look at the file.
struct Rhythm {
    noticed: Instant,
    /// How many looks there were since the last notice.
    looks: usize,
    last_change: Instant,
    /// Notices are not relied on until then.
    distrusted_until: Option<Instant>,
    tried_notices: Instant,
}

impl Rhythm {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            noticed: now,
            looks: 0,
            last_change: now,
            distrusted_until: None,
            tried_notices: now,
        }
    }

    fn noticed(&mut self) {
        self.noticed = Instant::now();
        self.looks = 0;
    }

    fn relies_on_notices(&self, are_there: bool) -> bool {
        are_there && self.distrusted_until.is_none_or(|until| until <= Instant::now())
    }

    /// Which look comes now.
    fn look(&self, has_notices: bool) -> Look {
        match self.relies_on_notices(has_notices) {
            true if self.looks < AFTER_NOTICE.len() => Look::Noticed,
            true => Look::Unnoticed,
            false if self.last_change.elapsed() < RECENTLY => Look::Often,
            false => Look::Seldom,
        }
    }

    /// Something was committed, as this look has found. Tells whether a notice was missing.
    fn changed(&mut self, look: Look) -> bool {
        self.last_change = Instant::now();
        let is_missing = look == Look::Unnoticed;
        if is_missing {
            self.distrusted_until = Some(self.last_change + DISTRUST);
        }
        is_missing
    }

    /// How long until the next look.
    fn pause(&mut self, has_notices: bool) -> Duration {
        if !self.relies_on_notices(has_notices) {
            return match self.last_change.elapsed() < RECENTLY {
                true => SOON,
                false => LATER,
            };
        }
        self.looks = self.looks.saturating_add(1);
        match AFTER_NOTICE.get(self.looks) {
            Some(after) => after.saturating_sub(self.noticed.elapsed()),
            None => RARELY,
        }
    }

    fn may_try_notices_again(&mut self) -> bool {
        let may = self.tried_notices.elapsed() >= DISTRUST;
        if may {
            self.tried_notices = Instant::now();
        }
        may
    }
}

/// The file as it was seen last.
struct Watched {
    address: Address,
    log: Option<PathBuf>,
    connection: Option<Connection>,
    /// The file and its log, and what changes with the content of a file that SQLite does not look at again; `None` before the
    /// first look.
    files: Option<(Option<FileId>, Option<FileId>, Option<Content>)>,
    version: Option<i64>,
    log_written: Option<SystemTime>,
    asked: Instant,
}

impl Watched {
    fn new(address: Address) -> Self {
        Self {
            log: address.path.as_deref().map(log_of),
            address,
            connection: None,
            files: None,
            version: None,
            log_written: None,
            asked: Instant::now(),
        }
    }

    /// Whether something was committed since the last call; also true the first time.
    fn changed(&mut self, look: Look) -> bool {
        let at = |path: Option<&Path>| path.and_then(FileId::at);
        let (file, log) = (at(self.address.path.as_deref()), at(self.log.as_deref()));
        let content = |path: &Path| Content::of_unchanging(&self.address, path, log);
        let files = Some((file, log, self.address.path.as_deref().and_then(content)));
        if files != self.files {
            // Other files, or none where a reader found some before: who looks now is told so.
            self.files = files;
            self.version = None;
            if let Some(connection) = self.connection.take() {
                store::abandon(connection);
            }
            return true;
        }
        let mut touched = false;
        if matches!(look, Look::Often | Look::Seldom) {
            // Before SQLite is asked: what is written after this shows the next time.
            let written = self.log.as_ref().and_then(|log| log.metadata().ok()?.modified().ok());
            touched = written != self.log_written;
            let told = written.is_some() && self.asked.elapsed() < SURELY;
            if told && !touched && look == Look::Seldom {
                return false;
            }
            self.log_written = written;
        }
        self.asked = Instant::now();
        if self.connection.is_none() {
            self.connection = store::open_reader(&self.address).ok();
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

#[cfg(test)]
#[path = "watch_schedules.rs"]
mod in_many_schedules;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn address(path: Option<PathBuf>) -> Address {
        Address {
            path,
            full_sync: false,
            busy_timeout: Duration::from_secs(5),
            max_size: None,
            read_only: false,
        }
    }

    #[test]
    fn the_engines_of_a_process_share_the_watch_of_a_file() {
        let directory = tempfile::TempDir::new().unwrap();
        let file = |name: &str| address(Some(directory.path().join(name)));
        let (one, same, other) = (Watch::of(&file("a")), Watch::of(&file("a")), Watch::of(&file("b")));
        assert!(Arc::ptr_eq(&one.0, &same.0) && !Arc::ptr_eq(&one.0, &other.0));
        assert!(!Arc::ptr_eq(&Watch::of(&address(None)).0, &Watch::of(&address(None)).0));
        let read_only = Address {
            read_only: true,
            ..file("a")
        };
        assert!(!Arc::ptr_eq(&one.0, &Watch::of(&read_only).0));
        let gone = Arc::downgrade(&one.0);
        drop((one, same));
        assert!(gone.upgrade().is_none());
        assert_eq!(Arc::strong_count(&Watch::of(&file("a")).0), 1);
    }

    #[test]
    fn the_first_look_is_a_change_also_where_the_file_is_gone_by_then() {
        let directory = tempfile::TempDir::new().unwrap();
        let mut watched = Watched::new(address(Some(directory.path().join("gone"))));
        assert!(watched.changed(Look::Noticed));
        assert!(!watched.changed(Look::Noticed));
    }

    #[test]
    fn after_a_notice_there_are_several_looks_and_then_few() {
        let mut rhythm = Rhythm::new();
        for _ in 0..2 {
            rhythm.noticed();
            let mut pauses = Vec::new();
            while rhythm.look(true) == Look::Noticed {
                pauses.push(rhythm.pause(true));
            }
            assert_eq!(pauses.len(), AFTER_NOTICE.len());
            assert!(pauses.iter().all(|pause| *pause <= RARELY), "{pauses:?}");
            assert_eq!((rhythm.look(true), rhythm.pause(true)), (Look::Unnoticed, RARELY));
        }
    }

    #[test]
    fn a_commit_that_no_notice_told_of_makes_the_looks_frequent() {
        let mut rhythm = Rhythm::new();
        while rhythm.look(true) == Look::Noticed {
            rhythm.pause(true);
        }
        // One that a notice told of changes nothing.
        assert!(!rhythm.changed(Look::Noticed));
        assert_eq!(rhythm.look(true), Look::Unnoticed);
        assert!(rhythm.changed(Look::Unnoticed));
        assert!(rhythm.pause(true) <= LATER);
        assert!(matches!(rhythm.look(true), Look::Often | Look::Seldom));
        // After a while notices are given another chance.
        rhythm.distrusted_until = Some(Instant::now());
        assert_eq!(rhythm.look(true), Look::Unnoticed);
        // Without notices there are only such looks.
        assert!(matches!(rhythm.look(false), Look::Often | Look::Seldom));
        assert!(rhythm.pause(false) <= LATER);
    }
}
