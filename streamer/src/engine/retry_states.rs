//! What earlier attempts of pending messages achieved.

use async_trait::async_trait;
use bytes::Bytes;

use super::EngineResult;
use crate::entry::{EntryId, StreamName};

/// Keeps the retry states of a group's messages in the hash `{STREAM}:retry:GROUP`, by entry ID.
///
/// What a state says is not the store's concern. Listening reads and writes states through
/// [`GroupStore`](super::GroupStore), together with deliveries; this is for whoever retries a failure by hand.
#[async_trait]
pub trait RetryStates {
    /// The retry state of an entry; `None` when there is none.
    async fn retry_state(&self, stream: &StreamName, group: &str, id: EntryId) -> EngineResult<Option<Bytes>>;

    /// Replaces the retry state of an entry, or removes it, if it is still what `known` says, in one step; tells whether
    /// it was. If not, another process has changed it: read it again.
    ///
    /// On Redis the states of the group expire 30 days after this at the earliest.
    async fn replace_retry_state(
        &self,
        stream: &StreamName,
        group: &str,
        id: EntryId,
        known: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> EngineResult<bool>;

    /// Acknowledges an entry in its group and removes its retry state, if that is still `known`, in one step; tells
    /// whether it was. That the entry is not pending, or the group is gone, is no error.
    async fn acknowledge_retried(
        &self,
        stream: &StreamName,
        group: &str,
        id: EntryId,
        known: &Bytes,
    ) -> EngineResult<bool>;

    /// Moves the states that earlier versions kept in `streamer:progress:GROUP:STREAM`, on a Redis Cluster in another slot.
    /// A state that has been written since stays. Costs one look where there are none. Repeating it does no harm.
    async fn move_old_retry_states(&self, group: &str, streams: &[StreamName]) -> EngineResult<()>;
}
