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
    env, io,
    ops::{Deref, DerefMut},
    sync::{LockResult, PoisonError, TryLockError, TryLockResult},
};

use shuttle::{Config, Runner, scheduler::RandomScheduler};

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

        pub(crate) fn spawn(self, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
            match is_exploring() {
                true => shuttle::thread::Builder::new().name(self.0).spawn(run).map(drop),
                false => std::thread::Builder::new().name(self.0).spawn(run).map(drop),
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

    pub(crate) fn yield_now() {
        match is_exploring() {
            true => shuttle::thread::yield_now(),
            false => std::thread::yield_now(),
        }
    }
}
