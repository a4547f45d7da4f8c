//! The thread that owns a connection, and how operations share a commit.
//!
//! It takes what is waiting, runs it in one transaction and answers after the commit, so that many appends at once cost
//! one commit, and a single one waits for nobody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Receiver;

use super::{
    address::Address,
    answers::Unanswered,
    checkpoint,
    failure::{Failure, Step},
    session::{Purpose, Replacements, Session},
    store::TRY_AGAIN,
    transaction::Transaction,
    watch::Commits,
    worker::{Job, Jobs},
};

/// How many operations share a commit at most: the last of them waits for the first.
const BATCH: usize = 512;
/// How long a commit waits at most for most of one half of those that the two before it answered: while it is written,
/// the other half asks again. A single caller waits for nobody.
const GATHERING: Duration = Duration::from_micros(100);

pub(super) struct StoreThread {
    /// `None` after something was wrong with it; the next transaction opens another.
    session: Option<Session>,
    address: Address,
    purpose: Purpose,
    readers: Commits,
    replacements: Arc<Replacements>,
    commits: Arc<AtomicU64>,
    waiting: Receiver<Box<dyn Job>>,
    unanswered: Unanswered,
    /// Since when another process holds the file.
    held: Option<Instant>,
}

/// Why a transaction came to nothing.
struct Failed {
    failure: Failure,
    at: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
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

impl StoreThread {
    pub(super) fn new(
        session: Session,
        address: Address,
        purpose: Purpose,
        readers: Commits,
        replacements: Arc<Replacements>,
        commits: Arc<AtomicU64>,
        waiting: Receiver<Box<dyn Job>>,
    ) -> Self {
        Self {
            session: Some(session),
            address,
            purpose,
            readers,
            replacements,
            commits,
            waiting,
            unanswered: Unanswered::default(),
            held: None,
        }
    }

    pub(super) fn work(mut self) {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut before = [1; 2];
        loop {
            // The halves are never equal: waiting for all of one, the smaller would always wait for a few of the other.
            let half = before.iter().sum::<usize>() / 2;
            let most = half - half / 8;
            let mut jobs = Vec::with_capacity(half);
            // All are taken before the transaction begins: it must see what was committed before they were asked for.
            if self.receive(&waker, &mut jobs) == 0 {
                break;
            }
            self.gather(&mut jobs, most);
            before = [before[1], jobs.len()];
            self.see_to(jobs);
            // After the answers: nobody waits for it but the next commit.
            if let Some(session) = &mut self.session
                && let Some(checkpoints) = &mut session.checkpoints
            {
                checkpoints.look_after(&session.connection);
            }
        }
        self.close();
    }

    /// Waits for jobs, and then for answers that a runtime has not given; 0 when there will be no more.
    fn receive(&mut self, waker: &Waker, jobs: &mut Jobs) -> usize {
        loop {
            let received = self
                .waiting
                .poll_recv_many(&mut Context::from_waker(waker), jobs, BATCH);
            if let Poll::Ready(received) = received {
                return received;
            }
            match self.unanswered.look_after() {
                Some(time) => thread::park_timeout(time),
                None => thread::park(),
            }
        }
    }

    /// Waits for those who were just answered and ask again: without it, the first of them has a commit of its own.
    fn gather(&mut self, batch: &mut Jobs, expected: usize) {
        let begun = Instant::now();
        while batch.len() < expected && begun.elapsed() < GATHERING {
            match self.waiting.try_recv() {
                Ok(job) => batch.push(job),
                Err(_) => thread::yield_now(),
            }
        }
    }

    /// Runs jobs until each of them is answered.
    fn see_to(&mut self, mut jobs: Jobs) {
        let (mut looked_again, mut log_copied) = (false, false);
        while !jobs.is_empty() {
            let Err(Failed { failure, at }) = self.transaction(&mut jobs) else {
                self.held = None;
                return self.unanswered.answer(jobs, &Ok(()));
            };
            if failure.is_busy() {
                self.wait_for_the_file(&mut jobs, &failure);
                continue;
            }
            self.held = None;
            if failure.are_tables_gone() {
                // Whoever looked at them has to know, as after another file was put in place.
                self.forget_file();
            }
            if failure.needs_another_look() && self.address.path.is_none() {
                // Memory has no other connection.
                looked_again = true;
            } else if failure.needs_another_look() {
                self.close();
                // Perhaps only the connection is at fault. What may have been committed is not run once more.
                if !looked_again && at != Stage::Commit {
                    looked_again = true;
                    continue;
                }
            }
            if failure.is_full() && !log_copied {
                // Where the device is full and the database has free pages, a log that begins again needs no more room.
                log_copied = true;
                if self
                    .session
                    .as_ref()
                    .is_some_and(|session| checkpoint::copy_all(&session.connection))
                {
                    continue;
                }
            }
            if at == Stage::Run && jobs.len() > 1 {
                // One of them broke the transaction; alone, each comes to its own end.
                return jobs.into_iter().for_each(|job| self.see_to(vec![job]));
            }
            let failure = if looked_again { failure.for_certain() } else { failure };
            return self.unanswered.answer(jobs, &Err(failure.of_an_open_store()));
        }
    }

    /// Another process holds the file. All that wait do so together, each as long as the address allows: also those that
    /// come now.
    fn wait_for_the_file(&mut self, jobs: &mut Jobs, failure: &Failure) {
        let held = *self.held.get_or_insert_with(Instant::now);
        while jobs.len() < BATCH
            && let Ok(job) = self.waiting.try_recv()
        {
            jobs.push(job);
        }
        let timeout = self.address.busy_timeout;
        let patient = |job: &mut Box<dyn Job>| job.since().max(held).elapsed() < timeout;
        let expired: Jobs = jobs.extract_if(.., |job| !patient(job)).collect();
        if !expired.is_empty() {
            self.unanswered.answer(expired, &Err(failure.clone()));
        }
        self.unanswered.look_after();
        thread::sleep(TRY_AGAIN);
    }

    /// Runs jobs in one transaction: all of them happen, or none.
    fn transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        if self
            .session
            .as_ref()
            .is_some_and(|session| session.is_outdated(&self.replacements))
        {
            self.close();
        }
        let session = match &mut self.session {
            Some(session) => session,
            none => {
                let opened = Session::open_again(&self.address, self.purpose, &self.replacements);
                none.insert(opened.map_err(|failure| Stage::Begin.failed(failure))?)
            }
        };
        let done = run_and_commit(session, self.purpose, jobs);
        // Also after a failure, which may come from that. What was committed to another file is not acknowledged.
        let checked = session.check_file(&self.address, &self.replacements);
        if done.is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
        } else if !session.connection.is_autocommit() {
            // Some errors make SQLite roll back by itself.
            _ = session.connection.execute_batch("ROLLBACK");
        }
        if let Err(failure) = checked {
            self.close();
            self.readers.announce();
            return Err(Stage::Commit.failed(failure));
        }
        if done? {
            self.readers.announce();
        }
        Ok(())
    }

    fn forget_file(&mut self) {
        if let Some(session) = self.session.take() {
            session.forget_file(&self.replacements);
            session.close(&self.replacements);
            self.readers.announce();
        }
    }

    fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close(&self.replacements);
        }
    }
}

/// Tells whether there is something that a reader may wait for.
fn run_and_commit(session: &Session, purpose: Purpose, jobs: &mut [Box<dyn Job>]) -> Result<bool, Failed> {
    let begin = || Ok(session.connection.prepare_cached(purpose.begin())?.execute([])?);
    begin().map_err(|failure: Failure| Stage::Begin.failed(failure))?;
    let mut transaction = Transaction::new(&session.connection, session.room.as_ref());
    let run = || {
        for job in jobs {
            job.run(&mut transaction)?;
        }
        transaction.finish()
    };
    let ran: Step<()> = run();
    ran.map_err(|failure| Stage::Run.failed(failure))?;
    let commit = || Ok(session.connection.prepare_cached("COMMIT")?.execute([])?);
    commit().map_err(|failure: Failure| Stage::Commit.failed(failure))?;
    Ok(transaction.has_news())
}

/// Wakes the thread that waits for jobs.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
