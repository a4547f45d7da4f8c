//! Messages that wait for the next attempt of a listener that failed.
//!
//! In a group such a message stays pending. Its idle time at the store is set so that the ordinary claim of any consumer
//! brings it back when the attempt is due: this process may die meanwhile. What is due later than the reclaim time
//! reaches is set anew by the lease keeper for as long as this process lives; after its death another consumer gets the
//! message early, sees that it is not due, and waits in its turn.
//!
//! The reader here takes a message up by itself when it is due, and does not wait for the next claim.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use super::{lease, progress::Progress, run::Shared};
use crate::{
    engine::EngineResult,
    entry::{EntryId, unix_ms},
    failed::{Details, FailedMessage},
    message::ReceivedMessage,
};

/// What waits here, by the time when it is due.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    messages: Mutex<BTreeMap<Due, Kept>>,
    added: Notify,
}

/// A message that waits: when it is due (milliseconds since the Unix epoch), its stream, its ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) stream: usize,
    pub(super) id: EntryId,
}

impl Due {
    fn left(self) -> Duration {
        Duration::from_millis(self.at.saturating_sub(unix_ms()))
    }
}

/// What is kept of a message that waits.
#[derive(Debug)]
pub(super) enum Kept {
    /// In a group the store has the message; whether its idle time needs no more setting.
    AtStore { armed: bool },
    /// Without a group it is here alone, with what happens if there is no other attempt.
    Here {
        message: ReceivedMessage,
        progress: Progress,
        failures: Vec<(FailedMessage, Details)>,
    },
}

impl Waiting {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<Due, Kept>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, due: Due, kept: Kept) {
        self.locked().insert(due, kept);
        self.added.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.locked().is_empty()
    }

    /// Takes out what is due, at most so many.
    pub(super) fn take_due(&self, most: usize) -> Vec<(Due, Kept)> {
        let now = unix_ms();
        let mut messages = self.locked();
        let mut due = Vec::new();
        while due.len() < most {
            match messages.first_entry() {
                Some(first) if first.key().at <= now => due.push(first.remove_entry()),
                _ => break,
            }
        }
        due
    }

    /// Takes out everything.
    pub(super) fn take_all(&self) -> Vec<Kept> {
        std::mem::take(&mut *self.locked()).into_values().collect()
    }

    /// How long until something is due; `None` when nothing waits.
    pub(super) fn next(&self) -> Option<Duration> {
        let messages = self.locked();
        let (first, _) = messages.first_key_value()?;
        Some(first.left())
    }

    /// Ends when something is due.
    pub(super) async fn due(&self) {
        loop {
            let next = self.next();
            let due = async {
                match next {
                    Some(next) => tokio::time::sleep(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => return,
                // It may be due sooner than what waited before.
                () = self.added.notified() => {}
            }
        }
    }

    /// The oldest ID of a stream.
    pub(super) fn oldest(&self, stream: usize) -> Option<EntryId> {
        let messages = self.locked();
        let ids = messages.keys().filter(|due| due.stream == stream).map(|due| due.id);
        ids.min()
    }

    fn unarmed(&self) -> Vec<Due> {
        let messages = self.locked();
        let unarmed = messages
            .iter()
            .filter(|(_, kept)| matches!(kept, Kept::AtStore { armed: false }));
        unarmed.map(|(due, _)| *due).collect()
    }
}

/// A message of a group begins to wait. Nothing happens if another consumer has it by now.
pub(super) async fn begin(shared: &Shared, due: Due) -> EngineResult<()> {
    let left = due.left();
    let (idle, armed) = match shared.options.reclaim {
        Some(reclaim) => (reclaim.saturating_sub(left), left <= reclaim),
        None => (Duration::ZERO, true),
    };
    let ours = lease::set_idle(shared, due.stream, &[due.id], idle).await?;
    if !ours.is_empty() {
        shared.waiting.add(due, Kept::AtStore { armed });
    }
    Ok(())
}

/// Sets the idle time anew of what waits longer than the reclaim time reaches.
pub(super) async fn renew(shared: &Shared, reclaim: Duration) -> EngineResult<()> {
    let (near, far) = shared
        .waiting
        .unarmed()
        .into_iter()
        .partition::<Vec<_>, _>(|due| due.left() <= reclaim);
    for due in near {
        set_idle_again(shared, &[due], reclaim.saturating_sub(due.left()), true).await?;
    }
    for stream in 0..shared.streams.len() {
        let far = far
            .iter()
            .filter(|due| due.stream == stream)
            .copied()
            .collect::<Vec<_>>();
        for some in far.chunks(lease::RENEWED_AT_ONCE) {
            set_idle_again(shared, some, Duration::ZERO, false).await?;
        }
    }
    Ok(())
}

/// Sets the idle time of messages of one stream. What another consumer has by now does not wait here any more.
async fn set_idle_again(shared: &Shared, some: &[Due], idle: Duration, armed: bool) -> EngineResult<()> {
    let Some(first) = some.first() else { return Ok(()) };
    let ids = some.iter().map(|due| due.id).collect::<Vec<_>>();
    let ours = lease::set_idle(shared, first.stream, &ids, idle).await?;
    let ours = ours.into_iter().collect::<BTreeSet<_>>();
    let mut messages = shared.waiting.locked();
    for due in some {
        // One that became due meanwhile is being taken up.
        if !ours.contains(&due.id) {
            messages.remove(due);
        } else if let Some(kept) = messages.get_mut(due) {
            *kept = Kept::AtStore { armed };
        }
    }
    Ok(())
}
