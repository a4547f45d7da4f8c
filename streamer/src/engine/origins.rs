//! Which IDs restored messages had, and have.

use async_trait::async_trait;
use bytes::Bytes;

use super::EngineResult;
use crate::entry::{EntryId, StreamName};

/// Keeps, beside a stream, where its restored messages are.
///
/// A message that is archived and restored gets a new ID each time. The ID that it had when it was emitted is its *first*
/// ID, the one that it has now its *current* ID. `{STREAM}:restored` leads from the first to the current ID, with one
/// field for each message however often it was restored. `{STREAM}:original_ids` has all IDs of a message before the
/// current one, for messages on the stream that were restored more than once.
///
/// [`Engine::append_recorded`] writes both together with the entry ([`Record::Restored`]), so that no message is restored
/// twice. Earlier versions wrote a field for each time that a message was restored, each of which leads to the next ID;
/// what they wrote is followed, and tidied up when the message is restored again.
///
/// [`Engine::append_recorded`]: super::Engine::append_recorded
/// [`Record::Restored`]: super::Record::Restored
#[async_trait]
pub trait Origins {
    /// The ID that leads on from each of these; `None` where a message was not restored.
    ///
    /// Where an earlier version wrote, that may not be the current ID yet: ask again with the answer.
    async fn restored_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<EntryId>>>;

    /// All IDs that each of these entries had before, oldest first; `None` for those that were not restored more than once.
    async fn earlier_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<Vec<EntryId>>>>;

    /// Removes what [`Origins::earlier_ids`] gives for entries that are not on the stream any more; tells how many had
    /// some.
    async fn forget_earlier_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64>;

    /// Removes the way from the first ID of messages to their current ID, because they are neither on the stream nor in an
    /// archive any more, each in one step; tells how many there were. A message that was restored once more, and has
    /// another current ID, is left as it is.
    async fn forget_restored(&self, stream: &StreamName, gone: &[Origin]) -> EngineResult<u64>;

    /// A page of the restored messages whose current ID is not on the stream: they are in the archive, or gone. `count` is
    /// about how many messages are looked at. Begin with `None`; `None` in the answer ends them. A message that is lost
    /// throughout comes at least once, maybe more often.
    ///
    /// Where an earlier version wrote more than one field for a message, only the last of them counts.
    async fn page_of_lost(
        &self,
        stream: &StreamName,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<Origin>)>;

    /// A page of the entries that [`Origins::earlier_ids`] knows and that are not on the stream, in the same way.
    async fn page_of_lost_earlier_ids(
        &self,
        stream: &StreamName,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<EntryId>)>;
}

/// A restored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The ID that it had first.
    pub first: EntryId,
    /// The ID that it has now, or had last.
    pub current: EntryId,
}

/// IDs as `{STREAM}:original_ids` has them.
pub(super) fn ids_to_text(ids: &[EntryId]) -> Bytes {
    let ids: Vec<String> = ids.iter().map(EntryId::to_string).collect();
    ids.join(" ").into()
}

/// The reverse of [`ids_to_text`]; `None` for anything else.
pub(super) fn ids_from_text(text: &[u8]) -> Option<Vec<EntryId>> {
    let ids = std::str::from_utf8(text).ok()?.split(' ');
    ids.map(|id| id.parse().ok()).collect()
}
