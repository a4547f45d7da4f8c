//! Runs the listeners of failures once more.
//!
//! The order is the promise: a new failure is recorded *before* the old record goes, and a record goes only *after* its
//! listener has succeeded. At no instant is a failure neither listed nor handled; a crash leaves it listed, so that a
//! listener may see a message once more than needed.

use std::{collections::HashSet, fmt, sync::Arc};

use sha2::{Digest, Sha256};

use super::{
    Details, FailedFilter, FailedMessage, Listed, Listing, RetryReport, RetrySummary, Skipped,
    clear::{After, Clear},
    find, store,
};
use crate::{
    archive::ArchiveStorage,
    client::Streamer,
    engine::{Engine, EngineError, EngineErrorKind, EngineResult},
    entry::{EntryId, StreamName},
    listen::progress,
    listener::{Context, Listeners, StopHandle},
    message::ReceivedMessage,
};

/// A retry that is being described; [`Retry::run`] does it.
#[must_use = "nothing is retried before `run`"]
pub struct Retry {
    context: Context,
    filter: FailedFilter,
    listeners: Listeners,
    archive: Option<Arc<dyn ArchiveStorage>>,
    after: After,
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
            context: Context {
                streamer,
                stop: StopHandle::new(),
            },
            filter,
            listeners,
            archive: None,
            after: After::Keep,
            tell: Box::new(|report| match report {
                RetryReport::Retried(_) | RetryReport::Progress { .. } => tracing::debug!("{report}"),
                RetryReport::Purged { .. } | RetryReport::Archived { .. } => tracing::info!("{report}"),
                _ => tracing::warn!("{report}"),
            }),
        }
    }

    /// Looks for messages here that are no longer on their streams. Default: nowhere.
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

    /// Is told of everything that happens; it must be quick. Default: the log is told.
    pub fn on_report(mut self, tell: impl Fn(&RetryReport<'_>) + Send + Sync + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// What ends this retry after the failure that is being retried; the others stay listed.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.context.stop.clone()
    }

    /// Retries the failures one after the other. Memory: pages of the list, and a few bytes for each failure that stays.
    ///
    /// # Errors
    ///
    /// The engine's: what was retried before stays so, the rest stays listed. [`EngineErrorKind::InvalidInput`] when
    /// messages are to be archived and no archive was given.
    pub async fn run(self) -> EngineResult<RetrySummary> {
        if matches!(self.after, After::Archive) && self.archive.is_none() {
            return Err(EngineError::new(
                EngineErrorKind::InvalidInput,
                "retry and archive failed messages",
                "there is no archive; give one with `Retry::archive`",
            ));
        }
        let engine = self.context.streamer.engine().clone();
        let listed = engine.count_failures().await?;
        let mut summary = RetrySummary::default();
        let mut clear = Clear::default();
        // What this run leaves in the list. A scan may give a member twice, and gives members that are added while it
        // goes on: a failure must not be retried for ever.
        let mut seen = HashSet::new();
        let mut listing = Listing::new(engine.clone(), self.filter.clone()).with_details();
        while let Some(page) = listing.next_page().await? {
            for Listed {
                member,
                record,
                details,
            } in page
            {
                if self.context.stop.is_stopped() {
                    return Ok(summary);
                }
                if !seen.insert(fingerprint(&member)) {
                    continue;
                }
                let failed = match record {
                    Ok(failed) => failed,
                    Err(error) => {
                        summary.skipped += 1;
                        (self.tell)(&RetryReport::Unreadable(&error));
                        continue;
                    }
                };
                match self
                    .retry(engine.as_ref(), &member, &failed, details, &mut seen)
                    .await?
                {
                    Outcome::Retried(stream, id) => {
                        seen.remove(&fingerprint(&member));
                        summary.retried += 1;
                        (self.tell)(&RetryReport::Retried(&failed));
                        if !matches!(self.after, After::Keep) {
                            clear.add(stream, id);
                        }
                    }
                    Outcome::FailedAgain(error) => {
                        summary.failed_again += 1;
                        let error = &*error;
                        (self.tell)(&RetryReport::FailedAgain { failed: &failed, error });
                    }
                    Outcome::Skipped(reason) => {
                        summary.skipped += 1;
                        (self.tell)(&RetryReport::Skipped {
                            failed: &failed,
                            reason: &reason,
                        });
                    }
                }
            }
            let looked_at = listing.looked_at();
            (self.tell)(&RetryReport::Progress { looked_at, listed });
        }
        clear
            .finish(&engine, self.after, self.archive.as_deref(), &*self.tell, &mut summary)
            .await?;
        self.context.streamer.failed().tidy_at_the_end().await;
        Ok(summary)
    }

    /// What an earlier version kept of the group's messages is moved to where it is looked for.
    async fn move_old_states(&self, group: &str, stream: &StreamName) -> EngineResult<()> {
        let engine = self.context.streamer.engine();
        pass_over(engine.move_old_retry_states(group, std::slice::from_ref(stream)).await)
    }

    async fn retry(
        &self,
        engine: &dyn Engine,
        member: &bytes::Bytes,
        failed: &FailedMessage,
        details: Details,
        seen: &mut HashSet<[u8; 16]>,
    ) -> EngineResult<Outcome> {
        let stream = StreamName::from(&failed.stream);
        let listeners = self.listeners.of(&stream);
        let Some(listener) = listeners.iter().find(|one| one.name() == failed.receiver) else {
            return Ok(Outcome::Skipped(Skipped::UnknownReceiver));
        };
        let Ok(id) = failed.id.parse::<EntryId>() else {
            return Ok(Outcome::Skipped(Skipped::InvalidId));
        };
        let entry = match find::find(engine, self.archive.as_deref(), &stream, id, &details).await {
            Ok(Ok(entry)) => entry,
            Ok(Err(reason)) => return Ok(Outcome::Skipped(reason)),
            // This message's trouble, and no reason to give up the others.
            Err(error) if is_local(&error) => return Ok(Outcome::Skipped(Skipped::Unreadable(error.to_string()))),
            Err(error) => return Err(error),
        };
        let attempts = details.attempts.saturating_add(1);
        let message = ReceivedMessage::new(stream.clone(), entry, attempts);
        let Err(error) = listener.try_handle(&message, &self.context).await else {
            // First, so that a crash in between leaves the record, which knows the groups.
            for group in &details.groups {
                self.move_old_states(group, &stream).await?;
                pass_over(progress::retried(engine, group, &stream, id, &failed.receiver, member).await)?;
            }
            store::forget(engine, std::slice::from_ref(member)).await?;
            return Ok(Outcome::Retried(stream, id));
        };
        let error = error.to_string();
        let again = FailedMessage {
            // As it was listed, whatever PHP or another writer made of them.
            id: failed.id.clone(),
            stream: failed.stream.clone(),
            ..FailedMessage::new(id, &stream, &failed.receiver, &error)
        };
        let again_member = again.to_member();
        let groups = details.groups.clone();
        let details = Details {
            attempts,
            first_failure: details.first_failure.or_else(|| Some(failed.date.clone())),
            ..details
        };
        store::record_with(engine, &[(again, details)]).await?;
        seen.insert(fingerprint(&again_member));
        // The same error in the same second is the same member: it stays.
        if again_member != *member {
            for group in &groups {
                self.move_old_states(group, &stream).await?;
                pass_over(progress::failed_again(engine, group, &stream, id, member, &again_member).await)?;
            }
            store::forget(engine, std::slice::from_ref(member)).await?;
        }
        Ok(Outcome::FailedAgain(error))
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

fn fingerprint(member: &[u8]) -> [u8; 16] {
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&Sha256::digest(member)[..16]);
    fingerprint
}
