//! Settles messages in the background: records what failed, and only then acknowledges.
//!
//! The order is the promise. A crash before the failure is recorded, or between the record and the acknowledgement,
//! leaves the message pending: somebody will handle it again. What is to be archived is stored before, and deleted
//! after, the acknowledgement; `after` says why.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    KeepAlive, ListenError,
    progress::{self, Progress},
    run::Shared,
    supervisor::Finished,
    waiting::{self, Due, Kept},
};
use crate::{
    archive::ArchivedMessage,
    engine::{EngineError, EngineErrorKind, EngineResult},
    entry::{EntryId, unix_ms},
    failed::{self, Details, FailedMessage},
    listener::RegisteredListener,
    message::ReceivedMessage,
};

/// What came of a message.
#[derive(Debug)]
pub(super) struct Outcome {
    stream: usize,
    id: EntryId,
    verdict: Verdict,
    /// A message that every listener handled, where something is to become of it.
    handled: Option<ReceivedMessage>,
    /// Nothing where all listeners succeeded at the first attempt, as with nearly every message: those are small.
    tried: Option<Box<Tried>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Done with: acknowledge.
    Settled,
    /// Comes again: leave it pending.
    KeptPending,
    /// Comes again at this time, in milliseconds since the Unix epoch.
    Waits(u64),
}

/// What the listeners of a message achieve, one after the other.
#[derive(Debug)]
pub(super) struct Tried {
    /// This delivery's failures that are to be listed.
    failures: Vec<(FailedMessage, Details)>,
    /// This delivery's failures that are not, because there will be another attempt: listed if there is none after all.
    waiting: Vec<(FailedMessage, Details)>,
    /// The longest time until another attempt.
    delay: Option<Duration>,
    /// Listeners that ran.
    ran: Vec<Arc<str>>,
    /// Kept only where the store does not keep it: a message without a group that waits for another attempt.
    message: Option<ReceivedMessage>,
    /// What this and earlier deliveries achieved.
    pub(super) progress: Progress,
    /// Whether the store holds an earlier progress.
    stored: bool,
    /// Members of the failed list that this delivery made obsolete.
    obsolete: Vec<Bytes>,
}

impl Outcome {
    /// A message that could not even be tried.
    pub(super) fn put_off(stream: usize, id: EntryId) -> Self {
        Self {
            stream,
            id,
            verdict: Verdict::KeptPending,
            handled: None,
            tried: None,
        }
    }

    /// A message that came before its next attempt is due.
    pub(super) fn not_due(stream: usize, id: EntryId, at: u64, mut earlier: Progress) -> Self {
        earlier.untried += 1;
        Self {
            verdict: Verdict::Waits(at),
            tried: Some(Box::new(Tried::new(earlier))),
            ..Self::put_off(stream, id)
        }
    }
}

impl Tried {
    pub(super) fn new(earlier: Progress) -> Self {
        Self {
            failures: Vec::new(),
            waiting: Vec::new(),
            delay: None,
            ran: Vec::new(),
            message: None,
            stored: !earlier.is_empty(),
            progress: earlier,
            obsolete: Vec::new(),
        }
    }

    /// A listener handled the message.
    pub(super) fn succeeded(&mut self, shared: &Shared, stream: usize, listener: &RegisteredListener) {
        if shared.keeps_progress(stream) {
            self.ran.push(listener.shared_name());
            self.progress.add_succeeded(listener.name());
        }
    }

    /// A listener failed; with a delay there will be another attempt.
    pub(super) fn failed(
        &mut self,
        shared: &Shared,
        listener: &RegisteredListener,
        message: &ReceivedMessage,
        error: &str,
        attempts: u64,
        delay: Option<Duration>,
    ) {
        let failure = FailedMessage::new(message.id(), message.stream(), listener.name(), error);
        let first = self.progress.first_failure(listener.name(), &failure.date);
        let mut details = Details {
            attempts,
            first_failure: Some(first).filter(|first| *first != failure.date),
            ..Details::default()
        };
        if let Some(member) = shared.group.as_ref().filter(|_| shared.keeps_failed_pending()) {
            details.groups.push(member.group.clone());
        }
        self.ran.push(listener.shared_name());
        match delay {
            Some(_) => self.waiting.push((failure, details)),
            None => self.failures.push((failure, details)),
        }
        self.delay = self.delay.max(delay);
    }

    /// All listeners were tried.
    pub(super) fn finish(mut self, shared: &Shared, stream: usize, message: ReceivedMessage) -> Outcome {
        let leaves = shared.options.after_success.is_some();
        let mut outcome = Outcome {
            verdict: Verdict::Settled,
            ..Outcome::put_off(stream, message.id())
        };
        if self.failures.is_empty() && self.delay.is_none() && !self.stored {
            outcome.handled = Some(message).filter(|_| leaves);
            return outcome;
        }
        let latest = self.failures.iter().map(|(failure, _)| failure.to_member());
        self.obsolete = self.progress.replace_failed(&self.ran, &latest.collect::<Vec<_>>());
        if message.check().is_err() {
            for (_, details) in &mut self.failures {
                details.fields = message.fields().clone();
            }
        }
        self.progress.retry_at = None;
        let mut listeners = shared.streams[stream].listeners.iter();
        if let Some(delay) = self.delay {
            let at = unix_ms().saturating_add(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
            self.progress.retry_at = Some(at);
            outcome.verdict = Verdict::Waits(at);
            self.message = Some(message).filter(|_| shared.group.is_none());
        } else if shared.keeps_failed_pending() && listeners.any(|one| self.progress.has_failed(one.name())) {
            outcome.verdict = Verdict::KeptPending;
        } else if !self.progress.has_failures() {
            outcome.handled = Some(message).filter(|_| leaves);
        }
        outcome.tried = Some(Box::new(self));
        outcome
    }
}

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store, or the archive; it may pass.
    Store(EngineError),
    /// The listening must end.
    Fatal(ListenError),
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self::Store(error)
    }
}

impl From<ListenError> for Trouble {
    fn from(error: ListenError) -> Self {
        Self::Fatal(error)
    }
}

/// Settles outcomes until the workers are gone.
pub(super) async fn settle(
    shared: Arc<Shared>,
    mut outcomes: mpsc::Receiver<Vec<Outcome>>,
) -> Result<Finished, ListenError> {
    let mut batches = Vec::new();
    // Whatever gathers while one batch is being settled makes up the next.
    while outcomes.recv_many(&mut batches, 64).await > 0 {
        let batch = batches.drain(..).flatten().collect::<Vec<_>>();
        settle_batch(&shared, &batch).await?;
    }
    Ok(Finished::Other)
}

async fn settle_batch(shared: &Shared, batch: &[Outcome]) -> Result<(), ListenError> {
    let engine = shared.engine();
    let tried = || {
        batch
            .iter()
            .filter_map(|outcome| Some((outcome, outcome.tried.as_deref()?)))
    };
    for (_, tried) in tried().filter(|(_, tried)| !tried.failures.is_empty()) {
        persistently(shared, || failed::record_with(engine.as_ref(), &tried.failures)).await?;
    }
    for (outcome, tried) in tried().filter(|(outcome, tried)| tried.stored || outcome.verdict != Verdict::Settled) {
        persistently(shared, || keep_progress(shared, outcome, tried)).await?;
    }
    let leaving = before_acknowledging(shared, batch).await?;
    if let Some(member) = &shared.group {
        let settled = batch.iter().filter(|outcome| outcome.verdict == Verdict::Settled);
        let settled = by_stream(shared, settled)
            .map(|(stream, ids)| (shared.streams[stream].name.clone(), ids))
            .collect::<Vec<_>>();
        if !settled.is_empty() {
            persistently(shared, || engine.acknowledge_all(&member.group, &settled)).await?;
        }
    }
    for (stream, ids) in by_stream(shared, batch) {
        shared.in_hand.let_go(stream, &ids);
    }
    if let Some(after) = &shared.options.after_success {
        for (stream, messages) in leaving.iter().enumerate().filter(|(_, messages)| !messages.is_empty()) {
            let name = &shared.streams[stream].name;
            persistently(shared, || after.delete(shared, name, messages)).await?;
        }
    }
    // Only now: the reader passes over what is in hand.
    for outcome in batch {
        if let Verdict::Waits(at) = outcome.verdict {
            persistently(shared, || wait(shared, outcome, at)).await?;
        }
    }
    Ok(())
}

/// The IDs of each stream that has any.
fn by_stream<'a>(
    shared: &Shared,
    outcomes: impl IntoIterator<Item = &'a Outcome>,
) -> impl Iterator<Item = (usize, Vec<EntryId>)> {
    let mut streams = vec![Vec::new(); shared.streams.len()];
    for outcome in outcomes {
        streams[outcome.stream].push(outcome.id);
    }
    streams.into_iter().enumerate().filter(|(_, ids)| !ids.is_empty())
}

async fn wait(shared: &Shared, outcome: &Outcome, at: u64) -> EngineResult<()> {
    let due = Due {
        at,
        stream: outcome.stream,
        id: outcome.id,
    };
    let tried = outcome.tried.as_deref();
    let Some((tried, message)) = tried.and_then(|tried| Some((tried, tried.message.as_ref()?))) else {
        return waiting::begin(shared, due).await;
    };
    let kept = Kept::Here {
        message: message.clone(),
        progress: tried.progress.clone(),
        failures: tried.waiting.clone(),
    };
    shared.waiting.add(due, kept);
    Ok(())
}

/// Lists what waited here, and nowhere else, for an attempt that does not come any more.
pub(super) async fn give_up_waiting(shared: &Shared) -> Result<(), ListenError> {
    for kept in shared.waiting.take_all() {
        if let Kept::Here { failures, .. } = kept {
            let engine = shared.engine().as_ref();
            persistently(shared, || failed::record_with(engine, &failures)).await?;
        }
    }
    Ok(())
}

/// Stores what is to be archived; returns, for each stream, what is to be deleted after it was acknowledged.
async fn before_acknowledging(shared: &Shared, batch: &[Outcome]) -> Result<Vec<Vec<ArchivedMessage>>, ListenError> {
    let mut leaving = vec![Vec::new(); shared.streams.len()];
    let Some(after) = &shared.options.after_success else {
        return Ok(leaving);
    };
    for (stream, leaving) in leaving.iter_mut().enumerate() {
        let handled = batch.iter().filter(|outcome| outcome.stream == stream);
        let handled = handled
            .filter_map(|outcome| outcome.handled.clone())
            .collect::<Vec<_>>();
        if !handled.is_empty() {
            *leaving = persistently(shared, || after.before_acknowledging(shared, stream, &handled)).await?;
        }
    }
    Ok(leaving)
}

/// Brings the stored progress of a message, and the failed list, to where they stand now.
async fn keep_progress(shared: &Shared, outcome: &Outcome, tried: &Tried) -> EngineResult<()> {
    let Some(member) = &shared.group else { return Ok(()) };
    if tried.progress.is_empty() && !tried.stored {
        return Ok(());
    }
    let engine = shared.engine();
    let stream = &shared.streams[outcome.stream].name;
    // The new failures are recorded already, so at no instant is a failure in no list.
    if !tried.obsolete.is_empty() {
        failed::forget(engine.as_ref(), &tried.obsolete).await?;
    }
    let text = match outcome.verdict {
        Verdict::Settled => None,
        _ => Some(tried.progress.to_text()),
    };
    progress::write(engine.as_ref(), &member.group, stream, outcome.id, text).await
}

/// Repeats a step that changes nothing by being repeated, while the store is away and keep-alive is on.
pub(super) async fn persistently<T, E, F>(shared: &Shared, step: impl Fn() -> F) -> Result<T, ListenError>
where
    E: Into<Trouble>,
    F: Future<Output = Result<T, E>>,
{
    let mut attempts = 0;
    loop {
        let error = match step().await {
            Ok(done) => return Ok(done),
            Err(error) => match error.into() {
                Trouble::Store(error) => error,
                Trouble::Fatal(error) => return Err(error),
            },
        };
        // A full store refuses new failure records until somebody makes room.
        let passes = error.kind().is_transient() || error.kind() == EngineErrorKind::Full;
        let Some(keep_alive) = shared.options.keep_alive.filter(|_| passes) else {
            return Err(ListenError::Engine(error));
        };
        let KeepAlive { max_attempts, .. } = keep_alive;
        if max_attempts.is_some_and(|most| attempts >= most) {
            return Err(ListenError::GaveUp { attempts, error });
        }
        attempts += 1;
        tracing::debug!("settling is put off, attempt {attempts}: {error}");
        tokio::time::sleep(keep_alive.delay(attempts)).await;
    }
}
