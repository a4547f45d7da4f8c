//! Checks of what is kept beside streams, and of leases.

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::{Finding, Importance, Known, counted, duration, word};
use crate::{
    engine::{EngineResult, keys},
    entry::{StreamName, lossy},
    inspect::{GroupOverview, Inspect, OldestPending, Overview, StreamOverview, ms, overview::refused},
};

/// At most so many keys beside streams are looked at.
pub(super) const MOST_KEYS: usize = 10_000;
/// So many keys are named.
const NAMED: usize = 3;
/// So many groups are looked into.
const GROUPS: usize = 100;
/// How many of them at once.
const AT_ONCE: usize = 8;

impl Inspect {
    /// The keys that are kept beside streams. They are looked for before the streams are: whatever is added in between has an
    /// owner.
    pub(super) async fn keys_beside(&self) -> EngineResult<Vec<Bytes>> {
        // With some streams only, nobody knows whether the others are there.
        if self.streams.is_some() {
            return Ok(Vec::new());
        }
        match self.streamer.engine().keys_beside(MOST_KEYS).await {
            Ok(keys) => Ok(keys),
            // What the user may not look for is told with the overview.
            Err(error) => refused(None, error).map(|_| Vec::new()),
        }
    }

    /// Whether somebody moves the events that are due.
    fn check_scheduled(&self, stream: &StreamOverview, findings: &mut Vec<Finding>) {
        let Some(scheduled) = stream.scheduled.filter(|scheduled| scheduled.overdue > 0) else {
            return;
        };
        let Some(late) = scheduled.overdue_ms.filter(|late| *late >= ms(self.stale_after)) else {
            return;
        };
        let events = counted(scheduled.overdue, "event");
        let (at_least, are) = (
            if scheduled.exact { "" } else { "at least " },
            if scheduled.overdue == 1 { "is" } else { "are" },
        );
        let found = format!(
            "{at_least}{events} for later {are} due and not on the stream, the first for {}",
            duration(late)
        );
        let name = word(&stream.name);
        findings.push(
            Finding::new("events_overdue", Importance::Critical, format!("stream {}", stream.name), found)
                .meaning(
                    "The listenings of a stream put its events on it when they are due. None runs, or none may, and no listener \
                     gets these events.",
                )
                .fix(format!(
                    "start a listener: streamer listen {name} --group GROUP; or at once, and from cron: streamer scheduled deliver {name}"
                )),
        );
    }

    /// Whether what is due is on its stream, whether each key that is kept beside a stream has an owner, and whether retry states
    /// have a message.
    pub(super) async fn check_kept(
        &self,
        found: &[Bytes],
        overview: &Overview,
        findings: &mut Vec<Finding>,
    ) -> EngineResult<()> {
        for stream in &overview.streams {
            self.check_scheduled(stream, findings);
        }
        if overview.complete && overview.refused.is_empty() {
            check_owners(found, overview, findings);
        }
        let unattended = overview.groups().filter(|(stream, group)| {
            let key = keys::retry_states(&StreamName::from(&stream.name), &group.name);
            // Where somebody is alive the numbers are of different moments, and they remove what is left over.
            group.alive == 0 && found.iter().any(|found| *found == key)
        });
        let unattended = unattended.take(GROUPS).collect::<Vec<_>>();
        let names = unattended
            .iter()
            .map(|(stream, group)| (StreamName::from(&stream.name), group.name.clone()));
        let counts = self
            .streamer
            .engine()
            .count_retry_states(&names.collect::<Vec<_>>())
            .await;
        for ((stream, group), count) in unattended.into_iter().zip(counts) {
            let count = match count {
                Ok(count) => count,
                Err(error) => refused(None, error).map(|_| 0)?,
            };
            if count > group.pending {
                findings.push(retry_states_left(stream, group, count));
            }
        }
        Ok(())
    }

    /// Whether messages are taken over again and again, and no attempt ends: their lease is shorter than their handling, or their
    /// processes die.
    pub(super) async fn check_leases(
        &self,
        overview: &Overview,
        known: &Known,
        findings: &mut Vec<Finding>,
    ) -> EngineResult<()> {
        let lease = known.reclaim.unwrap_or(self.stale_after / 2);
        let engine = self.streamer.engine();
        let groups = overview.groups().filter_map(|(stream, group)| {
            let oldest = group.oldest_pending.as_ref()?;
            (oldest.deliveries > 1).then_some((stream, group, oldest))
        });
        let states = groups.take(GROUPS).map(|(stream, group, oldest)| async move {
            let name = StreamName::from(&stream.name);
            let state = engine.retry_state(&name, &group.name, oldest.id).await;
            (stream, group, oldest, state)
        });
        // Collected first: a task that holds the closure instead could not be spawned.
        let mut states = stream::iter(states.collect::<Vec<_>>()).buffered(AT_ONCE);
        while let Some((stream, group, oldest, state)) = states.next().await {
            // With a state an attempt has ended, with a failure.
            let has_state = match state {
                Ok(state) => state.is_some(),
                Err(error) => refused(None, error).map(|_| true)?,
            };
            if !has_state {
                findings.push(cut_off(stream, group, oldest, lease));
            }
        }
        Ok(())
    }
}

fn cut_off(stream: &StreamOverview, group: &GroupOverview, oldest: &OldestPending, lease: Duration) -> Finding {
    let found = format!(
        "message {} was delivered {} times and no attempt has ended; {} has it, and the reclaim time is {}",
        oldest.id,
        oldest.deliveries,
        oldest.consumer,
        duration(ms(lease))
    );
    let subject = format!("group {} of stream {}", group.name, stream.name);
    let (stream, group) = (word(&stream.name), word(&group.name));
    Finding::new("attempts_cut_off", Importance::Warning, subject, found)
        .meaning(
            "Its processes ended while they handled it; or it takes longer than the reclaim time and nobody renews its lease (a \
             listener that blocks its runtime, another program), so that others take it over and it is handled twice.",
        )
        .fix(format!(
            "streamer show {stream} {}; where handling takes long: streamer listen {stream} --group {group} --reclaim 10m",
            oldest.id
        ))
}

fn check_owners(found: &[Bytes], overview: &Overview, findings: &mut Vec<Finding>) {
    let mut owned = BTreeSet::new();
    for stream in &overview.streams {
        let name = StreamName::from(&stream.name);
        // It may be a stream that is named like this.
        owned.insert(stream.name.clone());
        owned.insert(keys::handled(&name, None));
        for group in &stream.groups {
            owned.insert(keys::handled(&name, Some(&group.name)));
            owned.insert(keys::retry_states(&name, &group.name));
            owned.insert(keys::old_retry_states(&name, &group.name));
        }
    }
    let orphans = found.iter().map(|key| lossy(key)).filter(|key| !owned.contains(&**key));
    let orphans = orphans.collect::<Vec<_>>();
    if orphans.is_empty() {
        return;
    }
    let named = orphans.iter().take(NAMED).map(|key| key.escape_debug().to_string());
    let more = if orphans.len() > NAMED { ", …" } else { "" };
    let found = format!(
        "{} beside streams belong to a stream or a group that is not there: {}{more}",
        counted(orphans.len() as u64, "key"),
        named.collect::<Vec<_>>().join(", ")
    );
    findings.push(
        Finding::new("keys_without_owner", Importance::Notice, "store", found)
            .meaning(
                "What was kept for it takes memory. On Redis it expires 30 days after its last change (what earlier versions \
                 wrote does not); in a SQLite file it goes when another group of the stream is listened in.",
            )
            .fix(format!(
                "nothing has to be done; to remove one on Redis at once: redis-cli UNLINK {}",
                word(&orphans[0])
            )),
    );
}

fn retry_states_left(stream: &StreamOverview, group: &GroupOverview, count: u64) -> Finding {
    let found = format!(
        "{} kept, and {} pending",
        counted(count, "retry state"),
        counted(group.pending, "message")
    );
    let subject = format!("group {} of stream {}", group.name, stream.name);
    Finding::new("retry_states_left", Importance::Notice, subject, found)
        .meaning("Some of them are about messages that are not pending any more, and nobody is alive who removes them.")
        .fix(format!(
            "a listener of the group removes them: streamer listen {} --group {}; otherwise they expire",
            word(&stream.name),
            word(&group.name)
        ))
}
