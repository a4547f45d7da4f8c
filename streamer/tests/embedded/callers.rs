//! Nobody's answer depends on what other callers do, and what holds the file costs all that wait its time once.

use std::{
    pin::pin,
    sync::mpsc,
    task::{Context, Waker},
    thread,
};

use futures_util::future::join_all;
use streamer::{
    EntryId,
    engine::{EmbeddedEngine, Engine, EngineErrorKind, EngineResult},
};
use tokio::runtime::{Builder, Runtime};

use crate::place::{LONG, Place, an_append, ids};

const EACH: usize = 8;

fn a_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Asks for appends, and tells when all of them wait for the store.
async fn appends(engine: &EmbeddedEngine, asked: impl FnOnce()) -> Vec<EngineResult<EntryId>> {
    let mut all = pin!(join_all((0..EACH).map(|_| engine.append(an_append(10)))));
    // Each looks around first, whether it is alone, and then asks.
    for _ in 0..2 {
        let polled = all.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "the file is held");
    }
    asked();
    all.await
}

/// All wait for one commit, and the first of them belongs to a runtime that then stands still.
#[test]
fn a_runtime_that_stands_still_holds_up_no_caller_of_another() {
    let place = Place::new();
    let here = a_runtime();
    let engine = here.block_on(place.open());
    here.block_on(engine.append(an_append(10))).unwrap();
    let holder = rusqlite::Connection::open(place.file()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();

    let (asked, all_asked) = mpsc::channel();
    let (go_on, stands_still) = mpsc::channel::<()>();
    let there = engine.clone();
    let other = thread::spawn(move || {
        a_runtime().block_on(appends(&there, || {
            asked.send(()).unwrap();
            stands_still.recv().unwrap();
        }))
    });
    all_asked.recv().unwrap();
    let release = || holder.execute_batch("ROLLBACK").unwrap();
    let answered = here.block_on(async { tokio::time::timeout(LONG, appends(&engine, release)).await });
    let answered = answered.expect("they wait for the other runtime");
    assert!(answered.iter().all(Result::is_ok), "{answered:?}");
    go_on.send(()).unwrap();
    assert!(other.join().unwrap().iter().all(Result::is_ok));
    assert_eq!(here.block_on(ids(&engine)).len(), 2 * EACH + 1);
}

/// Callers that entered a runtime which nobody drives.
#[test]
fn a_runtime_that_nobody_drives_holds_up_nobody() {
    let place = Place::new();
    let idle = a_runtime();
    let engine = a_runtime().block_on(place.open());
    let (done, all_done) = mpsc::channel();
    let waiting = thread::spawn(move || {
        let _entered = idle.enter();
        let all = join_all((0..EACH).map(|_| engine.append(an_append(10))));
        done.send(futures_executor_block_on(all)).unwrap();
    });
    let answered = all_done.recv_timeout(LONG).expect("they wait for their runtime");
    assert!(answered.iter().all(Result::is_ok), "{answered:?}");
    waiting.join().unwrap();
}

/// Waits for a future without a runtime.
fn futures_executor_block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// Each waits for the time-out, and nobody for that of others: 600 after one another would take ten minutes.
#[tokio::test]
async fn a_held_file_costs_its_time_out_once_for_all_that_wait() {
    let place = Place::new();
    let engine = EmbeddedEngine::open(&format!("{}?busy_timeout=1000", place.url()))
        .await
        .unwrap();
    engine.append(an_append(10)).await.unwrap();
    let holder = rusqlite::Connection::open(place.file()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    // More than share a commit.
    let all = join_all((0..600).map(|_| engine.append(an_append(10))));
    let answered = tokio::time::timeout(LONG, all)
        .await
        .expect("they wait one after the other");
    for answer in answered {
        let error = answer.unwrap_err();
        assert_eq!(error.kind(), EngineErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("another process"), "{error}");
    }
    holder.execute_batch("ROLLBACK").unwrap();
    engine.append(an_append(10)).await.unwrap();
    assert_eq!(ids(&engine).await.len(), 2);
}

/// What comes while the file is held shares the first commit after it.
#[tokio::test]
async fn who_comes_while_the_file_is_held_is_served_with_those_who_wait() {
    let place = Place::new();
    let engine = place.open().await;
    engine.append(an_append(10)).await.unwrap();
    let holder = rusqlite::Connection::open(place.file()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut first = pin!(engine.append(an_append(10)));
    // It looks around, and then asks before the others do.
    for _ in 0..2 {
        let asked = first.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(asked.is_pending(), "the file is held");
    }
    let before = engine.commits();
    let others = appends(&engine, || holder.execute_batch("ROLLBACK").unwrap()).await;
    assert!(others.iter().all(Result::is_ok), "{others:?}");
    first.await.unwrap();
    assert!(engine.commits() - before <= 2, "{}", engine.commits() - before);
}
