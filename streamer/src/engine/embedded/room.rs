//! How much may be appended to a store whose size is limited.
//!
//! The file itself may grow somewhat further than appends may fill it, so that what frees space finds room in a full
//! store: acknowledging, deleting, and recording failures before.

use std::path::Path;

use rusqlite::Connection;

use super::{
    address::Address,
    failure::{Failure, Step},
};
use crate::engine::EngineErrorKind;

/// The least that is kept back for what frees space, and the least part of the limit: one in so many.
const RESERVE: u64 = 1024 * 1024;
const RESERVED_PART: u64 = 50;
/// What an entry takes beside its fields, at most.
const BESIDE: u64 = 256;
/// After how many bytes of entries the file is asked again how large it is: pages are not filled evenly.
const ESTIMATED: u64 = 64 * 1024;

/// How much room there is for appends in a transaction.
#[derive(Clone, Debug)]
pub(super) struct Room {
    max_size: u64,
    page_size: u64,
    location: String,
}

impl Room {
    /// Sets how far the file may grow. `None` where only the device limits it.
    pub(super) fn of(connection: &Connection, address: &Address) -> Step<Option<Self>> {
        let Some(max_size) = address.max_size else {
            return Ok(None);
        };
        let page_size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let page_size = (page_size as u64).max(1);
        let reserve = RESERVE.max(max_size / RESERVED_PART);
        let pages = (max_size.saturating_add(reserve) / page_size).clamp(1, u64::from(u32::MAX) - 1);
        connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
        let location = address
            .path
            .as_deref()
            .map_or_else(|| "memory:".into(), Path::to_string_lossy);
        Ok(Some(Self {
            max_size,
            page_size,
            location: location.into_owned(),
        }))
    }

    /// How many bytes may be appended.
    fn left(&self, connection: &Connection) -> Step<u64> {
        let number = |sql| {
            Ok::<_, Failure>(
                connection
                    .prepare_cached(sql)?
                    .query_row([], |row| row.get::<_, i64>(0))? as u64,
            )
        };
        let used = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
        Ok(self.max_size.saturating_sub(used.saturating_mul(self.page_size)))
    }
}

/// What is known of the room while a transaction appends.
#[derive(Debug, Default)]
pub(super) struct Appending {
    left: u64,
    until_asked_again: u64,
}

impl Appending {
    /// Refuses an entry that there is no room for.
    pub(super) fn make_room(&mut self, room: &Room, connection: &Connection, fields: usize) -> Step<()> {
        let needed = (fields as u64).saturating_add(BESIDE);
        if needed > self.left || needed > self.until_asked_again {
            self.left = room.left(connection)?;
            self.until_asked_again = ESTIMATED;
            if needed > self.left {
                let reason = format!(
                    "{}: the store is full (max_size is {} bytes): acknowledge, trim or archive entries, or raise max_size",
                    room.location, room.max_size
                );
                return Err(Failure::refused(EngineErrorKind::Full, reason));
            }
        }
        self.left -= needed;
        self.until_asked_again = self.until_asked_again.saturating_sub(needed);
        Ok(())
    }
}
