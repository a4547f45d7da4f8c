//! A store in memory whose clock is the test's: groups with pending entries, idle times and counts, as Redis keeps them,
//! and failures before or after the effect of any verb.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

use super::super::in_flight::locked;
use crate::{
    engine::{
        DueEntries, EngineError, EngineErrorKind, EngineResult, EntryEnd, EntrySettlement, GroupStart, GroupStore,
        Interrupter, Joined, Member, Missing, NameUse, NameUser, NameUsers, ReadMode, Reader, Renewal, Scan,
        StreamEntries, TakeRequest, Taken, TakenEntry,
    },
    entry::{Entry, EntryId, StreamName},
};

/// What happens to one call of a verb.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fault {
    /// How long the request, and the answer, takes.
    pub(crate) latency: Duration,
    /// An error instead of the effect.
    pub(crate) before: Option<EngineErrorKind>,
    /// An error although it had its effect.
    pub(crate) after: Option<EngineErrorKind>,
}

type Faults = Box<dyn FnMut(&'static str, &[StreamName]) -> Fault + Send>;
type Watches = Box<dyn FnMut(&StreamName, EntryId, &State) + Send>;

/// The store.
pub(crate) struct MemoryStore {
    pub(crate) state: Mutex<State>,
    changed: watch::Sender<u64>,
    faults: Mutex<Option<Faults>>,
    /// Called for every entry that is acknowledged and is on its stream.
    on_acknowledge: Mutex<Option<Watches>>,
    /// Whether each stream is a shard of its own.
    pub(crate) is_cluster: bool,
    epoch: Instant,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) streams: BTreeMap<StreamName, Stream>,
    /// Members of the failed list.
    pub(crate) failed: BTreeSet<Bytes>,
    /// Who uses the name of a consumer, by stream, group and name, and until when its mark is valid.
    pub(crate) users: BTreeMap<(StreamName, String, String), BTreeMap<NameUser, u64>>,
    /// What each verb did, if somebody wants to know.
    pub(crate) notes: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    pub(crate) entries: BTreeMap<EntryId, Entry>,
    pub(crate) last_id: EntryId,
    pub(crate) groups: BTreeMap<String, Group>,
    /// The kind of error that every use of it gives.
    pub(crate) broken: Option<EngineErrorKind>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) last_delivered: EntryId,
    pub(crate) pending: BTreeMap<EntryId, Pending>,
    /// When each consumer did something last.
    pub(crate) consumers: BTreeMap<String, u64>,
    pub(crate) retry_states: BTreeMap<EntryId, Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) consumer: String,
    /// The instant from which its idle time counts.
    pub(crate) since: u64,
    pub(crate) count: u64,
    /// Whether the consumer knows of it: a reply that named it has arrived.
    pub(crate) told: bool,
}

/// So that idle times of more than the age of the store can be set.
const BEFORE_EPOCH: u64 = 30 * 24 * 3600 * 1000;

fn error(kind: EngineErrorKind, verb: &str) -> EngineError {
    EngineError::new(kind, format!("{verb} in memory"), format!("{kind:?}"))
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            faults: Mutex::default(),
            on_acknowledge: Mutex::default(),
            is_cluster: false,
            epoch: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        BEFORE_EPOCH + self.epoch.elapsed().as_millis() as u64
    }

    /// A consumer knows of these, if they are still pending with it.
    fn tell(&self, stream: &StreamName, group: &str, consumer: &str, ids: impl Iterator<Item = EntryId>) {
        let mut state = locked(&self.state);
        let Some(group) = state
            .streams
            .get_mut(stream)
            .and_then(|stream| stream.groups.get_mut(group))
        else {
            return;
        };
        for id in ids {
            if let Some(pending) = group
                .pending
                .get_mut(&id)
                .filter(|pending| pending.consumer == consumer)
            {
                pending.told = true;
            }
        }
    }

    pub(crate) fn inject(&self, faults: impl FnMut(&'static str, &[StreamName]) -> Fault + Send + 'static) {
        *locked(&self.faults) = Some(Box::new(faults));
    }

    pub(crate) fn inject_nothing(&self) {
        *locked(&self.faults) = None;
    }

    pub(crate) fn on_acknowledge(&self, watches: impl FnMut(&StreamName, EntryId, &State) + Send + 'static) {
        *locked(&self.on_acknowledge) = Some(Box::new(watches));
    }

    /// Changes something as an operator would.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut locked(&self.state));
        self.changed.send_modify(|version| *version += 1);
        changed
    }

    pub(crate) fn append(&self, stream: &str, text: &str) -> EntryId {
        let ms = self.now();
        self.change(|state| {
            let stream = state.streams.entry(stream.into()).or_default();
            let id = EntryId::new(ms, 0).max(stream.last_id.next().expect("an ID"));
            stream.last_id = id;
            let fields = vec![("data".into(), Bytes::copy_from_slice(text.as_bytes()))];
            stream.entries.insert(id, Entry { id, fields });
            id
        })
    }

    /// What is pending in the only group of a stream.
    pub(crate) fn pending(&self, stream: &str) -> BTreeMap<EntryId, Pending> {
        let state = locked(&self.state);
        let groups = state
            .streams
            .get(&StreamName::from(stream))
            .map(|stream| &stream.groups);
        groups
            .and_then(|groups| groups.values().next())
            .map(|group| group.pending.clone())
            .unwrap_or_default()
    }

    /// Runs a verb on each of some streams.
    async fn each<Q, T>(
        &self,
        verb: &'static str,
        who: &str,
        requests: &[Q],
        name: impl Fn(&Q) -> &StreamName,
        mut effect: impl FnMut(&mut State, &Q) -> EngineResult<T> + Send,
    ) -> Vec<EngineResult<T>>
    where
        Q: Sync + std::fmt::Debug,
        T: Send + std::fmt::Debug,
    {
        let names = requests.iter().map(|request| name(request).clone()).collect::<Vec<_>>();
        let fault = match &mut *locked(&self.faults) {
            Some(faults) => faults(verb, &names),
            None => Fault::default(),
        };
        tokio::time::sleep(fault.latency).await;
        if let Some(kind) = fault.before {
            return requests.iter().map(|_| Err(error(kind, verb))).collect();
        }
        let answers = {
            let mut state = locked(&self.state);
            let mut answers = Vec::new();
            let now = self.now();
            for request in requests {
                let broken = state.streams.get(name(request)).and_then(|stream| stream.broken);
                let answer = match broken {
                    Some(kind) => Err(error(kind, verb)),
                    None => effect(&mut state, request),
                };
                state.note(|| format!("{now} {who} {verb} {request:?} -> {answer:?}"));
                answers.push(answer);
            }
            answers
        };
        self.changed.send_modify(|version| *version += 1);
        tokio::time::sleep(fault.latency).await;
        match fault.after {
            Some(kind) => requests.iter().map(|_| Err(error(kind, verb))).collect(),
            None => answers,
        }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl State {
    /// What happened, for the reader of a seed that failed.
    fn note(&mut self, what: impl Fn() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(what());
        }
    }

    fn group(
        &mut self,
        stream: &StreamName,
        group: &str,
        verb: &str,
    ) -> EngineResult<(&BTreeMap<EntryId, Entry>, &mut Group)> {
        let stream = self.streams.get_mut(stream);
        let stream = stream.ok_or_else(|| error(EngineErrorKind::NoGroup, verb))?;
        let group = stream.groups.get_mut(group);
        let group = group.ok_or_else(|| error(EngineErrorKind::NoGroup, verb))?;
        Ok((&stream.entries, group))
    }
}

#[async_trait]
impl NameUsers for Arc<MemoryStore> {
    async fn use_name(
        &self,
        member: &Member,
        user: &NameUser,
        streams: &[StreamName],
        lease: Duration,
    ) -> Vec<EngineResult<NameUse>> {
        self.each(
            "use name",
            &member.consumer,
            streams,
            |name| name,
            |state, name| {
                let now = self.now();
                let key = (name.clone(), member.group.clone(), member.consumer.clone());
                let users = state.users.entry(key).or_default();
                users.retain(|other, until| *until >= now && other.token != user.token);
                if lease.is_zero() {
                    return Ok(NameUse::default());
                }
                let others = users.iter().map(|(other, until)| (other.clone(), *until)).collect();
                let since_ms = if user.since_ms == 0 { now } else { user.since_ms };
                let token = user.token.clone();
                users.insert(NameUser { since_ms, token }, now + lease.as_millis() as u64);
                Ok(NameUse { since_ms, others })
            },
        )
        .await
    }
}

#[async_trait]
impl GroupStore for Arc<MemoryStore> {
    fn shards(&self, streams: &[StreamName]) -> Vec<Vec<usize>> {
        match self.is_cluster {
            true => (0..streams.len()).map(|stream| vec![stream]).collect(),
            false => vec![(0..streams.len()).collect()],
        }
    }

    async fn reader(&self, mode: ReadMode) -> EngineResult<Box<dyn Reader>> {
        let connected = self
            .each("connect", "", &[StreamName::from("")], |name| name, |_, _| Ok(()))
            .await;
        connected.into_iter().collect::<EngineResult<Vec<()>>>()?;
        Ok(Box::new(MemoryReader {
            store: self.clone(),
            mode,
            interrupts: watch::Sender::new(()),
        }))
    }

    async fn last_ids(&self, streams: &[StreamName]) -> Vec<EngineResult<EntryId>> {
        self.each(
            "last_ids",
            "",
            streams,
            |name| name,
            |state, name| Ok(state.streams.get(name).map(|stream| stream.last_id).unwrap_or_default()),
        )
        .await
    }

    async fn join(&self, member: &Member, streams: &[(StreamName, GroupStart)]) -> Vec<EngineResult<Joined>> {
        self.each(
            "join",
            &member.consumer,
            streams,
            |(name, _)| name,
            |state, (name, start)| {
                let now = self.now();
                let stream = state.streams.entry(name.clone()).or_default();
                let created = !stream.groups.contains_key(&member.group);
                let group = stream.groups.entry(member.group.clone()).or_insert_with(|| Group {
                    last_delivered: match start {
                        GroupStart::After(id) => *id,
                        GroupStart::Now => stream.last_id,
                    },
                    ..Group::default()
                });
                group.consumers.entry(member.consumer.clone()).or_insert(now);
                Ok(Joined {
                    created,
                    last_delivered_id: group.last_delivered,
                })
            },
        )
        .await
    }

    async fn consumer_idle(&self, member: &Member, streams: &[StreamName]) -> Vec<EngineResult<Option<Duration>>> {
        self.each(
            "consumer_idle",
            &member.consumer,
            streams,
            |name| name,
            |state, name| {
                let now = self.now();
                let (_, group) = state.group(name, &member.group, "consumer_idle")?;
                let since = group.consumers.get(&member.consumer);
                Ok(since.map(|since| Duration::from_millis(now - since)))
            },
        )
        .await
    }

    async fn take(
        &self,
        member: &Member,
        scan: Scan,
        requests: &[TakeRequest],
        count: usize,
    ) -> Vec<EngineResult<Taken>> {
        let verb = match scan {
            Scan::Own => "take own",
            Scan::Idle(_) => "take idle",
        };
        let all = self.each(
            verb,
            &member.consumer,
            requests,
            |request| &request.stream,
            |state, request| {
                let now = self.now();
                let (entries, group) = state.group(&request.stream, &member.group, verb)?;
                group.consumers.insert(member.consumer.clone(), now);
                let mut taken = Taken::default();
                let mut ids = group.pending.range(request.from..).filter(|(_, pending)| match scan {
                    Scan::Own => pending.consumer == member.consumer,
                    Scan::Idle(idle) => now.saturating_sub(pending.since) >= idle.as_millis() as u64,
                });
                let some = ids.by_ref().take(count).map(|(id, _)| *id).collect::<Vec<_>>();
                taken.next = ids.next().map(|(id, _)| *id);
                for id in some {
                    let Some(entry) = entries.get(&id) else {
                        group.pending.remove(&id);
                        taken.gone.push(id);
                        continue;
                    };
                    let pending = group.pending.get_mut(&id).expect("pending");
                    let count_before = pending.count;
                    pending.told &= pending.consumer == member.consumer;
                    pending.consumer.clone_from(&member.consumer);
                    pending.since = now;
                    pending.count += u64::from(count_before < 2);
                    taken.entries.push(TakenEntry {
                        entry: entry.clone(),
                        count_before,
                        retry_state: group.retry_states.get(&id).cloned(),
                    });
                }
                Ok(taken)
            },
        );
        let all = all.await;
        for (request, taken) in requests.iter().zip(&all) {
            let ids = taken
                .iter()
                .flat_map(|taken| &taken.entries)
                .map(|taken| taken.entry.id);
            self.tell(&request.stream, &member.group, &member.consumer, ids);
        }
        all
    }

    async fn take_due(&self, member: &Member, due: &[DueEntries]) -> Vec<EngineResult<Taken>> {
        self.each(
            "take_due",
            &member.consumer,
            due,
            |due| &due.stream,
            |state, due| {
                let now = self.now();
                let (entries, group) = state.group(&due.stream, &member.group, "take_due")?;
                let mut taken = Taken::default();
                for id in &due.ids {
                    let Some(pending) = group.pending.get_mut(id) else {
                        continue;
                    };
                    if pending.consumer != member.consumer {
                        continue;
                    }
                    let Some(entry) = entries.get(id) else {
                        group.pending.remove(id);
                        taken.gone.push(*id);
                        continue;
                    };
                    let count_before = pending.count;
                    pending.count += 1;
                    pending.since = now;
                    taken.entries.push(TakenEntry {
                        entry: entry.clone(),
                        count_before,
                        retry_state: group.retry_states.get(id).cloned(),
                    });
                }
                Ok(taken)
            },
        )
        .await
    }

    async fn renew(&self, member: &Member, leases: &[(StreamName, Vec<EntryId>)]) -> Vec<EngineResult<Renewal>> {
        self.each(
            "renew",
            &member.consumer,
            leases,
            |(name, _)| name,
            |state, (name, ids)| {
                let now = self.now();
                let (entries, group) = state.group(name, &member.group, "renew")?;
                let mut renewal = Renewal::default();
                for id in ids {
                    let on_stream = entries.contains_key(id);
                    match group.pending.get_mut(id) {
                        // As Redis 7 does.
                        Some(pending) if pending.consumer == member.consumer && !on_stream => {
                            group.pending.remove(id);
                            renewal.missing.push((*id, Missing::Gone));
                        }
                        Some(pending) if pending.consumer == member.consumer => {
                            pending.since = now;
                            if pending.count > 1 {
                                renewal.counts.push((*id, pending.count));
                            }
                        }
                        Some(_) => renewal.missing.push((*id, Missing::Claimed)),
                        None if on_stream => renewal.missing.push((*id, Missing::Unowned)),
                        None => renewal.missing.push((*id, Missing::Gone)),
                    }
                }
                if let (Some(first), Some(last)) = (ids.first(), ids.last()) {
                    let own = group.pending.range(*first..=*last);
                    let own = own.filter(|(id, pending)| pending.consumer == member.consumer && !ids.contains(id));
                    renewal.strangers = own.map(|(id, _)| *id).collect();
                }
                if !renewal.missing.is_empty() {
                    renewal.last_delivered_id = group.last_delivered;
                    renewal.consumer_was_missing = group.consumers.insert(member.consumer.clone(), now).is_none();
                }
                Ok(renewal)
            },
        )
        .await
    }

    async fn adopt(&self, member: &Member, entries: &[(StreamName, Vec<(EntryId, u64)>)]) -> Vec<EngineResult<()>> {
        self.each(
            "adopt",
            &member.consumer,
            entries,
            |(name, _)| name,
            |state, (name, orphans)| {
                let now = self.now();
                let (entries, group) = state.group(name, &member.group, "adopt")?;
                for (id, count) in orphans {
                    if entries.contains_key(id) {
                        group.pending.entry(*id).or_insert_with(|| Pending {
                            consumer: member.consumer.clone(),
                            since: now,
                            count: *count,
                            told: true,
                        });
                    }
                }
                Ok(())
            },
        )
        .await
    }

    async fn begin(&self, member: &Member, stream: &StreamName, id: EntryId, count: u64) -> EngineResult<bool> {
        let stream = [stream.clone()];
        let answer = self.each(
            "begin",
            &member.consumer,
            &stream,
            |name| name,
            |state, name| {
                let now = self.now();
                let (_, group) = state.group(name, &member.group, "begin")?;
                let Some(pending) = group.pending.get_mut(&id) else {
                    return Ok(false);
                };
                let ours = pending.consumer == member.consumer;
                if ours {
                    pending.count = count;
                    pending.since = now;
                }
                Ok(ours)
            },
        );
        answer.await.into_iter().next().expect("an answer")
    }

    async fn settle(
        &self,
        member: Option<&Member>,
        settlements: &[(StreamName, Vec<EntrySettlement>)],
    ) -> Vec<EngineResult<usize>> {
        self.each(
            "settle",
            member.map_or("", |member| &member.consumer),
            settlements,
            |(name, _)| name,
            |state, (name, settlements)| {
                for settlement in settlements {
                    if let Some(failures) = &settlement.failures {
                        state
                            .failed
                            .extend(failures.add.iter().map(|record| record.member.clone()));
                        for member in &failures.remove {
                            state.failed.remove(member);
                        }
                    }
                }
                let mut unowned = 0;
                for EntrySettlement { id, end, .. } in settlements {
                    if let EntryEnd::Acknowledge { .. } = end
                        && state
                            .streams
                            .get(name)
                            .is_some_and(|stream| stream.entries.contains_key(id))
                        && let Some(watches) = &mut *locked(&self.on_acknowledge)
                    {
                        watches(name, *id, state);
                    }
                    let Some(member) = member else {
                        if let (EntryEnd::Acknowledge { delete: true, .. }, Some(stream)) =
                            (end, state.streams.get_mut(name))
                        {
                            stream.entries.remove(id);
                        }
                        continue;
                    };
                    let now = self.now();
                    match end {
                        EntryEnd::Acknowledge { delete, .. } => {
                            let was_pending = match state.group(name, &member.group, "settle") {
                                Ok((_, group)) => {
                                    group.retry_states.remove(id);
                                    group.pending.remove(id).is_some()
                                }
                                Err(_) => false,
                            };
                            unowned += usize::from(!was_pending);
                            if let (true, Some(stream)) = (*delete, state.streams.get_mut(name)) {
                                stream.entries.remove(id);
                            }
                        }
                        EntryEnd::Defer(deferral) => {
                            let (_, group) = state.group(name, &member.group, "settle")?;
                            if !deferral.retry_state.is_empty() {
                                group.retry_states.insert(*id, deferral.retry_state.clone());
                            }
                            let pending = group.pending.get_mut(id);
                            if let Some(pending) = pending.filter(|pending| pending.consumer == member.consumer) {
                                pending.since = now - deferral.idle.as_millis() as u64;
                                pending.count = deferral.count;
                            }
                        }
                        EntryEnd::Release { count } => {
                            let (_, group) = state.group(name, &member.group, "settle")?;
                            let pending = group.pending.get_mut(id);
                            if let Some(pending) = pending.filter(|pending| pending.consumer == member.consumer) {
                                pending.since = now - 24 * 3600 * 1000;
                                pending.count = *count;
                            }
                        }
                        EntryEnd::Forget => {}
                    }
                }
                Ok(unowned)
            },
        )
        .await
    }

    async fn sweep(&self, member: &Member, streams: &[StreamName], idle: Duration) -> Vec<EngineResult<Vec<String>>> {
        self.each(
            "sweep",
            &member.consumer,
            streams,
            |name| name,
            |state, name| {
                let now = self.now();
                let (_, group) = state.group(name, &member.group, "sweep")?;
                let dead = group.consumers.iter().filter(|(name, since)| {
                    **name != member.consumer
                        && name.starts_with(&format!("{}-", member.group))
                        && now - **since >= idle.as_millis() as u64
                        && !group.pending.values().any(|pending| pending.consumer == **name)
                });
                let dead = dead.map(|(name, _)| name.clone()).collect::<Vec<_>>();
                group.consumers.retain(|name, _| !dead.contains(name));
                Ok(dead)
            },
        )
        .await
    }

    async fn heartbeat(&self, member: &Member, streams: &[StreamName], _: Duration) -> Vec<EngineResult<()>> {
        self.each(
            "heartbeat",
            &member.consumer,
            streams,
            |name| name,
            |state, name| {
                let now = self.now();
                let (_, group) = state.group(name, &member.group, "heartbeat")?;
                group.consumers.insert(member.consumer.clone(), now);
                Ok(())
            },
        )
        .await
    }

    async fn leave(&self, member: &Member, streams: &[StreamName]) -> Vec<EngineResult<bool>> {
        self.each(
            "leave",
            &member.consumer,
            streams,
            |name| name,
            |state, name| {
                let Ok((_, group)) = state.group(name, &member.group, "leave") else {
                    return Ok(true);
                };
                let is_done = !group
                    .pending
                    .values()
                    .any(|pending| pending.consumer == member.consumer);
                if is_done {
                    group.consumers.remove(&member.consumer);
                }
                Ok(is_done)
            },
        )
        .await
    }
}

struct MemoryReader {
    store: Arc<MemoryStore>,
    mode: ReadMode,
    interrupts: watch::Sender<()>,
}

impl MemoryReader {
    fn read(state: &mut State, mode: &mut ReadMode, now: u64, count: usize) -> EngineResult<Vec<StreamEntries>> {
        let mut found = Vec::new();
        let some = |stream: &Stream, after: EntryId| {
            let after = after.next().unwrap_or(EntryId::MAX);
            stream
                .entries
                .range(after..)
                .take(count)
                .map(|(_, entry)| entry.clone())
                .collect::<Vec<_>>()
        };
        // As Redis does, all or nothing.
        let names = match mode {
            ReadMode::Plain(positions) => positions.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(),
            ReadMode::Group { streams, .. } => streams.clone(),
        };
        for name in &names {
            if let Some(kind) = state.streams.get(name).and_then(|stream| stream.broken) {
                return Err(error(kind, "read"));
            }
        }
        match mode {
            ReadMode::Plain(positions) => {
                for (name, position) in positions {
                    let Some(stream) = state.streams.get(name) else {
                        continue;
                    };
                    let entries = some(stream, *position);
                    if let Some(last) = entries.last() {
                        *position = last.id;
                        found.push(StreamEntries {
                            stream: name.clone(),
                            entries,
                        });
                    }
                }
            }
            ReadMode::Group {
                group,
                consumer,
                streams,
            } => {
                for name in streams.iter() {
                    state.group(name, group, "read")?;
                }
                for name in streams.iter() {
                    let Some(stream) = state.streams.get_mut(name) else {
                        continue;
                    };
                    let after = stream
                        .groups
                        .get(group)
                        .map(|group| group.last_delivered)
                        .unwrap_or_default();
                    let entries = some(stream, after);
                    let Some(group) = stream.groups.get_mut(group) else {
                        continue;
                    };
                    group.consumers.insert(consumer.clone(), now);
                    let Some(last) = entries.last() else { continue };
                    group.last_delivered = last.id;
                    for entry in &entries {
                        let pending = Pending {
                            consumer: consumer.clone(),
                            since: now,
                            count: 1,
                            told: false,
                        };
                        group.pending.insert(entry.id, pending);
                    }
                    found.push(StreamEntries {
                        stream: name.clone(),
                        entries,
                    });
                }
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl Reader for MemoryReader {
    async fn next(&mut self, count: usize, wait: Option<Duration>) -> EngineResult<Vec<StreamEntries>> {
        let Self {
            store,
            mode,
            interrupts,
        } = self;
        let names = match &*mode {
            ReadMode::Plain(positions) => positions.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>(),
            ReadMode::Group { streams, .. } => streams.clone(),
        };
        let mut interrupted = interrupts.subscribe();
        let fault = match &mut *locked(&store.faults) {
            Some(faults) => faults("read", &names),
            None => Fault::default(),
        };
        tokio::time::sleep(fault.latency).await;
        if let Some(kind) = fault.before {
            return Err(error(kind, "read"));
        }
        let until = wait.map(|wait| Instant::now() + wait);
        let mut changed = store.changed.subscribe();
        let found = loop {
            changed.mark_unchanged();
            let now = store.now();
            let found = {
                let mut state = locked(&store.state);
                let found = Self::read(&mut state, mode, now, count)?;
                if !found.is_empty() {
                    state.note(|| format!("{now} read {mode:?} -> {found:?}"));
                }
                found
            };
            let Some(until) = until.filter(|_| found.is_empty()) else {
                break found;
            };
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                _ = interrupted.changed() => break found,
                () = tokio::time::sleep_until(until) => break found,
            }
        };
        tokio::time::sleep(fault.latency).await;
        if let Some(kind) = fault.after {
            return Err(error(kind, "read"));
        }
        if let ReadMode::Group { group, consumer, .. } = &*mode {
            for StreamEntries { stream, entries } in &found {
                store.tell(stream, group, consumer, entries.iter().map(|entry| entry.id));
            }
        }
        Ok(found)
    }

    fn interrupter(&self) -> Interrupter {
        let interrupts = self.interrupts.clone();
        Interrupter::new(move || interrupts.send_replace(()))
    }
}
