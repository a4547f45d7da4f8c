//! The thread of a store and tasks of runtimes that answer, in many schedules: see [`crate::schedules`].
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    engine::embedded::transaction::Transaction,
    schedules::{explore, thread},
};

/// Notes how often it is answered.
struct Counted {
    runtime: Option<Handle>,
    answers: Arc<AtomicUsize>,
}

impl Job for Counted {
    fn run(&mut self, _: &mut Transaction<'_>) -> Step<()> {
        Ok(())
    }

    fn answer(&mut self, _: Step<()>) {
        thread::yield_now();
        self.answers.fetch_add(1, Ordering::Relaxed);
        thread::yield_now();
    }

    fn runtime(&self) -> Option<&Handle> {
        self.runtime.as_ref()
    }

    fn since(&self) -> Instant {
        Instant::now()
    }
}

fn runtimes() -> [Runtime; 2] {
    [(); 2].map(|()| Builder::new_current_thread().build().unwrap())
}

/// Jobs of two runtimes, several of one and one of the other, or the other way round, and one of none.
fn jobs(runtimes: &[Handle], several: usize, answers: &mut Vec<Arc<AtomicUsize>>) -> Jobs {
    let at = |index: usize| Some(runtimes[index].clone());
    let (one, other) = (at(several), at(1 - several));
    let jobs = [one.clone(), None, other, one.clone(), one].map(|runtime| {
        let count = Arc::<AtomicUsize>::default();
        answers.push(Arc::clone(&count));
        Box::new(Counted {
            runtime,
            answers: count,
        }) as Box<dyn Job>
    });
    jobs.into()
}

fn all_are_answered(answers: &[Arc<AtomicUsize>]) {
    while answers.iter().any(|answers| answers.load(Ordering::Relaxed) == 0) {
        thread::yield_now();
    }
    // Whatever else would answer has its turn, too.
    for _ in 0..20 {
        thread::yield_now();
    }
    assert!(
        answers.iter().all(|answers| answers.load(Ordering::Relaxed) == 1),
        "{answers:?}"
    );
}

#[test]
fn each_caller_is_answered_once_by_its_runtime_or_by_the_thread_of_the_store() {
    let runtimes = runtimes();
    let handles = runtimes.each_ref().map(|runtime| runtime.handle().clone());
    explore(300, move || {
        let (mut unanswered, mut answers) = (Unanswered::default(), Vec::new());
        for several in [0, 1] {
            let jobs = jobs(&handles, several, &mut answers);
            unanswered.answer(jobs, &Ok(()));
            unanswered.look_after();
        }
        while unanswered.look_after().is_some() {
            thread::yield_now();
        }
        all_are_answered(&answers);
    });
}

#[test]
fn each_caller_is_answered_once_when_the_thread_of_the_store_ends_meanwhile() {
    let runtimes = runtimes();
    let handles = runtimes.each_ref().map(|runtime| runtime.handle().clone());
    explore(300, move || {
        let (mut unanswered, mut answers) = (Unanswered::default(), Vec::new());
        unanswered.answer(jobs(&handles, 0, &mut answers), &Ok(()));
        unanswered.look_after();
        drop(unanswered);
        all_are_answered(&answers);
    });
}

/// Outside of schedules, because it is Tokio that drops the task.
#[test]
fn each_caller_is_answered_once_when_its_runtime_ends_before_it_answers() {
    let [first, second] = runtimes();
    let handles = [first.handle().clone(), second.handle().clone()];
    let (mut unanswered, mut answers) = (Unanswered::default(), Vec::new());
    unanswered.answer(jobs(&handles, 0, &mut answers), &Ok(()));
    drop((first, second));
    unanswered.answer(jobs(&handles, 1, &mut answers), &Ok(()));
    assert_eq!(unanswered.look_after(), None);
    assert!(
        answers.iter().all(|answers| answers.load(Ordering::Relaxed) == 1),
        "{answers:?}"
    );
}
