//! Tests try many schedules of code that takes turns: who goes on next, wherever somebody takes a lock or waits.
//!
//! Within [`explore`] the locks, threads and tasks of this module are those of [shuttle](https://docs.rs/shuttle), which runs
//! one of them at a time and chooses the next at random. Elsewhere they are those of the standard library and of Tokio, so
//! that the same code has other tests, too. Modules use them in unit tests only.
//!
//! What Tokio's channels and semaphores do counts as one step, and time stands still: time-outs do not end, and what
//! depends on the clock is for other tests.

#![allow(clippy::unwrap_used, reason = "only tests use this module")]
#![cfg_attr(
    not(all(feature = "redis", feature = "embedded")),
    allow(dead_code, reason = "each engine uses a part")
)]

use std::{
    cell::Cell,
    env, fmt, io,
    ops::{Deref, DerefMut},
    sync::{LockResult, PoisonError, TryLockError, TryLockResult},
    time::{Duration, Instant},
};

use shuttle::{Config, Runner, scheduler::RandomScheduler};
use tokio::runtime::{Builder, Handle, Runtime};

/// More than SQLite takes.
const STACK: usize = 1 << 20;

thread_local! {
    static EXPLORING: Cell<bool> = const { Cell::new(false) };
}

fn is_exploring() -> bool {
    EXPLORING.get()
}

/// Runs a program in so many schedules, by a fixed seed. `STREAMER_SCHEDULES` is another number of schedules, by a new seed;
/// `SHUTTLE_RANDOM_SEED` repeats one: shuttle prints the seed of a schedule that fails.
///
/// # Panics
///
/// Where the program panics, or where all of it waits.
pub(crate) fn explore(schedules: usize, program: impl Fn() + Send + Sync + 'static) {
    struct Exploring;
    impl Drop for Exploring {
        fn drop(&mut self) {
            EXPLORING.set(false);
        }
    }

    let more = env::var("STREAMER_SCHEDULES")
        .ok()
        .map(|number| number.parse().unwrap());
    let seed = more.map_or(1, |_| rand::random());
    let mut config = Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    let scheduler = RandomScheduler::new_from_seed(seed, more.unwrap_or(schedules));
    EXPLORING.set(true);
    let _exploring = Exploring;
    Runner::new(scheduler, config).run(program);
}

/// A clock that stands still.
pub(crate) fn clock() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// A lock; taking it is a step of a schedule.
pub(crate) enum Mutex<T> {
    Real(std::sync::Mutex<T>),
    Explored(shuttle::sync::Mutex<T>),
}

pub(crate) enum MutexGuard<'a, T> {
    Real(std::sync::MutexGuard<'a, T>),
    Explored(shuttle::sync::MutexGuard<'a, T>),
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        match is_exploring() {
            true => Self::Explored(shuttle::sync::Mutex::new(value)),
            false => Self::Real(std::sync::Mutex::new(value)),
        }
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        match self {
            Self::Real(lock) => held(lock.lock(), MutexGuard::Real),
            Self::Explored(lock) => held(lock.lock(), MutexGuard::Explored),
        }
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        match self {
            Self::Real(lock) => held_at_once(lock.try_lock(), MutexGuard::Real),
            Self::Explored(lock) => held_at_once(lock.try_lock(), MutexGuard::Explored),
        }
    }

    pub(crate) fn clear_poison(&self) {
        match self {
            Self::Real(lock) => lock.clear_poison(),
            Self::Explored(lock) => lock.clear_poison(),
        }
    }
}

fn held<G, H>(lock: LockResult<G>, of: impl Fn(G) -> H) -> LockResult<H> {
    match lock {
        Ok(guard) => Ok(of(guard)),
        Err(poisoned) => Err(PoisonError::new(of(poisoned.into_inner()))),
    }
}

fn held_at_once<G, H>(lock: TryLockResult<G>, of: impl Fn(G) -> H) -> TryLockResult<H> {
    match lock {
        Ok(guard) => Ok(of(guard)),
        Err(TryLockError::WouldBlock) => Err(TryLockError::WouldBlock),
        Err(TryLockError::Poisoned(poisoned)) => Err(PoisonError::new(of(poisoned.into_inner())).into()),
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Real(guard) => guard,
            Self::Explored(guard) => guard,
        }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match self {
            Self::Real(guard) => guard,
            Self::Explored(guard) => guard,
        }
    }
}

/// Waits with a lock for what others do; each wait and each wake-up is a step of a schedule.
pub(crate) enum Condvar {
    Real(std::sync::Condvar),
    Explored(shuttle::sync::Condvar),
}

impl Condvar {
    pub(crate) fn new() -> Self {
        match is_exploring() {
            true => Self::Explored(shuttle::sync::Condvar::new()),
            false => Self::Real(std::sync::Condvar::new()),
        }
    }

    /// The lock must be of the same kind: both were made within [`explore`], or neither.
    pub(crate) fn wait_while<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        condition: impl FnMut(&mut T) -> bool,
    ) -> LockResult<MutexGuard<'a, T>> {
        match (self, guard) {
            (Self::Real(changed), MutexGuard::Real(guard)) => {
                held(changed.wait_while(guard, condition), MutexGuard::Real)
            }
            (Self::Explored(changed), MutexGuard::Explored(guard)) => {
                held(changed.wait_while(guard, condition), MutexGuard::Explored)
            }
            _ => panic!("a lock of the other kind"),
        }
    }

    pub(crate) fn notify_one(&self) {
        match self {
            Self::Real(changed) => changed.notify_one(),
            Self::Explored(changed) => changed.notify_one(),
        }
    }
}

/// Channels between threads.
pub(crate) mod mpsc {
    use std::sync::mpsc::{self, RecvError, SendError, TryRecvError};

    use super::is_exploring;

    pub(crate) enum SyncSender<T> {
        Real(mpsc::SyncSender<T>),
        Explored(shuttle::sync::mpsc::SyncSender<T>),
    }

    pub(crate) enum Receiver<T> {
        Real(mpsc::Receiver<T>),
        Explored(shuttle::sync::mpsc::Receiver<T>),
    }

    pub(crate) fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
        match is_exploring() {
            true => {
                let (sender, receiver) = shuttle::sync::mpsc::sync_channel(bound);
                (SyncSender::Explored(sender), Receiver::Explored(receiver))
            }
            false => {
                let (sender, receiver) = mpsc::sync_channel(bound);
                (SyncSender::Real(sender), Receiver::Real(receiver))
            }
        }
    }

    impl<T> SyncSender<T> {
        pub(crate) fn send(&self, value: T) -> Result<(), SendError<T>> {
            match self {
                Self::Real(sender) => sender.send(value),
                Self::Explored(sender) => sender.send(value),
            }
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn recv(&self) -> Result<T, RecvError> {
            match self {
                Self::Real(receiver) => receiver.recv(),
                Self::Explored(receiver) => receiver.recv(),
            }
        }

        pub(crate) fn try_recv(&self) -> Result<T, TryRecvError> {
            match self {
                Self::Real(receiver) => receiver.try_recv(),
                Self::Explored(receiver) => receiver.try_recv(),
            }
        }
    }
}

/// Numbers and flags that threads share. Before each look and each change others may have their turn; the values are seen in
/// one order by all.
pub(crate) mod atomic {
    use std::sync::atomic::{self, Ordering};

    use super::thread;

    #[derive(Debug)]
    pub(crate) struct AtomicUsize(atomic::AtomicUsize);

    impl AtomicUsize {
        pub(crate) fn new(value: usize) -> Self {
            Self(atomic::AtomicUsize::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> usize {
            thread::step();
            self.0.load(order)
        }

        pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            thread::step();
            self.0.fetch_add(value, order)
        }

        pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            thread::step();
            self.0.fetch_sub(value, order)
        }
    }

    #[derive(Debug)]
    pub(crate) struct AtomicBool(atomic::AtomicBool);

    impl AtomicBool {
        pub(crate) fn new(value: bool) -> Self {
            Self(atomic::AtomicBool::new(value))
        }

        pub(crate) fn load(&self, order: Ordering) -> bool {
            thread::step();
            self.0.load(order)
        }

        pub(crate) fn store(&self, value: bool, order: Ordering) {
            thread::step();
            self.0.store(value, order);
        }

        pub(crate) fn swap(&self, value: bool, order: Ordering) -> bool {
            thread::step();
            self.0.swap(value, order)
        }
    }
}

/// Whether so much time has passed since then. A schedule knows no time: there it has, or has not, by chance.
pub(crate) fn has_passed(since: Instant, time: Duration) -> bool {
    match is_exploring() {
        true => shuttle::rand::Rng::r#gen(&mut shuttle::rand::thread_rng()),
        false => since.elapsed() >= time,
    }
}

/// Starts a task of a runtime that nobody waits for.
pub(crate) fn spawn_on(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
    match is_exploring() {
        true => drop(shuttle::future::spawn(task)),
        false => drop(runtime.spawn(task)),
    }
}

/// Starts a task that nobody waits for.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    match is_exploring() {
        true => drop(shuttle::future::spawn(task)),
        false => drop(tokio::spawn(task)),
    }
}

/// Threads.
pub(crate) mod thread {
    use std::time::Duration;

    use super::{io, is_exploring};

    pub(crate) struct Builder(String);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self(String::new())
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(name)
        }

        pub(crate) fn spawn(self, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle> {
            Ok(match is_exploring() {
                true => JoinHandle::Explored(shuttle::thread::Builder::new().name(self.0).spawn(run)?),
                false => JoinHandle::Real(std::thread::Builder::new().name(self.0).spawn(run)?),
            })
        }
    }

    pub(crate) enum JoinHandle {
        Real(std::thread::JoinHandle<()>),
        Explored(shuttle::thread::JoinHandle<()>),
    }

    impl JoinHandle {
        pub(crate) fn join(self) -> std::thread::Result<()> {
            match self {
                Self::Real(thread) => thread.join(),
                Self::Explored(thread) => thread.join(),
            }
        }
    }

    pub(crate) enum Thread {
        Real(std::thread::Thread),
        Explored(shuttle::thread::Thread),
    }

    impl Thread {
        pub(crate) fn unpark(&self) {
            match self {
                Self::Real(thread) => thread.unpark(),
                Self::Explored(thread) => thread.unpark(),
            }
        }
    }

    pub(crate) fn current() -> Thread {
        match is_exploring() {
            true => Thread::Explored(shuttle::thread::current()),
            false => Thread::Real(std::thread::current()),
        }
    }

    pub(crate) fn park() {
        match is_exploring() {
            true => shuttle::thread::park(),
            false => std::thread::park(),
        }
    }

    pub(crate) fn park_timeout(time: Duration) {
        match is_exploring() {
            true => shuttle::thread::park_timeout(time),
            false => std::thread::park_timeout(time),
        }
    }

    pub(crate) fn sleep(time: Duration) {
        match is_exploring() {
            true => shuttle::thread::sleep(time),
            false => std::thread::sleep(time),
        }
    }

    /// Within a schedule others may have their turn here.
    pub(super) fn step() {
        if is_exploring() {
            shuttle::thread::yield_now();
        }
    }

    pub(crate) fn yield_now() {
        match is_exploring() {
            true => shuttle::thread::yield_now(),
            false => std::thread::yield_now(),
        }
    }
}
