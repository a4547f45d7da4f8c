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

use tokio::sync::{Semaphore, mpsc};
use tracing::Instrument as _;

use super::{
    ListenError, Report, Timing,
    dispatch::{Job, Queue},
    failing_group::FailingGroupCache,
    guarded::guarded,
    outcome::{Attempt, Failure, Outcome},
    plan::{Plan, PlannedStream},
    poison,
    supervisor::Finished,
};
use crate::{
    engine::{Begin, Settler},
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
            since: Instant::now(),
            settle,
        };
        loop {
            let job = match self.queue.next_at_hand() {
                Some(job) => Some(job),
                None => {
                    // Nothing may be kept while waiting for the next batch.
                    outcomes.pass_on().await;
                    self.queue.next().await
                }
            };
            let Some(job) = job else { return Ok(Finished::Other) };
            if self.plan.context.stop.is_stopped() {
                // Not begun: it is released at the end.
                continue;
            }
            let mut handled = pin!(self.handle(job));
            // A listener that has to wait may wait for long, and what others achieved must not wait with it.
            let outcome = match std::future::poll_fn(|context| Poll::Ready(handled.as_mut().poll(context))).await {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    outcomes.pass_on().await;
                    handled.await
                }
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

    /// Tries every listener of a message that has not succeeded. `None` when the message is not to be handled here.
    async fn handle(&self, job: Job) -> Result<Option<Outcome>, ListenError> {
        let Job {
            at,
            message,
            retry_state,
            suspect,
            received,
        } = job;
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
            delay,
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
    since: Instant,
    settle: mpsc::Sender<Vec<Outcome>>,
}

impl Outcomes {
    async fn add(&mut self, outcome: Outcome) {
        if self.gathered.is_empty() {
            self.since = Instant::now();
        }
        self.gathered.push(outcome);
        if self.gathered.len() >= GATHERED || self.since.elapsed() >= GATHERED_FOR {
            self.pass_on().await;
        }
    }

    async fn pass_on(&mut self) {
        if !self.gathered.is_empty() {
            // The settle stage is gone only when it failed; what it did not get stays pending.
            let _ = self.settle.send(std::mem::take(&mut self.gathered)).await;
        }
    }
}
