//! The archive in memory, for tests.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{ArchiveResult, ArchiveStorage, ArchivedMessage, PAGE_BYTES, Stored};
use crate::entry::{EntryId, StreamName};

/// Keeps messages in this process, and forgets them with it. The driver is called `memory`.
#[derive(Debug, Default)]
pub struct MemoryArchive(Mutex<BTreeMap<(StreamName, EntryId), ArchivedMessage>>);

impl MemoryArchive {
    fn messages(&self) -> MutexGuard<'_, BTreeMap<(StreamName, EntryId), ArchivedMessage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ArchiveStorage for MemoryArchive {
    fn location(&self) -> &str {
        "memory"
    }

    async fn create(&self, messages: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        let mut kept = self.messages();
        let store = |message: &ArchivedMessage| match kept.entry((message.stream.clone(), message.id)) {
            Entry::Vacant(free) => {
                free.insert(message.clone());
                Stored::New
            }
            Entry::Occupied(there) if there.get().fields == message.fields => Stored::AlreadyThere,
            Entry::Occupied(_) => Stored::Conflict,
        };
        Ok(messages.iter().map(store).collect())
    }

    async fn find(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        Ok(self.messages().get(&(stream.clone(), id)).cloned())
    }

    async fn page(
        &self,
        stream: Option<&StreamName>,
        after: Option<(&StreamName, EntryId)>,
        count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        let from = match (after, stream) {
            (Some((stream, id)), _) => Bound::Excluded((stream.clone(), id)),
            (None, Some(stream)) => Bound::Included((stream.clone(), EntryId::MIN)),
            (None, None) => Bound::Unbounded,
        };
        let kept = self.messages();
        let page = kept.range((from, Bound::Unbounded)).map(|(_, message)| message);
        let mut bytes = 0;
        let fits = page.take_while(|message| {
            let fits = bytes < PAGE_BYTES && stream.is_none_or(|stream| *stream == message.stream);
            bytes += message.size();
            fits
        });
        Ok(fits.take(count).cloned().collect())
    }

    async fn count(&self, most: u64) -> ArchiveResult<Option<u64>> {
        Ok(Some(most.min(self.messages().len() as u64)))
    }

    async fn delete(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<bool> {
        Ok(self.messages().remove(&(stream.clone(), id)).is_some())
    }

    async fn delete_stream(&self, stream: &StreamName) -> ArchiveResult<u64> {
        let mut kept = self.messages();
        let before = kept.len();
        kept.retain(|(name, _), _| name != stream);
        Ok((before - kept.len()) as u64)
    }
}
