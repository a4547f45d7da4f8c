//! Archives, or purges, what is old enough on a stream.

use std::{fmt, sync::Arc};

use super::{ArchiveStorage, ArchivedMessage, Needed, OlderThan, PAGE_BYTES, Stored, TransferError, message, origin};
use crate::{
    client::Streamer,
    engine::Engine,
    entry::{Entry, EntryId, Fields, RangeBound, StreamName, Trim},
};

/// The most messages that are worked on at once.
const MOST: usize = 512;
/// How many are read first, before it is known how large they are.
const FIRST: usize = 32;

type Tell = dyn Fn(&StreamName, EntryId, Fate) + Send + Sync;

/// Archives or purges the old messages of streams.
///
/// It works in pages, so memory does not grow with the stream. Each page is stored before it is deleted. A crash leaves each
/// message on the stream, in the archive or in both; running it again finishes that. Several sweeps may run at once.
///
/// ```
/// use std::sync::Arc;
/// use streamer::{DynamicEvent, Streamer, archive::{MemoryArchive, OlderThan, Sweep}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let streamer = Streamer::connect("memory:").await?;
/// streamer.emit(&DynamicEvent::new("order.placed", serde_json::json!({"id": 1}))).await?;
/// let archive = Arc::new(MemoryArchive::default());
/// let summary = Sweep::archive(&streamer, archive).run(&"order.placed".into(), OlderThan::now()).await?;
/// assert_eq!(summary.removed, 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is done before `run`"]
pub struct Sweep {
    engine: Arc<dyn Engine>,
    archive: Option<Arc<dyn ArchiveStorage>>,
    force: bool,
    dry_run: bool,
    tell: Box<Tell>,
}

/// What becomes of a message; in a dry run, what would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in the archive and no longer on the stream.
    Archived,
    /// It is no longer on the stream.
    Purged,
    /// It stays on the stream.
    Kept(Kept),
}

/// Why a message stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is not old enough.
    TooYoung,
    /// A group has not been delivered it.
    Undelivered,
    /// A group was delivered it and has not acknowledged it.
    Pending,
    /// The archive has another message under its stream and ID ([`Stored::Conflict`]).
    Conflict,
    /// It has more fields than the store could append again when it is restored (Redis: it has more than 3,899).
    TooManyFields,
}

impl fmt::Display for Kept {
    /// Why it stays, after "it stays on its stream: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooYoung => "it is not old enough",
            Self::Undelivered => "some group has not been delivered it",
            Self::Pending => "some group has not acknowledged it",
            Self::Conflict => "the archive has another message under this stream and ID",
            Self::TooManyFields => "it has too many fields to be restored",
        })
    }
}

/// What became of the messages, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SweepSummary {
    /// Archived, or purged.
    pub removed: u64,
    /// [`Kept::TooYoung`], of those that were looked at.
    pub too_young: u64,
    /// [`Kept::Undelivered`].
    pub undelivered: u64,
    /// [`Kept::Pending`].
    pub pending: u64,
    /// [`Kept::Conflict`].
    pub conflicts: u64,
    /// [`Kept::TooManyFields`].
    pub too_many_fields: u64,
}

impl Sweep {
    /// Moves messages to `archive`.
    pub fn archive(streamer: &Streamer, archive: Arc<dyn ArchiveStorage>) -> Self {
        Self::new(streamer, Some(archive))
    }

    /// Deletes messages for good.
    pub fn purge(streamer: &Streamer) -> Self {
        Self::new(streamer, None)
    }

    fn new(streamer: &Streamer, archive: Option<Arc<dyn ArchiveStorage>>) -> Self {
        Self {
            engine: Arc::clone(streamer.engine()),
            archive,
            force: false,
            dry_run: false,
            tell: Box::new(|_, _, _| {}),
        }
    }

    /// Removes also what some group has not been delivered, or has not acknowledged. Default: that stays.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Only tells what would happen. Default: does it.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Calls `tell` with what became of each message.
    pub fn on_message(mut self, tell: impl Fn(&StreamName, EntryId, Fate) + Send + Sync + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Sweeps a stream up to the IDs that are an hour younger than `older_than`, so its cost does not depend on newer messages.
    /// Messages that are appended during the sweep stay until the next one. A message that was restored stays until its new ID
    /// is old enough.
    ///
    /// # Errors
    ///
    /// The engine's or the archive's. What was done until then stays done; run it again.
    pub async fn run(&self, stream: &StreamName, older_than: OlderThan) -> Result<SweepSummary, TransferError> {
        let last = self.engine.last_id(stream).await?.min(older_than.last_id());
        let last = RangeBound::Inclusive(last);
        let mut summary = SweepSummary::default();
        let (mut start, mut count) = (RangeBound::Unbounded, FIRST);
        loop {
            let page = self.engine.range(stream, start, last, Some(count), false).await?;
            let Some(end) = page.last().map(|entry| entry.id) else {
                return Ok(summary);
            };
            start = RangeBound::Exclusive(end);
            let bytes = page.iter().map(|entry| message::size(&entry.fields)).sum::<usize>();
            count = (PAGE_BYTES / (bytes / page.len()).max(1)).clamp(1, MOST);
            // Until something is kept, everything up to the end of this page goes, and trimming says exactly that.
            let trim = summary.kept() == 0;
            self.page(stream, page, older_than, trim, &mut summary).await?;
        }
    }

    /// The same for one message, whatever its age; `None` when it is not on the stream.
    ///
    /// # Errors
    ///
    /// As [`Sweep::run`].
    pub async fn one(&self, stream: &StreamName, id: EntryId) -> Result<Option<SweepSummary>, TransferError> {
        let itself = RangeBound::Inclusive(id);
        let page = self.engine.range(stream, itself, itself, Some(1), false).await?;
        if page.is_empty() {
            return Ok(None);
        }
        let mut summary = SweepSummary::default();
        self.page(stream, page, OlderThan::moment(u64::MAX), false, &mut summary)
            .await?;
        Ok(Some(summary))
    }

    async fn page(
        &self,
        stream: &StreamName,
        page: Vec<Entry>,
        older_than: OlderThan,
        trim: bool,
        summary: &mut SweepSummary,
    ) -> Result<(), TransferError> {
        let ids = page.iter().map(|entry| entry.id).collect::<Vec<_>>();
        let needed = match self.force {
            true => Needed::default(),
            false => Needed::among(self.engine.as_ref(), stream, &ids).await?,
        };
        let mut fates = Vec::with_capacity(page.len());
        let mut leaving = Vec::with_capacity(page.len());
        for entry in page {
            let kept = if !older_than.includes(message::created_ms(entry.id, &entry.fields)) {
                Some(Kept::TooYoung)
            } else if needed.is_undelivered(entry.id) {
                Some(Kept::Undelivered)
            } else if needed.is_pending(entry.id) {
                Some(Kept::Pending)
            } else if self.archive.is_some() && !can_be_restored(self.engine.as_ref(), &entry.fields) {
                Some(Kept::TooManyFields)
            } else {
                None
            };
            match kept {
                Some(kept) => fates.push((entry.id, Fate::Kept(kept))),
                None => leaving.push(entry),
            }
        }
        let gone = match &self.archive {
            Some(_) => Fate::Archived,
            None => Fate::Purged,
        };
        if self.dry_run {
            fates.extend(leaving.iter().map(|entry| (entry.id, gone)));
        } else if let Some(archive) = &self.archive {
            let messages = origin::to_archive(self.engine.as_ref(), stream, leaving).await?;
            let stored = store(self.engine.as_ref(), archive.as_ref(), messages).await?;
            fates.extend(stored.kept.iter().map(|(id, kept)| (*id, Fate::Kept(*kept))));
            fates.extend(stored.messages.iter().map(|message| (message.id, gone)));
            let ids = stored.messages.iter().map(|message| message.id).collect::<Vec<_>>();
            let all = fates.len() == ids.len();
            self.remove(stream, &ids, trim && all).await?;
            origin::forget(self.engine.as_ref(), archive.as_ref(), &stored.messages).await?;
        } else {
            let ids = leaving.iter().map(|entry| entry.id).collect::<Vec<_>>();
            self.remove(stream, &ids, trim && fates.is_empty()).await?;
            fates.extend(ids.into_iter().map(|id| (id, gone)));
        }
        fates.sort_unstable_by_key(|(id, _)| *id);
        for (id, fate) in fates {
            summary.count(fate);
            (self.tell)(stream, id, fate);
        }
        Ok(())
    }

    /// Deletes entries; with `trim`, by cutting off everything up to the last of them, which is cheaper.
    async fn remove(&self, stream: &StreamName, ids: &[EntryId], trim: bool) -> Result<(), TransferError> {
        let Some(last) = ids.last() else { return Ok(()) };
        match last.next().filter(|_| trim) {
            Some(next) => self.engine.trim(stream, Trim::min_id(next).exactly()).await?,
            None => self.engine.delete(stream, ids).await?,
        };
        Ok(())
    }
}

/// What came of storing.
pub(crate) struct InArchive {
    /// These are in the archive.
    pub(crate) messages: Vec<ArchivedMessage>,
    /// These are not, and why.
    pub(crate) kept: Vec<(EntryId, Kept)>,
}

/// What could not be restored must not leave its stream. A restored entry has one more field than it had.
fn can_be_restored(engine: &dyn Engine, fields: &Fields) -> bool {
    engine.most_recorded_fields().is_none_or(|most| fields.len() < most)
}

/// Stores messages, and says which may be deleted.
pub(crate) async fn store(
    engine: &dyn Engine,
    archive: &dyn ArchiveStorage,
    mut messages: Vec<ArchivedMessage>,
) -> Result<InArchive, TransferError> {
    let mut kept = Vec::new();
    messages.retain(|message| {
        let restorable = can_be_restored(engine, &message.fields);
        if !restorable {
            kept.push((message.id, Kept::TooManyFields));
        }
        restorable
    });
    if !messages.is_empty() {
        let mut stored = archive.create(&messages).await?.into_iter();
        // A driver that answers less than it was asked has not stored the rest.
        messages.retain(|message| {
            let is_stored = matches!(stored.next(), Some(Stored::New | Stored::AlreadyThere));
            if !is_stored {
                kept.push((message.id, Kept::Conflict));
            }
            is_stored
        });
    }
    Ok(InArchive { messages, kept })
}

impl SweepSummary {
    /// How many messages stay on the stream.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.too_young + self.undelivered + self.pending + self.conflicts + self.too_many_fields
    }

    fn count(&mut self, fate: Fate) {
        *match fate {
            Fate::Archived | Fate::Purged => &mut self.removed,
            Fate::Kept(Kept::TooYoung) => &mut self.too_young,
            Fate::Kept(Kept::Undelivered) => &mut self.undelivered,
            Fate::Kept(Kept::Pending) => &mut self.pending,
            Fate::Kept(Kept::Conflict) => &mut self.conflicts,
            Fate::Kept(Kept::TooManyFields) => &mut self.too_many_fields,
        } += 1;
    }
}

impl fmt::Debug for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sweep")
            .field("archive", &self.archive)
            .field("force", &self.force)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}
