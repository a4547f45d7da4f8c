//! Handles on the threads that own the connections: callers pass operations over a bounded channel.
//!
//! A caller who is alone need not: it runs its operation itself, which saves two changes of thread, more than half of the
//! time of an emit. As soon as there are others, they are better off with a commit that they share.

#[cfg(not(test))]
use std::thread;
use std::{
    future::poll_fn,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Instant,
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};

use super::{
    address::Address,
    failure::{Failure, Step},
    open_threads::OpenThread,
    session::{Locks, Purpose, Replacements, Session},
    shared_session::{Failed, SharedSession, Stage},
    store_thread::StoreThread,
    transaction::Transaction,
    watch::Commits,
};
use crate::engine::EngineErrorKind;
#[cfg(test)]
use crate::schedules::thread;

/// How many operations may wait; after that, callers do.
const WAITING: usize = 1024;
/// After so many callers that were alone, one after the other, the next one does not look around first.
const ALONE: usize = 8;
/// Then one of so many looks around. What a caller runs itself ends without a wait, so this is also how often the other tasks
/// of its thread have a turn while one task does nothing else.
const LOOKS: usize = 16;

/// Operations that wait for a transaction.
pub(super) type Jobs = Vec<Box<dyn Job>>;

/// A handle on such a thread. The thread ends, and closes its connection, when the last handle is gone.
#[derive(Clone)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Box<dyn Job>>,
    session: Arc<SharedSession>,
    /// How many operations are under way, including those whose caller has gone.
    under_way: Arc<AtomicUsize>,
    /// How many callers look around, whether they are alone.
    looking: Arc<AtomicUsize>,
    /// How many callers, one after the other, were alone and ran their operation themselves.
    alone_before: Arc<AtomicUsize>,
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
        let open = OpenThread::new();
        let run = move || match Session::open(&address, purpose, &replacements) {
            Ok(session) => {
                let _open = open;
                let session = SharedSession::new(session, address, purpose, readers, replacements);
                let session = Arc::new(session);
                _ = opened.send(Ok(session.clone()));
                StoreThread::new(session, waiting).work();
            }
            Err(failure) => _ = opened.send(Err(failure.at(address.path.as_deref()))),
        };
        let started = thread::Builder::new().name("streamer-store".to_owned()).spawn(run);
        if let Err(error) = started {
            let reason = format!("no thread could be started: {error}");
            return Err(Failure::refused(EngineErrorKind::Other, reason));
        }
        Ok(Self {
            jobs,
            session: open_result.await.unwrap_or_else(|_| Err(Failure::closed()))?,
            under_way: Arc::default(),
            looking: Arc::default(),
            alone_before: Arc::default(),
        })
    }

    /// Runs an operation and gives its result after the commit. It may be run more than once, each time on a store as
    /// if it had not run before. A refusal must come before the first change.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Transaction<'_>) -> Step<T> + Send + 'static,
    ) -> Step<T> {
        let under_way = Counted::by(&self.under_way);
        if self.is_somebody_looking() {
            self.look_around().await;
        }
        self.run_by_thread(operation, under_way).await
    }

    /// Runs an operation as [`Worker::run`] does, in the task of the caller if nobody else asks for one. It must be a short
    /// one: other tasks of the caller's thread wait for it.
    pub(super) async fn run_at_once<T: Send + 'static>(
        &self,
        mut operation: impl FnMut(&mut Transaction<'_>) -> Step<T> + Send + 'static,
    ) -> Step<T> {
        let under_way = Counted::by(&self.under_way);
        if self.session.is_quick() && (self.is_alone() || self.is_somebody_looking()) {
            if !self.is_surely_alone() {
                self.look_around().await;
            }
            if self.is_alone()
                && let Some(result) = self.run_here(self.session.locks(), &mut operation)
            {
                self.alone_before.fetch_add(1, Ordering::Relaxed);
                return result;
            }
        }
        if !self.is_alone() {
            self.alone_before.store(0, Ordering::Relaxed);
        }
        self.run_by_thread(operation, under_way).await
    }

    /// Runs a short operation that often changes nothing, in the thread of the caller. Its transaction takes the write lock only
    /// with the first change, so that until then it blocks no other writer. Returns `None`, and has changed nothing, if another
    /// operation of this process is under way, if the connection cannot be used at once, or if another connection has committed
    /// since the operation began to read.
    pub(super) fn run_if_alone<T>(
        &self,
        mut operation: impl FnMut(&mut Transaction<'_>) -> Step<T>,
    ) -> Option<Step<T>> {
        let _under_way = Counted::by(&self.under_way);
        let may_run = self.session.is_quick() && self.is_alone() && !self.is_somebody_looking();
        may_run.then(|| self.run_here(Locks::WithFirstChange, &mut operation))?
    }

    // Not `async`: an operation is moved to its job at once, so that the future of its caller needs no room for it.
    fn run_by_thread<T: Send + 'static>(
        &self,
        operation: impl FnMut(&mut Transaction<'_>) -> Step<T> + Send + 'static,
        under_way: Counted,
    ) -> impl Future<Output = Step<T>> {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Asked {
            operation,
            result: None,
            reply: Some(reply),
            under_way: Some(under_way),
            runtime: Handle::try_current().ok(),
            since: Instant::now(),
        });
        async move {
            self.jobs.send(job).await.map_err(|_| Failure::closed())?;
            let answer = answer.await.unwrap_or_else(|_| Err(Failure::closed()));
            answer.map_err(|failure| failure.at(self.path()))
        }
    }

    /// Runs an operation in the thread of the caller. `None` where that cannot be, or was rolled back: the thread of the store
    /// waits, looks again, or says why it cannot be done.
    fn run_here<T>(
        &self,
        locks: Locks,
        operation: &mut impl FnMut(&mut Transaction<'_>) -> Step<T>,
    ) -> Option<Step<T>> {
        let mut session = self.session.try_lock()?;
        if !session.is_open() || session.waits_for_device() {
            return None;
        }
        let mut result = None;
        let done = session.transaction(locks, |transaction| match operation(transaction) {
            Err(failure) if !failure.is_refusal() => Err(failure),
            answer => {
                result = Some(answer);
                Ok(())
            }
        });
        let result = match done {
            Ok(()) => result?,
            // What may have been committed is not run once more.
            Err(Failed {
                failure,
                at: Stage::Commit,
            }) if !failure.is_busy() && !failure.is_full() && !failure.is_log_changed() => {
                if failure.needs_another_look() {
                    session.close();
                }
                Err(failure.of_an_open_store())
            }
            Err(_) => return None,
        };
        if session.log_is_due() {
            // If there is no room in the channel, somebody else has something for the thread to do.
            _ = self.jobs.try_send(Box::new(Nothing(Instant::now())));
        }
        Some(result.map_err(|failure| failure.at(self.path())))
    }

    /// Others that have something to ask for may ask for it now.
    async fn look_around(&self) {
        let _looking = Counted::by(&self.looking);
        yield_once().await;
    }

    /// Whoever comes while somebody else looks around does so too: otherwise it would be ahead of that one.
    fn is_somebody_looking(&self) -> bool {
        self.looking.load(Ordering::Relaxed) > 0
    }

    fn is_alone(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 1
    }

    /// Whether nobody else asks for anything, and it is not worth a turn of the scheduler to make sure of it: nobody did for
    /// a while.
    fn is_surely_alone(&self) -> bool {
        let before = self.alone_before.load(Ordering::Relaxed);
        self.is_alone() && before >= ALONE && !before.is_multiple_of(LOOKS)
    }

    /// The file; `None` in memory.
    pub(super) fn path(&self) -> Option<&Path> {
        self.session.address.path.as_deref()
    }

    /// How many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.session.commits()
    }
}

/// Counts one more until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn by(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets every other task that is ready have its turn.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// An operation that nobody waits for: after it the thread looks after the log, as after any other.
struct Nothing(Instant);

impl Job for Nothing {
    fn run(&mut self, _: &mut Transaction<'_>) -> Step<()> {
        Ok(())
    }

    fn answer(&mut self, _: Step<()>) {}

    fn runtime(&self) -> Option<&Handle> {
        None
    }

    fn since(&self) -> Instant {
        self.0
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
    /// Of the operation, not of its caller: where a caller goes away, nobody may be ahead of what it has asked for.
    under_way: Option<Counted>,
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
        // Before the caller goes on: its next operation may be alone.
        self.under_way = None;
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
#[path = "worker_schedules.rs"]
mod in_many_schedules;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        path::PathBuf,
        task::{Context, Waker},
        thread,
        time::Duration,
    };

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
        async fn fails_at_once(
            &self,
            times: usize,
            failure: impl Fn() -> Failure + Send + 'static,
        ) -> EngineResult<usize> {
            let runs = AtomicUsize::new(0);
            let operation = move |_: &mut Transaction<'_>| match runs.fetch_add(1, Ordering::Relaxed) {
                run if run < times => Err(failure()),
                run => Ok(run),
            };
            let result = self.worker.run_at_once(operation).await;
            result.map_err(|failure| failure.attempted("run"))
        }

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

    const BY_THREAD: Option<&str> = Some("streamer-store");

    /// By whom an operation is run.
    fn by_whom(_: &mut Transaction<'_>) -> Step<Option<String>> {
        Ok(thread::current().name().map(str::to_owned))
    }

    impl Store {
        /// Waits until the thread has let go of the connection, on which it still works after it has answered.
        async fn until_a_caller_runs_its_operation(&self) {
            let here = thread::current().name().map(str::to_owned);
            let run_here = async { while self.worker.run_at_once(by_whom).await.unwrap() != here {} };
            let run_here = tokio::time::timeout(Duration::from_secs(60), run_here).await;
            run_here.expect("a caller who is alone needs no thread");
        }

        /// What came of an operation that ran if its caller was alone. It may have to be tried again: the thread looks after the log
        /// now and then.
        async fn ran_alone<T>(&self, mut operation: impl FnMut(&mut Transaction<'_>) -> Step<T>) -> Option<Step<T>> {
            let begun = Instant::now();
            loop {
                let mut has_run = false;
                let done = self.worker.run_if_alone(|transaction| {
                    has_run = true;
                    operation(transaction)
                });
                if has_run {
                    return done;
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "a caller who is alone waits");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    #[tokio::test]
    async fn a_caller_who_is_alone_needs_no_thread_unless_something_is_wrong() {
        let store = Store::new(Purpose::Write).await;
        store.until_a_caller_runs_its_operation().await;
        assert_eq!(store.worker.run(by_whom).await.unwrap().as_deref(), BY_THREAD);
        // Two who ask at once are not alone. When the thread is done with the one, the other may be.
        let (one, other) = tokio::join!(store.worker.run_at_once(by_whom), store.worker.run_at_once(by_whom));
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(
            [one.as_deref(), other.as_deref()].contains(&BY_THREAD),
            "{one:?}, {other:?}"
        );
        store.until_a_caller_runs_its_operation().await;
        // They come in their order.
        let places = Arc::new(AtomicUsize::new(0));
        let all = (0..100).map(|_| {
            let places = places.clone();
            store
                .worker
                .run_at_once(move |_| Ok(places.fetch_add(1, Ordering::Relaxed)))
        });
        let all: Vec<_> = join_all(all).await.into_iter().map(Result::unwrap).collect();
        assert!(all.is_sorted(), "{all:?}");
        // What fails here the thread tries again: once more where the connection may be at fault, longer for a lock.
        for (code, times) in [(ffi::SQLITE_IOERR_READ, 1), (ffi::SQLITE_BUSY, 2)] {
            assert_eq!(store.fails_at_once(times, move || sqlite(code)).await.unwrap(), times);
        }
        let refused = || Failure::refused(EngineErrorKind::NoStream, "a test");
        let error = store.fails_at_once(1, refused).await.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::NoStream, "{error}");
        store.until_a_caller_runs_its_operation().await;
        // While somebody has the connection, the caller's thread does not wait for it.
        let held = store.worker.session.lock();
        let mut asked = Box::pin(store.worker.run_at_once(by_whom));
        for _ in 0..10 {
            let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_pending());
        }
        drop(held);
        assert_eq!(asked.await.unwrap().as_deref(), BY_THREAD);
    }

    #[tokio::test]
    async fn what_often_changes_nothing_holds_up_nobody_before_its_first_change() {
        let store = Store::new(Purpose::Write).await;
        let other = rusqlite::Connection::open(store.file()).unwrap();
        other.execute_batch("CREATE TABLE notes (note TEXT)").unwrap();
        let count = |connection: &rusqlite::Connection| {
            connection.query_row("SELECT count(*) FROM notes", [], |row| row.get::<_, i64>(0))
        };
        let add = |connection: &rusqlite::Connection| connection.execute("INSERT INTO notes VALUES ('')", []);
        // Somebody else writes after the look.
        let look = |transaction: &mut Transaction<'_>| {
            let found = count(transaction.connection())?;
            add(&other)?;
            Ok(found)
        };
        assert_eq!(store.ran_alone(look).await.unwrap().unwrap(), 0);
        // Then what is decided by the look may be wrong, and nothing is changed.
        let look_and_change = |transaction: &mut Transaction<'_>| {
            let found = count(transaction.connection())?;
            add(&other)?;
            add(transaction.connection())?;
            Ok(found)
        };
        let outdated = store.ran_alone(look_and_change).await;
        assert!(outdated.is_none() && count(&other).unwrap() == 2);
        let look_and_add = |transaction: &mut Transaction<'_>| {
            let found = count(transaction.connection())?;
            add(transaction.connection())?;
            Ok(found)
        };
        let added = store.ran_alone(look_and_add).await;
        assert_eq!((added.unwrap().unwrap(), count(&other).unwrap()), (2, 3));
        // Whoever asked before comes before.
        let mut asked = Box::pin(store.worker.run(by_whom));
        let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending() && store.worker.run_if_alone(look_and_add).is_none());
        asked.await.unwrap();
        assert_eq!(count(&other).unwrap(), 3);
    }

    #[tokio::test]
    async fn who_was_alone_for_long_asks_without_looking_around_until_there_are_others() {
        let store = Store::new(Purpose::Write).await;
        let is_done_at_once = async || {
            let mut asked = Box::pin(store.worker.run_at_once(by_whom));
            let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if polled.is_pending() {
                asked.await.unwrap();
            }
            polled.is_ready()
        };
        assert!(!is_done_at_once().await);
        // The thread may still have the connection for a moment.
        let is_alone = async {
            loop {
                let mut at_once = 0;
                for _ in 0..LOOKS {
                    at_once += usize::from(is_done_at_once().await);
                }
                if at_once == LOOKS - 1 {
                    break;
                }
            }
        };
        let is_alone = tokio::time::timeout(Duration::from_secs(60), is_alone).await;
        is_alone.expect("only one of so many looks around");
        let held = store.worker.session.lock();
        let mut one = Box::pin(store.worker.run(by_whom));
        let mut other = Box::pin(store.worker.run_at_once(by_whom));
        let mut context = Context::from_waker(Waker::noop());
        assert!(one.as_mut().poll(&mut context).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());
        drop(held);
        assert_eq!(one.await.unwrap().as_deref(), BY_THREAD);
        assert_eq!(other.await.unwrap().as_deref(), BY_THREAD);
        for _ in 0..ALONE {
            assert!(!is_done_at_once().await);
        }
    }

    #[tokio::test]
    async fn nobody_is_ahead_of_what_a_caller_has_asked_for_who_went_away() {
        let store = Store::new(Purpose::Write).await;
        let held = store.worker.session.lock();
        let mut asked = Box::pin(store.worker.run(by_whom));
        let polled = asked.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        drop(asked);
        assert_eq!(store.worker.under_way.load(Ordering::Relaxed), 1);
        let next = store.worker.run_at_once(by_whom);
        drop(held);
        next.await.unwrap();
        let all_done = async {
            while store.worker.under_way.load(Ordering::Relaxed) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all_done).await.unwrap();
    }

    #[tokio::test]
    async fn the_first_commit_of_a_new_log_is_left_to_the_thread() {
        let store = Store::new(Purpose::Write).await;
        let write = |transaction: &mut Transaction<'_>| {
            let connection = transaction.connection();
            connection.execute_batch("CREATE TABLE IF NOT EXISTS large (bytes BLOB)")?;
            connection.execute("INSERT INTO large VALUES (zeroblob(500000))", [])?;
            by_whom(transaction)
        };
        let all_is_copied = async {
            while !store.worker.session.lock().waits_for_device() {
                store.worker.run(write).await.unwrap();
                // When this is answered, the thread has looked after the log.
                store.worker.run(by_whom).await.unwrap();
            }
        };
        let all_is_copied = tokio::time::timeout(Duration::from_secs(60), all_is_copied).await;
        all_is_copied.expect("the log is copied when it has so many pages");
        for _ in 0..2 {
            // What writes nothing does not begin the log.
            assert_eq!(store.worker.run_at_once(by_whom).await.unwrap().as_deref(), BY_THREAD);
        }
        assert_eq!(store.worker.run_at_once(write).await.unwrap().as_deref(), BY_THREAD);
        store.until_a_caller_runs_its_operation().await;
    }

    #[tokio::test]
    async fn where_a_commit_waits_for_the_device_no_caller_does() {
        let directory = tempfile::TempDir::new().unwrap();
        let address = Address {
            path: Some(directory.path().join("events.db")),
            full_sync: true,
            busy_timeout: Duration::from_millis(500),
            max_size: None,
            read_only: false,
        };
        let worker = Worker::start(address, Purpose::Write, Commits::new(), Arc::default())
            .await
            .unwrap();
        assert_eq!(worker.run_at_once(by_whom).await.unwrap().as_deref(), BY_THREAD);
    }
}
