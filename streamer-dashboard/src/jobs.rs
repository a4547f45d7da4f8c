//! Changes that take longer than a request: they go on when the browser is closed, and every viewer sees how far they are.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use streamer::{Moment, StopHandle};
use tokio::sync::watch;

use crate::problem::Problem;

/// How many are remembered.
const REMEMBERED: usize = 20;
/// How many run at once.
const AT_ONCE: usize = 4;
/// How many lines about trouble are kept of each.
const LINES: usize = 50;
/// How often viewers are told of progress.
const TELL: Duration = Duration::from_millis(200);

/// What the viewers see of a job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Shown {
    id: u64,
    /// `retry`, `forget`, `restore`.
    action: &'static str,
    /// To what, in words.
    about: String,
    /// `running`, `done`, `stopped`, `failed`.
    state: &'static str,
    /// How many messages were handled so far, well or not.
    pub(crate) done: u64,
    /// Of how many, as far as is known.
    pub(crate) of: Option<u64>,
    /// How many with success.
    pub(crate) succeeded: u64,
    /// How many without.
    pub(crate) failed: u64,
    /// How many were left as they are.
    pub(crate) skipped: u64,
    /// The first lines about what did not succeed.
    lines: Vec<String>,
    error: Option<String>,
    began_ms: u64,
    ended_ms: Option<u64>,
}

#[derive(Debug)]
struct Job {
    shown: Shown,
    stop: StopHandle,
}

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    /// The newest first.
    jobs: VecDeque<Job>,
    told: Option<Instant>,
}

/// The jobs of a site. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jobs {
    inner: Arc<Mutex<Inner>>,
    changes: watch::Sender<u64>,
}

/// A job that runs. Dropping it without [`Progress::end`] (a panic) ends it as failed.
#[derive(Debug)]
pub(crate) struct Progress {
    jobs: Jobs,
    id: u64,
    stop: StopHandle,
}

impl Jobs {
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job that `stop` ends.
    pub(crate) fn begin(
        &self,
        action: &'static str,
        about: String,
        of: Option<u64>,
        stop: StopHandle,
    ) -> Result<Progress, Problem> {
        let mut inner = self.lock();
        let running = inner.jobs.iter().filter(|job| job.shown.ended_ms.is_none()).count();
        if running >= AT_ONCE {
            return Err(Problem::unavailable(format!(
                "{AT_ONCE} actions run already; wait for one to end, or stop it"
            )));
        }
        inner.last_id += 1;
        let id = inner.last_id;
        let shown = Shown {
            id,
            action,
            about,
            state: "running",
            done: 0,
            of,
            succeeded: 0,
            failed: 0,
            skipped: 0,
            lines: Vec::new(),
            error: None,
            began_ms: Moment::now().unix_ms(),
            ended_ms: None,
        };
        inner.jobs.push_front(Job {
            shown,
            stop: stop.clone(),
        });
        let ended = |job: &Job| job.shown.ended_ms.is_some();
        while inner.jobs.len() > REMEMBERED
            && let Some(at) = inner.jobs.iter().rposition(ended)
        {
            inner.jobs.remove(at);
        }
        drop(inner);
        self.tell();
        let jobs = self.clone();
        Ok(Progress { jobs, id, stop })
    }

    pub(crate) fn shown(&self) -> Value {
        let inner = self.lock();
        json!({"jobs": inner.jobs.iter().map(|job| &job.shown).collect::<Vec<_>>()})
    }

    /// Ends a job in good order; `false` where there is none of that ID that runs.
    pub(crate) fn stop(&self, id: u64) -> bool {
        let inner = self.lock();
        let running = inner
            .jobs
            .iter()
            .find(|job| job.shown.id == id && job.shown.ended_ms.is_none());
        running.inspect(|job| job.stop.stop()).is_some()
    }

    fn tell(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn change(&self, id: u64, at_once: bool, change: impl FnOnce(&mut Shown)) {
        let mut inner = self.lock();
        if let Some(job) = inner.jobs.iter_mut().find(|job| job.shown.id == id) {
            change(&mut job.shown);
        }
        let due = at_once || inner.told.is_none_or(|told| told.elapsed() >= TELL);
        if due {
            inner.told = Some(Instant::now());
        }
        drop(inner);
        if due {
            self.tell();
        }
    }
}

impl Progress {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Waits until it is to end.
    pub(crate) async fn stopped(&self) {
        self.stop.stopped().await;
    }

    /// Changes the numbers.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Shown)) {
        self.jobs.change(self.id, false, change);
    }

    /// Keeps a line about what did not succeed.
    pub(crate) fn line(&self, line: String) {
        self.jobs.change(self.id, false, |shown| {
            if shown.lines.len() < LINES {
                shown.lines.push(line);
            }
        });
    }

    /// Ends it; gives the numbers.
    pub(crate) fn end(self, ended: Result<(), String>) -> (u64, u64) {
        let stopped = self.stop.is_stopped();
        let mut numbers = (0, 0);
        self.jobs.change(self.id, true, |shown| {
            shown.state = match &ended {
                Err(_) => "failed",
                Ok(()) if stopped => "stopped",
                Ok(()) => "done",
            };
            shown.error = ended.err();
            shown.ended_ms = Some(Moment::now().unix_ms());
            numbers = (shown.succeeded, shown.failed);
        });
        numbers
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.jobs.change(self.id, true, |shown| {
            if shown.ended_ms.is_none() {
                shown.state = "failed";
                shown.error = Some("it ended without an outcome; see the log of this process".to_owned());
                shown.ended_ms = Some(Moment::now().unix_ms());
            }
        });
    }
}
