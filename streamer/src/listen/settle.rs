//! Settles messages in the background: records what failed, and only then acknowledges.
//!
//! The order is the promise. A crash before the failure is recorded, or between the record and the acknowledgement,
//! leaves the message pending: somebody will handle it again. What is to be archived is stored before, and deleted
//! after, the acknowledgement; `after` says why.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::sync::mpsc;

use super::{
    KeepAlive, ListenError,
    progress::{self, Progress},
    run::Shared,
};
use crate::{
    archive::ArchivedMessage,
    engine::{EngineErrorKind, EngineResult},
    entry::EntryId,
    failed::{self, FailedMessage},
    message::ReceivedMessage,
};

/// What came of a message.
#[derive(Debug)]
pub(super) struct Outcome {
    stream: usize,
    id: EntryId,
    verdict: Verdict,
    /// This delivery's failures.
    failures: Vec<FailedMessage>,
    /// Whose payload could not be decoded; kept beside the failures.
    undecodable: Option<ReceivedMessage>,
    /// What this and earlier deliveries achieved.
    pub(super) progress: Progress,
    /// Whether the store holds an earlier progress.
    stored: bool,
    /// Members of the failed list that this delivery made obsolete.
    obsolete: Vec<Bytes>,
    /// A message that every listener handled, where something is to become of it.
    handled: Option<ReceivedMessage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Done with: acknowledge.
    Settled,
    /// Comes again: leave it pending.
    KeptPending,
}

impl Outcome {
    pub(super) fn new(stream: usize, id: EntryId, earlier: Progress) -> Self {
        Self {
            stream,
            id,
            verdict: Verdict::Settled,
            failures: Vec::new(),
            undecodable: None,
            stored: !earlier.is_empty(),
            progress: earlier,
            obsolete: Vec::new(),
            handled: None,
        }
    }

    /// A message that could not even be tried.
    pub(super) fn put_off(stream: usize, id: EntryId) -> Self {
        Self {
            verdict: Verdict::KeptPending,
            ..Self::new(stream, id, Progress::default())
        }
    }

    pub(super) fn failed(&mut self, failure: FailedMessage) {
        self.failures.push(failure);
    }

    /// All listeners were tried.
    pub(super) fn finish(mut self, shared: &Shared, message: ReceivedMessage) -> Self {
        if self.failures.is_empty() && shared.options.after_success.is_some() {
            self.handled = Some(message.clone());
        }
        if self.failures.is_empty() && !self.stored {
            return self;
        }
        let latest = self.failures.iter().map(FailedMessage::to_member).collect::<Vec<_>>();
        let earlier = self.progress.replace_failed(&latest);
        // The same failure in the same second is the same member: it must stay.
        self.obsolete = earlier.into_iter().filter(|member| !latest.contains(member)).collect();
        if !self.failures.is_empty() {
            if shared.keeps_failed_pending() {
                self.verdict = Verdict::KeptPending;
            }
            if message.check().is_err() {
                self.undecodable = Some(message);
            }
        }
        self
    }
}

/// Settles outcomes until the workers are gone.
pub(super) async fn settle(shared: Arc<Shared>, mut outcomes: mpsc::Receiver<Vec<Outcome>>) {
    let mut batches = Vec::new();
    // Whatever gathers while one batch is being settled makes up the next.
    while outcomes.recv_many(&mut batches, 64).await > 0 {
        let batch = batches.drain(..).flatten().collect::<Vec<_>>();
        if shared.has_failed() {
            continue;
        }
        if let Err(error) = settle_batch(&shared, &batch).await {
            shared.fail(error);
        }
    }
}

async fn settle_batch(shared: &Shared, batch: &[Outcome]) -> Result<(), ListenError> {
    let engine = shared.engine();
    for outcome in batch.iter().filter(|outcome| !outcome.failures.is_empty()) {
        match &outcome.undecodable {
            None => persistently(shared, || failed::record(engine.as_ref(), &outcome.failures)).await?,
            Some(message) => {
                let record = || failed::record_undecodable(engine.as_ref(), &outcome.failures, message.fields());
                persistently(shared, record).await?;
            }
        }
    }
    for outcome in batch
        .iter()
        .filter(|outcome| outcome.stored || outcome.verdict == Verdict::KeptPending)
    {
        persistently(shared, || keep_progress(shared, outcome)).await?;
    }
    let leaving = before_acknowledging(shared, batch).await?;
    let mut streams = vec![(Vec::new(), Vec::new()); shared.streams.len()];
    for outcome in batch {
        let (settled, let_go) = &mut streams[outcome.stream];
        let_go.push(outcome.id);
        if outcome.verdict == Verdict::Settled {
            settled.push(outcome.id);
        }
    }
    if let Some(member) = &shared.group {
        let acknowledged = streams
            .iter()
            .enumerate()
            .filter(|(_, (settled, _))| !settled.is_empty());
        try_join_all(acknowledged.map(|(stream, (settled, _))| {
            let name = &shared.streams[stream].name;
            persistently(shared, move || engine.acknowledge(name, &member.group, settled))
        }))
        .await?;
    }
    for (stream, (_, let_go)) in streams.iter().enumerate() {
        shared.in_hand.let_go(stream, let_go);
    }
    if let Some(after) = &shared.options.after_success {
        for (stream, messages) in leaving.iter().enumerate().filter(|(_, messages)| !messages.is_empty()) {
            let name = &shared.streams[stream].name;
            persistently(shared, || after.delete(shared, name, messages)).await?;
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
async fn keep_progress(shared: &Shared, outcome: &Outcome) -> EngineResult<()> {
    let Some(member) = &shared.group else { return Ok(()) };
    if outcome.progress.is_empty() && !outcome.stored {
        return Ok(());
    }
    let engine = shared.engine();
    let key = progress::key(member, shared, outcome.stream);
    let field = Bytes::from(outcome.id.to_string());
    // The new failures are recorded already, so at no instant is a failure in no list.
    if !outcome.obsolete.is_empty() {
        failed::forget(engine.as_ref(), &outcome.obsolete).await?;
    }
    match outcome.verdict {
        Verdict::KeptPending => engine.hash_put(&key, &[(field, outcome.progress.to_text())]).await,
        Verdict::Settled => engine.hash_remove(&key, &[field]).await.map(drop),
    }
}

/// Repeats a step that changes nothing by being repeated, while the store is away and keep-alive is on.
pub(super) async fn persistently<T, F>(shared: &Shared, step: impl Fn() -> F) -> Result<T, ListenError>
where
    F: Future<Output = EngineResult<T>>,
{
    let mut attempts = 0;
    loop {
        let error = match step().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
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
