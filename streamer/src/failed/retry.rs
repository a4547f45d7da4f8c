//! Runs the listeners of failures once more.
//!
//! A new failure is recorded *before* the old record is removed, and a record is removed only *after* its listener has
//! succeeded. So a failure is always listed until it is handled. A crash leaves it listed, and its listener may then get the
//! message once more than needed.
//!
//! Concurrent retries: a message is claimed before its listener runs, and the check that the failure is still listed comes after
//! the claim.

use std::{
    collections::{HashSet, VecDeque},
    convert::Infallible,
    fmt,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tracing::Instrument as _;

use super::{
    Details, FailedFilter, FailedMessage, Listed, RetryReport, RetrySummary, Skipped,
    clear::{After, Clear},
    find, retry_state, store,
};
use crate::{
    archive::ArchiveStorage,
    client::Streamer,
    engine::{Engine, EngineError, EngineErrorKind, EngineResult},
    entry::{EntryId, StreamName},
    listener::{ListenerContext, Listeners, RegisteredListener, StopHandle},
    message::ReceivedMessage,
    trace,
};

/// How long a claim holds unless it is renewed.
const LEASE: Duration = Duration::from_secs(30);
/// So many failures may wait for a worker before more are read.
const LOOK_AHEAD: usize = 64;

/// The settings of a retry, from [`Failed::retry`](super::Failed::retry); [`Retry::run`] does it.
#[must_use = "nothing is retried before `run`"]
pub struct Retry {
    context: ListenerContext,
    filter: FailedFilter,
    listeners: Listeners,
    archive: Option<Arc<dyn ArchiveStorage>>,
    after: After,
    workers: usize,
    in_order: bool,
    /// Whose the claims are: this retry's, and nobody else's.
    owner: String,
    tell: Box<dyn Fn(&RetryReport<'_>) + Send + Sync>,
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("filter", &self.filter)
            .field("listeners", &self.listeners)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

/// What came of one failure.
enum Outcome {
    Retried(StreamName, EntryId),
    FailedAgain(String),
    Skipped(Skipped),
}

impl Retry {
    pub(super) fn new(streamer: Streamer, filter: FailedFilter, listeners: Listeners) -> Self {
        Self {
            context: ListenerContext {
                streamer,
                stop: StopHandle::new(),
            },
            filter,
            listeners,
            archive: None,
            after: After::Keep,
            workers: 1,
            in_order: false,
            owner: format!("{:032x}", rand::random::<u128>()),
            tell: Box::new(|report| match report {
                RetryReport::Retried(_) | RetryReport::Progress { .. } => tracing::debug!("{report}"),
                RetryReport::Purged { .. } | RetryReport::Archived { .. } => tracing::info!("{report}"),
                _ => tracing::warn!("{report}"),
            }),
        }
    }

    /// The archive in which messages are looked for that are no longer on their streams. Default: none.
    pub fn archive(mut self, archive: Arc<dyn ArchiveStorage>) -> Self {
        self.archive = Some(archive);
        self
    }

    /// Deletes a message from its stream, for every group, once its listener succeeded and no other failure of it is
    /// listed. That happens at the end, in one more pass through the list.
    pub fn purge_after(mut self) -> Self {
        self.after = After::Purge;
        self
    }

    /// As [`Retry::purge_after`], but the message goes to the [`archive`](Retry::archive) first.
    pub fn archive_after(mut self) -> Self {
        self.after = After::Archive;
        self
    }

    /// Calls `tell` for each failure with its outcome. It delays the retry as long as it takes. Default: outcomes are logged.
    pub fn on_report(mut self, tell: impl Fn(&RetryReport<'_>) + Send + Sync + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// A handle that ends this retry: failures that are being retried are finished, the others stay listed.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.context.stop.clone()
    }

    /// How many failures are retried at once; at least 1. Default: 1. Failures of one message are never retried at once.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Retries the failures of a stream one after the other, by date, however many workers there are. Default: no.
    pub fn in_order(mut self, in_order: bool) -> Self {
        self.in_order = in_order;
        self
    }

    /// Retries the failures that are listed now, by date, oldest first.
    ///
    /// Several retries may run at once, also in other processes. The message of a failure is claimed just before its listener
    /// runs, and a failure that another retry works on or has settled is skipped. The claim is renewed while the listener
    /// runs. If the process dies, the claim ends after 30 s, and the failure can be retried again.
    ///
    /// [`SortedListing`](super::SortedListing) tells what sorting the list costs.
    ///
    /// # Errors
    ///
    /// The engine's: what was retried before stays so, the rest stays listed. [`EngineErrorKind::InvalidInput`] when
    /// messages are to be archived and no archive was given, and for
    /// [`Listeners::mistakes`](crate::Listeners::mistakes).
    pub async fn run(self) -> EngineResult<RetrySummary> {
        if matches!(self.after, After::Archive) && self.archive.is_none() {
            return Err(EngineError::new(
                EngineErrorKind::InvalidInput,
                "retry and archive failed messages",
                "there is no archive; give one with `Retry::archive`",
            ));
        }
        if let Some(mistake) = self.listeners.mistakes().first() {
            return Err(EngineError::new(
                EngineErrorKind::InvalidInput,
                "retry failed messages",
                mistake.clone(),
            ));
        }
        let engine = self.context.streamer.engine().clone();
        let listed = engine.count_failures().await?;
        let mut summary = RetrySummary::default();
        let mut clear = Clear::default();
        let mut done = 0;
        let mut listing = self
            .context
            .streamer
            .failed()
            .sorted(self.filter.clone())
            .with_details();
        let mut lanes = Lanes::default();
        let mut running = FuturesUnordered::new();
        let mut at_end = false;
        let mut broken = None;
        loop {
            if self.context.stop.is_stopped() || broken.is_some() {
                at_end = true;
                lanes.waiting.clear();
            }
            while running.len() < self.workers
                && let Some((lane, listed)) = lanes.take()
            {
                running.push(self.one(lane, listed));
            }
            if !at_end && lanes.waiting.len() < LOOK_AHEAD && running.len() < self.workers {
                match listing.next_page().await {
                    Ok(Some(page)) => {
                        let page = page.into_iter().map(|listed| (self.lane(&listed), listed));
                        lanes.waiting.extend(page);
                    }
                    Ok(None) => at_end = true,
                    Err(error) => broken = Some(error),
                }
                continue;
            }
            let Some((lane, failed, outcome)) = running.next().await else {
                break;
            };
            lanes.busy.remove(&lane);
            done += 1;
            match outcome {
                Ok(outcome) => self.account(&failed, outcome, &mut summary, &mut clear),
                Err(error) => broken = broken.or(Some(error)),
            }
            if done % 100 == 0 {
                (self.tell)(&RetryReport::Progress {
                    looked_at: done,
                    listed,
                });
            }
        }
        (self.tell)(&RetryReport::Progress {
            looked_at: done,
            listed,
        });
        if let Some(error) = broken {
            return Err(error);
        }
        if !self.context.stop.is_stopped() {
            clear
                .finish(&engine, self.after, self.archive.as_deref(), &*self.tell, &mut summary)
                .await?;
            self.context.streamer.failed().tidy_at_the_end(None).await;
        }
        Ok(summary)
    }

    /// What an earlier version kept of the group's messages is moved to where it is looked for.
    async fn move_old_states(&self, group: &str, stream: &StreamName) -> EngineResult<()> {
        let engine = self.context.streamer.engine();
        pass_over(engine.move_old_retry_states(group, std::slice::from_ref(stream)).await)
    }

    /// What must not be retried at the same time as this.
    fn lane(&self, listed: &Listed) -> Lane {
        match &listed.record {
            Ok(failed) if self.in_order => Lane(failed.stream.clone(), None),
            Ok(failed) => Lane(failed.stream.clone(), Some(failed.id.clone())),
            Err(_) => Lane(String::new(), None),
        }
    }

    fn account(&self, listed: &Listed, outcome: Outcome, summary: &mut RetrySummary, clear: &mut Clear) {
        let failed = match &listed.record {
            Ok(failed) => failed,
            Err(error) => {
                summary.skipped += 1;
                return (self.tell)(&RetryReport::Unreadable(error));
            }
        };
        match outcome {
            Outcome::Retried(stream, id) => {
                summary.retried += 1;
                (self.tell)(&RetryReport::Retried(failed));
                if !matches!(self.after, After::Keep) {
                    clear.add(stream, id);
                }
            }
            Outcome::FailedAgain(error) => {
                summary.failed_again += 1;
                let error = &*error;
                (self.tell)(&RetryReport::FailedAgain { failed, error });
            }
            Outcome::Skipped(reason) => {
                match reason {
                    Skipped::Busy | Skipped::Settled => summary.elsewhere += 1,
                    _ => summary.skipped += 1,
                }
                let reason = &reason;
                (self.tell)(&RetryReport::Skipped { failed, reason });
            }
        }
    }

    async fn one(&self, lane: Lane, listed: Listed) -> (Lane, Listed, EngineResult<Outcome>) {
        let outcome = match &listed.record {
            Ok(failed) => self.claim_and_retry(&listed.member, failed, &listed.details).await,
            // It is told as what it is.
            Err(_) => Ok(Outcome::Skipped(Skipped::InvalidId)),
        };
        (lane, listed, outcome)
    }

    async fn claim_and_retry(
        &self,
        member: &Bytes,
        failed: &FailedMessage,
        details: &Details,
    ) -> EngineResult<Outcome> {
        let stream = StreamName::from(&failed.stream);
        let listeners = self.listeners.of(&stream);
        let Some(listener) = listeners.iter().find(|one| one.name() == failed.receiver) else {
            return Ok(Outcome::Skipped(Skipped::UnknownReceiver));
        };
        let Ok(id) = failed.id.parse::<EntryId>() else {
            return Ok(Outcome::Skipped(Skipped::InvalidId));
        };
        let engine = self.context.streamer.engine().as_ref();
        let claim = Claim {
            engine,
            stream: &stream,
            id,
            owner: self.owner.clone(),
        };
        if !claim.take().await? {
            return Ok(Outcome::Skipped(Skipped::Busy));
        }
        // Only now: what another retry has settled before it gave up its claim is not listed any more.
        let outcome = match engine.is_listed(member).await {
            Ok(true) => {
                let mut retrying = pin!(self.retry(engine, member, failed, details, listener));
                let mut renewing = pin!(claim.keep());
                tokio::select! {
                    outcome = &mut retrying => outcome,
                    never = &mut renewing => match never {},
                }
            }
            Ok(false) => Ok(Outcome::Skipped(Skipped::Settled)),
            Err(error) => Err(error),
        };
        // If it cannot be given up, it ends by itself.
        if let Err(error) = claim.release().await {
            tracing::debug!("{error}");
        }
        outcome
    }

    async fn retry(
        &self,
        engine: &dyn Engine,
        member: &Bytes,
        failed: &FailedMessage,
        details: &Details,
        listener: &RegisteredListener,
    ) -> EngineResult<Outcome> {
        let stream = StreamName::from(&failed.stream);
        let Ok(id) = failed.id.parse::<EntryId>() else {
            return Ok(Outcome::Skipped(Skipped::InvalidId));
        };
        let entry = match find::find(engine, self.archive.as_deref(), &stream, id, details).await {
            Ok(Ok(entry)) => entry,
            Ok(Err(reason)) => return Ok(Outcome::Skipped(reason)),
            // This message's trouble, and no reason to give up the others.
            Err(error) if is_local(&error) => return Ok(Outcome::Skipped(Skipped::Unreadable(error.to_string()))),
            Err(error) => return Err(error),
        };
        let attempts = details.attempts.saturating_add(1);
        let message = ReceivedMessage::new(stream.clone(), entry, attempts);
        let span = trace::listener_span(&message, None, listener.name());
        let handling = listener.try_handle(&message, &self.context);
        let Err(error) = handling.instrument(span.clone()).await else {
            // First, so that a crash in between leaves the record, which knows the groups.
            for group in &details.groups {
                self.move_old_states(group, &stream).await?;
                pass_over(retry_state::retried(engine, group, &stream, id, &failed.receiver, member).await)?;
            }
            store::forget(engine, std::slice::from_ref(member)).await?;
            return Ok(Outcome::Retried(stream, id));
        };
        trace::failed(&span, &error);
        let error = error.to_string();
        let again = FailedMessage {
            // As it was listed, whatever PHP or another writer made of them.
            id: failed.id.clone(),
            stream: failed.stream.clone(),
            ..FailedMessage::new(id, &stream, &failed.receiver, &error)
        };
        let again_member = again.to_member();
        let details = Details {
            attempts,
            first_failure: details.first_failure.clone().or_else(|| Some(failed.date.clone())),
            ..details.clone()
        };
        let groups = details.groups.clone();
        store::record_with(engine, &[(again, details)]).await?;
        // The same error in the same second is the same member: it stays.
        if again_member != *member {
            for group in &groups {
                self.move_old_states(group, &stream).await?;
                pass_over(retry_state::failed_again(engine, group, &stream, id, member, &again_member).await)?;
            }
            store::forget(engine, std::slice::from_ref(member)).await?;
        }
        Ok(Outcome::FailedAgain(error))
    }
}

/// What must not be retried at once: a message, or a whole stream where its order counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lane(String, Option<String>);

/// Failures that wait for a worker, in their order.
#[derive(Default)]
struct Lanes {
    waiting: VecDeque<(Lane, Listed)>,
    /// Those with a failure that is being retried.
    busy: HashSet<Lane>,
}

impl Lanes {
    /// The first that may begin. Its lane is busy from now on.
    fn take(&mut self) -> Option<(Lane, Listed)> {
        let at = self.waiting.iter().position(|(lane, _)| !self.busy.contains(lane))?;
        let (lane, listed) = self.waiting.remove(at)?;
        self.busy.insert(lane.clone());
        Some((lane, listed))
    }
}

/// A claim on a message, so that no other retry works on it.
struct Claim<'a> {
    engine: &'a dyn Engine,
    stream: &'a StreamName,
    id: EntryId,
    owner: String,
}

impl Claim<'_> {
    async fn take(&self) -> EngineResult<bool> {
        self.engine.claim_retry(self.stream, self.id, &self.owner, LEASE).await
    }

    /// Renews it for ever.
    async fn keep(&self) -> Infallible {
        loop {
            tokio::time::sleep(LEASE / 3).await;
            match self.take().await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    "message {} of '{}' was claimed by another retry: this process stood still for too long, and the \
                     listener may run twice",
                    self.id,
                    self.stream
                ),
                Err(error) => tracing::debug!("{error}"),
            }
        }
    }

    async fn release(&self) -> EngineResult<()> {
        self.engine.release_retry(self.stream, self.id, &self.owner).await
    }
}

/// Whether an error is about one key, not about the store.
fn is_local(error: &EngineError) -> bool {
    matches!(
        error.kind(),
        EngineErrorKind::WrongType | EngineErrorKind::Corrupt | EngineErrorKind::InvalidInput
    )
}

/// What a message's group has on it cannot be brought up to date when it makes no sense; the message comes again then.
fn pass_over(done: EngineResult<()>) -> EngineResult<()> {
    match done {
        Err(error) if is_local(&error) => {
            tracing::warn!("{error}");
            Ok(())
        }
        done => done,
    }
}
