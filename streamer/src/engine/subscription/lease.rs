//! Renews leases, and decides what became of entries that the store does not know as ours any more.
//!
//! The idle time of an entry begins when it is delivered, not when its listener begins, so that deliveries that wait are
//! renewed like those that run. An entry that a renewal does not find is dropped only if another consumer has it, or may
//! have handled it:
//!
//! | the store says | what it means | what is done |
//! | --- | --- | --- |
//! | pending with another consumer | claimed | let go; if it runs, it is not acknowledged |
//! | not on the stream | deleted while its payload is here | handled from memory |
//! | pending with nobody, beyond what the group was delivered | the group begins before it | let go: the group delivers it |
//! | pending with nobody, lease valid | the group or this consumer was removed | made pending again, and handled |
//! | pending with nobody, lease expired | others had the time to claim and settle it | let go, unless this consumer was removed |

use std::{
    sync::{Mutex, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Core, Event, SubscribeError,
    delayed_retries::Arming,
    in_flight::{Asked, locked},
    positions::HEARTBEAT,
    take_up::set_idle,
    trouble::is_missing,
};
use crate::{
    engine::{EngineResult, Member, Missing},
    entry::EntryId,
};

/// The most IDs of one stream that are renewed in one step, so that no step holds up the store for long.
const RENEWED_AT_ONCE: usize = 500;

/// Of how many streams at once.
const STREAMS_AT_ONCE: usize = 16;

/// Where another process may use this consumer's name, all that is pending with it is looked at: these two, which are no
/// entry's, are asked for too, and the range of a renewal is from the first to the last.
const EVERYTHING: [EntryId; 2] = [EntryId::new(0, 1), EntryId::new(u64::MAX, u64::MAX - 1)];

/// After so many reclaim times without a sign of life, a consumer without pending entries is removed. That is six signs that
/// did not come. (One that lives and is removed all the same, because it stood still or could not reach the store, loses
/// nothing: it has nothing pending, and its next delivery makes it again.)
const DEAD_AFTER: u32 = 2;

/// The least time after which a consumer is removed, where the reclaim time is very short.
const DEAD_AFTER_AT_LEAST: Duration = Duration::from_secs(3);

/// How soon after it has joined the group a process marks the name that somebody chose for it.
const FIRST_SIGN: Duration = Duration::from_millis(100);

/// How long a consumer shows no sign of life before it is removed.
pub(super) fn dead_after(reclaim: Duration) -> Duration {
    (reclaim * DEAD_AFTER).max(DEAD_AFTER_AT_LEAST)
}

/// Notices that this process stood still: then leases may have expired while nobody looked.
#[derive(Debug)]
pub(super) struct LeaseWatch(Mutex<Beats>);

#[derive(Debug)]
struct Beats {
    last: Instant,
    /// When it was noticed last that a beat came too late, and how long after the one before.
    stood_still: Option<(Instant, Duration)>,
}

impl LeaseWatch {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Beats {
            last: Instant::now(),
            stood_still: None,
        }))
    }

    fn beat(&self, period: Duration) {
        let mut beats = locked(&self.0);
        let now = Instant::now();
        if now - beats.last > 2 * period {
            beats.stood_still = Some((now, now - beats.last));
        }
        beats.last = now;
    }

    /// For how long the process stood still, if it did within the last lease: that is why leases are lost that are found lost
    /// now.
    fn stood_still(&self, lease: Duration) -> Option<Duration> {
        let beats = locked(&self.0);
        let now = Instant::now();
        let since = now - beats.last;
        if since > 2 * (lease / 3) {
            // The task that beats has not had its turn yet.
            return Some(since);
        }
        let (noticed, time) = beats.stood_still?;
        (now - noticed <= lease).then_some(time)
    }

    /// From when on the leases of a reply count that was received now. A read may have waited for long before anything
    /// was delivered, so the instant before the request says little; `None` if the process stood still since.
    pub(super) fn confirmed(&self, requested: Instant, lease: Option<Duration>) -> Option<Instant> {
        let now = Instant::now();
        let Some(lease) = lease else { return Some(now) };
        let period = lease / 3;
        let beats = locked(&self.0);
        let stood_still =
            beats.stood_still.is_some_and(|(noticed, _)| requested <= noticed) || now - beats.last > 2 * period;
        if stood_still && now - requested > period {
            return None;
        }
        Some(requested.max(now.checked_sub(period).unwrap_or(requested)))
    }
}

/// The lease task: renews three times in each reclaim time.
pub(super) async fn keep(core: std::sync::Arc<Core>) -> Result<(), SubscribeError> {
    let Some(reclaim) = core.spec.reclaim else {
        core.closed.cancelled().await;
        return Ok(());
    };
    let period = reclaim / 3;
    let beats = async {
        loop {
            core.watch.beat(period);
            tokio::time::sleep(period).await;
        }
    };
    let renewals = async {
        let mut pause = match core.spec.consumer_is_named {
            true => period.min(HEARTBEAT),
            false => period,
        };
        loop {
            tokio::time::sleep(pause).await;
            if !core.has_joined.load(Ordering::Acquire) {
                // There is nothing to renew, and whoever looks whether the name is in use would see it.
                continue;
            }
            let has_left = core.has_left.read().await;
            if *has_left {
                continue;
            }
            // What could not be renewed is tried again well before it expires.
            pause = match core.renew_all().await {
                // A second user of the name is to be noticed soon.
                true if core.spec.consumer_is_named => period.min(HEARTBEAT),
                true => period,
                false => period / 4,
            };
        }
    };
    tokio::select! {
        biased;
        () = beats => {}
        () = renewals => {}
        () = core.closed.cancelled() => {}
    }
    Ok(())
}

/// The housekeeping task: shows that this consumer is alive, and removes those that are not.
pub(super) async fn sweep(core: std::sync::Arc<Core>) -> Result<(), SubscribeError> {
    let Some(member) = &core.spec.member else {
        core.closed.cancelled().await;
        return Ok(());
    };
    let heartbeat = match (core.spec.reclaim, core.spec.consumer_is_named) {
        // Another process that is to refuse to use the same name looks whether this one is alive.
        (reclaim, true) => reclaim.unwrap_or(HEARTBEAT).min(HEARTBEAT),
        (Some(reclaim), false) => reclaim / 3,
        (None, false) => {
            core.closed.cancelled().await;
            return Ok(());
        }
    };
    let is_named = core.spec.consumer_is_named;
    let sweeps = async {
        let mut last_sweep = Instant::now();
        let mut pause = match is_named {
            true => heartbeat.min(FIRST_SIGN),
            false => heartbeat,
        };
        loop {
            tokio::time::sleep(pause).await;
            if !core.has_joined.load(Ordering::Acquire) {
                // The same.
                continue;
            }
            pause = heartbeat;
            let has_left = core.has_left.read().await;
            if *has_left {
                continue;
            }
            if is_named {
                core.mark_name(member, heartbeat).await?;
            }
            for streams in core.names.chunks(STREAMS_AT_ONCE) {
                for failed in core
                    .store
                    .heartbeat(member, streams, heartbeat)
                    .await
                    .into_iter()
                    .filter_map(Result::err)
                {
                    tracing::debug!("a sign of life of consumer {} failed: {failed}", member.consumer);
                }
            }
            drop(has_left);
            if let Some(reclaim) = core.spec.reclaim
                && last_sweep.elapsed() >= reclaim * 2
            {
                last_sweep = Instant::now();
                core.sweep_once(member, dead_after(reclaim)).await;
            }
        }
    };
    tokio::select! {
        biased;
        ended = sweeps => ended,
        () = core.closed.cancelled() => Ok(()),
    }
}

impl Core {
    /// Removes consumers that are dead, and retry states that nobody needs.
    pub(super) async fn sweep_once(&self, member: &Member, idle: Duration) {
        let mut stream = 0;
        for streams in self.names.chunks(STREAMS_AT_ONCE) {
            for swept in self.store.sweep(member, streams, idle).await {
                match swept {
                    Ok(names) if names.is_empty() => {}
                    Ok(names) => (self.events)(Event::ConsumersRemoved { stream, names: &names }),
                    Err(error) => tracing::debug!("removing dead consumers failed: {error}"),
                }
                stream += 1;
            }
        }
    }

    /// Renews everything; tells whether that succeeded.
    async fn renew_all(&self) -> bool {
        let mut all_well = true;
        let streams = (0..self.names.len() as u32).collect::<Vec<_>>();
        for some in streams.chunks(STREAMS_AT_ONCE) {
            let mut asked = Vec::with_capacity(some.len());
            for stream in some {
                // First, as the other forgets that something had vanished.
                match self.renew_all_deferred(*stream).await {
                    Ok(()) => asked.push((*stream, self.in_flight.leased(*stream))),
                    Err(error) => {
                        let name = self.name(*stream);
                        tracing::debug!("renewing what waits for a retry on '{name}' failed: {error}");
                        all_well = false;
                    }
                }
            }
            all_well &= self.renew(asked, self.spec.consumer_is_named).await.is_ok();
        }
        all_well
    }

    /// Renews what is in flight of one stream, and finds out what became of what cannot be renewed. Also what waits for
    /// a retry, if the group or the stream had vanished.
    pub(super) async fn renew_stream(&self, stream: u32) -> EngineResult<()> {
        let deferred = match self.in_flight.has_vanished(stream) {
            true => self.delayed(stream).leased(stream),
            false => Vec::new(),
        };
        // First, as the other forgets that something had vanished.
        self.renew_deferred(stream, &deferred).await?;
        self.renew(vec![(stream, self.in_flight.leased(stream))], false).await
    }

    /// The same where a lease has expired; many may ask at once.
    pub(super) async fn renew_expired(&self, stream: u32, is_expired: impl Fn() -> bool) -> EngineResult<()> {
        let _one_at_a_time = self.renewing[stream as usize].lock().await;
        match is_expired() {
            true => self.renew_stream(stream).await,
            // Another one has renewed it.
            false => Ok(()),
        }
    }

    /// Renews what was asked for of some streams, as many steps as it takes.
    async fn renew(&self, mut asked: Vec<(u32, Asked)>, looks_for_strangers: bool) -> EngineResult<()> {
        let Some(member) = &self.spec.member else { return Ok(()) };
        let started = Instant::now();
        if looks_for_strangers {
            for (_, asked) in &mut asked {
                asked.ids.insert(0, EVERYTHING[0]);
                asked.ids.push(EVERYTHING[1]);
                asked.ids.dedup();
            }
        }
        asked.retain(|(stream, asked)| {
            if asked.ids.is_empty() {
                self.in_flight.confirm(*stream, asked, started);
                self.in_flight.set_vanished(*stream, false);
            }
            !asked.ids.is_empty()
        });
        let mut failure = None;
        let (mut strangers, mut raised) = (vec![Vec::new(); asked.len()], vec![Vec::new(); asked.len()]);
        let mut from = 0;
        let mut left = (0..asked.len()).collect::<Vec<_>>();
        while !left.is_empty() {
            let leases = left.iter().map(|at| {
                let (stream, asked) = &asked[*at];
                let to = asked.ids.len().min(from + RENEWED_AT_ONCE);
                (self.name(*stream).clone(), asked.ids[from..to].to_vec())
            });
            let leases = leases.collect::<Vec<_>>();
            let answers = self.store.renew(member, &leases).await;
            let mut more = Vec::new();
            for (at, answer) in left.iter().zip(answers) {
                let (stream, asked) = &asked[*at];
                let done = match answer {
                    Ok(renewal) => {
                        strangers[*at].extend_from_slice(&renewal.strangers);
                        if looks_for_strangers && !renewal.counts.is_empty() && !self.strangers.are_taking() {
                            raised[*at].extend(self.in_flight.raised(*stream, &renewal.counts));
                        }
                        self.decide(member, *stream, asked, &renewal).await
                    }
                    Err(error) => {
                        if is_missing(error.kind()) {
                            self.mark_missing(*stream);
                        }
                        Err(error)
                    }
                };
                match done {
                    Ok(()) if from + RENEWED_AT_ONCE < asked.ids.len() => more.push(*at),
                    Ok(()) => {
                        self.in_flight.confirm(*stream, asked, started);
                        self.in_flight.set_vanished(*stream, false);
                    }
                    Err(error) => {
                        tracing::debug!("renewing what is in flight of '{}' failed: {error}", self.name(*stream));
                        failure = Some(error);
                    }
                }
            }
            from += RENEWED_AT_ONCE;
            left = more;
        }
        if looks_for_strangers {
            for (((stream, _), strangers), raised) in asked.iter().zip(&strangers).zip(raised) {
                self.look_for_strangers(*stream, strangers, raised);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// For how long this process stood still shortly before, if it did.
    pub(super) fn stood_still(&self) -> Option<Duration> {
        self.watch.stood_still(self.lease()?)
    }

    /// What becomes of those that were not renewed.
    async fn decide(
        &self,
        member: &Member,
        stream: u32,
        asked: &Asked,
        renewal: &crate::engine::Renewal,
    ) -> EngineResult<()> {
        if renewal.missing.is_empty() {
            return Ok(());
        }
        let vanished = self.in_flight.has_vanished(stream) || renewal.consumer_was_missing;
        if renewal.consumer_was_missing {
            // Also for what is renewed after this.
            self.in_flight.set_vanished(stream, true);
        }
        let judged = self.in_flight.judge(stream, asked, renewal, vanished);
        if !judged.lost.is_empty() {
            let ids = &judged.lost;
            let stood_still = self.stood_still();
            (self.events)(Event::LeaseLost {
                stream,
                ids,
                stood_still,
            });
        }
        if !judged.detached.is_empty() {
            let ids = &judged.detached;
            (self.events)(Event::Detached { stream, ids });
        }
        if judged.orphans.is_empty() {
            return Ok(());
        }
        self.adopt(member, stream, judged.orphans).await
    }

    async fn adopt(&self, member: &Member, stream: u32, orphans: Vec<(EntryId, u64)>) -> EngineResult<()> {
        let ids = orphans.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        let request = [(self.name(stream).clone(), orphans)];
        let answer = self.store.adopt(member, &request).await;
        answer.into_iter().next().unwrap_or(Ok(()))?;
        (self.events)(Event::Orphaned { stream, ids: &ids });
        Ok(())
    }

    /// Renews what waits for a retry, and lets others claim what is due soon, should this process die.
    async fn renew_all_deferred(&self, stream: u32) -> EngineResult<()> {
        let ids = self.delayed(stream).leased(stream);
        self.renew_deferred(stream, &ids).await?;
        let near = ids.iter().filter_map(|id| {
            let (count, left, _) = self.delayed(stream).look(stream, *id)?;
            let idle = Arming::of(self.spec.reclaim, left).idle;
            (!idle.is_zero()).then(|| set_idle(*id, left, idle, u64::from(count)))
        });
        let near = near.collect::<Vec<_>>();
        for some in near.chunks(RENEWED_AT_ONCE) {
            self.set_idle_times(stream, some.to_vec()).await?;
        }
        Ok(())
    }

    /// Renews some that wait for a retry, and finds out what became of those that cannot be renewed.
    pub(super) async fn renew_deferred(&self, stream: u32, ids: &[EntryId]) -> EngineResult<()> {
        let Some(member) = &self.spec.member else { return Ok(()) };
        let delayed = self.delayed(stream);
        for some in ids.chunks(RENEWED_AT_ONCE) {
            let started = Instant::now();
            let request = [(self.name(stream).clone(), some.to_vec())];
            let answer = self.store.renew(member, &request).await.into_iter().next();
            let renewal = answer.unwrap_or_else(|| Err(super::positions::no_answer(self.name(stream))))?;
            let now = Instant::now();
            let vanished = self.in_flight.has_vanished(stream) || renewal.consumer_was_missing;
            let (mut lost, mut gone, mut orphans) = (Vec::new(), Vec::new(), Vec::new());
            for (id, missing) in &renewal.missing {
                let Some((count, _, valid_until)) = delayed.look(stream, *id) else {
                    continue;
                };
                match missing {
                    Missing::Claimed => {
                        // It is another consumer's to handle, as was intended: nothing to tell.
                        delayed.remove(stream, *id);
                    }
                    Missing::Gone => {
                        delayed.remove(stream, *id);
                        gone.push(*id);
                    }
                    // The group will deliver it.
                    Missing::Unowned if *id > renewal.last_delivered_id => _ = delayed.remove(stream, *id),
                    Missing::Unowned if vanished || valid_until.is_none_or(|until| now <= until) => {
                        orphans.push((*id, u64::from(count)));
                    }
                    Missing::Unowned => {
                        delayed.remove(stream, *id);
                        lost.push(*id);
                    }
                }
            }
            if !lost.is_empty() {
                let stood_still = self.stood_still();
                (self.events)(Event::LeaseLost {
                    stream,
                    ids: &lost,
                    stood_still,
                });
            }
            if !gone.is_empty() {
                (self.events)(Event::Gone { stream, ids: &gone });
            }
            if !orphans.is_empty() {
                self.adopt(member, stream, orphans).await?;
            }
            for id in some {
                delayed.set(stream, *id, self.spec.reclaim.map(|reclaim| started + reclaim));
            }
        }
        Ok(())
    }

    /// Whether another process uses this consumer's name, after a renewal that found these pending that were not asked for,
    /// and these with a higher count than this process made.
    fn look_for_strangers(&self, stream: u32, pending: &[EntryId], raised: Vec<EntryId>) {
        let strangers = pending
            .iter()
            .filter(|id| !self.in_flight.has(stream, **id) && !self.delayed(stream).has(stream, **id));
        let mut found = self
            .strangers
            .found(stream, self.shard(stream), strangers.copied().collect());
        found.extend(raised);
        if !found.is_empty() && !self.closing() && self.strangers.may_tell() {
            (self.events)(Event::NameInUse { stream, ids: &found });
        }
    }
}
