//! Copies what the log holds into the database, so that the log does not grow.
//!
//! SQLite by itself does that in the commit after which the log has 1,000 pages, and whoever waits for that commit waits
//! for the device to flush the database. Here a thread of its own does nearly all of it while commits go on. The last
//! few pages are left to the thread that commits: the log starts again only when all of it has been copied and nobody
//! adds to it in the meantime.
//!
//! SQLite leaves the file of the log as large as it once was. Here the file is cut when the log begins again, and when nobody
//! writes: at rest it has at most [`LARGEST_AT_REST`]. Only a reader of an old state, in any process, keeps it larger.

use std::{cell::Cell, sync::mpsc::TryRecvError, time::Duration};
#[cfg(not(test))]
use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rusqlite::Connection;

use super::{address::Address, failure::Step, store};
#[cfg(test)]
use crate::schedules::{
    mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

/// After how many pages the log is copied, as in SQLite.
const DUE: i32 = 1000;
/// Of a log so large commits wait until it has been copied: it may not outgrow a slow device.
const TOO_MANY: i32 = 4 * DUE;
/// How many bytes the file of the log keeps when the log begins again, and at rest: [`TOO_MANY`] pages.
pub(super) const LARGEST_AT_REST: i64 = 16 << 20;
/// How soon a log that was in use is to be cut again.
const CUT_AGAIN: Duration = Duration::from_secs(1);
/// While the thread copies, it is looked after each time the log has so many pages more.
const STEP: i32 = 100;
/// So few pages are copied as soon as anybody is told to.
const FEW: i64 = 100;

thread_local! {
    /// How many pages the log had after a commit of this thread, until [`Checkpoints::committed`] takes it.
    static PAGES: Cell<Option<i32>> = const { Cell::new(None) };
}

/// Belongs to the connection that commits.
pub(super) struct Checkpoints {
    address: Address,
    copier: Option<Copier>,
    /// Whether it is at work.
    copying: bool,
    /// How many pages the log had after the last commit.
    pages: i32,
    /// How many pages the log had when it was copied last. Readers of an old state keep it from starting again.
    since: i32,
    /// How many pages the log may have before somebody looks after it again.
    next_look: i32,
    /// Whether all of the log was copied: SQLite then lets it start again with the next commit, and flushes its header.
    all_copied: bool,
}

#[cfg(not(test))]
type JoinHandle = thread::JoinHandle<()>;
#[cfg(test)]
use thread::JoinHandle;

/// The thread that copies. It ends, and closes its connection, when this is dropped.
struct Copier {
    /// `None` only while this is dropped.
    begin: Option<SyncSender<()>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle>,
}

impl Drop for Copier {
    /// Its connection must not be the last one that is closed: it leaves the log as it is.
    fn drop(&mut self) {
        self.begin = None;
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl Checkpoints {
    /// Takes the place of SQLite's own for this connection.
    pub(super) fn of(connection: &Connection, address: &Address) -> Self {
        connection.wal_hook(Some(|_, pages| {
            PAGES.set(Some(pages));
            Ok(())
        }));
        Self {
            address: address.clone(),
            copier: None,
            copying: false,
            pages: 0,
            since: 0,
            next_look: DUE,
            all_copied: false,
        }
    }

    /// To be called after each commit, by the thread that committed.
    pub(super) fn committed(&mut self) {
        if let Some(pages) = PAGES.take() {
            self.pages = pages;
            self.all_copied = false;
        }
    }

    pub(super) fn log_restarts(&self) -> bool {
        self.all_copied
    }

    /// Whether somebody has to look after the log, who may wait for the device.
    pub(super) fn are_due(&self) -> bool {
        self.pages >= self.next_look || self.pages < self.since
    }

    /// Looks after the log. To be called between two transactions.
    pub(super) fn look_after(&mut self, connection: &Connection) {
        let pages = self.pages;
        if pages < self.since {
            self.since = 0;
        }
        if self.copying {
            if self.has_ended(pages) {
                self.copying = false;
                self.since = pages;
                self.all_copied = copy_all(connection);
            }
        } else if pages >= self.since + DUE {
            self.copying = self.begin();
            if !self.copying {
                self.since = pages;
                self.all_copied = copy_all(connection);
            }
        }
        self.next_look = match self.copying {
            true => pages.saturating_add(STEP),
            false => self.since.saturating_add(DUE),
        };
    }

    /// Cuts too large a log while nobody writes. Gives when to try again, where somebody who reads was in the way. To be called
    /// between two transactions, before waiting for the next one.
    pub(super) fn rest(&mut self, connection: &Connection) -> Option<Duration> {
        if self.pages < TOO_MANY {
            return None;
        }
        if self.copying {
            self.look_after(connection);
        }
        if self.copying || !cut(connection) {
            return Some(CUT_AGAIN);
        }
        (self.pages, self.since, self.next_look) = (0, 0, DUE);
        self.all_copied = false;
        None
    }

    /// Whether the thread has done what it can; of too large a log, waits for that.
    fn has_ended(&mut self, pages: i32) -> bool {
        let Some(copier) = &self.copier else { return true };
        let ended = match copier.ended.try_recv() {
            Err(TryRecvError::Empty) if pages < TOO_MANY => return false,
            Err(TryRecvError::Empty) => copier.ended.recv().is_ok(),
            ended => ended.is_ok(),
        };
        if !ended {
            // It is gone, and another is started in its place.
            self.copier = None;
        }
        true
    }

    /// Lets the thread begin. It is started where there was need of it, which in small stores never is.
    fn begin(&mut self) -> bool {
        if self.copier.is_none() {
            self.copier = start(self.address.clone());
        }
        let begin = self.copier.as_ref().and_then(|copier| copier.begin.as_ref());
        begin.is_some_and(|begin| begin.send(()).is_ok())
    }
}

/// Without a thread, or a connection for it, the one that commits does the work.
fn start(address: Address) -> Option<Copier> {
    let (begin, begun) = sync_channel(1);
    let (end, ended) = sync_channel(1);
    let work = move || {
        let Ok(connection) = store::open_reader(&address) else {
            return;
        };
        while begun.recv().is_ok() {
            copy_nearly_all(&connection);
            if end.send(()).is_err() {
                break;
            }
        }
        store::abandon(connection);
    };
    let started = thread::Builder::new()
        .name("streamer-checkpoint".to_owned())
        .spawn(work);
    Some(Copier {
        begin: Some(begin),
        ended,
        thread: Some(started.ok()?),
    })
}

/// Copies again what was added while it copied, as long as that becomes less.
fn copy_nearly_all(connection: &Connection) {
    let (mut all, mut last) = (0, i64::MAX);
    while let Some(Copied { pages, .. }) = copy(connection) {
        let now = pages - all;
        if now < FEW || now >= last {
            break;
        }
        (all, last) = (pages, now);
    }
}

/// Copies the log; tells whether all of it was copied, so that it begins again with the next commit.
pub(super) fn copy_all(connection: &Connection) -> bool {
    copy(connection).is_some_and(|copied| copied.all)
}

/// Copies the log and leaves an empty file; tells whether nobody was in the way. It waits for nobody.
fn cut(connection: &Connection) -> bool {
    let cut = || -> Step<bool> {
        let mut checkpoint = connection.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?;
        Ok(checkpoint.query_row([], |row| Ok(row.get::<_, i64>(0)? == 0))?)
    };
    cut().unwrap_or(false)
}

struct Copied {
    /// How many pages of the log have been copied since it began.
    pages: i64,
    /// Whether those are all that it has.
    all: bool,
}

/// Copies what is in the log and not needed by a reader; `None` where nothing could be copied, as when another process is
/// about it. What is not copied now is copied later: nothing depends on it but the size of the log, and a full or broken
/// device fails the next commit too.
fn copy(connection: &Connection) -> Option<Copied> {
    let copied = || -> Step<(bool, i64, i64)> {
        let mut checkpoint = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
        Ok(checkpoint.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
    };
    match copied() {
        Ok((busy, logged, pages)) => (!busy).then_some(Copied {
            pages,
            all: logged > 0 && logged == pages,
        }),
        Err(failure) => {
            let error = failure.attempted("copy the log of the store into the database");
            tracing::debug!("{error}; it is tried again later");
            None
        }
    }
}

#[cfg(test)]
#[path = "checkpoint_schedules.rs"]
mod in_many_schedules;
