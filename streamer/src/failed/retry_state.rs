//! What earlier attempts of a message achieved, while it stays pending because a listener failed.
//!
//! The store keeps it beside the stream, and gives it with the next delivery. Only messages of which an attempt failed
//! have one, and of those only where failed messages stay pending
//! ([`always_acknowledge`](crate::Listening::always_acknowledge) off) or a listener is tried again
//! ([`RetryPolicy`](crate::RetryPolicy)).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::FailedMessage;
use crate::{
    engine::{Engine, EngineError, EngineErrorKind, EngineResult, PendingFilter, keys},
    entry::{EntryId, RangeBound, StreamName, lossy, unix_ms},
};

/// What earlier attempts of a message achieved: a JSON text at the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetryState {
    /// Listeners that succeeded.
    succeeded: Vec<String>,
    /// The members of the failed list that stand for listeners that did not.
    failed: Vec<String>,
    /// When the next attempt is due, in milliseconds since the Unix epoch; `None` when no listener waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_at: Option<u64>,
    /// How long after it was written the next attempt is due. Whoever waits for it waits no longer than this, whatever
    /// the clocks say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    /// When each listener that waits, or waited, for another attempt failed first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    first_failures: BTreeMap<String, String>,
    /// How many attempts ended with an outcome. `None` as an earlier version wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<u64>,
    /// Where it stays pending because a failure is listed: before this time, in milliseconds since the Unix epoch, who
    /// claims it does not run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept_until: Option<u64>,
    /// How long that was when it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept_ms: Option<u64>,
}

/// The longest time between two attempts at a message that stays pending because a failure is listed, where the reclaim
/// time is not longer.
const LONGEST_KEPT: Duration = Duration::from_secs(60 * 60);

impl RetryState {
    /// Reads what [`RetryState::to_text`] wrote. Keys that are not known are ignored.
    pub(crate) fn from_text(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    fn of_entry(text: &[u8], group: &str, stream: &StreamName, id: EntryId) -> EngineResult<Self> {
        Self::from_text(text).map_err(|error| {
            let key = keys::retry_states(stream, group);
            EngineError::new(
                EngineErrorKind::Corrupt,
                format!("read which listeners of message {id} have succeeded"),
                format!("hash '{key}' holds something else ({error}); remove that field to run all of them again"),
            )
        })
    }

    pub(crate) fn to_text(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Whether another attempt was planned.
    pub(crate) fn is_retry(&self) -> bool {
        self.retry_at.is_some()
    }

    /// An attempt ended; `next` is in how long the next one is due, if there is to be one.
    pub(crate) fn end_attempt(&mut self, next: Option<Duration>) {
        self.attempts = Some(self.attempts.unwrap_or_default().saturating_add(1));
        let delay = next.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self.delay_ms = delay;
        self.retry_at = delay.map(|delay| unix_ms().saturating_add(delay));
        (self.kept_until, self.kept_ms) = (None, None);
    }

    /// The attempt that has just ended leaves the message pending, because a failure is listed. It comes again after the
    /// reclaim time at first, then after twice as long each time.
    pub(crate) fn keep_pending(&mut self, reclaim: Option<Duration>) {
        let (Some(reclaim), Some(attempts @ 2..)) = (reclaim, self.attempts) else {
            return;
        };
        let doublings = u32::try_from(attempts - 1).unwrap_or(u32::MAX).min(20);
        let wait = reclaim.saturating_mul(1 << doublings).min(LONGEST_KEPT.max(reclaim));
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        (self.kept_until, self.kept_ms) = (Some(unix_ms().saturating_add(wait)), Some(wait));
    }

    /// How many of the attempts that began were cut off: they ended without an outcome.
    pub(crate) fn cut_off(&self, begun: u64) -> u64 {
        match self.attempts {
            Some(attempts) => begun.saturating_sub(attempts),
            // Nobody knows of this one.
            None if *self != Self::default() => 0,
            None => begun,
        }
    }

    pub(crate) fn has_succeeded(&self, listener: &str) -> bool {
        self.succeeded.iter().any(|name| name == listener)
    }

    pub(crate) fn add_succeeded(&mut self, listener: &str) {
        if !self.has_succeeded(listener) {
            self.succeeded.push(listener.to_owned());
        }
        self.first_failures.remove(listener);
    }

    /// When this listener failed first, which is now unless it did before.
    pub(crate) fn first_failure(&mut self, listener: &str, now: &str) -> &str {
        if !self.first_failures.contains_key(listener) {
            self.first_failures.insert(listener.to_owned(), now.to_owned());
        }
        self.first_failures.get(listener).map_or("", String::as_str)
    }

    /// Whether failures of any listeners are listed.
    pub(crate) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Whether this listener's failure is listed.
    pub(crate) fn has_failed(&self, listener: &str) -> bool {
        self.failed
            .iter()
            .any(|member| receiver(member).is_some_and(|receiver| receiver == listener))
    }

    /// Replaces the failures of the listeners that ran by their latest ones, and returns those that are obsolete.
    pub(crate) fn replace_failed(&mut self, ran: impl Fn(&str) -> bool, latest: &[&Bytes]) -> Vec<Bytes> {
        // Members are JSON text in ASCII, so nothing is lost on the way to text and back.
        let (obsolete, mut failed) = std::mem::take(&mut self.failed)
            .into_iter()
            .partition::<Vec<_>, _>(|member| receiver(member).is_some_and(|receiver| ran(&receiver)));
        // The same failure in the same second is the same member: it must stay.
        let obsolete = obsolete
            .into_iter()
            .filter(|member| !latest.iter().any(|latest| **latest == member.as_bytes()));
        let obsolete = obsolete.map(Bytes::from).collect();
        failed.extend(latest.iter().map(|member| lossy(member).into_owned()));
        self.failed = failed;
        obsolete
    }

    /// A listener succeeded when its failure was retried by hand. Tells whether the message is done with: no failure of
    /// it is listed any more, and no other attempt is due.
    pub(super) fn retried(&mut self, listener: &str, member: &[u8]) -> bool {
        let was_known = *self != Self::default();
        self.add_succeeded(listener);
        self.failed.retain(|failed| failed.as_bytes() != member);
        was_known && self.failed.is_empty() && !self.is_retry()
    }

    /// The same failure stands under another member in the failed list now.
    pub(super) fn failed_again(&mut self, member: &[u8], again: &[u8]) {
        let again = lossy(again);
        for failed in &mut self.failed {
            if failed.as_bytes() == member {
                failed.clear();
                failed.push_str(&again);
            }
        }
    }
}

fn receiver(member: &str) -> Option<String> {
    Some(FailedMessage::from_member(member.as_bytes()).ok()?.receiver)
}

/// A failure because of which a message is pending was retried by hand with success: its listener does not run again
/// when the message comes again, and when it was the last failure, the message does not come again.
pub(super) async fn retried(
    engine: &dyn Engine,
    group: &str,
    stream: &StreamName,
    id: EntryId,
    listener: &str,
    member: &Bytes,
) -> EngineResult<()> {
    loop {
        let known = engine.retry_state(stream, group, id).await?;
        let mut state = match &known {
            Some(text) => RetryState::of_entry(text, group, stream, id)?,
            // Settled already, or its delivery was cut off before its state was stored: then it comes again.
            None if is_pending(engine, group, stream, id).await? => RetryState::default(),
            None => return Ok(()),
        };
        let is_done = state.retried(listener, member);
        let is_written = match &known {
            Some(known) if is_done => engine.acknowledge_retried(stream, group, id, known).await?,
            known => {
                let text = state.to_text();
                let replaced = engine.replace_retry_state(stream, group, id, known.as_ref(), Some(&text));
                replaced.await?
            }
        };
        // If not, another process has changed it since it was read.
        if is_written {
            return Ok(());
        }
    }
}

/// The same failure stands under another member in the failed list now.
pub(super) async fn failed_again(
    engine: &dyn Engine,
    group: &str,
    stream: &StreamName,
    id: EntryId,
    member: &Bytes,
    again: &Bytes,
) -> EngineResult<()> {
    loop {
        let Some(known) = engine.retry_state(stream, group, id).await? else {
            return Ok(());
        };
        let mut state = RetryState::of_entry(&known, group, stream, id)?;
        state.failed_again(member, again);
        let text = state.to_text();
        let replaced = engine.replace_retry_state(stream, group, id, Some(&known), Some(&text));
        if replaced.await? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_pending_is_left_alone_for_longer_and_longer_within_limits() {
        let wait = |reclaim, attempts| {
            let mut state = RetryState::default();
            for _ in 0..attempts {
                state.end_attempt(None);
                state.keep_pending(Some(Duration::from_secs(reclaim)));
            }
            state.kept_ms.map(|ms| ms / 1000)
        };
        let waits = [1, 2, 3, 4].map(|attempts| wait(60, attempts));
        assert_eq!(waits, [None, Some(120), Some(240), Some(480)]);
        assert_eq!((wait(60, 1_000), wait(7_200, 1_000)), (Some(3_600), Some(7_200)));
        let mut state = RetryState::default();
        for _ in 0..3 {
            state.end_attempt(None);
            state.keep_pending(Some(Duration::from_secs(1)));
        }
        state.end_attempt(Some(Duration::from_secs(1)));
        assert_eq!((state.kept_until, state.kept_ms), (None, None));
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read_and_counts_no_attempt_as_cut_off() {
        let text = br#"{"succeeded":["a"],"failed":[],"retry_at":7,"untried":2}"#;
        let state = RetryState::from_text(text).expect("it is read");
        assert!(state.has_succeeded("a") && state.is_retry());
        assert_eq!(state.cut_off(6), 0);
    }

    #[test]
    fn attempts_that_ended_are_not_cut_off() {
        let mut state = RetryState::default();
        assert_eq!(state.cut_off(2), 2);
        state.end_attempt(Some(Duration::from_millis(1_500)));
        let state = RetryState::from_text(&state.to_text()).expect("it is read");
        assert_eq!((state.cut_off(1), state.cut_off(3)), (0, 2));
        assert_eq!(state.delay_ms, Some(1_500));
        assert!(state.retry_at.is_some_and(|at| at > unix_ms()));
    }
}
