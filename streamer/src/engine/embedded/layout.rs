//! What lies in the file: the tables of the streams, beside those of an application, and the version of their layout.
//!
//! The version lies in a table of its own. `user_version` and `application_id` belong to the application, whose migrations
//! may count with them. Layout 1 had the file for itself and used both.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::failure::{Failure, Step};
use crate::{engine::EngineErrorKind, entry::EntryId, outbox};

/// The layout of `schema.sql`.
const LAYOUT: i64 = 2;
/// `PRAGMA application_id` of files of layout 1: "Strm".
const LAYOUT_1_APPLICATION_ID: i64 = 0x5374_726d;
/// `PRAGMA user_version` of files of layout 1, unless an application has set another one.
const LAYOUT_1_USER_VERSION: i64 = 1;

/// Missing in files of the first versions with this layout.
const INDEX_OF_EXPIRY: &str = "streamer_expiry_of_appended_once";
/// What earlier versions with this layout had beside the pending entries.
const INDEX_OF_CONSUMERS: &str = "streamer_pending_of_consumer";

/// What the trigger of `outbox.sql` says of itself. Files that an earlier version wrote have another one.
const FORM_OF_TRIGGER: &str = "-- Form 2 of this trigger";

/// The tables of the streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// They are missing.
    Nothing,
    /// They are of layout 1.
    Layout1,
    /// They are there.
    Current,
}

/// What lies under the name `streamer_outbox`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outbox {
    Missing,
    /// The view of `outbox.sql`.
    View,
    /// A table without rows, as migrations make it before the file is used for streams.
    EmptyTable,
    /// A table with rows, which a relay has still to publish.
    Table,
}

/// Looks which tables are there; an error when the file is not for this program.
pub(super) fn inspect(connection: &Connection, path: &Path) -> Step<Found> {
    let refused = |kind, reason: &str| Failure::refused(kind, format!("{} {reason}", path.display()));
    let exists = |table: &str| -> Result<bool, rusqlite::Error> {
        connection
            .prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?")?
            .exists([table])
    };
    let has_meta = exists("streamer_meta").map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => refused(
            EngineErrorKind::InvalidInput,
            "is not a SQLite database: name another file; this one was left as it is",
        ),
        _ => Failure::from(error),
    })?;
    if !has_meta {
        let application_id: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let is_layout_1 = application_id == LAYOUT_1_APPLICATION_ID && exists("keys")? && exists("streams")?;
        return Ok(if is_layout_1 { Found::Layout1 } else { Found::Nothing });
    }
    let layout = connection.query_row("SELECT max(layout) FROM streamer_meta", [], |row| {
        row.get::<_, Option<i64>>(0)
    })?;
    match layout {
        Some(LAYOUT) => Ok(Found::Current),
        other => {
            let other = other.map_or_else(|| "unknown".to_owned(), |other| other.to_string());
            Err(refused(
                EngineErrorKind::Unsupported,
                &format!(
                    "was written by another version of Streamer (its layout is {other}, this program's is {LAYOUT}): use that \
                     version, or name another file; this one was left as it is"
                ),
            ))
        }
    }
}

/// Makes what is missing, in one transaction.
pub(super) fn prepare(connection: &mut Connection, path: &Path) -> Step<()> {
    let is_ready = |connection: &Connection| -> Step<bool> {
        let tables = inspect(connection, path)?;
        let has_outbox = matches!(outbox_of(connection)?, Outbox::View | Outbox::Table);
        let has_all = has_index(connection, INDEX_OF_EXPIRY)? && has_scheduled(connection)?;
        let is_old = has_index(connection, INDEX_OF_CONSUMERS)? || is_outdated(connection)?;
        Ok(tables == Found::Current && has_outbox && has_all && !is_old)
    };
    if is_ready(connection)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Again, now that nobody else can make them.
    match inspect(&transaction, path)? {
        Found::Current => {}
        Found::Nothing => transaction.execute_batch(include_str!("schema.sql"))?,
        Found::Layout1 => from_layout_1(&transaction)?,
    }
    // Where an earlier version wrote this file. It can go on with it all the same.
    transaction.execute_batch(&format!("DROP INDEX IF EXISTS {INDEX_OF_CONSUMERS}"))?;
    if !has_index(&transaction, INDEX_OF_EXPIRY)? {
        transaction
            .execute_batch("CREATE INDEX streamer_expiry_of_appended_once ON streamer_appended_once (expires_ms)")?;
    }
    if is_outdated(&transaction)? {
        // It is made again below.
        transaction.execute_batch("DROP VIEW streamer_outbox")?;
    }
    transaction.execute_batch(include_str!("scheduled.sql"))?;
    match outbox_of(&transaction)? {
        Outbox::View | Outbox::Table => {}
        Outbox::EmptyTable => {
            transaction.execute_batch("DROP TABLE streamer_outbox")?;
            create_outbox(&transaction)?;
        }
        Outbox::Missing => create_outbox(&transaction)?,
    }
    Ok(transaction.commit()?)
}

/// Whether an earlier version made the view: its triggers know no events that are due later, look for what is over without an
/// index, or take longer.
fn is_outdated(connection: &Connection) -> Step<bool> {
    let mut triggers = connection.prepare(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' \
         AND (name = 'streamer_outbox_schedule' OR name = 'streamer_outbox_emit' AND instr(sql, ?) > 0)",
    )?;
    let current: i64 = triggers.query_row([FORM_OF_TRIGGER], |row| row.get(0))?;
    Ok(outbox_of(connection)? == Outbox::View && current < 2)
}

fn has_index(connection: &Connection, name: &str) -> Step<bool> {
    let mut index = connection.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?")?;
    Ok(index.exists([name])?)
}

/// Whether there is a table for entries that are appended later. Files that were written before there were such entries lack it;
/// earlier versions of the program that use the same file do not look at it.
pub(super) fn has_scheduled(connection: &Connection) -> Step<bool> {
    let mut statement = connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'streamer_scheduled'")?;
    Ok(statement.exists([])?)
}

/// What applications need to emit and to receive in transactions of their own.
fn create_outbox(connection: &Connection) -> Step<()> {
    connection.execute_batch(include_str!("outbox.sql"))?;
    Ok(connection.execute_batch(outbox::SQLITE_INBOX)?)
}

/// What an operator should know: events that applications write into the outbox of this file wait there for a relay.
pub(super) fn warning(connection: &Connection) -> Step<Option<String>> {
    let needs_relay = matches!(outbox_of(connection)?, Outbox::EmptyTable | Outbox::Table);
    Ok(needs_relay.then(|| {
        "the table `streamer_outbox` of this file had rows when the file was opened: what is written to it waits for \
         `streamer outbox relay`. Once it is empty, open the file again: from then on events are on their streams as soon \
         as their transaction commits"
            .to_owned()
    }))
}

fn outbox_of(connection: &Connection) -> Step<Outbox> {
    let kind: Option<String> = connection
        .query_row(
            "SELECT type FROM sqlite_schema WHERE name = 'streamer_outbox'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(match kind.as_deref() {
        None => Outbox::Missing,
        Some("view") => Outbox::View,
        Some(_) => match connection.prepare("SELECT 1 FROM streamer_outbox")?.exists([])? {
            true => Outbox::Table,
            false => Outbox::EmptyTable,
        },
    })
}

fn from_layout_1(connection: &Connection) -> Step<()> {
    connection.execute_batch(include_str!("layout1_to_2.sql"))?;
    let mut insert = connection.prepare(
        "INSERT INTO streamer_streams (stream, last_ms, last_seq, max_deleted_id, entries_added, length) \
         SELECT stream, ?2, ?3, max_deleted_id, entries_added, length FROM streams WHERE stream = ?1",
    )?;
    let mut streams = connection.prepare("SELECT stream, last_id FROM streams")?;
    let mut rows = streams.query([])?;
    while let Some(row) = rows.next()? {
        let last_id = EntryId::from_be_bytes(row.get(1)?);
        insert.execute(params![row.get::<_, i64>(0)?, last_id.ms as i64, last_id.seq as i64])?;
    }
    drop(rows);
    connection.execute_batch("DROP TABLE streams")?;
    let user_version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if user_version == LAYOUT_1_USER_VERSION {
        // An application that moves in begins to count here. Programs that know only layout 1 still refuse the file.
        connection.pragma_update(None, "user_version", 0)?;
    }
    Ok(())
}
