//! One transaction, and what several of its operations need of a stream.
//!
//! The operations of a batch run in one transaction. What they need of a stream is read once and written back once,
//! before the commit: nobody else can change it meanwhile.

use std::{cell::RefCell, collections::BTreeMap};

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::{
    failure::{Failure, Step},
    inserts::{Inserts, Kept},
    room::{Appending, Room},
};
use crate::{
    engine::{EngineErrorKind, keys},
    entry::{EntryId, StreamName, unix_ms},
};

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stream = 0,
    Set = 1,
    Hash = 2,
    List = 3,
}

/// A stream without its entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stream {
    pub(super) key: i64,
    /// The greatest ID it ever gave.
    pub(super) last_id: EntryId,
    /// The greatest ID that was deleted one by one, not by trimming.
    pub(super) max_deleted_id: EntryId,
    pub(super) entries_added: u64,
    pub(super) length: u64,
}

pub(super) struct Transaction<'c> {
    connection: &'c Connection,
    /// The time of every operation in it.
    pub(super) now_ms: u64,
    /// With whether it was changed. Nearly always there is one, which is found by one comparison.
    streams: BTreeMap<StreamName, (Stream, bool)>,
    inserts: RefCell<Inserts<'c>>,
    news: bool,
    /// Where the size of the store is limited.
    room: Option<&'c Room>,
    appending: Appending,
}

impl<'c> Transaction<'c> {
    /// With a connection on which a transaction was begun.
    pub(super) fn new(connection: &'c Connection, room: Option<&'c Room>, kept: Kept) -> Self {
        Self {
            connection,
            now_ms: unix_ms(),
            streams: BTreeMap::new(),
            inserts: RefCell::new(Inserts::new(connection, kept)),
            news: false,
            room,
            appending: Appending::default(),
        }
    }

    pub(super) fn connection(&self) -> &'c Connection {
        self.connection
    }

    pub(super) fn sql(&self, sql: &str) -> Step<CachedStatement<'c>> {
        self.inserts.borrow_mut().write()?;
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// The key of that name, of that kind.
    pub(super) fn key(&self, name: &[u8], kind: Kind) -> Step<Option<i64>> {
        let found = self
            .sql("SELECT id, kind FROM streamer_keys WHERE name = ?")?
            .query_row([name], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))
            .optional()?;
        match found {
            Some((_, other)) if other != kind as i64 => Err(another_kind(name)),
            found => Ok(found.map(|(key, _)| key)),
        }
    }

    pub(super) fn create_key(&self, name: &[u8], kind: Kind) -> Step<i64> {
        self.sql("INSERT INTO streamer_keys (name, kind) VALUES (?, ?)")?
            .execute(params![name, kind as i64])?;
        Ok(self.connection.last_insert_rowid())
    }

    /// The row that was inserted last.
    pub(super) fn inserted(&self) -> i64 {
        self.connection.last_insert_rowid()
    }

    pub(super) fn stream(&mut self, name: &StreamName) -> Step<Option<Stream>> {
        if let Some((stream, _)) = self.streams.get(name) {
            return Ok(Some(*stream));
        }
        // One look for the name and the stream: nearly every operation begins with it.
        let found = self
            .sql(
                "SELECT k.id, k.kind, s.last_ms, s.last_seq, s.max_deleted_id, s.entries_added, s.length \
                 FROM streamer_keys k LEFT JOIN streamer_streams s ON s.stream = k.id WHERE k.name = ?",
            )?
            .query_row([name.as_bytes()], |row| {
                if row.get::<_, i64>(1)? != Kind::Stream as i64 {
                    return Ok(Err(another_kind(name.as_bytes())));
                }
                let Some(last_ms) = row.get::<_, Option<i64>>(2)? else {
                    return Ok(Err(Failure::corrupt("a stream is named but not there")));
                };
                Ok(Ok(Stream {
                    key: row.get(0)?,
                    last_id: EntryId::new(last_ms as u64, row.get::<_, i64>(3)? as u64),
                    max_deleted_id: EntryId::from_be_bytes(row.get(4)?),
                    entries_added: row.get::<_, i64>(5)? as u64,
                    length: row.get::<_, i64>(6)? as u64,
                }))
            })
            .optional()?;
        let Some(stream) = found.transpose()? else {
            return Ok(None);
        };
        self.streams.insert(name.clone(), (stream, false));
        Ok(Some(stream))
    }

    /// Makes a stream, which is missing.
    pub(super) fn create_stream(&mut self, name: &StreamName) -> Step<Stream> {
        let stream = Stream {
            key: self.create_key(name.as_bytes(), Kind::Stream)?,
            last_id: EntryId::MIN,
            max_deleted_id: EntryId::MIN,
            entries_added: 0,
            length: 0,
        };
        let none = EntryId::MIN.to_be_bytes();
        self.sql(
            "INSERT INTO streamer_streams (stream, last_ms, last_seq, max_deleted_id, entries_added, length) \
             VALUES (?, 0, 0, ?, 0, 0)",
        )?
        .execute(params![stream.key, none])?;
        self.streams.insert(name.clone(), (stream, false));
        Ok(stream)
    }

    /// Refuses an entry that there is no room for.
    pub(super) fn make_room(&mut self, fields: usize) -> Step<()> {
        match self.room {
            Some(room) => {
                self.inserts.get_mut().write()?;
                self.appending.make_room(room, self.connection, fields)
            }
            None => Ok(()),
        }
    }

    pub(super) fn insert_entry(&mut self, stream: Stream, id: EntryId, fields: &[u8]) -> Step<()> {
        self.inserts.get_mut().insert(stream.key, id, fields)
    }

    /// Puts back a stream that was changed.
    pub(super) fn put_stream(&mut self, name: &StreamName, stream: Stream) {
        match self.streams.get_mut(name) {
            Some(known) => *known = (stream, true),
            None => _ = self.streams.insert(name.clone(), (stream, true)),
        }
    }

    /// Removes a stream with everything that hangs on it; tells whether it was there.
    pub(super) fn remove_stream(&mut self, name: &StreamName) -> Step<bool> {
        let Some(Stream { key, .. }) = self.stream(name)? else {
            return Ok(false);
        };
        for sql in [
            "DELETE FROM streamer_pending WHERE group_id IN (SELECT id FROM streamer_groups WHERE stream = ?)",
            "DELETE FROM streamer_consumers WHERE group_id IN (SELECT id FROM streamer_groups WHERE stream = ?)",
            "DELETE FROM streamer_groups WHERE stream = ?",
            "DELETE FROM streamer_entries WHERE stream = ?",
            "DELETE FROM streamer_appended_once WHERE stream = ?",
            "DELETE FROM streamer_scheduled WHERE stream = ?",
            "DELETE FROM streamer_streams WHERE stream = ?",
            "DELETE FROM streamer_keys WHERE id = ?",
        ] {
            self.sql(sql)?.execute([key])?;
        }
        self.remove_keys_of_groups(name)?;
        self.streams.remove(name);
        self.tell_readers();
        Ok(true)
    }

    /// Removes what the stream's groups have kept beside it.
    fn remove_keys_of_groups(&self, name: &StreamName) -> Step<()> {
        let of_all_groups = |key: String| {
            // All that begins with the key, which ends with a colon, lies before the key that ends with a semicolon.
            let end = key
                .strip_suffix(':')
                .map_or_else(|| key.clone(), |begin| format!("{begin};"));
            (key, end)
        };
        let handled = keys::handled(name, None);
        for (from, to) in [
            of_all_groups(keys::retry_states(name, "")),
            of_all_groups(keys::handled(name, Some(""))),
            (handled.clone(), format!("{handled}\0")),
        ] {
            let range = [from.as_bytes(), to.as_bytes()];
            for sql in [
                "DELETE FROM streamer_hash_fields WHERE key IN (SELECT id FROM streamer_keys WHERE name >= ? AND name < ?)",
                "DELETE FROM streamer_members WHERE key IN (SELECT id FROM streamer_keys WHERE name >= ? AND name < ?)",
                "DELETE FROM streamer_keys WHERE name >= ? AND name < ?",
            ] {
                self.sql(sql)?.execute(range)?;
            }
        }
        Ok(())
    }

    /// Something changed that a waiting reader may wait for.
    pub(super) fn tell_readers(&mut self) {
        self.news = true;
    }

    pub(super) fn has_news(&self) -> bool {
        self.news
    }

    /// What the next transaction begins with.
    pub(super) fn into_kept(self) -> Kept {
        self.inserts.into_inner().into_kept()
    }

    /// Writes back what changed; the last step before the commit.
    pub(super) fn finish(&mut self) -> Step<()> {
        self.inserts.get_mut().write()?;
        for (stream, changed) in self.streams.values_mut().filter(|(_, changed)| *changed) {
            self.connection
                .prepare_cached(
                    "UPDATE streamer_streams SET last_ms = ?, last_seq = ?, max_deleted_id = ?, entries_added = ?, length = ? \
                     WHERE stream = ?",
                )?
                .execute(params![
                    stream.last_id.ms as i64,
                    stream.last_id.seq as i64,
                    stream.max_deleted_id.to_be_bytes(),
                    stream.entries_added as i64,
                    stream.length as i64,
                    stream.key
                ])?;
            *changed = false;
        }
        Ok(())
    }
}

fn another_kind(name: &[u8]) -> Failure {
    let reason = format!(
        "the key '{}' holds another kind of value",
        String::from_utf8_lossy(name)
    );
    Failure::refused(EngineErrorKind::WrongType, reason)
}
