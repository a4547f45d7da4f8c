//! Runs the listeners of a message, each by itself, and collects the outcome.

use std::{
    any::Any,
    future::Future,
    panic::AssertUnwindSafe,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::Poll,
    time::Instant,
};

use futures_util::FutureExt;
use tokio::sync::mpsc;

use super::{
    ListenerError, RegisteredListener, Report,
    progress::Progress,
    queue::{Job, Queue},
    run::Shared,
    settle::Outcome,
};
use crate::{failed::FailedMessage, message::ReceivedMessage};

/// The most outcomes a worker keeps back before it passes them on.
const KEPT_BACK: usize = 256;

/// The longest a worker keeps an outcome back while its listeners do not wait for anything.
const KEPT_BACK_FOR: std::time::Duration = std::time::Duration::from_millis(2);

/// Handles messages until the queue ends.
pub(super) async fn work(shared: Arc<Shared>, queue: Arc<Queue>, settle: mpsc::Sender<Vec<Outcome>>) {
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
        let Some(job) = job else { return };
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
        outcomes.add(outcome).await;
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

/// Tries every listener of a message.
async fn handle(shared: &Shared, job: Job) -> Outcome {
    let Job { stream, message } = job;
    let earlier = match Progress::load(shared, stream, &message).await {
        Ok(earlier) => earlier,
        Err(error) => {
            // Running listeners that have succeeded already would be wrong: leave the message pending.
            tracing::warn!(
                "message {} on '{}' stream is put off: {error}",
                message.id(),
                message.stream()
            );
            return Outcome::put_off(stream, message.id());
        }
    };
    shared.counts.messages.fetch_add(1, Ordering::Relaxed);
    let mut outcome = Outcome::new(stream, message.id(), earlier);
    for listener in &shared.streams[stream].listeners {
        if outcome.progress.has_succeeded(listener.name()) {
            continue;
        }
        match run(shared, listener, &message).await {
            Ok(()) => {
                shared.counts.processed.fetch_add(1, Ordering::Relaxed);
                shared.reporter.tell(&Report::Processed {
                    message: &message,
                    listener: listener.name(),
                });
                if shared.keeps_failed_pending() {
                    outcome.progress.add_succeeded(listener.name());
                }
            }
            Err(error) => {
                let error = error.to_string();
                shared.counts.failed.fetch_add(1, Ordering::Relaxed);
                shared.reporter.tell(&Report::Failed {
                    message: &message,
                    listener: listener.name(),
                    error: &error,
                });
                outcome.failed(FailedMessage::new(
                    message.id(),
                    message.stream(),
                    listener.name(),
                    &error,
                ));
            }
        }
    }
    outcome.finish(shared, message)
}

/// Runs one listener: its error, its panic and its time-out are all its failure.
async fn run(shared: &Shared, listener: &RegisteredListener, message: &ReceivedMessage) -> Result<(), ListenerError> {
    if !listener.listener().decodes() {
        message.check()?;
    }
    let handling = AssertUnwindSafe(listener.listener().handle(message, &shared.context)).catch_unwind();
    let result = match listener.timeout() {
        None => handling.await,
        Some(timeout) => tokio::time::timeout(timeout, handling)
            .await
            .map_err(|_| ListenerError::new(format!("took longer than {} ms", timeout.as_millis())))?,
    };
    result.unwrap_or_else(|panic| Err(ListenerError::new(format!("panicked: {}", text_of(&*panic)))))
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}
