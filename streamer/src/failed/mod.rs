//! The failed list (dead letters): one record for each message and listener that failed.
//!
//! It is a set of JSON texts that PHP programs share. PHP removes a record by encoding it again, so every byte matters.
//!
//! # Layout
//!
//! - `record`: one failure, to the byte as PHP writes it. `details`: what is known beyond PHP's five fields, kept beside
//!   it. `store`: both in the engine.
//! - `list`: the list in pages, filtered. `sorted`: by date. `newest`: the newest first, page by page. `summary`: in numbers. [`Failed`], here: the handle that an operator's program begins with.
//! - `retry_state`: what earlier attempts of a message achieved that stays pending because of its failures.
//! - `retry`: runs the listeners of failures once more. `find`: where a message is by now. `clear`: what becomes of a
//!   message after its last failure. `report`: what a retry tells. `tidy`: removes details whose record
//!   is gone.

mod clear;
mod details;
mod find;
mod list;
mod newest;
mod record;
mod report;
mod retry;
mod retry_state;
mod sorted;
mod store;
mod summary;
mod tidy;

pub(crate) use self::retry_state::RetryState;
pub use self::{
    details::Details,
    list::{FailedFilter, Listed, Listing},
    newest::{InvalidPosition, Newest, NewestPage, Position},
    record::{FailedMessage, InvalidFailedMessage},
    report::{RetryReport, RetrySummary, Skipped},
    retry::Retry,
    sorted::SortedListing,
    store::{details, details_field, forget, record, record_undecodable, record_with},
    summary::{FailureKind, FailureSummary, error_kind},
};
use crate::{
    archive::ArchiveStorage,
    client::Streamer,
    engine::{EngineResult, keys},
    entry::StreamName,
    listener::Listeners,
    message::ReceivedMessage,
};

/// The set of failed messages.
pub const FAILED_KEY: &str = keys::FAILED;

/// The hash of what PHP's five fields do not have ([`Details`]). Field: the lower-case hex SHA-256 of the set's
/// member. Value: a JSON object with those of `fields` (`[[name,value],…]`, what is not UTF-8 as `{"base64":"…"}`),
/// `attempts`, `first_failure`, `group` and `groups` that say something. Records of PHP have none.
pub const DETAILS_KEY: &str = keys::FAILED_DETAILS;

/// The failed list of a store. Cheap to clone.
///
/// ```no_run
/// use streamer::{Listeners, Streamer, failed::FailedFilter};
///
/// # async fn example(streamer: Streamer, listeners: Listeners) -> Result<(), Box<dyn std::error::Error>> {
/// let failed = streamer.failed();
/// let mut listing = failed.list(FailedFilter::all().stream("order.placed"));
/// while let Some(page) = listing.next_page().await? {
///     for listed in page {
///         println!("{:?}", listed.record);
///     }
/// }
/// let summary = failed.retry(FailedFilter::all(), listeners).run().await?;
/// println!("{} retried, {} failed again, {} skipped", summary.retried, summary.failed_again, summary.skipped);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Failed {
    streamer: Streamer,
}

impl Streamer {
    /// The failed list.
    #[must_use]
    pub fn failed(&self) -> Failed {
        Failed { streamer: self.clone() }
    }
}

impl Failed {
    /// How many failures are listed.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn count(&self) -> EngineResult<u64> {
        self.streamer.engine().count_failures().await
    }

    /// The failures that a filter lets through, page by page.
    #[must_use]
    pub fn list(&self, filter: FailedFilter) -> Listing {
        Listing::new(self.streamer.engine().clone(), filter)
    }

    /// The failures that a filter lets through by date, oldest first, page by page. [`SortedListing`] says what that costs.
    #[must_use]
    pub fn sorted(&self, filter: FailedFilter) -> SortedListing {
        SortedListing::new(self.streamer.engine().clone(), filter)
    }

    /// The message of a failure: from its stream, else from the archive, else from the raw fields that are kept beside the
    /// failure. Its delivery count is that of the attempts so far.
    ///
    /// # Errors
    ///
    /// The engine's. Inside, [`Skipped`] says why there is no such message.
    pub async fn message(
        &self,
        listed: &Listed,
        archive: Option<&dyn ArchiveStorage>,
    ) -> EngineResult<Result<ReceivedMessage, Skipped>> {
        let Ok(failed) = &listed.record else {
            return Ok(Err(Skipped::InvalidId));
        };
        let Ok(id) = failed.id.parse() else {
            return Ok(Err(Skipped::InvalidId));
        };
        let stream = StreamName::from(&failed.stream);
        let found = find::find(self.streamer.engine().as_ref(), archive, &stream, id, &listed.details).await?;
        Ok(found.map(|entry| ReceivedMessage::new(stream, entry, listed.details.attempts)))
    }

    /// Prepares a retry of these failures; [`Retry::run`] does it.
    pub fn retry<S>(&self, filter: FailedFilter, listeners: Listeners<S>) -> Retry {
        Retry::new(self.streamer.clone(), filter, listeners.without_state())
    }

    /// Removes failures from the list, and gives their number. Their messages stay on their streams. A message that is pending
    /// because of its failure ([`always_acknowledge`](crate::Listening::always_acknowledge) off) is delivered again.
    ///
    /// A filter that matches everything also removes members that cannot be read. With [`FailedFilter::id`] only the failures of
    /// one message are removed.
    ///
    /// # Errors
    ///
    /// The engine's. Some of the failures may be removed then; it is safe to repeat.
    pub async fn flush(&self, filter: FailedFilter) -> EngineResult<u64> {
        let mut removed = 0;
        let mut listing = self.list(filter.clone());
        while let Some(page) = listing.next_page().await? {
            let members = page.into_iter().map(|listed| listed.member).collect::<Vec<_>>();
            removed += forget(self.streamer.engine().as_ref(), &members).await?;
        }
        self.tidy_at_the_end(Some(&filter)).await;
        Ok(removed)
    }
}
