//! The session of a thread, which a caller may use too while the thread does not.

#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};
use std::{
    mem,
    sync::{
        Arc, PoisonError, TryLockError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    address::Address,
    checkpoint::{self, Checkpoints},
    failure::{Failure, Step},
    session::{Locks, Purpose, Replacements, Session},
    transaction::Transaction,
    watch::Commits,
};
#[cfg(test)]
use crate::schedules::{Mutex, MutexGuard};

pub(super) struct SharedSession {
    pub(super) address: Address,
    purpose: Purpose,
    /// Whoever runs a transaction has the lock. `None` after something was wrong with the session; the next transaction opens
    /// another.
    session: Mutex<Option<Session>>,
    readers: Commits,
    replacements: Arc<Replacements>,
    commits: AtomicU64,
}

/// Why a transaction came to nothing.
pub(super) struct Failed {
    pub(super) failure: Failure,
    pub(super) at: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing was run.
    Begin,
    /// One of the operations failed.
    Run,
    /// All were run.
    Commit,
}

impl Stage {
    fn failed(self, failure: impl Into<Failure>) -> Failed {
        Failed {
            failure: failure.into(),
            at: self,
        }
    }
}

impl SharedSession {
    pub(super) fn new(
        session: Session,
        address: Address,
        purpose: Purpose,
        readers: Commits,
        replacements: Arc<Replacements>,
    ) -> Self {
        Self {
            address,
            purpose,
            session: Mutex::new(Some(session)),
            readers,
            replacements,
            commits: AtomicU64::new(0),
        }
    }

    /// How its transactions begin, if it is not said otherwise.
    pub(super) fn locks(&self) -> Locks {
        self.purpose.locks()
    }

    /// How many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Whether a transaction may run on a thread that other tasks share: it must not wait for a device.
    pub(super) fn is_quick(&self) -> bool {
        self.purpose == Purpose::Look || !self.address.full_sync
    }

    pub(super) fn lock(&self) -> Held<'_> {
        let session = self.session.lock();
        let is_poisoned = session.is_err();
        self.held(session.unwrap_or_else(PoisonError::into_inner), is_poisoned)
    }

    pub(super) fn try_lock(&self) -> Option<Held<'_>> {
        match self.session.try_lock() {
            Ok(session) => Some(self.held(session, false)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.held(poisoned.into_inner(), true)),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn held<'a>(&'a self, session: MutexGuard<'a, Option<Session>>, is_poisoned: bool) -> Held<'a> {
        if is_poisoned {
            // An operation panicked: what its transaction did goes.
            self.session.clear_poison();
            if let Some(session) = &*session {
                roll_back(session);
            }
        }
        Held { shared: self, session }
    }
}

/// The session, for one who has the lock.
pub(super) struct Held<'a> {
    shared: &'a SharedSession,
    session: MutexGuard<'a, Option<Session>>,
}

impl Held<'_> {
    /// Whether a transaction can begin without opening the file first.
    pub(super) fn is_open(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| !session.is_outdated(&self.shared.replacements))
    }

    /// Whether the next commit waits for the device, though others do not: the first of a log that starts again does.
    pub(super) fn waits_for_device(&self) -> bool {
        let checkpoints = self.session.as_ref().and_then(|session| session.checkpoints.as_ref());
        checkpoints.is_some_and(Checkpoints::log_restarts)
    }

    /// Runs operations in one transaction: all of them happen, or none.
    pub(super) fn transaction(
        &mut self,
        locks: Locks,
        operations: impl FnOnce(&mut Transaction<'_>) -> Step<()>,
    ) -> Result<(), Failed> {
        let shared = self.shared;
        if !self.is_open() {
            self.close();
        }
        let session = match &mut *self.session {
            Some(session) => session,
            none => {
                let opened = Session::open_again(&shared.address, shared.purpose, &shared.replacements);
                none.insert(opened.map_err(|failure| Stage::Begin.failed(failure))?)
            }
        };
        let done = run_and_commit(session, locks, operations);
        // Also after a failure, which may come from that. What was committed to another file is not acknowledged.
        let checked = session.check_file(&shared.address, &shared.replacements);
        if done.is_ok() {
            shared.commits.fetch_add(1, Ordering::Relaxed);
        } else {
            roll_back(session);
        }
        if let Err(failure) = checked {
            self.close();
            shared.readers.announce();
            return Err(Stage::Commit.failed(failure));
        }
        if done? {
            shared.readers.announce();
        }
        Ok(())
    }

    pub(super) fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(&self.shared.replacements);
        }
    }

    /// What was known of the file is not true any more: readers are told so, as after another file was put in place.
    pub(super) fn forget_file(&mut self) {
        if let Some(session) = self.session.take() {
            session.forget_file(&self.shared.replacements);
            session.close(&self.shared.replacements);
            self.shared.readers.announce();
        }
    }

    /// Copies the log; tells whether all of it was copied.
    pub(super) fn copy_log(&self) -> bool {
        let session = self.session.as_ref();
        session.is_some_and(|session| checkpoint::copy_all(&session.connection))
    }

    /// Looks after the log. It may take as long as the device does.
    pub(super) fn look_after_log(&mut self) {
        if let Some(session) = &mut *self.session
            && let Some(checkpoints) = &mut session.checkpoints
        {
            checkpoints.look_after(&session.connection);
        }
    }

    /// What is done when there is nothing else to do; gives when to do the rest of it.
    pub(super) fn rest(&mut self) -> Option<Duration> {
        let session = self.session.as_mut()?;
        session.checkpoints.as_mut()?.rest(&session.connection)
    }

    /// Whether somebody has to look after the log.
    pub(super) fn log_is_due(&self) -> bool {
        let checkpoints = self.session.as_ref().and_then(|session| session.checkpoints.as_ref());
        checkpoints.is_some_and(Checkpoints::are_due)
    }
}

/// Tells whether there is something that a reader may wait for.
fn run_and_commit(
    session: &mut Session,
    locks: Locks,
    operations: impl FnOnce(&mut Transaction<'_>) -> Step<()>,
) -> Result<bool, Failed> {
    let begin = || Ok(session.connection.prepare_cached(locks.begin())?.execute([])?);
    begin().map_err(|failure: Failure| Stage::Begin.failed(failure))?;
    let kept = mem::take(&mut session.kept);
    let mut transaction = Transaction::new(&session.connection, session.room.as_ref(), kept);
    let ran = operations(&mut transaction).and_then(|()| transaction.finish());
    ran.map_err(|failure| Stage::Run.failed(failure))?;
    let commit = || Ok(session.connection.prepare_cached("COMMIT")?.execute([])?);
    commit().map_err(|failure: Failure| Stage::Commit.failed(failure))?;
    let has_news = transaction.has_news();
    session.kept = transaction.into_kept();
    if let Some(checkpoints) = &mut session.checkpoints {
        checkpoints.committed();
    }
    Ok(has_news)
}

/// Some errors make SQLite roll back by itself.
fn roll_back(session: &Session) {
    if !session.connection.is_autocommit() {
        _ = session.connection.execute_batch("ROLLBACK");
    }
}
