//! All streams and groups at one moment.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use super::{Inspect, Lag, age_ms, lag, ms};
use crate::{
    engine::{
        ConsumerInfo, EngineError, EngineErrorKind, EngineResult, EntriesAfter, FoundStreams, FullGroupInfo,
        ScheduledState, StreamState,
    },
    entry::{EntryId, StreamName, unix_ms},
};

/// How many streams are asked about in one round trip.
const CHUNK: usize = 100;
/// How many round trips are under way at once.
const AT_ONCE: usize = 2;
/// How many entries after a group's position are counted where the server does not know the lag.
const COUNTED: usize = 256;
/// How many messages of the archive and rows of the outbox are counted.
const COUNTED_BESIDE: u64 = 100_000;
/// How many consumers of a group are told, those with the most pending entries first.
const MOST_CONSUMERS: usize = 100;

/// A store at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Overview {
    /// When it was made, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The streams, by name.
    pub streams: Vec<StreamOverview>,
    /// Streams that were named and are not there.
    pub missing: Vec<String>,
    /// What could not be looked at.
    pub refused: Vec<Refused>,
    /// Whether these are all streams of the store; `true` as well when streams were named.
    pub complete: bool,
    /// How many failures are listed; `None` where the user may not look.
    pub failures: Option<u64>,
    /// The archive, if [`Inspect::archive`] named one and it could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveOverview>,
    /// The outbox, if `Inspect::outbox` (a feature of an outbox) named one and it could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outbox: Option<OutboxOverview>,
    /// Everything together.
    pub totals: Totals,
}

/// All streams of an overview together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// How many streams there are.
    pub streams: u64,
    /// How many entries they have.
    pub entries: u64,
    /// How many groups there are.
    pub groups: u64,
    /// How many messages are yet to be delivered, in all groups together.
    pub lag: Lag,
    /// How many messages are pending, in all groups together.
    pub pending: u64,
    /// How many consumers are alive.
    pub alive: u64,
    /// How many consumers are stale.
    pub stale: u64,
    /// How many events wait until they are due ([`ScheduledOverview::waiting`]).
    pub scheduled: u64,
    /// How many of them are due and not on their stream ([`ScheduledOverview::overdue`]).
    pub overdue: u64,
}

/// What could not be looked at, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refused {
    /// The stream; `None` where it is about more than one.
    pub stream: Option<String>,
    /// Why.
    pub error: String,
}

/// An archive at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ArchiveOverview {
    /// Which archive it is, without its password.
    pub location: String,
    /// How many messages it has, counted up to 100,000; `None` where counting them costs as much as reading them (object
    /// stores, and an application's own).
    pub messages: Option<u64>,
    /// Whether these are all.
    pub exact: bool,
}

/// An outbox at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OutboxOverview {
    /// How many rows wait to be published, counted up to 100,000.
    pub waiting: u64,
    /// How many of them are blocked.
    pub blocked: u64,
    /// How long ago the oldest of them was written, in milliseconds; `None` when none waits.
    pub oldest_ms: Option<u64>,
    /// Whether these are all.
    pub exact: bool,
}

/// A stream at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StreamOverview {
    /// Its name; what is not UTF-8 is U+FFFD.
    pub name: String,
    /// How many entries it has.
    pub length: u64,
    /// How many bytes of memory it takes; `None` where the store does not tell (a SQLite file).
    pub bytes: Option<u64>,
    /// The ID of its oldest entry.
    pub first_id: Option<EntryId>,
    /// How old that entry is by its ID, in milliseconds; `None` where the ID is no time.
    pub first_age_ms: Option<u64>,
    /// The greatest ID that it ever gave; that entry may be gone.
    pub last_id: EntryId,
    /// How long ago that was, in milliseconds; `None` for a stream that never had an entry.
    pub last_age_ms: Option<u64>,
    /// How many entries were ever appended; `None` before Redis 7.0.
    pub entries_added: Option<u64>,
    /// Its groups, by name.
    pub groups: Vec<GroupOverview>,
    /// The events that wait until they are due; `None` where the user may not look. Redis has no stream before its first
    /// entry; one that only has events for later is found all the same, with the length 0.
    pub scheduled: Option<ScheduledOverview>,
}

/// The events of one name that were emitted for later ([`EmitOptions::deliver_at`](crate::EmitOptions::deliver_at)), at one
/// moment. Commands and views of [`Streamer::scheduled`](crate::Streamer::scheduled) show each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ScheduledOverview {
    /// How many wait; a SQLite file counts up to 10,000.
    pub waiting: u64,
    /// How many of them are due and not on their stream yet. A listening moves them within a second, or one more for each 50
    /// streams that it reads beyond 50.
    pub overdue: u64,
    /// Whether these are all.
    pub exact: bool,
    /// When the first of them is due, in milliseconds since the Unix epoch; `None` when none waits.
    pub next_due_ms: Option<u64>,
    /// For how long the first of them has been due, by the store's clock, in milliseconds; `None` when none is.
    pub overdue_ms: Option<u64>,
}

/// A group at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupOverview {
    /// Its name.
    pub name: String,
    /// The last ID that it was delivered.
    pub last_delivered_id: EntryId,
    /// How many messages it has yet to be delivered.
    pub lag: Lag,
    /// How long the first of these has been waiting by its ID, in milliseconds; `None` where none waits or that is unknown.
    pub lag_ms: Option<u64>,
    /// How many messages left the stream (by a trim or a deletion) before the group was delivered them; `None` where the
    /// store does not tell.
    pub missed: Option<u64>,
    /// How many entries it was delivered; `None` where the store does not tell.
    pub entries_read: Option<u64>,
    /// How many entries are pending.
    pub pending: u64,
    /// The pending entry with the smallest ID.
    pub oldest_pending: Option<OldestPending>,
    /// How many consumers were active lately.
    pub alive: u64,
    /// How many consumers were not.
    pub stale: u64,
    /// Its consumers, those with the most pending entries first, at most 100.
    pub consumers: Vec<ConsumerOverview>,
}

/// The pending entry of a group with the smallest ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OldestPending {
    /// Its ID.
    pub id: EntryId,
    /// The consumer that has it.
    pub consumer: String,
    /// How old it is by its ID, in milliseconds; `None` where the ID is no time.
    pub age_ms: Option<u64>,
    /// How long ago it was delivered, or its lease renewed, in milliseconds.
    pub idle_ms: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// A consumer at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConsumerOverview {
    /// Its name.
    pub name: String,
    /// How many entries are pending with it.
    pub pending: u64,
    /// How long ago it last did something, in milliseconds.
    pub idle_ms: u64,
    /// Whether that was lately ([`Inspect::stale_after`]). The process of a stale consumer has ended, or stands still.
    pub alive: bool,
}

impl ScheduledOverview {
    fn of(state: &ScheduledState, now_ms: u64) -> Self {
        let next_due_ms = state.first.map(|first| first.ms);
        Self {
            waiting: state.waiting,
            overdue: state.overdue,
            exact: !state.is_part,
            next_due_ms,
            overdue_ms: next_due_ms.and_then(|due| now_ms.checked_sub(due)),
        }
    }
}

impl GroupOverview {
    /// Whether messages wait or are pending and no consumer was active lately.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.alive == 0 && (self.pending > 0 || self.lag != Lag::Exact(0))
    }
}

impl Overview {
    /// A stream by its name.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<&StreamOverview> {
        self.streams.iter().find(|stream| stream.name == name)
    }

    /// All groups, each with its stream.
    pub fn groups(&self) -> impl Iterator<Item = (&StreamOverview, &GroupOverview)> {
        self.streams
            .iter()
            .flat_map(|stream| stream.groups.iter().map(move |group| (stream, group)))
    }
}

impl Inspect {
    /// The streams and groups as they are now.
    ///
    /// The numbers of one stream are of one moment; those of different streams are a few milliseconds apart.
    ///
    /// # Errors
    ///
    /// The engine's when the store cannot be used at all. What the user may not look at is in [`Overview::refused`].
    pub async fn overview(&self) -> EngineResult<Overview> {
        let Names {
            names,
            complete,
            refused: not_found,
        } = self.names().await?;
        let mut overview = Overview {
            at_ms: unix_ms(),
            complete,
            refused: not_found.into_iter().collect(),
            ..Overview::default()
        };
        let engine = self.streamer.engine();
        let chunks = names.chunks(CHUNK).map(|chunk| async move {
            let mut states = Vec::with_capacity(chunk.len());
            let mut behind = BTreeSet::new();
            for (name, state) in chunk.iter().zip(engine.stream_states(chunk).await) {
                if let Ok(Some(state)) = &state {
                    behind.extend(positions(name, state));
                }
                states.push((name, state));
            }
            let (unknown, known): (Vec<_>, Vec<_>) = behind.into_iter().partition(|(_, _, counted)| *counted);
            let mut after = BTreeMap::new();
            for (most, wanted) in [(1, known), (COUNTED, unknown)] {
                let wanted = wanted.into_iter().map(|(name, at, _)| (name, at)).collect::<Vec<_>>();
                for chunk in wanted.chunks(CHUNK) {
                    let found = engine.entries_after(chunk, most).await;
                    let found = chunk.iter().cloned().zip(found);
                    after.extend(found.filter_map(|(position, found)| Some((position, found.ok()?))));
                }
            }
            (states, after)
        });
        // Collected first: a task that holds the closure instead could not be spawned.
        let mut chunks = stream::iter(chunks.collect::<Vec<_>>()).buffered(AT_ONCE);
        while let Some((states, after)) = chunks.next().await {
            for (name, state) in states {
                match state {
                    Ok(Some(state)) => overview.streams.push(self.stream_overview(name, &state, &after)),
                    Ok(None) if self.is_named(name) => overview.missing.push(name.to_string()),
                    // It was there a moment ago.
                    Ok(None) => {}
                    Err(error) => overview.refused.push(refused(Some(name), error)?),
                }
            }
        }
        match engine.count_failures().await {
            Ok(failures) => overview.failures = Some(failures),
            Err(error) => overview.refused.push(refused(None, error)?),
        }
        self.look_beside(&mut overview).await;
        overview.totals = totals(&overview);
        Ok(overview)
    }

    /// The archive and the outbox: other stores, whose trouble must not hide what this one has.
    async fn look_beside(&self, overview: &mut Overview) {
        let mut trouble = |error: String| overview.refused.push(Refused { stream: None, error });
        if let Some(archive) = &self.archive {
            match archive.count(COUNTED_BESIDE + 1).await {
                Ok(count) => {
                    overview.archive = Some(ArchiveOverview {
                        location: archive.location().to_owned(),
                        messages: count.map(|count| count.min(COUNTED_BESIDE)),
                        exact: count.is_some_and(|count| count <= COUNTED_BESIDE),
                    });
                }
                Err(error) => trouble(error.to_string()),
            }
        }
        #[cfg(feature = "outbox-relay")]
        if let Some(outbox) = &self.outbox {
            match outbox.backlog(COUNTED_BESIDE).await {
                Ok(backlog) => {
                    overview.outbox = Some(OutboxOverview {
                        waiting: backlog.waiting,
                        blocked: backlog.blocked,
                        oldest_ms: backlog.oldest_ms,
                        exact: backlog.exact,
                    });
                }
                Err(error) => trouble(error.to_string()),
            }
        }
    }

    /// The streams that are looked at, and whether these are all.
    pub(super) async fn names(&self) -> EngineResult<Names> {
        let mut found = Names {
            names: self.streams.clone().unwrap_or_default(),
            complete: true,
            refused: None,
        };
        if self.streams.is_none() {
            let engine = self.streamer.engine();
            // On Redis a stream that waits for its first event is no stream yet.
            let (streams, scheduled) = tokio::join!(
                engine.find_streams(self.most_streams),
                engine.find_scheduled(self.most_streams)
            );
            for looked in [streams, scheduled] {
                match looked {
                    Ok(FoundStreams { names, complete }) => {
                        found.names.extend(names);
                        found.complete &= complete;
                    }
                    // Whoever may not look for one may not look for the other.
                    Err(error) => {
                        found.complete = false;
                        found.refused = Some(refused(None, error)?);
                    }
                }
            }
        }
        found.names.extend(self.also.iter().cloned());
        found.names.sort();
        found.names.dedup();
        found.complete &= found.names.len() <= self.most_streams;
        found.names.truncate(self.most_streams);
        Ok(found)
    }

    /// Whether somebody asked for this stream.
    fn is_named(&self, name: &StreamName) -> bool {
        let mut named = self.streams.iter().flatten().chain(&self.also);
        named.any(|named| named == name)
    }

    fn stream_overview(
        &self,
        name: &StreamName,
        state: &StreamState,
        after: &BTreeMap<(StreamName, EntryId), EntriesAfter>,
    ) -> StreamOverview {
        let groups = state.groups.iter().map(|group| {
            let after = after.get(&(name.clone(), group.group.last_delivered_id)).copied();
            self.group_overview(state, group, after)
        });
        let mut groups = groups.collect::<Vec<_>>();
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        StreamOverview {
            name: name.to_string(),
            length: state.length,
            bytes: state.bytes,
            first_id: state.first_id,
            first_age_ms: state.first_id.and_then(|id| age_ms(id, state.now_ms)),
            last_id: state.last_id,
            last_age_ms: age_ms(state.last_id, state.now_ms),
            entries_added: state.entries_added,
            groups,
            scheduled: state
                .scheduled
                .map(|scheduled| ScheduledOverview::of(&scheduled, state.now_ms)),
        }
    }

    fn group_overview(&self, state: &StreamState, full: &FullGroupInfo, after: Option<EntriesAfter>) -> GroupOverview {
        let group = &full.group;
        let lag = match (lag::by_numbers(state, group), after) {
            (Some(lag), _) => Lag::Exact(lag),
            (None, Some(EntriesAfter { count: Some(count), .. })) => Lag::Exact(count),
            (None, Some(after)) if after.looked_at > 0 => Lag::AtLeast(after.looked_at),
            (None, _) => Lag::Unknown,
        };
        let first = after.and_then(|after| after.first);
        let stale_after = ms(self.stale_after);
        let consumer = |consumer: &ConsumerInfo| ConsumerOverview {
            name: consumer.name.clone(),
            pending: consumer.pending,
            idle_ms: ms(consumer.idle),
            alive: ms(consumer.idle) <= stale_after,
        };
        let mut consumers = full.consumers.iter().map(consumer).collect::<Vec<_>>();
        let alive = consumers.iter().filter(|consumer| consumer.alive).count() as u64;
        let stale = consumers.len() as u64 - alive;
        consumers.sort_by(|one, other| other.pending.cmp(&one.pending).then_with(|| one.name.cmp(&other.name)));
        consumers.truncate(MOST_CONSUMERS);
        GroupOverview {
            name: group.name.clone(),
            last_delivered_id: group.last_delivered_id,
            lag,
            lag_ms: first
                .filter(|_| lag != Lag::Exact(0))
                .and_then(|id| age_ms(id, state.now_ms)),
            missed: lag::missed(state, group),
            entries_read: group.entries_read,
            pending: group.pending,
            oldest_pending: full.pending.first().map(|pending| OldestPending {
                id: pending.id,
                consumer: pending.consumer.clone(),
                age_ms: age_ms(pending.id, state.now_ms),
                idle_ms: ms(pending.idle),
                deliveries: pending.deliveries,
            }),
            alive,
            stale,
            consumers,
        }
    }
}

/// The streams that are looked at.
pub(super) struct Names {
    pub(super) names: Vec<StreamName>,
    /// Whether these are all.
    pub(super) complete: bool,
    /// Why they could not be looked for.
    pub(super) refused: Option<Refused>,
}

/// The positions of groups that are behind, and whether the entries after them must be counted. Groups at one position share
/// one look.
fn positions(name: &StreamName, state: &StreamState) -> BTreeSet<(StreamName, EntryId, bool)> {
    let behind = state.groups.iter().filter_map(|group| {
        let lag = lag::by_numbers(state, &group.group);
        (lag != Some(0)).then(|| (name.clone(), group.group.last_delivered_id, lag.is_none()))
    });
    behind.collect()
}

/// An error that is about what was asked for; one that is about the store ends the overview.
pub(super) fn refused(stream: Option<&StreamName>, error: EngineError) -> EngineResult<Refused> {
    match error.kind() {
        EngineErrorKind::Connection | EngineErrorKind::Unavailable | EngineErrorKind::Moved => Err(error),
        EngineErrorKind::Closed | EngineErrorKind::Corrupt => Err(error),
        _ => Ok(Refused {
            stream: stream.map(ToString::to_string),
            error: error.to_string(),
        }),
    }
}

fn totals(overview: &Overview) -> Totals {
    let mut totals = Totals {
        streams: overview.streams.len() as u64,
        lag: Lag::Exact(0),
        ..Totals::default()
    };
    for stream in &overview.streams {
        totals.entries += stream.length;
        totals.groups += stream.groups.len() as u64;
        if let Some(scheduled) = &stream.scheduled {
            totals.scheduled += scheduled.waiting;
            totals.overdue += scheduled.overdue;
        }
        for group in &stream.groups {
            totals.lag = totals.lag.plus(group.lag);
            totals.pending += group.pending;
            totals.alive += group.alive;
            totals.stale += group.stale;
        }
    }
    totals
}
