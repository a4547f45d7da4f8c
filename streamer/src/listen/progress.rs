//! What earlier deliveries of a message achieved, kept at the store for messages that stay pending because a listener
//! failed: which listeners succeeded, which failures are listed, and when the next attempt is due.
//!
//! Only used when failed messages stay pending ([`always_acknowledge`](super::Listening::always_acknowledge) off) or a
//! listener is retried ([`RetryPolicy`](crate::RetryPolicy)). A message all of whose listeners succeed at once never
//! has such a record, so they cost nothing in the normal case.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{queue::Job, run::Shared};
use crate::{
    engine::{Engine, EngineError, EngineErrorKind, EngineResult, PendingFilter, keys},
    entry::{EntryId, RangeBound, StreamName},
    failed::FailedMessage,
};

/// What earlier deliveries of a message achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Listeners that succeeded.
    succeeded: Vec<String>,
    /// The members of the failed list that stand for listeners that did not.
    failed: Vec<String>,
    /// When the next attempt is due, in milliseconds since the Unix epoch; `None` when no listener waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retry_at: Option<u64>,
    /// When each listener that waits, or waited, for another attempt failed first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    first_failures: BTreeMap<String, String>,
    /// How many deliveries came before the next attempt was due: nothing was tried then, so they are no attempts.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) untried: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Progress {
    /// What is known of a message; nothing for one that was never delivered before.
    pub(super) async fn load(shared: &Shared, job: &Job) -> EngineResult<Self> {
        let Some(member) = shared.group.as_ref() else {
            return Ok(job.progress.as_deref().cloned().unwrap_or_default());
        };
        if !shared.keeps_progress(job.stream) || job.message.attempt() <= 1 {
            return Ok(Self::default());
        }
        let key = key(&member.group, job.message.stream());
        let found = Self::stored(shared.engine().as_ref(), &key, job.message.id()).await?;
        Ok(found.unwrap_or_default())
    }

    async fn stored(engine: &dyn Engine, key: &str, id: EntryId) -> EngineResult<Option<Self>> {
        let stored = engine.hash_get(key, &[field(id)]).await?;
        let Some(Some(text)) = stored.into_iter().next() else {
            return Ok(None);
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            EngineError::new(
                EngineErrorKind::Corrupt,
                format!("read which listeners of message {id} have succeeded"),
                format!("hash '{key}' holds something else ({error}); remove that field to run all of them again"),
            )
        })
    }

    pub(super) fn has_succeeded(&self, listener: &str) -> bool {
        self.succeeded.iter().any(|name| name == listener)
    }

    pub(super) fn add_succeeded(&mut self, listener: &str) {
        if !self.has_succeeded(listener) {
            self.succeeded.push(listener.to_owned());
        }
        self.first_failures.remove(listener);
    }

    /// When this listener failed first, which is now unless it did before.
    pub(super) fn first_failure(&mut self, listener: &str, now: &str) -> String {
        let first = self.first_failures.entry(listener.to_owned());
        first.or_insert_with(|| now.to_owned()).clone()
    }

    /// Whether failures of any listeners are listed.
    pub(super) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Whether this listener's failure is listed.
    pub(super) fn has_failed(&self, listener: &str) -> bool {
        self.failed
            .iter()
            .any(|member| receiver(member).is_some_and(|receiver| receiver == listener))
    }

    /// Whether the store holds, or must hold, a record.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Replaces the failures of the listeners that ran by their latest ones, and returns those that are obsolete.
    pub(super) fn replace_failed(&mut self, ran: &[Arc<str>], latest: &[Bytes]) -> Vec<Bytes> {
        // Members are JSON text in ASCII, so nothing is lost on the way to text and back.
        let latest = latest
            .iter()
            .map(|member| String::from_utf8_lossy(member).into_owned())
            .collect::<Vec<_>>();
        let (obsolete, mut failed) = std::mem::take(&mut self.failed)
            .into_iter()
            .partition::<Vec<_>, _>(|member| {
                receiver(member).is_some_and(|receiver| ran.iter().any(|name| **name == *receiver))
            });
        // The same failure in the same second is the same member: it must stay.
        let obsolete = obsolete.into_iter().filter(|member| !latest.contains(member));
        let obsolete = obsolete.map(Bytes::from).collect();
        failed.extend(latest);
        self.failed = failed;
        obsolete
    }

    /// The text that [`Progress::load`] reads.
    pub(super) fn to_text(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

fn receiver(member: &str) -> Option<String> {
    Some(FailedMessage::from_member(member.as_bytes()).ok()?.receiver)
}

/// The hash that keeps the progress of a stream's messages in a group; a field is an entry ID.
pub(super) fn key(group: &str, stream: &StreamName) -> String {
    keys::old_retry_states(stream, group)
}

pub(super) fn field(id: EntryId) -> Bytes {
    id.to_string().into()
}

/// A failure because of which a message is pending was retried by hand with success: its listener does not run again
/// when the message comes again, and when it was the last failure, the message does not come again.
pub(crate) async fn retried(
    engine: &dyn Engine,
    group: &str,
    stream: &StreamName,
    id: EntryId,
    listener: &str,
    member: &Bytes,
) -> EngineResult<()> {
    let key = key(group, stream);
    let mut progress = match Progress::stored(engine, &key, id).await? {
        Some(progress) => progress,
        // Settled already, or its delivery was cut off before it wrote its progress: then it comes again.
        None if is_pending(engine, group, stream, id).await? => Progress::default(),
        None => return Ok(()),
    };
    let known = !progress.is_empty();
    progress.add_succeeded(listener);
    progress.failed.retain(|failed| failed.as_bytes() != member);
    if known && progress.failed.is_empty() && progress.retry_at.is_none() {
        // In this order: a crash in between leaves a record that is removed with the failure's next retry.
        engine.acknowledge(stream, group, &[id]).await?;
        engine.hash_remove(&key, &[field(id)]).await?;
        return Ok(());
    }
    engine.hash_put(&key, &[(field(id), progress.to_text())]).await
}

/// The same failure stands under another member in the failed list now.
pub(crate) async fn failed_again(
    engine: &dyn Engine,
    group: &str,
    stream: &StreamName,
    id: EntryId,
    member: &Bytes,
    again: &Bytes,
) -> EngineResult<()> {
    let key = key(group, stream);
    let Some(mut progress) = Progress::stored(engine, &key, id).await? else {
        return Ok(());
    };
    let again = String::from_utf8_lossy(again).into_owned();
    for failed in &mut progress.failed {
        if failed.as_bytes() == member {
            failed.clone_from(&again);
        }
    }
    engine.hash_put(&key, &[(field(id), progress.to_text())]).await
}

async fn is_pending(engine: &dyn Engine, group: &str, stream: &StreamName, id: EntryId) -> EngineResult<bool> {
    let this = RangeBound::Inclusive(id);
    let filter = PendingFilter {
        start: this,
        end: this,
        count: 1,
        ..PendingFilter::default()
    };
    match engine.pending(stream, group, filter).await {
        Ok(pending) => Ok(!pending.is_empty()),
        Err(error) if matches!(error.kind(), EngineErrorKind::NoGroup | EngineErrorKind::NoStream) => Ok(false),
        Err(error) => Err(error),
    }
}
