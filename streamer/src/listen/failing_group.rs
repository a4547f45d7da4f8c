//! In which group a listener fails.
//!
//! `failed list` tells it of each failure. To write it beside each record would double what a failure costs the store, in
//! time and in memory. So the store keeps it once for each listener, and only failures of a listener that fails in several
//! groups have it in their details.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::plan::{Plan, PlannedStream};
use crate::engine::FailingListener;

/// How often the store is asked: whoever empties the failed list removes what was kept.
const ASKED_EVERY: Duration = Duration::from_secs(60);

/// What is known of each listener of each stream; by all workers.
#[derive(Debug)]
pub(super) struct FailingGroupCache(Vec<Vec<Mutex<Option<Known>>>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    kept: Kept,
    asked: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// This group.
    Ours,
    /// Another one. So it stays, also where that is forgotten: failures that count on this one would be taken for others'.
    Another,
    /// The store could not be asked.
    Unknown,
}

impl FailingGroupCache {
    pub(super) fn new(plan: &Plan) -> Self {
        let of_stream = |stream: &PlannedStream| stream.listeners.iter().map(|_| Mutex::default()).collect();
        Self(plan.streams.iter().map(of_stream).collect())
    }

    /// Whether the store keeps that a listener, by the numbers of its stream and its own, fails in this listening's group.
    /// It is told so now and then.
    pub(super) async fn is_kept(&self, plan: &Plan, stream: u32, listener: usize) -> bool {
        let Some(member) = plan.member.as_ref().filter(|_| !plan.keeps_failed_pending()) else {
            return false;
        };
        let stored = &self.0[stream as usize][listener];
        let known = *stored.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |known: &Known| known.kept == Kept::Another || known.asked.elapsed() < ASKED_EVERY;
        if let Some(known) = known.filter(is_current) {
            return known.kept == Kept::Ours;
        }
        let stream = plan.stream(stream);
        let listener = FailingListener {
            stream: &stream.name.to_string(),
            receiver: stream.listeners[listener].name(),
        };
        let engine = plan.context.streamer.engine();
        let kept = match engine.keep_failing_group(listener, &member.group).await {
            Ok(group) if group == member.group => Kept::Ours,
            Ok(_) => Kept::Another,
            Err(error) => {
                tracing::debug!("{error}; failures name their group themselves");
                Kept::Unknown
            }
        };
        let asked = Instant::now();
        *stored.lock().unwrap_or_else(PoisonError::into_inner) = Some(Known { kept, asked });
        kept == Kept::Ours
    }
}
