//! What can be asked about streams, groups and consumers.

use std::time::Duration;

use rusqlite::params;

use super::{
    entries,
    failure::Step,
    group,
    lag::Progress,
    pending,
    transaction::{Stream, Transaction},
};
use crate::{
    engine::{ConsumerInfo, FullGroupInfo, FullStreamInfo, GroupInfo, PendingFilter, StreamInfo},
    entry::{EntryId, RangeBound, StreamName},
};

const ALL: (RangeBound, RangeBound) = (RangeBound::Unbounded, RangeBound::Unbounded);

pub(super) fn stream(transaction: &mut Transaction<'_>, name: &StreamName) -> Step<Option<StreamInfo>> {
    let Some(stream) = transaction.stream(name)? else {
        return Ok(None);
    };
    let groups: i64 = transaction
        .sql("SELECT count(*) FROM streamer_groups WHERE stream = ?")?
        .query_row([stream.key], |row| row.get(0))?;
    Ok(Some(StreamInfo {
        length: stream.length,
        last_id: stream.last_id,
        max_deleted_id: Some(stream.max_deleted_id),
        entries_added: Some(stream.entries_added),
        groups: groups as u64,
        first_entry: entries::range(transaction, stream, ALL, Some(1), false)?.pop(),
        last_entry: entries::range(transaction, stream, ALL, Some(1), true)?.pop(),
    }))
}

pub(super) fn full(transaction: &mut Transaction<'_>, name: &StreamName, count: usize) -> Step<Option<FullStreamInfo>> {
    let Some(stream) = transaction.stream(name)? else {
        return Ok(None);
    };
    let groups = groups_of(transaction, stream)?;
    let one = |group: GroupInfo| {
        Ok(FullGroupInfo {
            pending: pending::list(
                transaction,
                name,
                &group.name,
                PendingFilter {
                    count,
                    ..PendingFilter::default()
                },
            )?,
            consumers: consumers(transaction, name, &group.name)?,
            group,
        })
    };
    Ok(Some(FullStreamInfo {
        groups: groups.into_iter().map(one).collect::<Step<_>>()?,
        length: stream.length,
        last_id: stream.last_id,
        entries: entries::range(transaction, stream, ALL, Some(count), false)?,
    }))
}

pub(super) fn groups(transaction: &mut Transaction<'_>, name: &StreamName) -> Step<Vec<GroupInfo>> {
    match transaction.stream(name)? {
        Some(stream) => groups_of(transaction, stream),
        None => Ok(Vec::new()),
    }
}

fn groups_of(transaction: &Transaction<'_>, stream: Stream) -> Step<Vec<GroupInfo>> {
    let progress = Progress {
        stream,
        first_id: entries::edge(transaction, stream, false)?.unwrap_or_default(),
    };
    let mut statement = transaction.sql(
        "SELECT name, last_delivered_id, entries_read, \
         (SELECT count(*) FROM streamer_consumers c WHERE c.group_id = g.id), \
         (SELECT count(*) FROM streamer_pending p WHERE p.group_id = g.id) \
         FROM streamer_groups g WHERE stream = ? ORDER BY name",
    )?;
    let groups = statement.query_map([stream.key], |row| {
        let last_delivered_id = EntryId::from_be_bytes(row.get(1)?);
        let entries_read = row.get::<_, Option<i64>>(2)?.map(|read| read as u64);
        Ok(GroupInfo {
            name: row.get(0)?,
            last_delivered_id,
            entries_read,
            lag: progress.lag(entries_read, last_delivered_id),
            consumers: row.get::<_, i64>(3)? as u64,
            pending: row.get::<_, i64>(4)? as u64,
        })
    })?;
    Ok(groups.collect::<Result<_, _>>()?)
}

pub(super) fn consumers(transaction: &mut Transaction<'_>, name: &StreamName, group: &str) -> Step<Vec<ConsumerInfo>> {
    let group = group::group(transaction, name, group)?;
    let now = transaction.now_ms;
    let since = |ms: i64| Duration::from_millis(now.saturating_sub(ms as u64));
    let mut statement = transaction.sql(
        "SELECT c.name, coalesce(p.count, 0), c.seen_ms, c.active_ms FROM streamer_consumers c \
         LEFT JOIN (SELECT consumer, count(*) AS count FROM streamer_pending WHERE group_id = ?1 GROUP BY consumer) p ON p.consumer = c.id \
         WHERE c.group_id = ?1 ORDER BY c.name",
    )?;
    let consumers = statement.query_map(params![group.id], |row| {
        Ok(ConsumerInfo {
            name: row.get(0)?,
            pending: row.get::<_, i64>(1)? as u64,
            idle: since(row.get(2)?),
            inactive: row.get::<_, Option<i64>>(3)?.map(since),
        })
    })?;
    Ok(consumers.collect::<Result<_, _>>()?)
}
