//! How the callers of a transaction are answered.
//!
//! To wake a task from the store's thread costs a system call. So where several tasks of one runtime are answered, one
//! new task of that runtime answers them all. No caller depends on the runtime of another one, and none on its own
//! runtime having time for that task: what it has not done soon, the store's thread does.

#[cfg(not(test))]
use std::sync::Mutex;
use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, Id};

use super::{
    failure::Step,
    worker::{Job, Jobs},
};
#[cfg(test)]
use crate::schedules::{Mutex, has_passed, spawn_on};

/// For how long a runtime may leave its answers lying.
const PATIENCE: Duration = Duration::from_millis(5);

/// Jobs of one runtime and what came of their transaction. Whoever takes them first answers them.
struct Answers {
    jobs: Mutex<Jobs>,
    outcome: Step<()>,
}

impl Answers {
    fn give(&self) {
        let jobs = std::mem::take(&mut *self.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        for mut job in jobs {
            job.answer(self.outcome.clone());
        }
    }
}

/// Answers when it is dropped, so also where a runtime ends before its task has run.
struct Giving(Arc<Answers>);

impl Drop for Giving {
    fn drop(&mut self) {
        self.0.give();
    }
}

/// Answers that were left to runtimes, oldest first.
#[derive(Default)]
pub(super) struct Unanswered(Vec<(Instant, Arc<Answers>)>);

impl Unanswered {
    /// Answers jobs of one transaction.
    pub(super) fn answer(&mut self, jobs: Jobs, outcome: &Step<()>) {
        for (runtime, jobs) in by_runtime(jobs) {
            self.answer_those_of(runtime, jobs, outcome);
        }
    }

    fn answer_those_of(&mut self, runtime: Option<Handle>, mut jobs: Jobs, outcome: &Step<()>) {
        match runtime.filter(|_| jobs.len() > 1) {
            None => {
                for job in &mut jobs {
                    job.answer(outcome.clone());
                }
            }
            Some(runtime) => {
                let answers = Arc::new(Answers {
                    jobs: Mutex::new(jobs),
                    outcome: outcome.clone(),
                });
                let giving = Giving(answers.clone());
                spawn_on(&runtime, async move { drop(giving) });
                self.0.push((Instant::now(), answers));
            }
        }
    }

    /// Gives what runtimes have left lying. Tells for how long the others may still be waited for; `None` where there are
    /// none.
    pub(super) fn look_after(&mut self) -> Option<Duration> {
        // The task that has answered has let go of its share.
        self.0.retain(|(since, answers)| {
            let left_lying = Arc::strong_count(answers) > 1;
            if left_lying && has_passed(*since, PATIENCE) {
                answers.give();
                return false;
            }
            left_lying
        });
        let (oldest, _) = self.0.first()?;
        Some(PATIENCE.saturating_sub(oldest.elapsed()))
    }
}

/// Nearly always there is one runtime.
fn by_runtime(jobs: Jobs) -> Vec<(Option<Handle>, Jobs)> {
    let id = |job: &dyn Job| job.runtime().map(Handle::id);
    let mut groups: Vec<(Option<Id>, Option<Handle>, Jobs)> = Vec::new();
    let first = jobs.first().and_then(|job| id(&**job));
    if jobs.iter().all(|job| id(&**job) == first) {
        let runtime = jobs.first().and_then(|job| job.runtime().cloned());
        return vec![(runtime, jobs)];
    }
    for job in jobs {
        let of = id(&*job);
        match groups.iter_mut().find(|(id, ..)| *id == of) {
            Some((.., group)) => group.push(job),
            None => groups.push((of, job.runtime().cloned(), vec![job])),
        }
    }
    groups.into_iter().map(|(_, runtime, jobs)| (runtime, jobs)).collect()
}

#[cfg(not(test))]
fn has_passed(since: Instant, time: Duration) -> bool {
    since.elapsed() >= time
}

#[cfg(not(test))]
fn spawn_on(runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
    drop(runtime.spawn(task));
}

#[cfg(test)]
#[path = "answers_schedules.rs"]
mod in_many_schedules;
