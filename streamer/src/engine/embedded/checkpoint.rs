//! Copies what the log holds into the database, so that the log does not grow.
//!
//! SQLite by itself does that in the commit after which the log has 1,000 pages, and whoever waits for that commit waits
//! for the device to flush the database. Here a thread of its own does nearly all of it while commits go on. The last
//! few pages are left to the thread that commits: the log begins anew only when all of it has been copied and nobody
//! adds to it meanwhile.

use std::{
    cell::Cell,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::{self, JoinHandle},
};

use rusqlite::Connection;

use super::{address::Address, failure::Step, store};

/// After how many pages the log is copied, as in SQLite.
const DUE: i32 = 1000;
/// Of a log so large commits wait until it has been copied: it may not outgrow a slow device.
const TOO_MANY: i32 = 4 * DUE;
/// So few pages are copied as soon as anybody is told to.
const FEW: i64 = 100;

thread_local! {
    /// How many pages the log had after the last commit of this thread.
    static PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Belongs to the thread that commits.
pub(super) struct Checkpoints {
    address: Address,
    copier: Option<Copier>,
    /// Whether it is at work.
    copying: bool,
    /// How many pages the log had when it was copied last. Readers of an old state keep it from beginning anew.
    since: i32,
}

/// The thread that copies. It ends, and closes its connection, when this is dropped.
struct Copier {
    /// `None` only while this is dropped.
    begin: Option<SyncSender<()>>,
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
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
    /// Takes the place of SQLite's own for this thread's connection.
    pub(super) fn of(connection: &Connection, address: &Address) -> Self {
        connection.wal_hook(Some(|_, pages| {
            PAGES.set(pages);
            Ok(())
        }));
        Self {
            address: address.clone(),
            copier: None,
            copying: false,
            since: 0,
        }
    }

    /// Looks after the log. To be called between two transactions.
    pub(super) fn look_after(&mut self, connection: &Connection) {
        let pages = PAGES.get();
        if pages < self.since {
            self.since = 0;
        }
        if self.copying {
            if self.has_ended(pages) {
                self.copying = false;
                self.since = pages;
                copy(connection);
            }
        } else if pages >= self.since + DUE {
            self.copying = self.begin();
            if !self.copying {
                self.since = pages;
                copy(connection);
            }
        }
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

/// Copies again what was added meanwhile, as long as that becomes less.
fn copy_nearly_all(connection: &Connection) {
    let (mut all, mut last) = (0, i64::MAX);
    while let Some(copied) = copy(connection) {
        let now = copied - all;
        if now < FEW || now >= last {
            break;
        }
        (all, last) = (copied, now);
    }
}

/// Copies the log; tells whether all of it was copied, so that it begins again with the next commit.
pub(super) fn copy_all(connection: &Connection) -> bool {
    let checkpoint = || -> Step<bool> {
        let mut checkpoint = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
        Ok(checkpoint.query_row([], |row| {
            Ok(row.get::<_, i64>(1)? > 0 && row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
        })?)
    };
    checkpoint().unwrap_or(false)
}

/// Copies what is in the log and not needed by a reader, and gives how many of its pages have been copied since it began;
/// `None` where nothing could be copied, as when another process is about it. What is not copied now is copied later:
/// nothing depends on it but the size of the log, and a full or broken device fails the next commit too.
fn copy(connection: &Connection) -> Option<i64> {
    let copied = || -> Step<(bool, i64)> {
        let mut checkpoint = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
        Ok(checkpoint.query_row([], |row| Ok((row.get(0)?, row.get(2)?)))?)
    };
    match copied() {
        Ok((busy, pages)) => (!busy).then_some(pages),
        Err(failure) => {
            let error = failure.attempted("copy the log of the store into the database");
            tracing::debug!("{error}; it is tried again later");
            None
        }
    }
}
