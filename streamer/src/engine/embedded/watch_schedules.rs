//! Readers that wait, and those who commit, in many schedules: see [`crate::schedules`].
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::future::{block_on, yield_now};

use super::*;
use crate::schedules::explore;

const READERS: usize = 3;
const COMMITS: usize = 3;

/// A store, as somebody sees it who asks it for its version.
#[derive(Default)]
struct Store {
    version: AtomicUsize,
    closed: AtomicUsize,
}

impl Store {
    fn version(&self) -> usize {
        let version = self.version.load(Ordering::Relaxed);
        // What comes now is not seen any more.
        thread::yield_now();
        version
    }

    fn commit(&self) {
        self.version.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the thread looks at.
struct Looked {
    at: Arc<Store>,
    last: Option<usize>,
}

impl Looked {
    fn new(at: Arc<Store>) -> Self {
        Self { at, last: None }
    }
}

impl LookedAt for Looked {
    fn changed(&mut self, _: bool) -> bool {
        let version = self.at.version();
        self.last.replace(version) != Some(version)
    }

    fn pause(&mut self, _: &Bell) {
        thread::yield_now();
    }

    fn close(self) {
        self.at.closed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks for a version, and waits where it is not there yet, as a reader does.
async fn reads_until(version: usize, inner: &Inner, store: &Arc<Store>, is_file: bool) {
    let mut wait = inner.wait(Some(store).filter(|_| is_file), Looked::new);
    while store.version() < version {
        wait.committed().await;
    }
}

/// Readers that each wait for every commit, in a thread of their own.
fn readers(inner: &Arc<Inner>, store: &Arc<Store>, is_file: bool) -> Vec<shuttle::thread::JoinHandle<()>> {
    let readers = (0..READERS).map(|_| {
        let (inner, store) = (Arc::clone(inner), Arc::clone(store));
        shuttle::thread::spawn(move || {
            block_on(async {
                for version in 1..=COMMITS {
                    reads_until(version, &inner, &store, is_file).await;
                    yield_now().await;
                }
            });
        })
    });
    readers.collect()
}

#[test]
fn a_commit_of_this_process_between_a_look_and_the_wait_wakes_every_reader() {
    explore(300, || {
        let (inner, store) = (Arc::new(Inner::new(None)), Arc::<Store>::default());
        let readers = readers(&inner, &store, false);
        for _ in 0..COMMITS {
            store.commit();
            thread::yield_now();
            inner.commits.announce();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(inner.shared.lock().waiting, 0);
    });
}

#[test]
fn a_commit_of_another_process_wakes_every_reader_also_where_the_thread_rested() {
    explore(300, || {
        let (inner, store) = (Arc::new(Inner::new(None)), Arc::<Store>::default());
        let readers = readers(&inner, &store, true);
        for _ in 0..COMMITS {
            thread::yield_now();
            store.commit();
        }
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(inner.shared.lock().waiting, 0);
    });
}

#[test]
fn the_thread_ends_and_closes_its_store_when_the_last_handle_goes() {
    explore(300, || {
        let (inner, store) = (Arc::new(Inner::new(None)), Arc::<Store>::default());
        let reader = {
            let (inner, store) = (Arc::clone(&inner), Arc::clone(&store));
            shuttle::thread::spawn(move || block_on(reads_until(1, &inner, &store, true)))
        };
        // As an engine that is dropped while its reader waits: the reader has the last handle.
        drop(inner);
        store.commit();
        reader.join().unwrap();
        while store.closed.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
    });
}

#[test]
fn a_reader_that_gives_up_keeps_nobody_awake_and_nobody_asleep() {
    explore(300, || {
        let (inner, store) = (Arc::new(Inner::new(None)), Arc::<Store>::default());
        let given_up = {
            let (inner, store) = (Arc::clone(&inner), Arc::clone(&store));
            shuttle::thread::spawn(move || {
                for _ in 0..2 {
                    drop(inner.wait(Some(&store), Looked::new));
                }
            })
        };
        let reader = {
            let (inner, store) = (Arc::clone(&inner), Arc::clone(&store));
            shuttle::thread::spawn(move || block_on(reads_until(1, &inner, &store, true)))
        };
        given_up.join().unwrap();
        store.commit();
        reader.join().unwrap();
        assert_eq!(inner.shared.lock().waiting, 0);
    });
}
