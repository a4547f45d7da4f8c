//! Handles on the threads that own the connections: callers pass operations over a bounded channel.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    address::Address,
    failure::{Failure, Step},
    session::{Purpose, Replacements, Session},
    store_thread::StoreThread,
    transaction::Transaction,
    watch::Commits,
};
use crate::engine::EngineErrorKind;

/// How many operations may wait; after that, callers do.
const WAITING: usize = 1024;

/// Operations that wait for a transaction.
pub(super) type Jobs = Vec<Box<dyn Job>>;

/// A handle on such a thread. The thread ends, and closes its connection, when the last handle is gone.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Box<dyn Job>>,
    path: Option<Arc<PathBuf>>,
    commits: Arc<AtomicU64>,
}

impl Worker {
    /// Starts a thread on a connection of its own.
    pub(super) async fn start(
        address: Address,
        purpose: Purpose,
        readers: Commits,
        replacements: Arc<Replacements>,
    ) -> Step<Self> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        let (opened, open_result) = oneshot::channel();
        let worker = Self {
            jobs,
            path: address.path.clone().map(Arc::new),
            commits: Arc::default(),
        };
        let commits = worker.commits.clone();
        let run = move || match Session::open(&address, purpose, &replacements) {
            Ok(session) => {
                _ = opened.send(Ok(()));
                StoreThread::new(session, address, purpose, readers, replacements, commits, waiting).work();
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
            since: Instant::now(),
        };
        let path = self.path.as_ref().map(|path| path.as_path());
        self.jobs.send(Box::new(job)).await.map_err(|_| Failure::closed())?;
        let answer = answer.await.unwrap_or_else(|_| Err(Failure::closed()));
        answer.map_err(|failure| failure.at(path))
    }

    /// The file; `None` in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_ref().map(|path| path.as_path())
    }

    /// How many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// An operation that somebody waits for.
pub(super) trait Job: Send {
    /// Runs it. An error means that it may have done half, and the transaction must go.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> Step<()>;
    /// Answers what [`Job::run`] found, or why it came to nothing.
    fn answer(&mut self, outcome: Step<()>);
    /// Where the caller waits.
    fn runtime(&self) -> Option<&Handle>;
    /// Since when the caller waits.
    fn since(&self) -> Instant;
}

struct Asked<T, F> {
    operation: F,
    result: Option<Step<T>>,
    reply: Option<oneshot::Sender<Step<T>>>,
    runtime: Option<Handle>,
    since: Instant,
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

    fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
    }

    fn since(&self) -> Instant {
        self.since
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{path::PathBuf, sync::atomic::AtomicUsize, time::Duration};

    use futures_util::future::join_all;
    use rusqlite::ffi;

    use super::*;
    use crate::engine::EngineResult;

    struct Store {
        worker: Worker,
        directory: tempfile::TempDir,
    }

    impl Store {
        async fn new(purpose: Purpose) -> Self {
            let directory = tempfile::TempDir::new().unwrap();
            let address = Address {
                path: Some(directory.path().join("events.db")),
                full_sync: false,
                busy_timeout: Duration::from_millis(500),
                max_size: None,
                read_only: false,
            };
            store_is_made(&address);
            let worker = Worker::start(address, purpose, Commits::new(), Arc::default());
            Self {
                worker: worker.await.unwrap(),
                directory,
            }
        }

        /// An operation that fails as often as `times`, then gives how often it ran.
        async fn fails(&self, times: usize, failure: impl Fn() -> Failure + Send + 'static) -> EngineResult<usize> {
            let runs = AtomicUsize::new(0);
            let operation = move |_: &mut Transaction<'_>| match runs.fetch_add(1, Ordering::Relaxed) {
                run if run < times => Err(failure()),
                run => Ok(run),
            };
            let result = self.worker.run(operation).await;
            result.map_err(|failure| failure.attempted("run"))
        }

        fn file(&self) -> PathBuf {
            self.directory.path().join("events.db")
        }
    }

    fn store_is_made(address: &Address) {
        drop(crate::engine::embedded::store::open_writer(address).unwrap());
    }

    fn sqlite(code: std::ffi::c_int) -> Failure {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[tokio::test]
    async fn a_failure_of_the_device_is_tried_again_with_another_connection() {
        for purpose in [Purpose::Write, Purpose::Look] {
            let store = Store::new(purpose).await;
            for code in [
                ffi::SQLITE_IOERR_READ,
                ffi::SQLITE_IOERR_SHMMAP,
                ffi::SQLITE_CANTOPEN,
                ffi::SQLITE_CORRUPT,
            ] {
                assert_eq!(store.fails(1, move || sqlite(code)).await.unwrap(), 1);
                let error = store.fails(2, move || sqlite(code)).await.unwrap_err();
                let expected = match code {
                    ffi::SQLITE_CORRUPT => EngineErrorKind::Corrupt,
                    _ => EngineErrorKind::Unavailable,
                };
                assert_eq!(error.kind(), expected, "{error}");
                assert_eq!(
                    error.to_string().contains("backup"),
                    code == ffi::SQLITE_CORRUPT,
                    "{error}"
                );
                assert!(error.to_string().contains(&*store.file().to_string_lossy()), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_looked_at_twice() {
        let store = Store::new(Purpose::Look).await;
        assert_eq!(store.fails(1, || Failure::corrupt("a test")).await.unwrap(), 1);
        let error = store.fails(2, || Failure::corrupt("a test")).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Corrupt, "{error}");
    }

    #[tokio::test]
    async fn locks_are_waited_for_and_cost_their_time_once_for_all_that_wait() {
        for purpose in [Purpose::Write, Purpose::Look] {
            let store = Store::new(purpose).await;
            for code in [ffi::SQLITE_BUSY, ffi::SQLITE_BUSY_RECOVERY, ffi::SQLITE_PROTOCOL] {
                assert_eq!(store.fails(20, move || sqlite(code)).await.unwrap(), 20);
            }
            // One after the other they would wait for more than an hour.
            let all = join_all((0..10_000).map(|_| store.fails(usize::MAX, || sqlite(ffi::SQLITE_PROTOCOL))));
            let all = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
            for answer in all {
                let error = answer.unwrap_err();
                assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}");
                assert!(error.kind().is_transient());
            }
        }
    }

    #[tokio::test]
    async fn one_failing_operation_of_many_fails_alone() {
        let store = Store::new(Purpose::Write).await;
        let all = (0..100).map(|n| {
            let times = if n % 10 == 0 { usize::MAX } else { 0 };
            store.fails(times, || sqlite(ffi::SQLITE_FULL))
        });
        for (n, result) in join_all(all).await.into_iter().enumerate() {
            match result {
                Ok(_) => assert_ne!(n % 10, 0),
                Err(error) => assert_eq!((n % 10, error.kind()), (0, EngineErrorKind::Full)),
            }
        }
    }
}
