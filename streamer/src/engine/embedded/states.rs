//! The state of a stream as views look at it: a few statements for each stream, however many groups and consumers it has.
//!
//! What is pending is counted once, for all consumers: that is nearly all of the work.

use std::{collections::HashMap, time::Duration};

use super::{
    entries,
    failure::Step,
    lag::Progress,
    stores,
    transaction::{Stream, Transaction},
};
use crate::{
    engine::{ConsumerInfo, FullGroupInfo, GroupInfo, PendingEntry, StreamState},
    entry::{EntryId, StreamName},
};

pub(super) fn state(transaction: &mut Transaction<'_>, name: &StreamName) -> Step<Option<StreamState>> {
    let Some(stream) = transaction.stream(name)? else {
        return Ok(None);
    };
    let first_id = entries::edge(transaction, stream, false)?;
    Ok(Some(StreamState {
        length: stream.length,
        first_id,
        last_id: stream.last_id,
        entries_added: Some(stream.entries_added),
        bytes: None,
        now_ms: transaction.now_ms,
        groups: groups(transaction, stream, first_id)?,
        scheduled: Some(stores::scheduled_state(transaction, stream)?),
    }))
}

fn groups(transaction: &Transaction<'_>, stream: Stream, first_id: Option<EntryId>) -> Step<Vec<FullGroupInfo>> {
    let progress = Progress {
        stream,
        first_id: first_id.unwrap_or_default(),
    };
    let mut consumers = consumers(transaction, stream)?;
    let mut oldest = oldest_pending(transaction, stream)?;
    let mut statement = transaction
        .sql("SELECT id, name, last_delivered_id, entries_read FROM streamer_groups WHERE stream = ? ORDER BY name")?;
    let groups = statement.query_map([stream.key], |row| {
        let id: i64 = row.get(0)?;
        let consumers = consumers.remove(&id).unwrap_or_default();
        let last_delivered_id = EntryId::from_be_bytes(row.get(2)?);
        let entries_read = row.get::<_, Option<i64>>(3)?.map(|read| read as u64);
        Ok(FullGroupInfo {
            group: GroupInfo {
                name: row.get(1)?,
                last_delivered_id,
                entries_read,
                lag: progress.lag(entries_read, last_delivered_id),
                consumers: consumers.len() as u64,
                // Each pending entry has a consumer of its group.
                pending: consumers.iter().map(|consumer| consumer.pending).sum(),
            },
            pending: oldest.remove(&id).into_iter().collect(),
            consumers,
        })
    })?;
    Ok(groups.collect::<Result<_, _>>()?)
}

/// The consumers of each group, by name.
fn consumers(transaction: &Transaction<'_>, stream: Stream) -> Step<HashMap<i64, Vec<ConsumerInfo>>> {
    let now = transaction.now_ms;
    let since = |ms: i64| Duration::from_millis(now.saturating_sub(ms as u64));
    let mut statement = transaction.sql(
        "SELECT c.group_id, c.name, c.id, c.seen_ms, c.active_ms \
         FROM streamer_groups g JOIN streamer_consumers c ON c.group_id = g.id WHERE g.stream = ? ORDER BY g.name, c.name",
    )?;
    let pending = pending_of_consumers(transaction, stream)?;
    let mut rows = statement.query([stream.key])?;
    let mut consumers: HashMap<i64, Vec<ConsumerInfo>> = HashMap::new();
    while let Some(row) = rows.next()? {
        consumers.entry(row.get(0)?).or_default().push(ConsumerInfo {
            name: row.get(1)?,
            pending: pending.get(&row.get(2)?).copied().unwrap_or_default(),
            idle: since(row.get(3)?),
            inactive: row.get::<_, Option<i64>>(4)?.map(since),
        });
    }
    Ok(consumers)
}

/// How many entries are pending with each consumer, by its number. SQL would sort them first.
fn pending_of_consumers(transaction: &Transaction<'_>, stream: Stream) -> Step<HashMap<i64, u64>> {
    let mut statement = transaction.sql(
        "SELECT consumer FROM streamer_pending WHERE group_id IN (SELECT id FROM streamer_groups WHERE stream = ?)",
    )?;
    let mut rows = statement.query([stream.key])?;
    let mut counts = HashMap::new();
    // Those of one consumer mostly lie side by side.
    let (mut run, mut length) = (0, 0);
    while let Some(row) = rows.next()? {
        let consumer: i64 = row.get(0)?;
        if consumer != run {
            *counts.entry(run).or_default() += length;
            (run, length) = (consumer, 0);
        }
        length += 1;
    }
    *counts.entry(run).or_default() += length;
    Ok(counts)
}

/// Of each group that has any, the pending entry with the smallest ID.
fn oldest_pending(transaction: &Transaction<'_>, stream: Stream) -> Step<HashMap<i64, PendingEntry>> {
    let now = transaction.now_ms;
    let mut statement = transaction.sql(
        "SELECT g.id, p.id, c.name, p.delivered_ms, p.deliveries FROM streamer_groups g \
         JOIN streamer_pending p ON p.group_id = g.id AND p.id = (SELECT min(id) FROM streamer_pending WHERE group_id = g.id) \
         JOIN streamer_consumers c ON c.id = p.consumer WHERE g.stream = ?",
    )?;
    let oldest = statement.query_map([stream.key], |row| {
        let pending = PendingEntry {
            id: EntryId::from_be_bytes(row.get(1)?),
            consumer: row.get(2)?,
            idle: Duration::from_millis(now.saturating_sub(row.get::<_, i64>(3)? as u64)),
            deliveries: row.get::<_, i64>(4)? as u64,
        };
        Ok((row.get(0)?, pending))
    })?;
    Ok(oldest.collect::<Result<_, _>>()?)
}
