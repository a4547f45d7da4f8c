//! Which messages a group has handled that stay on the stream until other groups have acknowledged them.

use async_trait::async_trait;

use super::EngineResult;
use crate::entry::{EntryId, StreamName};

/// Keeps the IDs of handled entries in the set `{STREAM}:handled:GROUP`; without a group in `{STREAM}:handled`.
///
/// On Redis the set expires 30 days after somebody has last added to it or begun to read it: entries whose mark is lost
/// stay on their stream until `archive` or `purge` removes them.
#[async_trait]
pub trait Handled {
    /// Marks entries as handled.
    async fn add_handled(&self, stream: &StreamName, group: Option<&str>, ids: &[EntryId]) -> EngineResult<()>;

    /// A page of about `count` marks and the cursor of the next page. Begin with cursor 0; cursor 0 in the answer ends
    /// them. A mark that is there throughout comes at least once, maybe more often.
    async fn page_of_handled(
        &self,
        stream: &StreamName,
        group: Option<&str>,
        cursor: u64,
        count: usize,
    ) -> EngineResult<(u64, Vec<EntryId>)>;

    /// Removes marks; tells how many were there.
    async fn remove_handled(&self, stream: &StreamName, group: Option<&str>, ids: &[EntryId]) -> EngineResult<u64>;
}
