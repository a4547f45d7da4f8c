//! Consumer groups, and the delivery of new entries.

use rusqlite::{OptionalExtension, params};

use super::{
    consumers::touch_consumer,
    entries::{self, Stored},
    failure::{Failure, Step},
    lag::Progress,
    transaction::{Stream, Transaction},
};
use crate::{
    engine::{EngineErrorKind, GroupStart},
    entry::{EntryId, StreamName},
};

/// A group on a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) id: i64,
    pub(super) stream: Stream,
    pub(super) last_delivered_id: EntryId,
    pub(super) entries_read: Option<u64>,
}

/// The group; an error when it, or its stream, is not there.
pub(super) fn group(transaction: &mut Transaction<'_>, stream: &StreamName, group: &str) -> Step<Group> {
    find(transaction, stream, group)?.ok_or_else(|| no_group(stream, group))
}

/// The refusal that names a missing group.
pub(super) fn no_group(stream: &StreamName, group: &str) -> Failure {
    let reason = format!("there is no group '{group}' on stream '{stream}', or no such stream: create the group");
    Failure::refused(EngineErrorKind::NoGroup, reason)
}

pub(super) fn find(transaction: &mut Transaction<'_>, stream: &StreamName, group: &str) -> Step<Option<Group>> {
    let Some(stream) = transaction.stream(stream)? else {
        return Ok(None);
    };
    let found = transaction
        .sql("SELECT id, last_delivered_id, entries_read FROM streamer_groups WHERE stream = ? AND name = ?")?
        .query_row(params![stream.key, group], |row| {
            Ok(Group {
                id: row.get(0)?,
                stream,
                last_delivered_id: EntryId::from_be_bytes(row.get(1)?),
                entries_read: row.get::<_, Option<i64>>(2)?.map(|read| read as u64),
            })
        })
        .optional()?;
    Ok(found)
}

pub(super) fn create(
    transaction: &mut Transaction<'_>,
    name: &StreamName,
    group: &str,
    start: GroupStart,
    create_stream: bool,
) -> Step<()> {
    let known = transaction.stream(name)?;
    if known.is_none() && !create_stream {
        let reason = "there is no such stream: append to it first, or have it created with the group";
        return Err(Failure::refused(EngineErrorKind::NoStream, reason));
    }
    if find(transaction, name, group)?.is_some() {
        return Err(Failure::refused(
            EngineErrorKind::GroupExists,
            "there is a group of that name",
        ));
    }
    insert(transaction, name, group, start)?;
    Ok(())
}

/// Makes a group that is missing, with its stream where that is missing too.
fn insert(transaction: &mut Transaction<'_>, name: &StreamName, group: &str, start: GroupStart) -> Step<Group> {
    let stream = match transaction.stream(name)? {
        Some(stream) => stream,
        None => transaction.create_stream(name)?,
    };
    let last_delivered_id = position(stream, start);
    transaction
        .sql("INSERT INTO streamer_groups (stream, name, last_delivered_id) VALUES (?, ?, ?)")?
        .execute(params![stream.key, group, last_delivered_id.to_be_bytes()])?;
    Ok(Group {
        id: transaction.inserted(),
        stream,
        last_delivered_id,
        entries_read: None,
    })
}

/// The group, made where it is missing; also tells whether it was.
pub(super) fn find_or_create(
    transaction: &mut Transaction<'_>,
    name: &StreamName,
    group: &str,
    start: GroupStart,
) -> Step<(Group, bool)> {
    match find(transaction, name, group)? {
        Some(group) => Ok((group, false)),
        None => Ok((insert(transaction, name, group, start)?, true)),
    }
}

pub(super) fn set_position(
    transaction: &mut Transaction<'_>,
    name: &StreamName,
    group_name: &str,
    start: GroupStart,
) -> Step<()> {
    let group = group(transaction, name, group_name)?;
    advance(transaction, group, position(group.stream, start), None)?;
    transaction.tell_readers();
    Ok(())
}

fn position(stream: Stream, start: GroupStart) -> EntryId {
    match start {
        GroupStart::After(id) => id,
        GroupStart::Now => stream.last_id,
    }
}

fn advance(transaction: &Transaction<'_>, group: Group, to: EntryId, entries_read: Option<u64>) -> Step<()> {
    transaction
        .sql("UPDATE streamer_groups SET last_delivered_id = ?, entries_read = ? WHERE id = ?")?
        .execute(params![
            to.to_be_bytes(),
            entries_read.map(|read| read as i64),
            group.id
        ])?;
    Ok(())
}

pub(super) fn destroy(transaction: &mut Transaction<'_>, stream: &StreamName, group: &str) -> Step<bool> {
    let Some(group) = find(transaction, stream, group)? else {
        return Ok(false);
    };
    for sql in [
        "DELETE FROM streamer_pending WHERE group_id = ?",
        "DELETE FROM streamer_consumers WHERE group_id = ?",
        "DELETE FROM streamer_groups WHERE id = ?",
    ] {
        transaction.sql(sql)?.execute([group.id])?;
    }
    transaction.tell_readers();
    Ok(true)
}

// ----- new entries ----------------------------------------------------------------------------------------------------

/// Whether any of the streams has something that the group was not delivered yet.
pub(super) fn has_new(transaction: &mut Transaction<'_>, streams: &[StreamName], group_name: &str) -> Step<bool> {
    let mut found = false;
    for stream in streams {
        let group = group(transaction, stream, group_name)?;
        // What was appended last may have been deleted.
        if group.stream.last_id > group.last_delivered_id {
            let newest = entries::edge(transaction, group.stream, true)?;
            found |= newest.is_some_and(|newest| newest > group.last_delivered_id);
        }
    }
    Ok(found)
}

/// Delivers what the group was not delivered yet to a consumer.
pub(super) fn deliver(
    transaction: &mut Transaction<'_>,
    streams: &[StreamName],
    group_name: &str,
    consumer: &str,
    count: usize,
) -> Step<Vec<(StreamName, Vec<Stored>)>> {
    // All are looked up before the first changes: a missing group refuses the whole.
    let groups: Vec<Group> = streams
        .iter()
        .map(|stream| group(transaction, stream, group_name))
        .collect::<Step<_>>()?;
    let mut delivered = Vec::new();
    for (name, group) in streams.iter().zip(groups) {
        if group.stream.last_id <= group.last_delivered_id {
            continue;
        }
        let found = entries::after(transaction, group.stream, group.last_delivered_id, count)?;
        let Some(last) = found.last() else { continue };
        let mut entries_read = group.entries_read;
        let oldest = || entries::edge(transaction, group.stream, false);
        let progress = Progress::of_deliveries(group.stream, entries_read, oldest)?;
        let consumer = touch_consumer(transaction, group, consumer, true)?;
        // One statement for all of them: cursors that stay where they are find the place of the next row by themselves.
        // A group that was moved back meets entries that are still pending: they change hands.
        transaction
            .sql(
                "INSERT OR REPLACE INTO streamer_pending (group_id, id, consumer, delivered_ms, deliveries) \
                 SELECT ?1, id, ?2, ?3, 1 FROM streamer_entries WHERE stream = ?4 AND id > ?5 AND id <= ?6 ORDER BY id",
            )?
            .execute(params![
                group.id,
                consumer,
                transaction.now_ms as i64,
                group.stream.key,
                group.last_delivered_id.to_be_bytes(),
                last.id.to_be_bytes()
            ])?;
        for entry in &found {
            entries_read = progress.entries_read_after(entries_read, entry.id);
        }
        advance(transaction, group, last.id, entries_read)?;
        delivered.push((name.clone(), found));
    }
    Ok(delivered)
}
