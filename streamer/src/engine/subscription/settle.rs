//! Ends deliveries: records what failed, and only then acknowledges.
//!
//! The store keeps the order within one request; here is what a request consists of, when it may be sent, and what
//! becomes of a refusal. Trouble with one stream holds up only that stream's settlements.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Core, DeliveryRef, End, Event, Retry, Settled, Settlement,
    delayed_retries::{Arming, Deferred, KeptRetry},
    in_flight::Ending,
    trouble::{Told, is_missing, may_pass},
};
use crate::{
    engine::{Deferral, EngineError, EngineErrorKind, EngineResult, EntryEnd, EntrySettlement, Member},
    entry::{EntryId, StreamName},
};

/// For how long a store that fails is tried after the end was asked for.
const PATIENCE_AFTER_STOP: Duration = Duration::from_secs(2);

/// The settlements of one stream.
struct Plan {
    stream: u32,
    request: (StreamName, Vec<EntrySettlement>),
    /// For each of the request: which settlement of the call, where it is, and what it means here.
    parts: Vec<Part>,
}

struct Part {
    /// Which settlement of the call it is.
    index: u32,
    at: DeliveryRef,
    after: After,
}

/// What happens when the store has it.
enum After {
    Nothing,
    /// It waits here for its next attempt.
    Retry(Box<Waits>),
    /// It stays in flight, as one that has not begun, after so many attempts.
    Held(u64),
    /// It stays pending.
    Kept {
        /// As it did before.
        again: bool,
    },
    /// Another consumer has it.
    NotOurs,
}

struct Waits {
    since: Instant,
    delay: Duration,
    count_before: u32,
    arming: Arming,
    kept: Option<Box<KeptRetry>>,
}

impl Core {
    /// See [`Settler::settle`](super::Settler::settle).
    pub(super) async fn settle(self: &Arc<Self>, many: Vec<Settlement>) -> Vec<Settled> {
        let called = Instant::now();
        let mut answers = Vec::with_capacity(many.len());
        answers.extend(many.iter().map(|_| Settled::Done));
        let mut plans = self.plan(many, &mut answers);
        let mut attempts = 0;
        while !plans.is_empty() {
            let outcomes = self.send(&mut plans, called, attempts).await;
            let patient = self.is_patient(called, attempts);
            let (mut again, mut doubts, mut told) = (Vec::new(), Vec::new(), Told::default());
            for (plan, outcome) in plans.into_iter().zip(outcomes) {
                match outcome {
                    Ok(unowned) => {
                        match attempts {
                            0 => doubts.extend(self.doubts(&plan, unowned)),
                            _ => {
                                let was_sent = plan.is_needed(self.spec.member.is_some());
                                told.succeeded(&self.settling, plan.stream, was_sent);
                            }
                        }
                        self.stored(plan, &mut answers);
                    }
                    Err(error) if patient && may_pass(error.kind()) => {
                        if is_missing(error.kind()) {
                            self.mark_missing(plan.stream);
                        }
                        let keep_alive = self.spec.keep_alive.unwrap_or_default();
                        told.failed(&self.settling, plan.stream, error, attempts == 0, &keep_alive);
                        again.push(plan);
                    }
                    Err(error) => {
                        if attempts > 0 {
                            self.settling.gave_up(plan.stream);
                        }
                        self.refused(plan, &error, &mut answers);
                    }
                }
            }
            plans = again;
            told.tell(&self.events);
            for (stream, ids) in doubts {
                self.look_for_second_user(stream, &ids).await;
            }
            if !plans.is_empty() {
                attempts += 1;
                self.wait_to_settle(&plans, called).await;
            }
        }
        answers
    }

    /// What was to be acknowledged under a valid lease was pending with nobody: perhaps another process that uses this
    /// consumer's name has acknowledged it. Gives the stream and, where they are known, the IDs.
    fn doubts(&self, plan: &Plan, unowned: usize) -> Option<(u32, Vec<EntryId>)> {
        let stream = plan.stream;
        if unowned == 0 || !self.spec.consumer_is_named || self.in_flight.has_vanished(stream) {
            return None;
        }
        let acknowledged = plan.parts.iter().zip(&plan.request.1);
        let acknowledged =
            acknowledged.filter(|(_, settlement)| matches!(settlement.end, EntryEnd::Acknowledge { .. }));
        let acknowledged = acknowledged.map(|(part, settlement)| (part.at, settlement.id));
        let (refs, ids) = acknowledged.unzip::<_, _, Vec<_>, Vec<_>>();
        // Those that were deleted from the stream may be pending with nobody.
        let explained = ids.len() - self.in_flight.ours(stream, refs);
        (unowned > explained).then(|| match unowned == ids.len() {
            true => (stream, ids),
            false => (stream, Vec::new()),
        })
    }

    /// Somebody else acknowledged what was in flight here, unless the group or this consumer was removed. Another process
    /// that uses the name is told of where its mark is found; without one the server does not show who it was.
    async fn look_for_second_user(&self, stream: u32, ids: &[EntryId]) {
        let is_due = self.strangers.is_doubt_due() && !self.users.may_be_others(stream);
        let Some(member) = self.spec.member.as_ref().filter(|_| is_due) else {
            return;
        };
        let name = [self.name(stream).clone()];
        let idle = self.store.consumer_idle(member, &name).await.into_iter().next();
        if !matches!(idle, Some(Ok(Some(_)))) || !self.strangers.may_doubt() {
            return;
        }
        let Member { group, consumer } = member;
        tracing::warn!(
            stream = %self.name(stream), count = ids.len(),
            "messages that consumer '{consumer}' of group '{group}' handled on '{}' stream were acknowledged by somebody else: an \
             operator (XACK), or a program that uses the same consumer name and shows no mark of it, as laravel-streamer or an \
             earlier version; such a program needs another name",
            self.name(stream)
        );
    }

    /// Takes the settlements apart by stream.
    fn plan(&self, many: Vec<Settlement>, answers: &mut [Settled]) -> Vec<Plan> {
        let Some(first) = many.first().map(|settlement| settlement.at.stream) else {
            return Vec::new();
        };
        let is_one_stream = many.iter().all(|settlement| settlement.at.stream == first);
        let numbered = (0..many.len() as u32).zip(many);
        let mut plans = if is_one_stream {
            vec![self.plan_stream(first, numbered, answers)]
        } else {
            let mut by_stream = BTreeMap::<u32, Vec<_>>::new();
            for (index, settlement) in numbered {
                let of_stream = by_stream.entry(settlement.at.stream).or_default();
                of_stream.push((index, settlement));
            }
            let plans = by_stream.into_iter();
            plans
                .map(|(stream, settlements)| self.plan_stream(stream, settlements.into_iter(), answers))
                .collect()
        };
        plans.retain(|plan| !plan.parts.is_empty());
        plans
    }

    fn plan_stream(
        &self,
        stream: u32,
        settlements: impl Iterator<Item = (u32, Settlement)>,
        answers: &mut [Settled],
    ) -> Plan {
        let mut plan = Plan {
            stream,
            request: (self.name(stream).clone(), Vec::with_capacity(settlements.size_hint().0)),
            parts: Vec::with_capacity(settlements.size_hint().0),
        };
        let at = |(_, settlement): &(u32, Settlement)| {
            let acknowledges = matches!(settlement.end, End::Acknowledge { .. });
            (settlement.at, acknowledges)
        };
        self.in_flight
            .settling(stream, settlements, at, |(index, settlement), ending| {
                let Some(ending) = ending else {
                    answers[index as usize] = Settled::NotOurs;
                    return;
                };
                let (end, after) = match ending.is_lost {
                    true => (EntryEnd::Forget, After::NotOurs),
                    false => self.end(settlement.end, ending),
                };
                plan.request.1.push(EntrySettlement {
                    id: ending.id,
                    end,
                    failures: settlement.failures,
                });
                let at = settlement.at;
                plan.parts.push(Part { index, at, after });
            });
        plan
    }

    /// What a settlement means to the store, and what to do when it has it.
    fn end(&self, end: End, ending: Ending) -> (EntryEnd, After) {
        let is_in_group = self.spec.member.is_some();
        let count = u64::from(ending.count_before) + u64::from(ending.begun);
        match end {
            End::Acknowledge { delete } => (
                EntryEnd::Acknowledge {
                    delete,
                    had_retry_state: ending.has_retry_state,
                },
                After::Nothing,
            ),
            End::Retry(retry) => {
                let Retry {
                    delay,
                    retry_state,
                    kept,
                } = *retry;
                let arming = Arming::of(self.spec.reclaim.filter(|_| is_in_group), delay);
                let waits = Waits {
                    since: Instant::now(),
                    delay,
                    count_before: u32::try_from(count).unwrap_or(u32::MAX),
                    arming,
                    kept: kept
                        .filter(|_| !is_in_group)
                        .map(|kept| Box::new(KeptRetry::new(*kept, retry_state.clone()))),
                };
                let deferral = || Deferral {
                    retry_state,
                    delay,
                    idle: arming.idle,
                    count,
                };
                let end = match is_in_group {
                    true => EntryEnd::Defer(Box::new(deferral())),
                    false => EntryEnd::Forget,
                };
                (end, After::Retry(Box::new(waits)))
            }
            End::Hold(retry) => {
                let deferral = Deferral {
                    retry_state: retry.retry_state,
                    delay: retry.delay,
                    // It is renewed like everything in flight.
                    idle: Duration::ZERO,
                    count,
                };
                (EntryEnd::Defer(Box::new(deferral)), After::Held(count))
            }
            End::KeepPending { retry_state } => {
                let deferral = Deferral {
                    retry_state: *retry_state,
                    delay: Duration::ZERO,
                    idle: Duration::ZERO,
                    count,
                };
                let again = ending.has_retry_state;
                (EntryEnd::Defer(Box::new(deferral)), After::Kept { again })
            }
            End::Release { begun } => {
                let count = u64::from(ending.count_before) + u64::from(begun);
                (EntryEnd::Release { count }, After::Nothing)
            }
        }
    }

    /// Sends what is planned; after a failure only for as long as there is patience.
    /// Gives how many of the entries to be acknowledged were pending with nobody.
    async fn send(&self, plans: &mut [Plan], called: Instant, attempts: u32) -> Vec<EngineResult<usize>> {
        let mut unrenewed = Vec::new();
        for plan in plans.iter_mut() {
            unrenewed.push(self.ensure_lease(plan, attempts == 0).await.err());
        }
        let member = self.spec.member.as_ref();
        let needed = plans
            .iter()
            .zip(&unrenewed)
            .map(|(plan, unrenewed)| unrenewed.is_none() && plan.is_needed(member.is_some()))
            .collect::<Vec<_>>();
        let mut requests = plans
            .iter_mut()
            .zip(&needed)
            .filter(|(_, needed)| **needed)
            .map(|(plan, _)| (plan.request.0.clone(), std::mem::take(&mut plan.request.1)))
            .collect::<Vec<_>>();
        let answers = match requests.is_empty() {
            true => Vec::new(),
            false => {
                let answers = self.store.settle(member, &requests);
                match attempts {
                    0 => answers.await,
                    // A store that does not answer must not take the whole time that there is to finish.
                    _ => tokio::select! {
                        biased;
                        answers = answers => answers,
                        () = self.out_of_patience(called) => requests.iter().map(|_| Err(given_up())).collect(),
                    },
                }
            }
        };
        let mut answers = answers.into_iter();
        let mut requests = requests.drain(..);
        let outcomes = plans.iter_mut().zip(needed).zip(unrenewed);
        let outcomes = outcomes.map(|((plan, needed), unrenewed)| {
            if let Some(error) = unrenewed {
                return Err(error);
            }
            if !needed {
                return Ok(0);
            }
            if let Some(request) = requests.next() {
                plan.request = request;
            }
            answers
                .next()
                .unwrap_or_else(|| Err(super::positions::no_answer(&plan.request.0)))
        });
        outcomes.collect()
    }

    /// Nothing is acknowledged under an expired lease: what another consumer runs would be.
    /// `first`: none of it has been sent before.
    async fn ensure_lease(&self, plan: &mut Plan, first: bool) -> EngineResult<()> {
        let stream = plan.stream;
        let is_expired = || {
            self.in_flight
                .any_expired(stream, plan.parts.iter().map(|part| part.at))
        };
        if !is_expired() {
            return Ok(());
        }
        self.renew_expired(stream, is_expired).await?;
        if first {
            let acknowledged = plan
                .parts
                .iter()
                .filter_map(|part| self.in_flight.was_acknowledged(part.at));
            let ids = acknowledged.collect::<Vec<_>>();
            if !ids.is_empty() {
                let stood_still = self.stood_still();
                (self.events)(Event::LeaseLost {
                    stream,
                    ids: &ids,
                    stood_still,
                });
            }
        }
        for (part, settlement) in plan.parts.iter_mut().zip(&mut plan.request.1) {
            if self.in_flight.is_lost(part.at) {
                part.after = After::NotOurs;
                settlement.end = EntryEnd::Forget;
            }
        }
        Ok(())
    }

    /// The store has it.
    fn stored(&self, mut plan: Plan, answers: &mut [Settled]) {
        let stream = plan.stream;
        super::log::settled(self.name(stream), &plan.request.1, self.spec.member.is_some());
        // What only comes again and again does not keep a listening from being quiet.
        let mut counts = false;
        for (part, settlement) in plan.parts.iter_mut().zip(&plan.request.1) {
            counts |= !matches!(part.after, After::Kept { again: true });
            match std::mem::replace(&mut part.after, After::Nothing) {
                After::Nothing => {}
                After::NotOurs => answers[part.index as usize] = Settled::NotOurs,
                After::Kept { .. } => self.strangers.known(stream, settlement.id),
                After::Retry(waits) => self.wait_for_retry(stream, settlement.id, *waits),
                After::Held(count) => {
                    self.in_flight.hold(part.at, count);
                    part.after = After::Held(count);
                }
            }
        }
        // Only now: nothing may look settled while it is neither in the table nor waiting.
        let done = plan.parts.iter().filter(|part| !matches!(part.after, After::Held(_)));
        self.in_flight.settled(stream, done.map(|part| part.at), counts);
    }

    fn wait_for_retry(&self, stream: u32, id: EntryId, waits: Waits) {
        if waits.kept.is_none() && !self.may_defer() {
            // It comes by the ordinary claim.
            self.strangers.known(stream, id);
            return;
        }
        let deferred = Deferred {
            at: waits.since + waits.delay,
            count_before: waits.count_before,
            valid_until: waits.arming.valid_for.map(|valid| waits.since + valid),
            kept: waits.kept,
        };
        self.delayed(stream).add(stream, id, deferred);
    }

    fn refused(&self, plan: Plan, error: &EngineError, answers: &mut [Settled]) {
        self.in_flight
            .refused(plan.stream, plan.parts.iter().map(|part| part.at));
        for part in plan.parts {
            answers[part.index as usize] = Settled::Refused(Box::new(error.without_source()));
        }
    }

    // ----- patience -----------------------------------------------------------------------------------------------

    /// Whether there is another attempt.
    fn is_patient(&self, called: Instant, attempts: u32) -> bool {
        let Some(keep_alive) = self.spec.keep_alive else {
            return false;
        };
        let in_time = self.deadline(called).is_none_or(|deadline| Instant::now() < deadline);
        in_time && keep_alive.max_attempts.is_none_or(|most| attempts < most)
    }

    /// When patience ends, if the end was asked for.
    fn deadline(&self, called: Instant) -> Option<Instant> {
        let stopped_at = self.stopped_at.get()?;
        Some((*stopped_at).max(called) + PATIENCE_AFTER_STOP)
    }

    async fn out_of_patience(&self, called: Instant) {
        self.stop.cancelled().await;
        if let Some(deadline) = self.deadline(called) {
            tokio::time::sleep_until(deadline).await;
        }
    }

    /// Waits for the next attempt of the first of these streams. What waits is shared by all calls.
    async fn wait_to_settle(&self, plans: &[Plan], called: Instant) {
        (self.events)(Event::SettlingWaits);
        let next = plans.iter().filter_map(|plan| self.settling.next(plan.stream)).min();
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)) => {}
            () = self.out_of_patience(called) => {}
        }
    }
}

impl Plan {
    /// Whether the store has anything to do.
    fn is_needed(&self, in_group: bool) -> bool {
        self.request.1.iter().any(|settlement| {
            settlement.failures.is_some()
                || match settlement.end {
                    EntryEnd::Acknowledge { delete, .. } => in_group || delete,
                    EntryEnd::Defer(_) | EntryEnd::Release { .. } => in_group,
                    EntryEnd::Forget => false,
                }
        })
    }
}

fn given_up() -> EngineError {
    EngineError::new(
        EngineErrorKind::Unavailable,
        "store what became of messages",
        "the store did not answer, and the end was asked for: they stay pending and are handled again",
    )
}
