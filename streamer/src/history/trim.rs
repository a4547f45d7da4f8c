//! Removes snapshots whose messages are gone.

use super::{
    HistoryError, PAGE,
    find::Finder,
    snapshot::{self, Element},
};
use crate::{Streamer, archive::ArchiveStorage, entry::StreamName};

/// What a trim did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TrimmedHistory {
    /// How many snapshots were looked at.
    pub snapshots: u64,
    /// How many of them were removed.
    pub removed: u64,
}

impl Streamer {
    /// Removes the snapshots of one resource whose messages are neither on the stream nor in `archive`. What is emitted
    /// meanwhile keeps its snapshot.
    ///
    /// Without the archive that the messages went to, the snapshots of archived messages go too: their resource can no
    /// longer be replayed from there. A message that laravel-streamer restored counts as gone: nothing tells its new ID.
    ///
    /// # Errors
    ///
    /// When the store, or the archive, cannot be read or written; then some snapshots may be removed already.
    pub async fn trim_history(
        &self,
        event: &str,
        identifier: &str,
        archive: Option<&dyn ArchiveStorage>,
    ) -> Result<TrimmedHistory, HistoryError> {
        let stream = StreamName::from(event);
        let list = snapshot::list(event, identifier);
        let finder = Finder {
            engine: self.engine().as_ref(),
            stream: &stream,
            archive,
        };
        let mut trimmed = TrimmedHistory::default();
        let mut start = 0;
        loop {
            let page = self.engine().list_range(&list, start, PAGE).await?;
            let last = page.len() < PAGE;
            start += page.len() as u64;
            let mut ours = Vec::new();
            for element in page {
                if let Element::Ours(snapshot) = snapshot::read(&element, event, identifier) {
                    ours.push((element, snapshot.id));
                }
            }
            let ids: Vec<_> = ours.iter().map(|(_, id)| *id).collect();
            let messages = finder.find(&ids).await?;
            let gone = ours.into_iter().zip(messages).filter(|(_, message)| message.is_none());
            let gone: Vec<_> = gone.map(|((element, _), _)| element).collect();
            trimmed.snapshots += ids.len() as u64;
            // By its bytes, which hold an ID that no other has: positions move while others push and trim.
            trimmed.removed += self.engine().list_remove(&list, &gone).await?;
            if last {
                return Ok(trimmed);
            }
            // What is left of this page has moved up; what a trim at the same time removes, the next one finds.
            start -= gone.len() as u64;
        }
    }
}
