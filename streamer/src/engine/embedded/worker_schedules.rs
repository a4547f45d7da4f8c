//! Callers and the thread of a store in many schedules: see [`crate::schedules`].
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use shuttle::{future::block_on, thread};

use super::*;
use crate::schedules::explore;

/// What was done, as numbers of callers and of their operations.
type Done = Arc<Mutex<Vec<(usize, usize)>>>;

fn worker() -> Worker {
    let address = Address {
        path: None,
        full_sync: false,
        busy_timeout: Duration::from_secs(5),
        max_size: None,
        read_only: false,
    };
    block_on(Worker::start(address, Purpose::Write, Commits::new(), Arc::default())).unwrap()
}

/// An operation in which others may have their turn.
fn note(done: &Done, caller: usize, number: usize) -> impl FnMut(&mut Transaction<'_>) -> Step<usize> + Send + 'static {
    let done = Arc::clone(done);
    move |_| {
        thread::yield_now();
        done.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((caller, number));
        thread::yield_now();
        Ok(number)
    }
}

/// Three operations at once, of which the caller may run any that is alone by itself, but for one.
async fn three_at_once(worker: &Worker, done: &Done, caller: usize) {
    let one = |number: usize| async move {
        let answer = match number == caller {
            true => worker.run(note(done, caller, number)).await,
            false => worker.run_at_once(note(done, caller, number)).await,
        };
        assert_eq!(answer.unwrap(), number);
    };
    join_all((0..3).map(one)).await;
}

#[test]
fn every_operation_is_done_once_and_those_of_one_task_in_their_order() {
    explore(120, do_all_once);
    // Of several callers in a runtime, a task of that answers them, or the thread of the store where that takes long.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    explore(120, do_all_once);
}

fn do_all_once() {
    let (worker, done) = (worker(), Done::default());
    let callers = (0..3).map(|caller| {
        let (worker, done) = (worker.clone(), Arc::clone(&done));
        thread::spawn(move || {
            block_on(async {
                three_at_once(&worker, &done, caller).await;
                worker.run_at_once(note(&done, caller, 3)).await.unwrap();
            });
        })
    });
    let callers = callers.collect::<Vec<_>>();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    assert_eq!(worker.under_way.load(Ordering::Relaxed), 0);
    assert_eq!(worker.looking.load(Ordering::Relaxed), 0);
    let done = done.lock().unwrap();
    for caller in 0..3 {
        let own = done.iter().filter(|(of, _)| *of == caller).map(|(_, number)| *number);
        assert_eq!(own.collect::<Vec<_>>(), [0, 1, 2, 3], "{done:?}");
    }
    // The store's thread ends with the last handle: otherwise this program would wait for ever.
}

#[test]
fn nobody_is_ahead_of_an_operation_whose_caller_has_gone() {
    explore(120, || {
        let (worker, done) = (worker(), Done::default());
        let others = {
            let (worker, done) = (worker.clone(), Arc::clone(&done));
            thread::spawn(move || block_on(three_at_once(&worker, &done, 1)))
        };
        block_on(async {
            let mut given_up = Box::pin(worker.run_at_once(note(&done, 0, 0)));
            let first = poll_fn(|context| Poll::Ready(given_up.as_mut().poll(context).is_ready())).await;
            drop(given_up);
            worker.run_at_once(note(&done, 0, 1)).await.unwrap();
            // Done before it, or not at all.
            let done = done.lock().unwrap().clone();
            let own = done.iter().filter(|(of, _)| *of == 0).map(|(_, number)| *number);
            let own = own.collect::<Vec<_>>();
            assert!(own == [0, 1] || (own == [1] && !first), "{done:?}");
        });
        others.join().unwrap();
    });
}
