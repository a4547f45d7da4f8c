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
        let (stream, id) = (job.message.stream(), job.message.id());
        let text = shared.engine().retry_state(stream, &member.group, id).await?;
        let found = text.map(|text| Self::from_text(&text, &member.group, stream, id));
        Ok(found.transpose()?.unwrap_or_default())
    }

    fn from_text(text: &[u8], group: &str, stream: &StreamName, id: EntryId) -> EngineResult<Self> {
        serde_json::from_slice(text).map_err(|error| {
            let key = keys::retry_states(stream, group);
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

/// Stores the progress of a message that only this process handles now.
pub(super) async fn write(
    engine: &dyn Engine,
    group: &str,
    stream: &StreamName,
    id: EntryId,
    text: Option<Bytes>,
) -> EngineResult<()> {
    loop {
        let known = engine.retry_state(stream, group, id).await?;
        let done = known == text
            || engine
                .replace_retry_state(stream, group, id, known.as_ref(), text.as_ref())
                .await?;
        if done {
            return Ok(());
        }
    }
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
    loop {
        let known = engine.retry_state(stream, group, id).await?;
        let mut progress = match &known {
            Some(text) => Progress::from_text(text, group, stream, id)?,
            // Settled already, or its delivery was cut off before it wrote its progress: then it comes again.
            None if is_pending(engine, group, stream, id).await? => Progress::default(),
            None => return Ok(()),
        };
        let was_known = !progress.is_empty();
        progress.add_succeeded(listener);
        progress.failed.retain(|failed| failed.as_bytes() != member);
        let done = was_known && progress.failed.is_empty() && progress.retry_at.is_none();
        let written = match &known {
            Some(known) if done => engine.acknowledge_retried(stream, group, id, known).await?,
            known => {
                let text = progress.to_text();
                engine
                    .replace_retry_state(stream, group, id, known.as_ref(), Some(&text))
                    .await?
            }
        };
        if written {
            return Ok(());
        }
    }
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
    let again = String::from_utf8_lossy(again).into_owned();
    loop {
        let Some(known) = engine.retry_state(stream, group, id).await? else {
            return Ok(());
        };
        let mut progress = Progress::from_text(&known, group, stream, id)?;
        for failed in &mut progress.failed {
            if failed.as_bytes() == member {
                failed.clone_from(&again);
            }
        }
        let text = progress.to_text();
        let written = engine.replace_retry_state(stream, group, id, Some(&known), Some(&text));
        if written.await? {
            return Ok(());
        }
    }
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
