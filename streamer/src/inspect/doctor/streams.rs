//! Checks of streams, groups, consumers and failures.

use futures_util::{StreamExt as _, stream};

use super::{Finding, Importance, Known, LookedAt, counted, duration, word};
use crate::{
    engine::EngineResult,
    entry::{RangeBound, StreamName},
    inspect::{GroupOverview, Inspect, Lag, OldestPending, Overview, StreamOverview},
    message::ReceivedMessage,
};

/// A group is late when a message has been waiting for so long.
const LATE_MS: u64 = 5 * 60 * 1000;
/// What has been idle for so long should have been claimed by another consumer, or is being handled for very long.
const NOT_TAKEN_OVER_MS: u64 = 15 * 60 * 1000;
/// The age of a message and its idle time are by two clocks where its emitter chose the ID.
const CLOCKS_MS: u64 = 60 * 1000;
/// So many streams are looked into.
const STREAMS: usize = 100;
/// The newest so many entries of each.
const ENTRIES: usize = 10;
/// How many of these streams are read at once.
const AT_ONCE: usize = 8;
/// So many members of the failed list are looked at.
const FAILURES: u64 = 10_000;

impl Inspect {
    /// Tells how many entries and how many failures were looked at.
    pub(super) async fn check_streams(
        &self,
        overview: &Overview,
        known: &Known,
        findings: &mut Vec<Finding>,
    ) -> EngineResult<[LookedAt; 2]> {
        if !overview.complete {
            findings.push(
                Finding::new(
                    "not_all_streams",
                    Importance::Notice,
                    "store",
                    "not all streams were looked at",
                )
                .meaning("The store has very many keys or streams, or this user may not look for them: what follows is about a part of them.")
                .fix("name the streams: streamer doctor STREAM…"),
            );
        }
        for refused in &overview.refused {
            let subject = refused
                .stream
                .as_ref()
                .map_or_else(|| "store".to_owned(), |name| format!("stream {name}"));
            findings.push(
                Finding::new("not_allowed", Importance::Warning, subject, refused.error.clone())
                    .meaning("This could not be looked at, so it may be wrong without a finding.")
                    .fix("give the user the right to read it, or correct the name"),
            );
        }
        for (stream, group) in overview.groups() {
            check_group(stream, group, findings);
        }
        check_listeners(overview, known, findings);
        let entries = self.check_entries(overview, findings).await;
        Ok([entries, self.check_failures(overview, findings).await?])
    }

    /// Whether the newest entries can be decoded.
    async fn check_entries(&self, overview: &Overview, findings: &mut Vec<Finding>) -> LookedAt {
        let engine = self.streamer.engine();
        let newest = overview.streams.iter().take(STREAMS).map(|stream| async move {
            let name = StreamName::from(&stream.name);
            let all = RangeBound::Unbounded;
            // What cannot be read was told above.
            let entries = engine
                .range(&name, all, all, Some(ENTRIES), true)
                .await
                .unwrap_or_default();
            let read = entries.len() as u64;
            let broken = entries.into_iter().filter_map(|entry| {
                let message = ReceivedMessage::new(name.clone(), entry, 1);
                message.check().err().map(|error| (message.id(), error))
            });
            (stream, read, broken.collect::<Vec<_>>())
        });
        // Collected first: a task that holds the closure instead could not be spawned.
        let mut newest = stream::iter(newest.collect::<Vec<_>>()).buffered(AT_ONCE);
        let mut looked_at = 0;
        while let Some((stream, read, broken)) = newest.next().await {
            looked_at += read;
            let Some((id, error)) = broken.first() else { continue };
            let found = format!(
                "{} of the newest {read} cannot be decoded: {error}",
                entries(broken.len() as u64)
            );
            findings.push(
                Finding::new(
                    "undecodable_entries",
                    Importance::Warning,
                    format!("stream {}", stream.name),
                    found,
                )
                .meaning("Listeners do not get such entries: they are listed as failed.")
                .fix(format!("streamer show {} {id}", word(&stream.name))),
            );
        }
        let of = overview.complete.then_some(overview.totals.entries);
        LookedAt::new("newest entries", looked_at, of)
    }

    async fn check_failures(&self, overview: &Overview, findings: &mut Vec<Finding>) -> EngineResult<LookedAt> {
        if overview.failures.is_none_or(|failures| failures == 0) {
            return Ok(LookedAt::new("failures", 0, overview.failures));
        }
        let sample = self.failures(FAILURES).await?;
        let most = sample.summary.kinds.first();
        let most = most.map_or_else(String::new, |kind| {
            let listener = format!("listener {} on stream {}", kind.receiver, kind.stream);
            format!("; most often {listener}: {}", kind.error)
        });
        let found = format!("{} listed{most}", counted(sample.listed, "failure"));
        findings.push(
            Finding::new("failures_listed", Importance::Warning, "failed list", found)
                .meaning("Listeners gave these messages up; nobody handles them until they are retried.")
                .fix("streamer failed list --summary, then streamer failed retry --all"),
        );
        let looked_at = sample.summary.count + sample.summary.unreadable;
        // A member that the store gave twice was counted twice.
        let (looked_at, of) = match sample.complete {
            true => (sample.listed, sample.listed),
            false => (looked_at.min(sample.listed), sample.listed),
        };
        Ok(LookedAt::new("failures", looked_at, Some(of)))
    }
}

/// A consumer that ends releases what it had not begun: it makes the message idle for so long that everybody may claim it.
/// That says nothing about how long the message has been waiting, which cannot be longer than it exists.
fn is_released(oldest: &OldestPending) -> bool {
    oldest
        .age_ms
        .is_some_and(|age| oldest.idle_ms > age.saturating_add(CLOCKS_MS))
}

fn untouched_for_ms(oldest: &OldestPending) -> u64 {
    match oldest.age_ms {
        Some(age) if is_released(oldest) => age,
        _ => oldest.idle_ms,
    }
}

fn check_group(stream: &StreamOverview, group: &GroupOverview, findings: &mut Vec<Finding>) {
    let subject = || format!("group {} of stream {}", group.name, stream.name);
    let (stream_word, group_word) = (word(&stream.name), word(&group.name));
    let waits = match group.lag {
        Lag::Exact(lag) => counted(lag, "message"),
        Lag::AtLeast(lag) => format!("at least {}", counted(lag, "message")),
        Lag::Unknown => "an unknown number of messages".to_owned(),
    };
    let since = group
        .lag_ms
        .map_or_else(String::new, |ms| format!(", the first since {}", duration(ms)));
    if group.is_abandoned() {
        let found = format!(
            "nobody is alive; {waits} not delivered{since}, {} pending",
            group.pending
        );
        findings.push(
            Finding::new("group_abandoned", Importance::Critical, subject(), found)
                .meaning("The group has work and no consumer that was active lately: its messages are not handled.")
                .fix(format!("start its listener: streamer listen {stream_word} --group {group_word}; if nobody needs the group: streamer group delete {stream_word} {group_word}")),
        );
    } else if group.lag_ms.is_some_and(|ms| ms > LATE_MS) {
        findings.push(
            Finding::new(
                "group_behind",
                Importance::Warning,
                subject(),
                format!("{waits} not delivered{since}"),
            )
            .meaning("Its consumers are alive and do not keep up.")
            .fix(format!(
                "streamer listen {stream_word} --group {group_word} --workers 8, or more processes (docs/scale-out.md)"
            )),
        );
    }
    if group.lag == Lag::Unknown {
        findings.push(
            Finding::new(
                "lag_unknown",
                Importance::Notice,
                subject(),
                "the store does not tell how far it is behind",
            )
            .meaning("Entries ahead of the group were deleted, and they could not be counted.")
            .fix("the lag is known again once the group has been delivered everything"),
        );
    }
    if let Some(missed) = group.missed.filter(|missed| *missed > 0) {
        let found = format!(
            "{} left the stream before the group was delivered them",
            counted(missed, "message")
        );
        findings.push(
            Finding::new("messages_missed", Importance::Critical, subject(), found)
                .meaning("A trim, a purge or a deletion was faster than the group: it never gets these messages.")
                .fix(format!(
                    "trim later; see whether the archive has them: streamer archive restore --stream {stream_word}"
                )),
        );
    }
    if let Some(oldest) = &group.oldest_pending
        && stream.first_id.is_some_and(|first| oldest.id >= first)
        && untouched_for_ms(oldest) > NOT_TAKEN_OVER_MS
        && group.alive > 0
    {
        let found = match is_released(oldest) {
            true => format!(
                "message {} was released by {}, and nobody took it up",
                oldest.id, oldest.consumer
            ),
            false => format!(
                "message {} is pending with {} and was not touched for {}",
                oldest.id,
                oldest.consumer,
                duration(oldest.idle_ms)
            ),
        };
        findings.push(
            Finding::new("pending_not_taken_over", Importance::Warning, subject(), found)
                .meaning("Consumers are alive, and none takes it over: they run without a reclaim time, or read another way.")
                .fix(format!(
                    "streamer listen {stream_word} --group {group_word} --reclaim 60s"
                )),
        );
    }
    let with_pending = group
        .consumers
        .iter()
        .filter(|consumer| !consumer.alive && consumer.pending > 0);
    if let Some(first) = with_pending
        .max_by_key(|consumer| consumer.pending)
        .filter(|_| group.alive > 0)
    {
        let found = format!(
            "{} stale; {} did nothing for {} and has {} pending",
            counted(group.stale, "consumer"),
            first.name,
            duration(first.idle_ms),
            first.pending
        );
        let consumer = word(&first.name);
        findings.push(
            Finding::new("stale_consumers", Importance::Warning, subject(), found)
                .meaning("Their processes have ended or stand still. Other consumers take over after the reclaim time.")
                .fix(format!(
                    "streamer consumer delete {stream_word} {group_word} {consumer} --transfer-to CONSUMER"
                )),
        );
    } else if group.stale > 0 && !group.is_abandoned() {
        let found = format!("{} stale, with nothing pending", counted(group.stale, "consumer"));
        findings.push(
            Finding::new("stale_consumers", Importance::Notice, subject(), found)
                .meaning("They do no harm. Those with generated names are removed by the listeners of the group.")
                .fix(format!("streamer consumer list {stream_word} {group_word}")),
        );
    }
}

fn check_listeners(overview: &Overview, known: &Known, findings: &mut Vec<Finding>) {
    for stream in &overview.streams {
        let listened = known.listened.contains(&stream.name);
        if stream.groups.is_empty() && !listened && stream.length > 0 {
            let found = format!(
                "{}, no group and no listener in this configuration",
                entries(stream.length)
            );
            findings.push(
                Finding::new(
                    "nobody_listens",
                    Importance::Notice,
                    format!("stream {}", stream.name),
                    found,
                )
                .meaning("Nothing handles these events, unless a listener without a group runs elsewhere.")
                .fix(format!(
                    "streamer listen {} --group GROUP, or streamer purge",
                    word(&stream.name)
                )),
            );
        }
    }
    for event in &known.listened {
        let is_there = overview.stream(event).is_some();
        let is_unknown = overview
            .refused
            .iter()
            .any(|refused| refused.stream.as_ref() == Some(event));
        if !is_there && !is_unknown && overview.complete {
            findings.push(
                Finding::new(
                    "stream_missing",
                    Importance::Notice,
                    format!("event {event}"),
                    "it has a listener and no stream",
                )
                .meaning("The event was never emitted to this store, or its name is misspelled on one side.")
                .fix("streamer list and streamer status show both sides"),
            );
        }
    }
}

/// `1 entry`, `2 entries`.
fn entries(count: u64) -> String {
    match count {
        1 => "1 entry".to_owned(),
        _ => format!("{count} entries"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryId;

    #[test]
    fn a_message_that_was_released_has_been_left_for_no_longer_than_it_exists() {
        let pending = |age_ms, idle_ms| OldestPending {
            id: EntryId::new(1, 0),
            consumer: "c".to_owned(),
            age_ms,
            idle_ms,
            deliveries: 1,
        };
        const MONTH: u64 = 30 * 24 * 60 * 60 * 1000;
        assert_eq!(untouched_for_ms(&pending(Some(1_000), MONTH + 5)), 1_000);
        assert_eq!(untouched_for_ms(&pending(Some(2 * MONTH), MONTH)), MONTH);
        // The ID is no time.
        assert_eq!(untouched_for_ms(&pending(None, MONTH)), MONTH);
        assert!(!is_released(&pending(Some(1_000), 1_001)));
    }
}
