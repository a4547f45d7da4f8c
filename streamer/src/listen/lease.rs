//! What is in hand: read here, not settled yet. Its claim is renewed while this process lives, and given back at the end.
//!
//! Idle time at the store begins when a message is read, not when its listener begins, so messages that wait in the
//! queue are renewed like those being handled.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{ListenError, Report, run::Shared, supervisor::Finished, waiting};
use crate::{engine::EngineResult, entry::EntryId};

/// An idle time past everybody's claim time: who claims next gets the message at once.
const HANDED_BACK: Duration = Duration::from_secs(24 * 60 * 60);

/// The most IDs renewed in one step, so that no step holds up the store for long.
pub(super) const RENEWED_AT_ONCE: usize = 500;

/// IDs in hand, stream by stream.
#[derive(Debug)]
pub(super) struct InHand {
    streams: Vec<Mutex<BTreeSet<EntryId>>>,
    /// Those among them that another consumer has claimed; nearly always empty, hence the flag in front.
    lost: Mutex<BTreeSet<(usize, EntryId)>>,
    any_lost: AtomicBool,
}

impl InHand {
    pub(super) fn new(streams: usize) -> Self {
        let streams = (0..streams).map(|_| Mutex::default()).collect();
        Self {
            streams,
            lost: Mutex::default(),
            any_lost: AtomicBool::new(false),
        }
    }

    /// Takes an entry in hand; `false` when it is already.
    pub(super) fn take(&self, stream: usize, id: EntryId) -> bool {
        locked(&self.streams[stream]).insert(id)
    }

    /// These are settled, or somebody else's.
    pub(super) fn let_go(&self, stream: usize, ids: &[EntryId]) {
        let mut in_hand = locked(&self.streams[stream]);
        for id in ids {
            in_hand.remove(id);
        }
        if self.any_lost.load(Ordering::Relaxed) {
            let mut lost = locked(&self.lost);
            for id in ids {
                lost.remove(&(stream, *id));
            }
        }
    }

    /// Whether an entry is in hand.
    pub(super) fn has(&self, stream: usize, id: EntryId) -> bool {
        locked(&self.streams[stream]).contains(&id)
    }

    /// The oldest ID in hand.
    pub(super) fn oldest(&self, stream: usize) -> Option<EntryId> {
        locked(&self.streams[stream]).first().copied()
    }

    /// Whether another consumer claimed this one meanwhile.
    pub(super) fn is_lost(&self, stream: usize, id: EntryId) -> bool {
        self.any_lost.load(Ordering::Relaxed) && locked(&self.lost).contains(&(stream, id))
    }

    fn all(&self, stream: usize) -> Vec<EntryId> {
        locked(&self.streams[stream]).iter().copied().collect()
    }

    /// Marks those of `ids` that are still in hand as lost, and returns them.
    fn mark_lost(&self, stream: usize, ids: Vec<EntryId>) -> Vec<EntryId> {
        let in_hand = locked(&self.streams[stream]);
        let mut lost = locked(&self.lost);
        let newly = ids
            .into_iter()
            .filter(|id| in_hand.contains(id) && lost.insert((stream, *id)))
            .collect::<Vec<_>>();
        if !newly.is_empty() {
            self.any_lost.store(true, Ordering::Relaxed);
        }
        newly
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Renews what is in hand, three times in each reclaim time, for as long as it is polled.
pub(super) async fn renew(shared: Arc<Shared>, reclaim: Duration) -> Result<Finished, ListenError> {
    loop {
        tokio::time::sleep(reclaim / 3).await;
        for stream in 0..shared.streams.len() {
            if let Err(error) = renew_stream(&shared, stream).await {
                // The next round tries again; should the store stay away, the reader decides what to do.
                tracing::debug!(
                    "renewing what is in hand of '{}' failed: {error}",
                    shared.streams[stream].name
                );
            }
        }
        if let Err(error) = waiting::renew(&shared, reclaim).await {
            tracing::debug!("renewing what waits for its next attempt failed: {error}");
        }
    }
}

async fn renew_stream(shared: &Shared, stream: usize) -> EngineResult<()> {
    for ids in shared.in_hand.all(stream).chunks(RENEWED_AT_ONCE) {
        let ours = set_idle(shared, stream, ids, Duration::ZERO).await?;
        let ours = ours.into_iter().collect::<BTreeSet<_>>();
        let others = ids.iter().filter(|id| !ours.contains(id)).copied().collect();
        let lost = shared.in_hand.mark_lost(stream, others);
        if !lost.is_empty() {
            shared.reporter.tell(&Report::LeaseLost {
                stream: &shared.streams[stream].name,
                ids: &lost,
            });
        }
    }
    Ok(())
}

/// Gives back what is still in hand, so that the next consumer that claims gets it at once.
pub(super) async fn hand_back(shared: &Shared) -> EngineResult<()> {
    for stream in 0..shared.streams.len() {
        for ids in shared.in_hand.all(stream).chunks(RENEWED_AT_ONCE) {
            set_idle(shared, stream, ids, HANDED_BACK).await?;
            shared.in_hand.let_go(stream, ids);
        }
    }
    Ok(())
}

pub(super) async fn set_idle(
    shared: &Shared,
    stream: usize,
    ids: &[EntryId],
    idle: Duration,
) -> EngineResult<Vec<EntryId>> {
    match &shared.group {
        Some(member) => {
            let name = &shared.streams[stream].name;
            shared
                .engine()
                .set_idle(name, &member.group, &member.consumer, ids, idle)
                .await
        }
        None => Ok(Vec::new()),
    }
}
