//! Whether what is pending still has its entry.

use futures_util::{StreamExt as _, stream};

use super::{Finding, Importance, LookedAt, counted, word};
use crate::{
    engine::{EngineResult, PendingFilter},
    entry::{EntryId, StreamName},
    inspect::{GroupOverview, Inspect, Overview, StreamOverview, overview::refused},
};

/// Of so many groups the pending entries are looked at, besides those whose oldest one was trimmed away.
const GROUPS: usize = 100;
/// How many of them at once.
const AT_ONCE: usize = 8;
/// So many pending entries of each, the oldest.
const ENTRIES: usize = 20;

impl Inspect {
    /// Tells how many pending entries were looked at.
    pub(super) async fn check_pending(
        &self,
        overview: &Overview,
        findings: &mut Vec<Finding>,
    ) -> EngineResult<LookedAt> {
        let (mut others, mut all) = (Vec::new(), 0);
        for (stream, group) in overview.groups() {
            let Some(oldest) = &group.oldest_pending else { continue };
            // An ID before the first entry: no look is needed.
            if stream.first_id.is_none_or(|first| oldest.id < first) {
                let found = format!(
                    "message {}, the oldest of {} pending, is older than the first entry of the stream; others were not looked at",
                    oldest.id, group.pending
                );
                findings.push(without_entry(stream, group, oldest.id, found));
                all += 1;
            } else if others.len() < GROUPS {
                others.push((stream, group));
            }
        }
        let looks = others.into_iter().map(|(stream, group)| async move {
            let gone = self.gone(&StreamName::from(&stream.name), &group.name).await;
            (stream, group, gone)
        });
        // Collected first: a task that holds the closure instead could not be spawned.
        let mut looks = stream::iter(looks.collect::<Vec<_>>()).buffered(AT_ONCE);
        while let Some((stream, group, gone)) = looks.next().await {
            let (looked_at, gone) = match gone {
                Ok(gone) => gone,
                Err(error) => refused(None, error).map(|_| (0, Vec::new()))?,
            };
            all += looked_at as u64;
            let Some(first) = gone.first() else { continue };
            let found = format!(
                "{} of the oldest {} pending {} no entry on the stream, such as {first}; {}",
                counted(gone.len() as u64, "message"),
                looked_at,
                if gone.len() == 1 { "has" } else { "have" },
                match group.pending.saturating_sub(looked_at as u64) {
                    0 => "these are all".to_owned(),
                    rest => format!("{rest} more were not looked at"),
                }
            );
            findings.push(without_entry(stream, group, *first, found));
        }
        let of = overview.complete.then_some(overview.totals.pending);
        Ok(LookedAt::new("oldest pending entries", all, of))
    }

    /// How many of the oldest pending entries were looked at, and which of them are not on the stream.
    async fn gone(&self, stream: &StreamName, group: &str) -> EngineResult<(usize, Vec<EntryId>)> {
        let engine = self.streamer.engine();
        let oldest = PendingFilter {
            count: ENTRIES,
            ..PendingFilter::default()
        };
        let pending = engine.pending(stream, group, oldest).await?;
        let ids = pending.iter().map(|pending| pending.id).collect::<Vec<_>>();
        let entries = engine.get_many(stream, &ids).await?;
        let gone = ids.iter().zip(entries).filter(|(_, entry)| entry.is_none());
        let gone = gone.map(|(id, _)| *id).collect::<Vec<_>>();
        if gone.is_empty() {
            return Ok((ids.len(), gone));
        }
        // One that was settled and removed between the two looks is pending no more.
        let still = engine.pending(stream, group, oldest).await?;
        let is_pending = |id: &EntryId| still.iter().any(|pending| pending.id == *id);
        Ok((ids.len(), gone.into_iter().filter(is_pending).collect()))
    }
}

fn without_entry(stream: &StreamOverview, group: &GroupOverview, id: EntryId, found: String) -> Finding {
    let subject = format!("group {} of stream {}", group.name, stream.name);
    Finding::new("pending_without_entry", Importance::Warning, subject, found)
        .meaning(
            "It was trimmed or deleted before it was acknowledged: its payload is lost, unless the archive has it.",
        )
        .fix(format!(
            "streamer show {} {id}; a running listener removes it from the pending list",
            word(&stream.name)
        ))
}
