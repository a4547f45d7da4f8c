//! Entries on their way into their table, several at a time.
//!
//! A statement finds the place of its first row from the root of the table, and those of the next rows from the one before:
//! a row in a statement of sixteen costs two thirds of one in a statement of its own. So the short entries of a transaction
//! are kept until there are so many, or something else is asked of the store.

use std::sync::LazyLock;

use rusqlite::{CachedStatement, Connection, params};

use super::failure::Step;
use crate::entry::EntryId;

/// How many rows a statement inserts.
const ROWS: usize = 16;
/// Longer entries are not kept: what a copy costs is more than what a statement for several saves.
const SHORT: usize = 1024;

// A failure ends the whole transaction. `OR FAIL`: so that a statement for several rows need not be able to undo its own, for which
// SQLite would copy each page that it changes.
const ONE: &str = "INSERT OR FAIL INTO streamer_entries (stream, id, fields) VALUES (?, ?, ?)";
static MANY: LazyLock<String> = LazyLock::new(|| format!("{ONE}{}", ", (?, ?, ?)".repeat(ROWS - 1)));

struct Row {
    stream: i64,
    id: [u8; 16],
    /// Where its fields end.
    end: usize,
}

/// Rows that are not written yet.
#[derive(Default)]
pub(super) struct Kept {
    rows: Vec<Row>,
    /// The fields of all of them, one after the other.
    fields: Vec<u8>,
}

/// Inserts of one transaction. Whoever asks the store for anything lets them be written first.
pub(super) struct Inserts<'c> {
    connection: &'c Connection,
    kept: Kept,
    // At hand: a transaction may hold hundreds of appends.
    one: Option<CachedStatement<'c>>,
    many: Option<CachedStatement<'c>>,
}

impl<'c> Inserts<'c> {
    /// With what [`Inserts::into_kept`] of an earlier transaction gave: its memory is used again.
    pub(super) fn new(connection: &'c Connection, kept: Kept) -> Self {
        Self {
            connection,
            kept,
            one: None,
            many: None,
        }
    }

    pub(super) fn into_kept(self) -> Kept {
        self.kept
    }

    pub(super) fn insert(&mut self, stream: i64, id: EntryId, fields: &[u8]) -> Step<()> {
        let id = id.to_be_bytes();
        if fields.len() > SHORT {
            self.write()?;
            prepared(self.connection, &mut self.one, ONE)?.execute(params![stream, id, fields])?;
            return Ok(());
        }
        let Kept { rows, fields: kept } = &mut self.kept;
        kept.extend_from_slice(fields);
        let end = kept.len();
        rows.push(Row { stream, id, end });
        match rows.len() {
            ROWS => self.write(),
            _ => Ok(()),
        }
    }

    /// Writes what is kept.
    pub(super) fn write(&mut self) -> Step<()> {
        let Kept { rows, fields } = &mut self.kept;
        let mut begin = 0;
        match rows.len() {
            0 => {}
            ROWS => {
                let insert = prepared(self.connection, &mut self.many, &MANY)?;
                for (index, row) in rows.iter().enumerate() {
                    insert.raw_bind_parameter(3 * index + 1, row.stream)?;
                    insert.raw_bind_parameter(3 * index + 2, row.id)?;
                    insert.raw_bind_parameter(3 * index + 3, &fields[begin..row.end])?;
                    begin = row.end;
                }
                insert.raw_execute()?;
            }
            _ => {
                let insert = prepared(self.connection, &mut self.one, ONE)?;
                for row in &*rows {
                    insert.execute(params![row.stream, row.id, &fields[begin..row.end]])?;
                    begin = row.end;
                }
            }
        }
        rows.clear();
        fields.clear();
        Ok(())
    }
}

fn prepared<'a, 'c>(
    connection: &'c Connection,
    statement: &'a mut Option<CachedStatement<'c>>,
    sql: &str,
) -> Step<&'a mut CachedStatement<'c>> {
    Ok(match statement {
        Some(statement) => statement,
        none => none.insert(connection.prepare_cached(sql)?),
    })
}
