//! Runs the listeners of a message, each by itself, and collects the outcome.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument as _;

use super::{
    ListenError, Report, Timing,
    dispatch::{Job, Queue},
    failing_group::FailingGroupCache,
    guarded::{guarded, guarded_future},
    held::Held,
    outcome::{Attempt, Failure, Outcome},
    plan::{Plan, PlannedStream},
    poison,
    supervisor::Finished,
};
use crate::{
    engine::{Begin, DeliveryRef, Earlier, End, Settled, Settlement, Settler},
    entry::Entry,
    failed::RetryState,
    listener::{ListenerError, RegisteredListener},
    message::ReceivedMessage,
    metrics::Tried,
    trace,
};

/// The most outcomes a worker gathers before it passes them on.
const GATHERED: usize = 256;

/// The longest a worker keeps an outcome while its listeners do not wait for anything.
const GATHERED_FOR: Duration = Duration::from_millis(2);

/// One of the tasks that run listeners.
pub(super) struct Worker {
    pub(super) plan: Arc<Plan>,
    pub(super) settler: Settler,
    pub(super) queue: Arc<Queue>,
    /// Who runs a suspect has the one permit, so that a process that ends at a message has run no other suspect.
    pub(super) suspects: Arc<Semaphore>,
    pub(super) failing: Arc<FailingGroupCache>,
    pub(super) counts: Arc<Counts>,
}

/// What one worker did so far. Written by the worker, and read when the listening has ended.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) messages: AtomicU64,
    pub(super) processed: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// Adds one. There is only one writer, so that no other addition can be lost.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl Worker {
    /// Handles messages until the queue ends.
    pub(super) async fn work(self, settle: mpsc::Sender<Vec<Outcome>>) -> Result<Finished, ListenError> {
        let mut outcomes = Outcomes {
            gathered: Vec::new(),
            usual: 0,
            since: Instant::now(),
            settle,
        };
        let mut held = self
            .plan
            .options
            .retry_in_order
            .then(|| Held::new(self.plan.options.batch));
        loop {
            let job = match &mut held {
                Some(held) => self.next_in_order(held, &mut outcomes).await,
                None => match self.queue.next_at_hand() {
                    Some(job) => Some(job),
                    None => {
                        // Nothing may be kept while waiting for the next batch.
                        outcomes.pass_on().await;
                        self.queue.next().await
                    }
                },
            };
            let Some(job) = job else { return Ok(Finished::Other) };
            if self.plan.context.stop.is_stopped() {
                // Not begun: it is released at the end.
                continue;
            }
            let (key, message) = (job.key, held.is_some().then(|| job.message.clone()));
            let mut handled = pin!(self.handle(job));
            // A listener that has to wait may wait for long, and what others achieved must not wait with it.
            let outcome = match std::future::poll_fn(|context| Poll::Ready(handled.as_mut().poll(context))).await {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    outcomes.pass_on().await;
                    handled.await
                }
            };
            let outcome = match (outcome, &mut held, message) {
                (Ok(outcome), Some(held), Some(message)) => {
                    match self.hold(key, message, outcome, held, &mut outcomes).await {
                        Ok(outcome) => Ok(outcome),
                        Err(error) => Err(error),
                    }
                }
                (outcome, ..) => outcome,
            };
            match outcome {
                Ok(Some(outcome)) => outcomes.add(outcome).await,
                Ok(None) => {}
                Err(error) => {
                    outcomes.pass_on().await;
                    return Err(error);
                }
            }
        }
    }

    /// The next message that no earlier one of its key holds up; `None` when there will be no more.
    async fn next_in_order(&self, held: &mut Held, outcomes: &mut Outcomes) -> Option<Job> {
        let stop = &self.plan.context.stop;
        let mut has_ended = false;
        loop {
            if stop.is_stopped() {
                held.clear();
            }
            if let Some(job) = held.take_due() {
                return Some(job);
            }
            if held.has_room()
                && let Some(job) = self.queue.next_at_hand()
            {
                match held.admit(job) {
                    Some(job) => return Some(job),
                    None => continue,
                }
            }
            if has_ended && held.is_empty() {
                return None;
            }
            // Nothing may be kept while waiting.
            outcomes.pass_on().await;
            let due = held.next_due();
            tokio::select! {
                biased;
                () = stop.stopped(), if !held.is_empty() => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {}
                job = self.queue.next(), if held.has_room() && !has_ended => match job {
                    Some(job) => if let Some(job) = held.admit(job) {
                        return Some(job);
                    },
                    None => has_ended = true,
                },
            }
        }
    }

    /// A message that is to be tried again is held here, once the store knows what its attempts achieved. Gives back any other
    /// outcome.
    async fn hold(
        &self,
        key: u64,
        message: ReceivedMessage,
        outcome: Option<Outcome>,
        held: &mut Held,
        outcomes: &mut Outcomes,
    ) -> Result<Option<Outcome>, ListenError> {
        let retry = match outcome {
            Some(Outcome {
                settlement:
                    Settlement {
                        at,
                        end: End::Retry(retry),
                        failures,
                    },
                ..
            }) => (at, retry, failures),
            other => {
                held.ended(key, None);
                return Ok(other);
            }
        };
        let (at, retry, failures) = retry;
        outcomes.pass_on().await;
        let (due_in, retry_state) = (retry.delay, retry.retry_state.clone());
        let settlement = Settlement {
            at,
            end: End::Hold(retry),
            failures,
        };
        let answer = self.settler.settle(vec![settlement]).await.pop();
        self.plan.health.settled(1);
        let again = match answer {
            Some(Settled::Done) => Some(self.again(at, &message, retry_state, key, due_in)),
            Some(Settled::Refused(error)) if self.plan.context.stop.is_stopped() => {
                tracing::warn!("a message that waits for a retry stays pending: {error}");
                None
            }
            Some(Settled::Refused(error)) => return Err(ListenError::Engine(*error)),
            Some(Settled::NotOurs) | None => None,
        };
        held.ended(key, again);
        Ok(None)
    }

    /// The next attempt at a message.
    fn again(&self, at: DeliveryRef, message: &ReceivedMessage, retry_state: Bytes, key: u64, due_in: Duration) -> Job {
        let entry = Entry {
            id: message.id(),
            fields: message.fields().clone(),
        };
        Job {
            at,
            message: ReceivedMessage::new(message.stream().clone(), entry, message.attempt() + 1),
            earlier: Some(Box::new(Earlier {
                retry_state: Some(retry_state),
                suspect: false,
                due_in,
            })),
            key,
            received: self.plan.measures().then(Instant::now),
            _padding: [0; 2],
        }
    }

    /// Tries every listener of a message that has not succeeded. `None` when the message is not to be handled here.
    async fn handle(&self, job: Job) -> Result<Option<Outcome>, ListenError> {
        let Job {
            at,
            message,
            earlier,
            received,
            ..
        } = job;
        let Earlier {
            retry_state, suspect, ..
        } = earlier.map_or_else(Earlier::default, |earlier| *earlier);
        if !self.is_ready(at, retry_state.as_ref()).await? {
            return Ok(None);
        }
        let _alone = match suspect {
            true => self.suspects.acquire().await.ok(),
            false => None,
        };
        let stream = self.plan.stream(at.stream);
        let state = match &retry_state {
            None => RetryState::default(),
            Some(text) => match RetryState::from_text(text) {
                Ok(state) => state,
                Err(error) => return Ok(self.put_off(Attempt::new(at, message, text.clone()), &error).await),
            },
        };
        let attempt = Attempt::new(at, message, state);
        if let Some(cut_off) = poison::attempts_cut_off(&self.plan, stream, &attempt) {
            return Ok(Some(self.give_up(stream, attempt, cut_off)));
        }
        if self.settler.begin(at).await == Begin::Skip {
            return Ok(None);
        }
        count(&self.counts.messages);
        if let Some(metrics) = &self.plan.metrics {
            let cut_off = attempt.state.cut_off(attempt.message.attempt() - 1);
            metrics.begin(at.stream, received, cut_off > 0);
        }
        self.run(stream, attempt, received).await.map(Some)
    }

    /// Waits until the layers of all listeners that are to run let it begin; `false` when the listening ends before.
    async fn is_ready(&self, at: DeliveryRef, retry_state: Option<&Bytes>) -> Result<bool, ListenError> {
        let listeners = &self.plan.stream(at.stream).listeners;
        let all_ready = || listeners.iter().all(|listener| listener.listener().is_ready());
        // Nearly always.
        if guarded("`is_ready` of a layer", all_ready)? {
            return Ok(true);
        }
        // Those that do not run have nothing to wait for.
        let state = retry_state.and_then(|text| RetryState::from_text(text).ok());
        let runs = |listener: &&RegisteredListener| {
            let state = state.as_ref();
            !state.is_some_and(|state| state.has_succeeded(listener.name()) || state.has_failed(listener.name()))
        };
        for listener in listeners.iter().filter(runs) {
            let ready = guarded_future("`ready` of a layer", listener.listener().ready());
            tokio::select! {
                biased;
                () = self.plan.context.stop.stopped() => return Ok(false),
                ready = ready => ready?,
            }
        }
        Ok(true)
    }

    /// Runs the listeners that have not succeeded.
    async fn run(
        &self,
        stream: &PlannedStream,
        mut attempt: Attempt<RetryState>,
        received: Option<Instant>,
    ) -> Result<Outcome, ListenError> {
        let plan = &*self.plan;
        let metrics = plan.metrics.as_ref().map(|metrics| metrics.stream(attempt.at.stream));
        for (number, listener) in stream.listeners.iter().enumerate() {
            if attempt.skips(listener.name()) {
                continue;
            }
            let began = received.map(|_| Instant::now());
            let timing = || Some(Timing::ending_now(received?, began?));
            let tried = |end| {
                if let (Some(metrics), Some(began)) = (metrics, began) {
                    metrics.tried(number, began, end);
                }
            };
            let span = trace::listener_span(&attempt.message, plan.member.as_ref(), listener.name());
            let handling = listener.try_handle(&attempt.message, &plan.context);
            match handling.instrument(span.clone()).await {
                Ok(()) => {
                    tried(Tried::Handled);
                    count(&self.counts.processed);
                    plan.reporter.tell(&Report::Processed {
                        message: &attempt.message,
                        listener: listener.name(),
                        timing: timing(),
                    });
                }
                Err(error) => {
                    count(&self.counts.failed);
                    trace::failed(&span, &error);
                    let mut failure = self.failed(&attempt.message, number, listener, &error, timing())?;
                    if failure.delay.is_none() {
                        failure.group_is_kept = self.failing.is_kept(plan, attempt.at.stream, number).await;
                    }
                    tried(match failure.delay {
                        Some(_) => Tried::Retried,
                        None => Tried::DeadLettered,
                    });
                    attempt.failures.push(failure);
                }
            }
        }
        if let Some(metrics) = metrics {
            metrics.ended(attempt.message.id());
        }
        Ok(attempt.end(plan, stream))
    }

    fn failed(
        &self,
        message: &ReceivedMessage,
        number: usize,
        listener: &RegisteredListener,
        error: &ListenerError,
        timing: Option<Timing>,
    ) -> Result<Failure, ListenError> {
        let attempt = message.attempt();
        let delay = match listener.retry() {
            Some(retry) => guarded("`permanent_if` of a `RetryPolicy`", || {
                retry.delay_after(attempt, error)
            })?,
            None => None,
        };
        let text = error.to_string();
        let (error, listener) = (&*text, listener.name());
        self.plan.reporter.tell(&match delay {
            Some(delay) => Report::RetryLater {
                message,
                listener,
                error,
                attempt,
                delay,
                timing,
            },
            None => Report::Failed {
                message,
                listener,
                error,
                timing,
            },
        });
        Ok(Failure {
            listener: number,
            error: text,
            delay: delay.map(|delay| {
                if self.plan.options.retries_wait {
                    delay
                } else {
                    Duration::ZERO
                }
            }),
            group_is_kept: false,
        })
    }

    /// A message whose attempts were cut off too often: it is listed and not run any more.
    fn give_up(&self, stream: &PlannedStream, mut attempt: Attempt<RetryState>, cut_off: u64) -> Outcome {
        self.plan.reporter.tell(&Report::Poison {
            message: &attempt.message,
            cut_off,
        });
        let error = poison::error(cut_off);
        for (number, listener) in stream.listeners.iter().enumerate() {
            if !attempt.state.has_succeeded(listener.name()) && !attempt.state.has_failed(listener.name()) {
                if let Some(metrics) = &self.plan.metrics {
                    metrics.stream(attempt.at.stream).given_up(number);
                }
                attempt.failures.push(Failure {
                    listener: number,
                    error: error.clone(),
                    delay: None,
                    group_is_kept: false,
                });
            }
        }
        attempt.give_up(&self.plan, stream)
    }

    /// A message whose retry state cannot be read stays pending: to run listeners that have succeeded would be wrong.
    async fn put_off(&self, attempt: Attempt<bytes::Bytes>, error: &serde_json::Error) -> Option<Outcome> {
        tracing::warn!(
            "message {} on '{}' stream is put off, because what its earlier attempts achieved cannot be read: {error}; \
             remove it from the retry states of the stream (docs/keys.md) to run all listeners again",
            attempt.message.id(),
            attempt.message.stream()
        );
        match self.settler.begin(attempt.at).await {
            Begin::Run => Some(attempt.put_off()),
            Begin::Skip => None,
        }
    }
}

/// Outcomes on their way to be settled, a few at a time.
struct Outcomes {
    gathered: Vec<Outcome>,
    /// How many the last ones were: the next are as many, while messages come as they do.
    usual: usize,
    since: Instant,
    settle: mpsc::Sender<Vec<Outcome>>,
}

impl Outcomes {
    async fn add(&mut self, outcome: Outcome) {
        if self.gathered.is_empty() {
            self.since = Instant::now();
            // Room for what chance adds: to grow costs more.
            self.gathered.reserve_exact(self.usual + self.usual / 4);
        }
        self.gathered.push(outcome);
        if self.gathered.len() >= GATHERED || self.since.elapsed() >= GATHERED_FOR {
            self.pass_on().await;
        }
    }

    async fn pass_on(&mut self) {
        if !self.gathered.is_empty() {
            self.usual = self.gathered.len();
            // The settle stage is gone only when it failed; what it did not get stays pending.
            let _ = self.settle.send(std::mem::take(&mut self.gathered)).await;
        }
    }
}
