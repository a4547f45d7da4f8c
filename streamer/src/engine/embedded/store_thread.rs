//! The thread that works on a connection, and how operations share a commit.
//!
//! It takes what is waiting, runs it in one transaction and answers after the commit, so that many appends at once cost
//! one commit, and a single one waits for nobody.

#[cfg(not(test))]
use std::thread::{self, Thread};
use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Receiver;

use super::{
    answers::Unanswered,
    failure::Failure,
    shared_session::{Failed, SharedSession, Stage},
    store::TRY_AGAIN,
    worker::{Job, Jobs},
};
#[cfg(test)]
use crate::schedules::thread::{self, Thread};

/// How many operations share a commit at most: the last of them waits for the first.
const BATCH: usize = 512;
/// How often a file that may only be read is opened again for one read, because its log has appeared or gone.
const OPENED_AGAIN: usize = 100;
/// How long a commit waits at most for most of one half of those that the two before it answered: while it is written,
/// the other half asks again. A single caller waits for nobody.
#[cfg(not(test))]
const GATHERING: Duration = Duration::from_micros(100);
/// Unit tests try schedules, which must not depend on the clock.
#[cfg(test)]
const GATHERING: Duration = Duration::ZERO;

pub(super) struct StoreThread {
    session: Arc<SharedSession>,
    waiting: Receiver<Box<dyn Job>>,
    unanswered: Unanswered,
    /// Since when another process holds the file.
    held: Option<Instant>,
}

impl StoreThread {
    pub(super) fn new(session: Arc<SharedSession>, waiting: Receiver<Box<dyn Job>>) -> Self {
        Self {
            session,
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
            self.session.lock().look_after_log();
        }
        self.session.lock().close();
    }

    /// Waits for jobs, and then for answers that a runtime has not given; 0 when there will be no more.
    fn receive(&mut self, waker: &Waker, jobs: &mut Jobs) -> usize {
        loop {
            if let Poll::Ready(received) = self.poll(waker, jobs) {
                return received;
            }
            let rest = self.session.lock().rest();
            // Where it waited for the thread that copies the log, it has taken the wake-up of a job that came in that time.
            if let Poll::Ready(received) = self.poll(waker, jobs) {
                return received;
            }
            match [self.unanswered.look_after(), rest].into_iter().flatten().min() {
                Some(time) => thread::park_timeout(time),
                None => thread::park(),
            }
        }
    }

    fn poll(&mut self, waker: &Waker, jobs: &mut Jobs) -> Poll<usize> {
        self.waiting
            .poll_recv_many(&mut Context::from_waker(waker), jobs, BATCH)
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
        let (mut looked_again, mut log_copied, mut opened) = (false, false, 0);
        while !jobs.is_empty() {
            let Err(Failed { failure, at }) = self.transaction(&mut jobs) else {
                self.held = None;
                return self.unanswered.answer(jobs, &Ok(()));
            };
            if failure.is_log_changed() && opened < OPENED_AGAIN {
                // Nothing was changed, so it is read again, with the log that is there now.
                opened += 1;
                continue;
            }
            // Another process is opening the file: its log exists a moment before it can be read. SQLite opens the log with
            // the first statement that reads, so this may come after the transaction has begun.
            let is_being_opened = self.session.address.read_only && at != Stage::Commit && failure.is_permission();
            if is_being_opened {
                self.session.lock().close();
            }
            if failure.is_busy() || is_being_opened {
                self.wait_for_the_file(&mut jobs, &failure);
                continue;
            }
            self.held = None;
            if failure.are_tables_gone() {
                self.session.lock().forget_file();
            }
            if failure.needs_another_look() && self.session.address.path.is_none() {
                // Memory has no other connection.
                looked_again = true;
            } else if failure.needs_another_look() {
                self.session.lock().close();
                // Perhaps only the connection is at fault. What may have been committed is not run once more.
                if !looked_again && at != Stage::Commit {
                    looked_again = true;
                    continue;
                }
            }
            if failure.is_full() && !log_copied {
                // Where the device is full and the database has free pages, a log that begins again needs no more room.
                log_copied = true;
                if self.session.lock().copy_log() {
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
        let timeout = self.session.address.busy_timeout;
        let patient = |job: &mut Box<dyn Job>| job.since().max(held).elapsed() < timeout;
        let expired: Jobs = jobs.extract_if(.., |job| !patient(job)).collect();
        if !expired.is_empty() {
            self.unanswered.answer(expired, &Err(failure.clone()));
        }
        self.unanswered.look_after();
        thread::sleep(TRY_AGAIN);
    }

    /// Runs jobs in one transaction: all of them happen, or none.
    fn transaction(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        self.session.lock().transaction(self.session.locks(), |transaction| {
            jobs.iter_mut().try_for_each(|job| job.run(transaction))
        })
    }
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
