//! The threads that own the connections, and how operations share a commit.
//!
//! Callers pass operations over a bounded channel. The thread takes what is waiting, runs it in one transaction and
//! answers after the commit, so that many appends at once cost one commit, and a single one waits for nobody.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rusqlite::Connection;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    address::Address,
    checkpoint::Checkpoints,
    failure::{Failure, Step},
    store::{self, patiently},
    transaction::Transaction,
    watch::Commits,
};
use crate::engine::EngineErrorKind;

/// How many operations share a commit at most: the last of them waits for the first.
const BATCH: usize = 512;
/// How long a commit waits at most for most of one half of those that the two before it answered: while it is written,
/// the other half asks again. A single caller waits for nobody.
const GATHERING: Duration = Duration::from_micros(100);
/// How many operations may wait; after that, callers do.
const WAITING: usize = 1024;

/// A handle on such a thread. The thread ends, and closes its connection, when the last handle is gone.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Box<dyn Job>>,
    path: Option<Arc<PathBuf>>,
    commits: Arc<AtomicU64>,
}

impl Worker {
    /// Starts a thread on the connection that `open` gives. `begin` begins its transactions.
    pub(super) async fn start(
        address: Address,
        open: fn(&Address) -> Step<Connection>,
        begin: &'static str,
        readers: Commits,
    ) -> Step<Self> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (opened, open_result) = oneshot::channel();
        let worker = Self {
            jobs,
            path: address.path.clone().map(Arc::new),
            commits: Arc::default(),
        };
        let commits = worker.commits.clone();
        let run = move || match open(&address) {
            Ok(connection) => {
                _ = opened.send(Ok(()));
                let thread = Thread {
                    connection,
                    begin,
                    address,
                    readers,
                    commits,
                };
                thread.work(waiting);
            }
            Err(failure) => _ = opened.send(Err(failure.at(address.path.as_deref()))),
        };
        let started = thread::Builder::new().name("streamer-store".to_owned()).spawn(run);
        if let Err(error) = started {
            let reason = format!("no thread could be started: {error}");
            return Err(Failure::refused(EngineErrorKind::Other, reason));
        }
        open_result.await.unwrap_or_else(|_| Err(Failure::closed()))?;
        Ok(worker)
    }

    /// Runs an operation and gives its result after the commit. It may be run more than once, each time on a store as
    /// if it had not run before. A refusal must come before the first change.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Transaction<'_>) -> Step<T> + Send + 'static,
    ) -> Step<T> {
        let (reply, answer) = oneshot::channel();
        let job = Asked {
            operation,
            result: None,
            reply: Some(reply),
            runtime: Handle::try_current().ok(),
        };
        let path = self.path.as_ref().map(|path| path.as_path());
        self.jobs.send(Box::new(job)).await.map_err(|_| Failure::closed())?;
        let answer = answer.await.unwrap_or_else(|_| Err(Failure::closed()));
        answer.map_err(|failure| failure.at(path))
    }

    /// How many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// An operation that somebody waits for.
trait Job: Send {
    /// Runs it. An error means that it may have done half, and the transaction must go.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Step<()>;
    /// Answers what [`Job::run`] found, or why it came to nothing.
    fn answer(&mut self, outcome: Step<()>);
    /// Where the caller waits.
    fn runtime(&self) -> Option<Handle>;
}

struct Asked<T, F> {
    operation: F,
    result: Option<Step<T>>,
    reply: Option<oneshot::Sender<Step<T>>>,
    runtime: Option<Handle>,
}

impl<T: Send, F: FnMut(&mut Transaction<'_>) -> Step<T> + Send> Job for Asked<T, F> {
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Step<()> {
        // Nobody waits any more: what is not begun is not done.
        if self.reply.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return Ok(());
        }
        match (self.operation)(transaction) {
            Err(failure) if !failure.is_refusal() => Err(failure),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn answer(&mut self, outcome: Step<()>) {
        let (Some(reply), result) = (self.reply.take(), self.result.take()) else {
            return;
        };
        let answer = outcome.and_then(|()| result.unwrap_or_else(|| Err(Failure::closed())));
        // The caller may have gone.
        _ = reply.send(answer);
    }

    fn runtime(&self) -> Option<Handle> {
        self.runtime.clone()
    }
}

struct Thread {
    connection: Connection,
    begin: &'static str,
    address: Address,
    readers: Commits,
    commits: Arc<AtomicU64>,
}

/// Jobs and what came of their transaction. Whoever drops it answers, also a runtime that ends.
struct Answered {
    jobs: Vec<Box<dyn Job>>,
    outcome: Step<()>,
}

impl Drop for Answered {
    fn drop(&mut self) {
        for job in &mut self.jobs {
            job.answer(self.outcome.clone());
        }
    }
}

/// Waits for those who were just answered and ask again: without it, the first of them has a commit of its own.
fn gather(waiting: &mut mpsc::Receiver<Box<dyn Job>>, batch: &mut Vec<Box<dyn Job>>, expected: usize) {
    let begun = Instant::now();
    while batch.len() < expected && begun.elapsed() < GATHERING {
        match waiting.try_recv() {
            Ok(job) => batch.push(job),
            Err(_) => thread::yield_now(),
        }
    }
}

impl Thread {
    fn work(self, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
        let in_a_file = self.address.path.is_some();
        let mut checkpoints = in_a_file.then(|| Checkpoints::of(&self.connection, &self.address));
        let mut before = [1; 2];
        loop {
            // The halves are never equal: waiting for all of one, the smaller would always wait for a few of the other.
            let half = before.iter().sum::<usize>() / 2;
            let most = half - half / 8;
            let mut jobs: Vec<Box<dyn Job>> = Vec::with_capacity(half);
            // All are taken before the transaction begins: it must see what was committed before they were asked for.
            if waiting.blocking_recv_many(&mut jobs, BATCH) == 0 {
                return store::close(self.connection);
            }
            gather(&mut waiting, &mut jobs, most);
            before = [before[1], jobs.len()];
            match self.transaction(&mut jobs) {
                // One of them broke the transaction; alone, each comes to its own end.
                Err(_) if jobs.len() > 1 => {
                    for job in &mut jobs {
                        let outcome = self.transaction(std::slice::from_mut(job));
                        job.answer(outcome);
                    }
                }
                outcome => {
                    // To wake a task from this thread costs a system call: where there are several, one is enough, of a
                    // task that answers them all.
                    let runtime = jobs.first().filter(|_| jobs.len() > 1).and_then(|job| job.runtime());
                    let answered = Answered { jobs, outcome };
                    match runtime {
                        Some(runtime) => drop(runtime.spawn(async move { drop(answered) })),
                        None => drop(answered),
                    }
                }
            }
            // After the answers: nobody waits for it but the next commit.
            if let Some(checkpoints) = &mut checkpoints {
                checkpoints.look_after(&self.connection);
            }
        }
    }

    /// Runs jobs in one transaction: all of them happen, or none.
    fn transaction(&self, jobs: &mut [Box<dyn Job>]) -> Step<()> {
        let begin = || Ok(self.connection.prepare_cached(self.begin)?.execute([])?);
        patiently(&self.address, begin)?;
        let done = self.run_and_commit(jobs);
        // Some errors make SQLite roll back by itself.
        if done.is_err() && !self.connection.is_autocommit() {
            _ = self.connection.execute_batch("ROLLBACK");
        }
        done
    }

    fn run_and_commit(&self, jobs: &mut [Box<dyn Job>]) -> Step<()> {
        let mut transaction = Transaction::new(&self.connection);
        for job in jobs {
            job.run(&mut transaction)?;
        }
        transaction.finish()?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        if transaction.has_news() {
            self.readers.announce();
        }
        Ok(())
    }
}
