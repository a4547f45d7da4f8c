//! Removes snapshots whose messages are gone.

use super::{
    HistoryError, PAGE,
    find::find_all,
    snapshot::{self, Element, History},
};
use crate::{Streamer, archive::ArchiveStorage};

/// What a trim did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct TrimmedHistory {
    /// The number of snapshots that were read.
    pub snapshots: u64,
    /// The number of snapshots that were removed.
    pub removed: u64,
}

impl Streamer {
    /// Removes the snapshots of one resource whose messages are neither on the stream nor in `archive`. Events that are
    /// emitted during the trim keep their snapshots.
    ///
    /// Name the archive that the messages were moved to: otherwise the snapshots of archived messages are removed, too, and
    /// their resource can no longer be replayed from the archive. A message that laravel-streamer restored counts as gone, because its
    /// new ID is not recorded.
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
        self.trim_history_of(
            &History {
                name: event.to_owned(),
                identifier: identifier.to_owned(),
                of_model: false,
            },
            archive,
        )
        .await
    }

    /// What [`Streamer::trim_history`] would do, without doing it.
    ///
    /// # Errors
    ///
    /// As [`Streamer::trim_history`].
    pub async fn trimmable_history(
        &self,
        event: &str,
        identifier: &str,
        archive: Option<&dyn ArchiveStorage>,
    ) -> Result<TrimmedHistory, HistoryError> {
        let history = History {
            name: event.to_owned(),
            identifier: identifier.to_owned(),
            of_model: false,
        };
        self.go_through_history(&history, archive, false).await
    }

    /// [`Streamer::trim_history`] for the history of a [model](crate::model)'s record.
    ///
    /// # Errors
    ///
    /// As [`Streamer::trim_history`].
    pub async fn trim_model_history(
        &self,
        model: &str,
        identifier: &str,
        archive: Option<&dyn ArchiveStorage>,
    ) -> Result<TrimmedHistory, HistoryError> {
        self.trim_history_of(
            &History {
                name: model.to_lowercase(),
                identifier: identifier.to_owned(),
                of_model: true,
            },
            archive,
        )
        .await
    }

    /// What [`Streamer::trim_model_history`] would do, without doing it.
    ///
    /// # Errors
    ///
    /// As [`Streamer::trim_history`].
    pub async fn trimmable_model_history(
        &self,
        model: &str,
        identifier: &str,
        archive: Option<&dyn ArchiveStorage>,
    ) -> Result<TrimmedHistory, HistoryError> {
        let history = History {
            name: model.to_lowercase(),
            identifier: identifier.to_owned(),
            of_model: true,
        };
        self.go_through_history(&history, archive, false).await
    }

    async fn trim_history_of(
        &self,
        history: &History,
        archive: Option<&dyn ArchiveStorage>,
    ) -> Result<TrimmedHistory, HistoryError> {
        self.go_through_history(history, archive, true).await
    }

    async fn go_through_history(
        &self,
        history: &History,
        archive: Option<&dyn ArchiveStorage>,
        remove: bool,
    ) -> Result<TrimmedHistory, HistoryError> {
        let list = history.list();
        let mut trimmed = TrimmedHistory::default();
        let mut start = 0;
        loop {
            let page = self.engine().snapshots(&list, start, PAGE).await?;
            let last = page.len() < PAGE;
            start += page.len() as u64;
            let mut ours = Vec::new();
            for element in page {
                if let Element::Ours(snapshot) = snapshot::read(&element, history) {
                    ours.push((element, snapshot));
                }
            }
            let snapshots: Vec<_> = ours.iter().map(|(_, snapshot)| *snapshot).collect();
            let messages = find_all(self.engine().as_ref(), history, archive, &snapshots).await?;
            let gone = ours.into_iter().zip(messages).filter(|(_, message)| message.is_none());
            let gone: Vec<_> = gone.map(|((element, _), _)| element).collect();
            trimmed.snapshots += snapshots.len() as u64;
            // By its bytes, which hold an ID that no other has: positions move while others push and trim.
            trimmed.removed += match remove {
                true => self.engine().remove_snapshots(&list, &gone).await?,
                false => gone.len() as u64,
            };
            if last {
                return Ok(trimmed);
            }
            if !remove {
                continue;
            }
            // What is left of this page has moved up; what a trim at the same time removes, the next one finds.
            start -= gone.len() as u64;
        }
    }
}
