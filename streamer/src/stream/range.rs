//! Entries between two IDs, in pages, so that memory does not grow with the stream.

use futures_util::{Stream as Entries, stream};

use super::Stream;
use crate::{
    engine::EngineResult,
    entry::{Entry, EntryId, RangeBound},
};

/// How many entries a page has unless [`Pages::page_size`] says otherwise.
const PAGE: usize = 100;

/// Which entries of a stream.
///
/// ```
/// use streamer::{EntryId, stream::Range};
///
/// let newest_ten = Range::all().newest_first().limit(10);
/// let later = Range::all().after(EntryId::new(1_795_407_980_936, 0));
/// assert_ne!(newest_ten, later);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// From here on. Default: the stream's beginning.
    pub start: RangeBound,
    /// Up to here. Default: the stream's end.
    pub end: RangeBound,
    /// At most so many. Default: all.
    pub limit: Option<usize>,
    /// The newest first. Default: the oldest first.
    pub reverse: bool,
}

impl Range {
    /// The whole stream, oldest first.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// From this ID on, itself in the range.
    #[must_use]
    pub fn from(self, id: EntryId) -> Self {
        Self {
            start: RangeBound::Inclusive(id),
            ..self
        }
    }

    /// After this ID.
    #[must_use]
    pub fn after(self, id: EntryId) -> Self {
        Self {
            start: RangeBound::Exclusive(id),
            ..self
        }
    }

    /// Up to this ID, itself in the range.
    #[must_use]
    pub fn to(self, id: EntryId) -> Self {
        Self {
            end: RangeBound::Inclusive(id),
            ..self
        }
    }

    /// Before this ID.
    #[must_use]
    pub fn before(self, id: EntryId) -> Self {
        Self {
            end: RangeBound::Exclusive(id),
            ..self
        }
    }

    /// At most so many entries.
    #[must_use]
    pub fn limit(self, entries: usize) -> Self {
        Self {
            limit: Some(entries),
            ..self
        }
    }

    /// The newest first.
    #[must_use]
    pub fn newest_first(self) -> Self {
        Self { reverse: true, ..self }
    }
}

/// The entries of a [`Range`], a page at a time.
///
/// A range without an end goes on as long as entries are appended faster than they are read.
#[derive(Clone, Debug)]
pub struct Pages {
    stream: Stream,
    /// What is left of the range.
    rest: Range,
    page_size: usize,
    ended: bool,
}

impl Pages {
    pub(super) fn new(stream: Stream, range: Range) -> Self {
        Self {
            stream,
            rest: range,
            page_size: PAGE,
            ended: false,
        }
    }

    /// How many entries are asked for at once, at least 1. Default: 100.
    #[must_use]
    pub fn page_size(self, entries: usize) -> Self {
        Self {
            page_size: entries.max(1),
            ..self
        }
    }

    /// The next page; empty at the end of the range. After an error the same page can be asked for again.
    ///
    /// # Errors
    ///
    /// As [`Engine::range`](crate::engine::Engine::range).
    pub async fn next_page(&mut self) -> EngineResult<Vec<Entry>> {
        let wanted = self.rest.limit.map_or(self.page_size, |left| left.min(self.page_size));
        if self.ended || wanted == 0 {
            return Ok(Vec::new());
        }
        let Stream { engine, name } = &self.stream;
        let Range {
            start, end, reverse, ..
        } = self.rest;
        let page = engine.range(name, start, end, Some(wanted), reverse).await?;
        // A page that is not full is the last one.
        self.ended = page.len() < wanted;
        if let Some(last) = page.last() {
            let edge = if reverse {
                &mut self.rest.end
            } else {
                &mut self.rest.start
            };
            *edge = RangeBound::Exclusive(last.id);
        }
        if let Some(left) = &mut self.rest.limit {
            *left = left.saturating_sub(page.len());
        }
        Ok(page)
    }

    /// The entries one by one. It ends after an error.
    pub fn entries(self) -> impl Entries<Item = EngineResult<Entry>> + Send {
        let page = Vec::new().into_iter();
        stream::try_unfold((self, page), |(mut pages, mut page)| async move {
            if page.len() == 0 {
                page = pages.next_page().await?.into_iter();
            }
            Ok(page.next().map(|entry| (entry, (pages, page))))
        })
    }
}
