//! Looks at the store, once for all viewers.
//!
//! One task makes the overviews. What it costs the store is bounded: while somebody views the dashboard it pauses at least
//! [`Dashboard::interval`](crate::Dashboard::interval) and ten times as long as the faster one of the last two looks took, since one
//! look that was held up says nothing about the next; while nobody does, 30 s.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};
use streamer::{
    engine::EngineResult,
    inspect::{Collector, Diagnosis, Importance, Known, Overview},
};
use tokio::sync::{Notify, watch};

use crate::{problem::Problem, site::Site};

/// How often the store is looked at while nobody views the dashboard: the points of an hour are that far apart.
const IDLE: Duration = Duration::from_secs(30);
/// A pause is at least so many times as long as what came before it took.
const SHARE: u32 = 10;
/// How often doctor's checks are made while somebody views the dashboard.
const DIAGNOSE: Duration = Duration::from_secs(60);
/// How old a diagnosis must be before another one is made because somebody asked.
const FRESH: Duration = Duration::from_secs(5);
/// A request counts as a viewer for so long.
const INTEREST: Duration = Duration::from_secs(15);
/// How long the first request waits for the first overview.
const FIRST: Duration = Duration::from_secs(20);
/// How long a request waits for the next overview where the last one lacks what it asks for.
const NEXT: Duration = Duration::from_secs(5);

/// What was seen last.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    started: AtomicBool,
    /// Written by the task, read by requests.
    seen: RwLock<Seen>,
    /// Grows with each look; `live` waits for it.
    looks: watch::Sender<u64>,
    /// How many browsers are told of each look.
    viewers: AtomicUsize,
    /// When somebody last asked for something.
    asked: Mutex<Option<Instant>>,
    /// Ends the pause of a task that nobody needed.
    wake: Arc<Notify>,
    /// Held while the checks are made, with when that was done and how long it took.
    diagnosing: tokio::sync::Mutex<Option<(Instant, Duration)>>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) collector: Collector,
    /// Why the last look failed.
    pub(crate) error: Option<String>,
    pub(crate) load: Load,
    pub(crate) diagnosis: Option<Diagnosed>,
}

/// What the dashboard costs the store.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Load {
    /// How long the last look took.
    took_ms: u64,
    /// How long the pause after it is.
    pause_ms: u64,
    /// How long doctor's checks took.
    checks_took_ms: u64,
    /// For how many browsers.
    viewers: usize,
}

#[derive(Debug)]
pub(crate) struct Diagnosed {
    pub(crate) diagnosis: Diagnosis,
    pub(crate) at_ms: u64,
}

/// Counts as a viewer as long as it lives.
#[derive(Debug)]
pub(crate) struct Viewer(Arc<Site>);

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.observer.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many browsers may be told of each look.
const MOST_VIEWERS: usize = 200;

impl Observer {
    pub(crate) fn seen(&self) -> RwLockReadGuard<'_, Seen> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn looks(&self) -> watch::Receiver<u64> {
        self.looks.subscribe()
    }

    /// Somebody wants to see something: the pause of an unwatched store ends.
    pub(crate) fn wanted(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.wake.notify_one();
    }

    fn is_viewed(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.viewers.load(Ordering::Relaxed) > 0 || asked.is_some_and(|asked| asked.elapsed() < INTEREST)
    }

    /// A look or a failure that is known by now; waits for the first.
    pub(crate) async fn ready(&self) -> Result<(), Problem> {
        let mut looks = self.looks();
        let first = looks.wait_for(|looks| *looks > 0);
        let waited = tokio::time::timeout(FIRST, first).await;
        if !matches!(waited, Ok(Ok(_))) {
            return Err(Problem::unavailable(
                "the store has not answered yet; the dashboard goes on asking",
            ));
        }
        let seen = self.seen();
        match (&seen.error, seen.collector.latest()) {
            (Some(error), None) => Err(Problem::unavailable(error.clone())),
            _ => Ok(()),
        }
    }

    /// Waits for the next look, for what was not there at the last one.
    pub(crate) async fn next_look(&self) {
        let mut looks = self.looks();
        self.wanted();
        // An answer without it is right, too, when that takes long.
        let _ = tokio::time::timeout(NEXT, looks.changed()).await;
    }

    /// What changes with each look, for all viewers.
    pub(crate) fn summary(&self) -> Value {
        let seen = self.seen();
        let latest = seen.collector.latest();
        let findings = seen.diagnosis.as_ref().map(|one| &one.diagnosis.findings);
        let count = |importance| {
            let of = findings
                .into_iter()
                .flatten()
                .filter(|one| one.importance == importance);
            of.count()
        };
        json!({
            "at_ms": latest.map(|overview| overview.at_ms),
            "totals": latest.map(|overview| overview.totals),
            "failures": latest.and_then(|overview| overview.failures),
            "archive": latest.and_then(|overview| overview.archive.as_ref()),
            "outbox": latest.and_then(|overview| overview.outbox),
            "error": seen.error,
            "load": Load { viewers: self.viewers.load(Ordering::Relaxed), ..seen.load },
            "diagnosed_at_ms": seen.diagnosis.as_ref().map(|one| one.at_ms),
            "critical": count(Importance::Critical),
            "warnings": count(Importance::Warning),
            "notices": count(Importance::Notice),
        })
    }
}

/// One more browser that is told of each look.
pub(crate) fn view(site: &Arc<Site>) -> Result<Viewer, Problem> {
    let before = site.observer.viewers.fetch_add(1, Ordering::Relaxed);
    let viewer = Viewer(Arc::clone(site));
    if before >= MOST_VIEWERS {
        return Err(Problem::unavailable(format!(
            "{MOST_VIEWERS} browsers are told of changes already; close some"
        )));
    }
    site.observer.wanted();
    Ok(viewer)
}

/// Begins to look, once.
pub(crate) fn start(site: &Arc<Site>) {
    if !site.observer.started.swap(true, Ordering::Relaxed) {
        tokio::spawn(run(
            Arc::downgrade(site),
            Arc::clone(&site.observer.wake),
            site.stop.clone(),
        ));
    }
}

/// Looks until the last router of the site is dropped.
async fn run(site: Weak<Site>, wake: Arc<Notify>, stop: streamer::StopHandle) {
    loop {
        let Some(here) = site.upgrade() else { return };
        let busy = look(&here).await;
        if here.observer.is_viewed()
            && let Err(error) = diagnose(&here, DIAGNOSE).await
        {
            tracing::debug!("doctor's checks for the dashboard failed: {error}");
        }
        let ended = Instant::now();
        drop(here);
        loop {
            let Some(here) = site.upgrade() else { return };
            let pause = if here.observer.is_viewed() {
                busy
            } else {
                IDLE.max(busy)
            };
            drop(here);
            let rest = pause.saturating_sub(ended.elapsed());
            if rest.is_zero() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = wake.notified() => {}
                () = stop.stopped() => return,
            }
        }
    }
}

/// Gives how long the pause after it is while somebody views the dashboard.
async fn look(site: &Arc<Site>) -> Duration {
    let began = Instant::now();
    let overview = site.inspect().overview().await;
    let took = began.elapsed();
    let mut seen = site.observer.seen.write().unwrap_or_else(PoisonError::into_inner);
    match overview {
        Ok(overview) => {
            seen.collector.observe(overview);
            seen.error = None;
        }
        Err(error) => seen.error = Some(error.to_string()),
    }
    let before = Duration::from_millis(seen.load.took_ms);
    let pause = site.interval.max(took.min(before) * SHARE);
    seen.load.took_ms = ms(took);
    seen.load.pause_ms = ms(pause);
    drop(seen);
    site.observer.looks.send_modify(|looks| *looks += 1);
    pause
}

/// Makes doctor's checks, unless that was done less than `age` ago, or less than twenty times as long ago as it took.
async fn diagnose(site: &Arc<Site>, age: Duration) -> EngineResult<()> {
    let mut last = site.observer.diagnosing.lock().await;
    if last.is_some_and(|(at, took)| at.elapsed() < age.max(took * 2 * SHARE)) {
        return Ok(());
    }
    let mut known = Known::default();
    known.listened.clone_from(&site.events);
    let began = Instant::now();
    let diagnosis = site.streamer.inspect().also(&site.events).diagnose(&known).await;
    let took = began.elapsed();
    *last = Some((Instant::now(), took));
    let mut diagnosis = diagnosis?;
    // The collector has one: of a large store a second one is megabytes.
    diagnosis.overview = Overview::default();
    let at_ms = streamer::Moment::now().unix_ms();
    let mut seen = site.observer.seen.write().unwrap_or_else(PoisonError::into_inner);
    seen.diagnosis = Some(Diagnosed { diagnosis, at_ms });
    seen.load.checks_took_ms = ms(took);
    drop(seen);
    site.observer.looks.send_modify(|looks| *looks += 1);
    Ok(())
}

/// Makes doctor's checks because somebody asked.
pub(crate) async fn diagnose_now(site: &Arc<Site>) -> EngineResult<()> {
    diagnose(site, FRESH).await
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
