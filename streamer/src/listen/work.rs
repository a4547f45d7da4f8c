//! Runs the listeners of a message, each by itself, and collects the outcome.

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Instant,
};

use tokio::sync::mpsc;

use super::{
    ListenError, Report,
    guarded::guarded,
    progress::Progress,
    queue::{Job, Queue},
    run::Shared,
    settle::{Outcome, Tried},
    supervisor::Finished,
};
use crate::entry::unix_ms;

/// The most outcomes a worker keeps back before it passes them on.
const KEPT_BACK: usize = 256;

/// The longest a worker keeps an outcome back while its listeners do not wait for anything.
const KEPT_BACK_FOR: std::time::Duration = std::time::Duration::from_millis(2);

/// Handles messages until the queue ends.
pub(super) async fn work(
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    settle: mpsc::Sender<Vec<Outcome>>,
) -> Result<Finished, ListenError> {
    let mut outcomes = Outcomes {
        kept: Vec::new(),
        since: Instant::now(),
        settle,
    };
    loop {
        let job = match queue.next_at_hand() {
            Some(job) => Some(job),
            None => {
                // Nothing may be kept back while waiting for the next batch.
                outcomes.pass_on().await;
                queue.next().await
            }
        };
        let Some(job) = job else { return Ok(Finished::Other) };
        if shared.context.stop.is_stopped() {
            // Not begun: it is handed back at the end.
            continue;
        }
        if shared.in_hand.is_lost(job.stream, job.message.id()) {
            // Not begun, and another consumer's by now.
            shared.in_hand.let_go(job.stream, &[job.message.id()]);
            continue;
        }
        let mut handled = pin!(handle(&shared, job));
        // A listener that has to wait may wait for long, and what others achieved must not wait with it.
        let outcome = match std::future::poll_fn(|context| Poll::Ready(handled.as_mut().poll(context))).await {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => {
                outcomes.pass_on().await;
                handled.await
            }
        };
        match outcome {
            Ok(outcome) => outcomes.add(outcome).await,
            Err(error) => {
                outcomes.pass_on().await;
                return Err(error);
            }
        }
    }
}

/// Outcomes on their way to be settled, a few at a time.
struct Outcomes {
    kept: Vec<Outcome>,
    since: Instant,
    settle: mpsc::Sender<Vec<Outcome>>,
}

impl Outcomes {
    async fn add(&mut self, outcome: Outcome) {
        if self.kept.is_empty() {
            self.since = Instant::now();
        }
        self.kept.push(outcome);
        if self.kept.len() >= KEPT_BACK || self.since.elapsed() >= KEPT_BACK_FOR {
            self.pass_on().await;
        }
    }

    async fn pass_on(&mut self) {
        if !self.kept.is_empty() {
            // The settling end is gone only when the listening is aborted; what it did not get stays pending.
            let _ = self.settle.send(std::mem::take(&mut self.kept)).await;
        }
    }
}

/// Tries every listener of a message that has not succeeded.
async fn handle(shared: &Shared, job: Job) -> Result<Outcome, ListenError> {
    let earlier = match Progress::load(shared, &job).await {
        Ok(earlier) => earlier,
        Err(error) => {
            // Running listeners that have succeeded already would be wrong: leave the message pending.
            tracing::warn!(
                "message {} on '{}' stream is put off: {error}",
                job.message.id(),
                job.message.stream()
            );
            return Ok(Outcome::put_off(job.stream, job.message.id()));
        }
    };
    let Job { stream, message, .. } = job;
    let attempt = message.attempt().saturating_sub(earlier.untried).max(1);
    let is_retry = earlier.retry_at.is_some();
    if let Some(at) = earlier.retry_at.filter(|at| unix_ms() < *at) {
        return Ok(Outcome::not_due(stream, message.id(), at, earlier));
    }
    shared.counts.messages.fetch_add(1, Ordering::Relaxed);
    let mut tried = Tried::new(earlier);
    for listener in &shared.streams[stream].listeners {
        let name = listener.name();
        // A failure that is listed is not tried again for the sake of another listener's retry.
        if tried.progress.has_succeeded(name) || is_retry && tried.progress.has_failed(name) {
            continue;
        }
        match listener.try_handle(&message, &shared.context).await {
            Ok(()) => {
                shared.counts.processed.fetch_add(1, Ordering::Relaxed);
                shared.reporter.tell(&Report::Processed {
                    message: &message,
                    listener: name,
                });
                tried.succeeded(shared, stream, listener);
            }
            Err(error) => {
                shared.counts.failed.fetch_add(1, Ordering::Relaxed);
                let delay = match listener.retry() {
                    Some(retry) => guarded("`permanent_if` of a `RetryPolicy`", || {
                        retry.delay_after(attempt, &error)
                    })?,
                    None => None,
                };
                let error = &*error.to_string();
                let message = &message;
                shared.reporter.tell(&match delay {
                    Some(delay) => Report::RetryLater {
                        message,
                        listener: name,
                        error,
                        attempt,
                        delay,
                    },
                    None => Report::Failed {
                        message,
                        listener: name,
                        error,
                    },
                });
                tried.failed(shared, listener, message, error, attempt, delay);
            }
        }
    }
    Ok(tried.finish(shared, stream, message))
}
