//! How far a group is behind: Redis 7.0's bookkeeping, quirks included.
//!
//! A group counts the entries it was delivered. That count says how far behind it is only while no entry ahead of it
//! was deleted one by one; otherwise the position is worked out anew where the ends of the stream allow it, and is
//! unknown where they do not.

use super::{failure::Step, transaction::Stream};
use crate::entry::EntryId;

/// What the rules look at.
#[derive(Clone, Copy)]
pub(super) struct Progress {
    pub(super) stream: Stream,
    /// The ID of the oldest entry; `0-0` when the stream is empty.
    pub(super) first_id: EntryId,
}

impl Progress {
    /// For deliveries to a group that has counted `entries_read` so far. Looks for the oldest entry only where the rules
    /// depend on it.
    pub(super) fn of_deliveries(
        stream: Stream,
        entries_read: Option<u64>,
        oldest: impl FnOnce() -> Step<Option<EntryId>>,
    ) -> Step<Self> {
        let first_id = match entries_read {
            Some(_) if stream.max_deleted_id == EntryId::MIN => EntryId::MIN,
            _ => oldest()?.unwrap_or_default(),
        };
        Ok(Self { stream, first_id })
    }

    /// `entries-read` after the delivery of `id`, from what it was before.
    pub(super) fn entries_read_after(&self, entries_read: Option<u64>, id: EntryId) -> Option<u64> {
        match entries_read {
            Some(read) if !self.has_deleted_from(id) => Some(read + 1),
            _ => self.entries_up_to(id),
        }
    }

    /// How many entries a group that came to `last_delivered` has yet to be delivered.
    pub(super) fn lag(&self, entries_read: Option<u64>, last_delivered: EntryId) -> Option<u64> {
        let added = self.stream.entries_added;
        if added == 0 {
            return Some(0);
        }
        let read = match entries_read {
            Some(read) if !self.has_deleted_from(last_delivered) => read,
            _ => self.entries_up_to(last_delivered)?,
        };
        Some(added.saturating_sub(read))
    }

    /// Whether an entry from `start` on was deleted (`streamRangeHasTombstones`).
    fn has_deleted_from(&self, start: EntryId) -> bool {
        let deleted = self.stream.max_deleted_id;
        self.stream.length > 0 && deleted != EntryId::MIN && self.first_id <= deleted && start <= deleted
    }

    /// How many entries were ever appended up to `id` (`streamEstimateDistanceFromFirstEverEntry`).
    fn entries_up_to(&self, id: EntryId) -> Option<u64> {
        let Stream {
            entries_added,
            length,
            last_id,
            max_deleted_id,
            ..
        } = self.stream;
        if entries_added == 0 {
            return Some(0);
        }
        if (length == 0 && id < last_id) || id == last_id {
            return Some(entries_added);
        }
        if id > last_id {
            return None;
        }
        if max_deleted_id == EntryId::MIN || max_deleted_id < self.first_id {
            if id < self.first_id {
                return Some(entries_added.saturating_sub(length));
            }
            if id == self.first_id {
                return Some(entries_added.saturating_sub(length) + 1);
            }
        }
        None
    }
}
