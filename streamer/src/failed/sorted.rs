//! The failed list by date, oldest first.
//!
//! The list is a set: it has no order, and it may be larger than memory. So one pass copies the members that the filter
//! lets through to a temporary file (small lists stay in memory) and keeps a few bytes of each to sort by.

use std::{
    collections::hash_map::DefaultHasher,
    fs::File,
    hash::{Hash as _, Hasher as _},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    sync::Arc,
};

use bytes::Bytes;

use super::{FailedFilter, FailedMessage, Listed, Listing, store};
use crate::{
    engine::{Engine, EngineError, EngineErrorKind, EngineResult},
    entry::EntryId,
};

/// How many members a page has at most.
const PAGE: usize = 500;
/// About how many bytes a page has at most.
const PAGE_BYTES: usize = 4 << 20;
/// Members are kept in memory up to so many bytes, and in a file beyond.
const IN_MEMORY: usize = 8 << 20;
/// So many failures are sorted together; a longer list is sorted in parts of this length.
const SORTED_TOGETHER: usize = 4_000_000;

/// Reads the failed list by date, oldest first; failures of one second by the ID of their message. What has no readable
/// date comes first.
///
/// # Cost
///
/// The first page needs one pass through the whole list, whatever the filter and the limit. Each failure that the filter
/// lets through takes about 50 bytes of memory (100 while sorting) until the end; its record lies in memory as long as
/// all of them together are below 8 MiB, else in a temporary file (`TMPDIR`) that has no name and goes with the process.
/// Of a list with more than 4,000,000 such failures each part of that length is sorted by itself.
///
/// It is the list as it was at that pass: what is recorded later does not come, what is removed later does.
#[derive(Debug)]
pub struct SortedListing {
    engine: Arc<dyn Engine>,
    listing: Listing,
    with_details: bool,
    limit: u64,
    part: Part,
    /// Whether the list was gone through.
    at_end: bool,
}

/// A part of the list that is being given out.
#[derive(Debug, Default)]
struct Part {
    spool: Spool,
    /// Sorted, last first.
    entries: Vec<Entry>,
    previous: Option<(Entry, Bytes)>,
}

/// What a member is sorted by, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    date: i64,
    id: EntryId,
    /// Brings equal members together.
    fingerprint: u64,
    offset: u64,
    length: u32,
}

#[derive(Debug)]
enum Spool {
    Memory(Vec<u8>),
    File(File, u64),
}

impl Default for Spool {
    fn default() -> Self {
        Self::Memory(Vec::new())
    }
}

impl SortedListing {
    pub(super) fn new(engine: Arc<dyn Engine>, filter: FailedFilter) -> Self {
        Self {
            listing: Listing::new(engine.clone(), filter),
            engine,
            with_details: false,
            limit: u64::MAX,
            part: Part::default(),
            at_end: false,
        }
    }

    /// Reads what is kept beside each record, too: one more round trip for each page.
    #[must_use]
    pub fn with_details(mut self) -> Self {
        self.with_details = true;
        self
    }

    /// Gives only so many, the oldest.
    #[must_use]
    pub fn limit(mut self, failures: u64) -> Self {
        self.limit = failures;
        self
    }

    /// The next page. `None` after the last.
    ///
    /// Members that cannot be read come too, when the filter lets everything through.
    ///
    /// # Errors
    ///
    /// The engine's; [`EngineErrorKind::Other`] when the temporary file cannot be written. Begin again then.
    pub async fn next_page(&mut self) -> EngineResult<Option<Vec<Listed>>> {
        while self.part.entries.is_empty() && !self.at_end {
            self.sort_part().await?;
        }
        if self.limit == 0 || self.part.entries.is_empty() {
            return Ok(None);
        }
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < PAGE
            && bytes < PAGE_BYTES
            && (page.len() as u64) < self.limit
            && let Some(member) = self.part.next().map_err(unsortable)?
        {
            bytes += member.len();
            page.push(Listed::new(member));
        }
        self.limit -= page.len() as u64;
        if self.with_details {
            store::add_details(self.engine.as_ref(), &mut page).await?;
        }
        Ok(Some(page))
    }

    /// Reads on in the list, to its end or to the end of a part, and sorts what was read.
    async fn sort_part(&mut self) -> EngineResult<()> {
        self.part = Part::default();
        while self.part.entries.len() < SORTED_TOGETHER {
            let Some(page) = self.listing.next_page().await? else {
                self.at_end = true;
                break;
            };
            let mut part = std::mem::take(&mut self.part);
            let added = tokio::task::spawn_blocking(move || part.add(page).map(|()| part)).await;
            self.part = added.map_err(io::Error::other).flatten().map_err(unsortable)?;
        }
        self.part.entries.sort_unstable_by(|one, other| other.cmp(one));
        Ok(())
    }
}

impl Part {
    fn add(&mut self, page: Vec<Listed>) -> io::Result<()> {
        let mut text = Vec::new();
        let start = self.spool.len();
        for listed in page {
            let (date, id) = match &listed.record {
                Ok(FailedMessage { id, .. }) => (
                    listed.failed_at().map_or(i64::MIN, |at| at.unix_ms() as i64),
                    id.parse().unwrap_or(EntryId::MIN),
                ),
                Err(_) => (i64::MIN, EntryId::MIN),
            };
            let mut hasher = DefaultHasher::new();
            listed.member.hash(&mut hasher);
            self.entries.push(Entry {
                date,
                id,
                fingerprint: hasher.finish(),
                offset: start + text.len() as u64,
                length: u32::try_from(listed.member.len()).map_err(io::Error::other)?,
            });
            text.extend_from_slice(&listed.member);
        }
        self.spool.write(&text)
    }

    /// The next member. A scan of the list may have given it more than once.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(entry) = self.entries.pop() {
            let member = self.spool.read(entry.offset, entry.length)?;
            let again = self.previous.as_ref().is_some_and(|(previous, earlier)| {
                (previous.date, previous.id, previous.fingerprint) == (entry.date, entry.id, entry.fingerprint)
                    && *earlier == member
            });
            if !again {
                self.previous = Some((entry, member.clone()));
                return Ok(Some(member));
            }
        }
        Ok(None)
    }
}

impl Spool {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(text) => text.len() as u64,
            Self::File(_, length) => *length,
        }
    }

    fn write(&mut self, more: &[u8]) -> io::Result<()> {
        if let Self::Memory(text) = self {
            if text.len() + more.len() <= IN_MEMORY {
                text.extend_from_slice(more);
                return Ok(());
            }
            let mut file = tempfile::tempfile()?;
            file.write_all(text)?;
            *self = Self::File(file, text.len() as u64);
        }
        if let Self::File(file, length) = self {
            file.seek(SeekFrom::Start(*length))?;
            file.write_all(more)?;
            *length += more.len() as u64;
        }
        Ok(())
    }

    fn read(&mut self, offset: u64, length: u32) -> io::Result<Bytes> {
        let mut member = vec![0; length as usize];
        match self {
            Self::Memory(text) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                let there = text.get(start..start + member.len());
                member.copy_from_slice(there.ok_or_else(|| io::Error::other("a record is missing"))?);
            }
            Self::File(file, _) => {
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut member)?;
            }
        }
        Ok(member.into())
    }
}

fn unsortable(error: io::Error) -> EngineError {
    let folder = std::env::temp_dir();
    let reason = format!(
        "its temporary file in {} failed: {error}; TMPDIR names another folder",
        folder.display()
    );
    EngineError::new(EngineErrorKind::Other, "sort the failed list", reason).with_source(error)
}
