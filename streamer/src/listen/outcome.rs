//! What came of a message: from what its listeners did to what is to be settled.

use std::time::Duration;

use bytes::Bytes;

use super::plan::{Plan, PlannedStream};
use crate::{
    engine::{DeliveryRef, End, FailureChange, FailureRecord, Kept, Retry, Settlement},
    entry::Entry,
    failed::{Details, FailedMessage, RetryState},
    message::ReceivedMessage,
};

/// What came of a message. Each message has one, and they are moved from stage to stage, so it is small.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) settlement: Settlement,
    /// A message that every listener handled, where something is to become of it.
    pub(super) handled: Option<ReceivedMessage>,
}

/// An attempt at a message.
#[derive(Debug)]
pub(super) struct Attempt<State> {
    pub(super) at: DeliveryRef,
    pub(super) message: ReceivedMessage,
    /// What earlier attempts achieved.
    pub(super) state: State,
    /// What failed this time. Of the listeners that are not skipped, the others have succeeded.
    pub(super) failures: Vec<Failure>,
}

/// A listener that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Its number among the listeners of the stream.
    pub(super) listener: usize,
    pub(super) error: String,
    /// In how long it is tried again; `None` when it is not.
    pub(super) delay: Option<Duration>,
    /// Whether the store keeps in which group the listener fails, so that its details need not.
    pub(super) group_is_kept: bool,
}

impl<State> Attempt<State> {
    pub(super) fn new(at: DeliveryRef, message: ReceivedMessage, state: State) -> Self {
        Self {
            at,
            message,
            state,
            failures: Vec::new(),
        }
    }
}

impl Attempt<Bytes> {
    /// Nothing was tried; what the store holds stays.
    pub(super) fn put_off(self) -> Outcome {
        let retry_state = Box::new(self.state);
        outcome(self.at, End::KeepPending { retry_state }, None)
    }
}

impl Attempt<RetryState> {
    /// Whether a listener does not run: it has succeeded, or its failure is listed and another listener is tried again.
    pub(super) fn skips(&self, listener: &str) -> bool {
        self.state.has_succeeded(listener) || self.state.is_retry() && self.state.has_failed(listener)
    }

    /// All listeners were tried.
    pub(super) fn end(mut self, plan: &Plan, stream: &PlannedStream) -> Outcome {
        let leaves = plan.options.after_success.is_some();
        if self.failures.is_empty() && self.state == RetryState::default() {
            let handled = leaves.then_some(self.message);
            return Outcome {
                handled,
                ..outcome(self.at, End::Acknowledge { delete: false }, None)
            };
        }
        let delay = self.failures.iter().filter_map(|failure| failure.delay).max();
        let pending_in = plan.member.as_ref().filter(|_| plan.keeps_failed_pending());
        let pending_in = pending_in.map(|member| member.group.as_str());
        let ran = stream.listeners.iter().map(|listener| !self.skips(listener.name()));
        let ran = ran.collect::<Vec<_>>();
        let attempts = self.message.attempt();
        let (change, waiting) = self.take_failures(plan, stream, &ran, attempts, pending_in);
        let is_listed = change.as_ref().is_some_and(|change| !change.add.is_empty()) || self.state.has_failures();
        self.state.end_attempt(delay);
        let has_failed = || {
            let mut listeners = stream.listeners.iter();
            listeners.any(|one| self.state.has_failed(one.name()))
        };
        let mut handled = None;
        let end = if let Some(delay) = delay {
            let kept = plan.member.is_none().then(|| {
                let entry = Entry {
                    id: self.message.id(),
                    fields: self.message.fields().clone(),
                };
                Box::new(Kept {
                    entry,
                    failures: waiting,
                })
            });
            End::Retry(Box::new(Retry {
                delay,
                retry_state: self.state.to_text(),
                kept,
            }))
        } else if pending_in.is_some() && has_failed() {
            self.state.keep_pending(plan.options.reclaim);
            End::KeepPending {
                retry_state: Box::new(self.state.to_text()),
            }
        } else {
            handled = (leaves && !is_listed).then_some(self.message);
            End::Acknowledge { delete: false }
        };
        Outcome {
            handled,
            ..outcome(self.at, end, change)
        }
    }

    /// The failures are listed, and there will be no other attempt.
    pub(super) fn give_up(mut self, plan: &Plan, stream: &PlannedStream) -> Outcome {
        // Failures that are listed already stay so.
        let failed = |number| self.failures.iter().any(|failure| failure.listener == number);
        let ran = (0..stream.listeners.len()).map(failed).collect::<Vec<_>>();
        // This delivery began no attempt.
        let attempts = self.message.attempt() - 1;
        let (change, _) = self.take_failures(plan, stream, &ran, attempts, None);
        outcome(self.at, End::Acknowledge { delete: false }, change)
    }

    /// Brings the state up to date, after an attempt in which these listeners ran. Returns what changes in the failed list
    /// now; and what is to be listed of listeners that wait for another attempt, should there be none.
    fn take_failures(
        &mut self,
        plan: &Plan,
        stream: &PlannedStream,
        ran: &[bool],
        attempts: u64,
        pending_in: Option<&str>,
    ) -> (Option<Box<FailureChange>>, FailureChange) {
        let failures = std::mem::take(&mut self.failures);
        // A message that comes only once needs no state, nor has it one.
        let has_state = plan.tracks_retry_state(stream) || self.state != RetryState::default();
        let has_failed_now = |number| failures.iter().any(|failure| failure.listener == number);
        if plan.tracks_retry_state(stream) {
            for (number, listener) in stream.listeners.iter().enumerate() {
                if ran[number] && !has_failed_now(number) {
                    self.state.add_succeeded(listener.name());
                }
            }
        }
        let fields = match self.message.check() {
            Err(_) => self.message.fields().clone(),
            Ok(_) => Vec::new(),
        };
        let member = plan.member.as_ref().filter(|_| pending_in.is_none());
        let acknowledged_in = member.map(|member| member.group.as_str());
        let (mut listed, mut waiting) = (FailureChange::default(), FailureChange::default());
        for Failure {
            listener,
            error,
            delay,
            group_is_kept,
        } in &failures
        {
            let listener = stream.listeners[*listener].name();
            let failure = FailedMessage::new(self.message.id(), self.message.stream(), listener, error);
            let first_failure = has_state.then(|| self.state.first_failure(listener, &failure.date));
            let details = Details {
                fields: fields.clone(),
                attempts,
                first_failure: first_failure.filter(|first| *first != failure.date).map(str::to_owned),
                group: acknowledged_in.filter(|_| !group_is_kept).map(str::to_owned),
                groups: pending_in.map(str::to_owned).into_iter().collect(),
            };
            let record = FailureRecord {
                member: failure.to_member(),
                details: details.to_stored(),
            };
            let change = if delay.is_some() { &mut waiting } else { &mut listed };
            change.add.push(record);
        }
        if has_state {
            let latest = listed.add.iter().map(|record| &record.member).collect::<Vec<_>>();
            listed.remove = self
                .state
                .replace_failed(|receiver| stream.has_run(receiver, ran), &latest);
        }
        let changes = !listed.add.is_empty() || !listed.remove.is_empty();
        (changes.then(|| Box::new(listed)), waiting)
    }
}

impl PlannedStream {
    fn has_run(&self, listener: &str, ran: &[bool]) -> bool {
        let mut listeners = self.listeners.iter().zip(ran);
        listeners.any(|(one, ran)| *ran && one.name() == listener)
    }
}

fn outcome(at: DeliveryRef, end: End, failures: Option<Box<FailureChange>>) -> Outcome {
    Outcome {
        settlement: Settlement { at, end, failures },
        handled: None,
    }
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_small() {
        assert!(size_of::<Outcome>() <= 56, "{}", size_of::<Outcome>());
    }
}
