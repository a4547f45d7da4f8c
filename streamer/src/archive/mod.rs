//! The archive: moves messages from their stream to another store, and back.
//!
//! # Layout
//!
//! - [`ArchiveStorage`], here: the contract of what keeps archived messages. `error`: what can go wrong.
//! - `message`: [`ArchivedMessage`], and its JSON text.
//! - `manager`: [`ArchiveManager`], drivers by name.
//! - `null`, `memory`, and behind cargo features `sqlite`, `postgres`, `mysql`, `object`: the drivers. `sql`:
//!   what the drivers for database servers have in common.
//! - `sweep`: [`Sweep`], which archives or purges what is old enough. `age`: what that means. `needed`: which messages
//!   some group still needs. `holding`: which groups those are.
//! - `restore`: [`Restore`], the way back. `origin`: which IDs a restored message had before. `tidy`: forgets those of
//!   messages that are gone.
//!
//! # Why nothing is lost
//!
//! Archiving stores a message before it deletes the entry. Restoring appends the entry before it removes the message from the
//! archive. So after a crash a message is on the stream, in the archive, or in both. Running the same command again finishes it,
//! because both first steps can be repeated: storing is idempotent by stream and ID, and the append of a restore is
//! recorded in the same atomic step, so it happens once.

mod age;
mod error;
mod holding;
mod manager;
mod memory;
mod message;
#[cfg(feature = "archive-mysql")]
mod mysql;
mod needed;
mod null;
#[cfg(feature = "archive-object")]
mod object;
#[cfg(feature = "archive-object")]
mod object_names;
mod origin;
#[cfg(feature = "archive-postgres")]
mod postgres;
mod restore;
#[cfg(any(feature = "archive-postgres", feature = "archive-mysql"))]
mod sql;
#[cfg(feature = "archive-sqlite")]
mod sqlite;
#[cfg(any(
    feature = "archive-sqlite",
    feature = "archive-postgres",
    feature = "archive-mysql",
    feature = "archive-object"
))]
mod stored;
mod sweep;
mod tidy;

use std::fmt;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};

#[cfg(feature = "archive-mysql")]
pub use self::mysql::MysqlArchive;
#[cfg(feature = "archive-object")]
pub use self::object::ObjectArchive;
#[cfg(feature = "archive-postgres")]
pub use self::postgres::PostgresArchive;
#[cfg(feature = "archive-sqlite")]
pub use self::sqlite::SqliteArchive;
pub use self::{
    age::{InvalidOlderThan, OlderThan},
    error::{ArchiveError, ArchiveErrorKind, ArchiveResult, TransferError},
    holding::{HoldingGroup, holding_groups},
    manager::ArchiveManager,
    memory::MemoryArchive,
    message::ArchivedMessage,
    null::NullArchive,
    restore::{Restore, RestoreSummary},
    sweep::{Fate, Kept, Sweep, SweepSummary},
};
pub(crate) use self::{
    needed::Needed,
    origin::{forget as forget_origins, to_archive},
    sweep::store,
};
use crate::entry::{EntryId, StreamName};

/// How many messages [`ArchiveStorage::all`] and [`ArchiveStorage::of_stream`] ask for at once.
const PAGE: usize = 256;
/// About how many bytes of messages are held at once.
pub(crate) const PAGE_BYTES: usize = 8 << 20;

/// A place that keeps archived messages.
///
/// # The contract
///
/// - **Answered means done.** When a method returns `Ok`, what it wrote survives the death of this process and, where
///   the store can do that at all, of the machine: the message is deleted from its stream next.
/// - **An error leaves each message as it was or as it was meant to be**, never in between.
/// - **What goes in comes out**: all fields, in their order, byte for byte.
/// - Any number of processes may use one archive at once.
///
/// `streamer/tests/archive/` holds a suite that every driver passes; run it on yours.
#[async_trait]
pub trait ArchiveStorage: Send + Sync + fmt::Debug + 'static {
    /// The URL of the archive without its password, for messages.
    fn location(&self) -> &str;

    /// The statements that make what [`ArchiveStorage::migrate`] makes; `None` where nothing has to be made.
    fn schema(&self) -> Option<&str> {
        None
    }

    /// Creates tables and whatever else is missing. It is safe to repeat.
    async fn migrate(&self) -> ArchiveResult<()> {
        Ok(())
    }

    /// Stores messages, and gives one [`Stored`] for each, in order. Idempotent by stream and ID: a message that is in the
    /// archive stays as it is, also when two processes store it concurrently (both may get `New` then). The caller bounds the
    /// size of a batch.
    async fn create(&self, messages: &[ArchivedMessage]) -> ArchiveResult<Vec<Stored>>;

    /// One message.
    async fn find(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<Option<ArchivedMessage>>;

    /// Several messages of a stream, in the order of `ids`; `None` for one that is not there. The caller bounds their
    /// number. By default it [finds](ArchiveStorage::find) one after the other.
    async fn find_many(&self, stream: &StreamName, ids: &[EntryId]) -> ArchiveResult<Vec<Option<ArchivedMessage>>> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            found.push(self.find(stream, *id).await?);
        }
        Ok(found)
    }

    /// Messages by stream (as bytes) and ID, those of `stream` only if it is given, that come after `after`: at most
    /// `count`, fewer when they are large, none only when there are no more.
    async fn page(
        &self,
        stream: Option<&StreamName>,
        after: Option<(&StreamName, EntryId)>,
        count: usize,
    ) -> ArchiveResult<Vec<ArchivedMessage>>;

    /// How many messages there are, counting at most `most`: for a view that is looked at again and again. `None` where
    /// counting costs as much as reading them, which is the default.
    async fn count(&self, most: u64) -> ArchiveResult<Option<u64>> {
        let _ = most;
        Ok(None)
    }

    /// Deletes one message; `false` if it was not there.
    async fn delete(&self, stream: &StreamName, id: EntryId) -> ArchiveResult<bool>;

    /// Deletes several messages of a stream, and gives for each whether it was there. After an error some may be left; it is safe
    /// to repeat. The caller bounds their number. Default: [deletes](ArchiveStorage::delete) one after the other.
    async fn delete_many(&self, stream: &StreamName, ids: &[EntryId]) -> ArchiveResult<Vec<bool>> {
        let mut were_there = Vec::with_capacity(ids.len());
        for id in ids {
            were_there.push(self.delete(stream, *id).await?);
        }
        Ok(were_there)
    }

    /// Deletes all messages of a stream, and gives their number. After an error some may be left; it is safe to repeat.
    async fn delete_stream(&self, stream: &StreamName) -> ArchiveResult<u64>;
}

/// What became of a message that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is in the archive now.
    New,
    /// The archive had it already.
    AlreadyThere,
    /// The archive has *another* message under this stream and ID, and keeps it. Two stores share the archive, or the stream
    /// was removed and made again: give each its own archive.
    Conflict,
}

impl dyn ArchiveStorage {
    /// Every archived message, by stream and ID, a page at a time. Messages may be stored and deleted meanwhile.
    pub fn all(&self) -> impl Stream<Item = ArchiveResult<ArchivedMessage>> + Send + Unpin {
        self.pages(None)
    }

    /// The archived messages of a stream, by ID, a page at a time.
    pub fn of_stream(&self, stream: StreamName) -> impl Stream<Item = ArchiveResult<ArchivedMessage>> + Send + Unpin {
        self.pages(Some(stream))
    }

    fn pages(&self, only: Option<StreamName>) -> impl Stream<Item = ArchiveResult<ArchivedMessage>> + Send + Unpin {
        let pages = stream::try_unfold(None, move |after: Option<(StreamName, EntryId)>| {
            let only = only.clone();
            async move {
                let after = after.as_ref().map(|(stream, id)| (stream, *id));
                let page = self.page(only.as_ref(), after, PAGE).await?;
                let next = page.last().map(|message| (message.stream.clone(), message.id));
                Ok(next.map(|next| (stream::iter(page).map(Ok), Some(next))))
            }
        });
        pages.try_flatten().boxed()
    }
}
