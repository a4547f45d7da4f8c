//! The failed list in pages, so that its length costs no memory.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{Details, FailedMessage, InvalidFailedMessage, store};
use crate::{
    engine::{Engine, EngineResult, FailingListener},
    moment::Moment,
};

/// How many members are asked for at once.
const PAGE: usize = 500;

/// Which failures. A part that is not set lets everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedFilter {
    id: Option<String>,
    stream: Option<String>,
    receiver: Option<String>,
    since: Option<Moment>,
    error: Option<String>,
    only: Option<BTreeSet<[String; 3]>>,
}

impl FailedFilter {
    /// Every failure.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only those of the message with this entry ID; messages of several streams may have it.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Only those on this stream.
    #[must_use]
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Only those of this listener.
    #[must_use]
    pub fn receiver(mut self, receiver: impl Into<String>) -> Self {
        self.receiver = Some(receiver.into());
        self
    }

    /// Only those that failed at this moment or later. Dates in the list are taken for UTC; what has no readable date is
    /// left out.
    #[must_use]
    pub fn since(mut self, moment: Moment) -> Self {
        self.since = Some(moment);
        self
    }

    /// Only those whose error contains this text.
    #[must_use]
    pub fn error(mut self, text: impl Into<String>) -> Self {
        self.error = Some(text.into());
        self
    }

    /// Only these failures: of the same message, stream and listener, whatever their errors and dates.
    #[must_use]
    pub fn only(mut self, failures: impl IntoIterator<Item = FailedMessage>) -> Self {
        let of = |failed: FailedMessage| [failed.stream, failed.id, failed.receiver];
        self.only = Some(failures.into_iter().map(of).collect());
        self
    }

    /// Whether it lets everything through.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it lets all failures of this listener through.
    pub(super) fn is_all_of(&self, listener: FailingListener<'_>) -> bool {
        let of_listener = Self {
            stream: self.stream.clone().filter(|stream| stream == listener.stream),
            receiver: self.receiver.clone().filter(|receiver| receiver == listener.receiver),
            ..Self::default()
        };
        *self == of_listener
    }

    /// Whether it lets this failure through.
    #[must_use]
    pub fn matches(&self, failed: &FailedMessage) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        is(&self.id, &failed.id)
            && is(&self.stream, &failed.stream)
            && is(&self.receiver, &failed.receiver)
            && self.error.as_ref().is_none_or(|text| failed.error.contains(text))
            && self
                .since
                .is_none_or(|since| failed.failed_at().is_some_and(|at| at >= since))
            && self
                .only
                .as_ref()
                .is_none_or(|only| only.contains(&[failed.stream.clone(), failed.id.clone(), failed.receiver.clone()]))
    }
}

/// A member of the failed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its bytes: what removes it.
    pub member: Bytes,
    /// What it says, if it says something.
    pub record: Result<FailedMessage, InvalidFailedMessage>,
    /// What is kept beside it, when [`Listing::with_details`] asked for it; the defaults where nothing is.
    pub details: Details,
}

impl Listed {
    pub(super) fn new(member: Bytes) -> Self {
        Self {
            record: FailedMessage::from_member(&member),
            member,
            details: Details::default(),
        }
    }

    /// When it failed, where that can be read.
    #[must_use]
    pub fn failed_at(&self) -> Option<Moment> {
        self.record.as_ref().ok()?.failed_at()
    }
}

/// Reads the failed list in the store's order, which is none ([`SortedListing`](super::SortedListing) sorts it). A failure that is listed throughout comes at least once; one that is recorded or removed
/// meanwhile may come or not. In rare cases one comes twice.
#[derive(Debug)]
pub struct Listing {
    engine: Arc<dyn Engine>,
    filter: FailedFilter,
    with_details: bool,
    /// Where the next page begins; `None` at the end.
    cursor: Option<u64>,
    looked_at: u64,
}

impl Listing {
    pub(super) fn new(engine: Arc<dyn Engine>, filter: FailedFilter) -> Self {
        Self {
            engine,
            filter,
            with_details: false,
            cursor: Some(0),
            looked_at: 0,
        }
    }

    /// Reads what is kept beside each record, too: one more round trip for each page.
    #[must_use]
    pub fn with_details(mut self) -> Self {
        self.with_details = true;
        self
    }

    /// How many members were looked at so far, whether the filter let them through or not.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    /// Begins where another listing was ([`Listing::cursor`]).
    pub(super) fn starting_at(mut self, cursor: u64) -> Self {
        self.cursor = Some(cursor);
        self
    }

    /// Where the next page begins; `None` at the end.
    pub(super) fn cursor(&self) -> Option<u64> {
        self.cursor
    }

    /// Whether everything was looked at.
    pub(crate) fn is_at_end(&self) -> bool {
        self.cursor.is_none()
    }

    /// The next page; it may be empty. `None` after the last.
    ///
    /// Members that cannot be read come too, when the filter lets everything through.
    ///
    /// # Errors
    ///
    /// The engine's. Asking again repeats the page.
    pub async fn next_page(&mut self) -> EngineResult<Option<Vec<Listed>>> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let (next, members) = self.engine.page_of_failures(cursor, PAGE).await?;
        let looked_at = members.len() as u64;
        let mut known = HashSet::with_capacity(members.len());
        let mut page = members
            .into_iter()
            .filter(|member| known.insert(member.clone()))
            .map(Listed::new)
            .filter(|listed| match &listed.record {
                Ok(record) => self.filter.matches(record),
                Err(_) => self.filter.is_all(),
            })
            .collect::<Vec<_>>();
        if self.with_details {
            store::add_details(self.engine.as_ref(), &mut page).await?;
        }
        self.looked_at += looked_at;
        self.cursor = (next != 0).then_some(next);
        Ok(Some(page))
    }
}
