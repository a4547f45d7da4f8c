//! The archive that keeps nothing: to archive into it is to purge.

use async_trait::async_trait;

use super::{ArchiveResult, ArchiveStorage, ArchivedMessage, Stored};
use crate::entry::{EntryId, StreamName};

/// Takes everything and keeps nothing. The driver is called `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullArchive;

#[async_trait]
impl ArchiveStorage for NullArchive {
    fn location(&self) -> &str {
        "null"
    }

    async fn create(&self, messages: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>> {
        Ok(vec![Stored::New; messages.len()])
    }

    async fn find(&self, _stream: &StreamName, _id: EntryId) -> ArchiveResult<Option<ArchivedMessage>> {
        Ok(None)
    }

    async fn page(
        &self,
        _stream: Option<&StreamName>,
        _after: Option<(&StreamName, EntryId)>,
        _count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>> {
        Ok(Vec::new())
    }

    async fn count(&self, _most: u64) -> ArchiveResult<Option<u64>> {
        Ok(Some(0))
    }

    async fn delete(&self, _stream: &StreamName, _id: EntryId) -> ArchiveResult<bool> {
        Ok(false)
    }

    async fn delete_stream(&self, _stream: &StreamName) -> ArchiveResult<u64> {
        Ok(0)
    }
}
