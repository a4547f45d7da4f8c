//! The pending entries list of a group: acknowledging, listing, delivering again, claiming.

use std::time::Duration;

use rusqlite::{OptionalExtension, Row, params};

use super::{
    acknowledge,
    consumers::{find_consumer, touch_consumer},
    entries::{self, bounds, limit},
    failure::Step,
    group::{Group, group},
    transaction::Transaction,
};
use crate::{
    engine::{PendingEntry, PendingFilter, PendingSummary, RedeliveredEntry, Redelivery},
    entry::{EntryId, RangeBound, StreamName},
};

/// `XAUTOCLAIM` looks at this many times as many pending entries as it may claim.
const LOOKS_PER_CLAIM: usize = 10;

/// A pending entry as it is stored.
pub(super) struct Pending {
    pub(super) id: EntryId,
    pub(super) consumer: i64,
    delivered_ms: u64,
    pub(super) deliveries: u64,
}

impl Pending {
    pub(super) const COLUMNS: &str = "id, consumer, delivered_ms, deliveries";

    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: EntryId::from_be_bytes(row.get(0)?),
            consumer: row.get(1)?,
            delivered_ms: row.get::<_, i64>(2)? as u64,
            deliveries: row.get::<_, i64>(3)? as u64,
        })
    }

    pub(super) fn idle(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.delivered_ms))
    }
}

pub(super) fn find(transaction: &Transaction<'_>, group: Group, id: EntryId) -> Step<Option<Pending>> {
    let sql = format!(
        "SELECT {} FROM streamer_pending WHERE group_id = ? AND id = ?",
        Pending::COLUMNS
    );
    let mut statement = transaction.sql(&sql)?;
    Ok(statement
        .query_row(params![group.id, id.to_be_bytes()], Pending::of)
        .optional()?)
}

pub(super) fn forget(transaction: &Transaction<'_>, group: Group, id: EntryId) -> Step<bool> {
    let mut statement = transaction.sql("DELETE FROM streamer_pending WHERE group_id = ? AND id = ?")?;
    Ok(statement.execute(params![group.id, id.to_be_bytes()])? > 0)
}

/// Gives a pending entry to a consumer, idle since `delivered_ms`.
pub(super) fn hand_over(
    transaction: &Transaction<'_>,
    group: Group,
    pending: &Pending,
    consumer: i64,
    delivered_ms: u64,
) -> Step<()> {
    transaction
        .sql(
            "UPDATE streamer_pending SET consumer = ?, delivered_ms = ?, deliveries = ? WHERE group_id = ? AND id = ?",
        )?
        .execute(params![
            consumer,
            delivered_ms as i64,
            pending.deliveries as i64,
            group.id,
            pending.id.to_be_bytes()
        ])?;
    Ok(())
}

pub(super) fn acknowledge(
    transaction: &mut Transaction<'_>,
    stream: &StreamName,
    group_name: &str,
    ids: &[EntryId],
) -> Step<u64> {
    let group = match group(transaction, stream, group_name) {
        Err(failure) if failure.is_no_group() => return Ok(0),
        group => group?,
    };
    Ok(acknowledge::remove(transaction, group, ids)? as u64)
}

pub(super) fn summary(transaction: &mut Transaction<'_>, stream: &StreamName, name: &str) -> Step<PendingSummary> {
    let group = group(transaction, stream, name)?;
    let mut statement = transaction.sql("SELECT min(id), max(id) FROM streamer_pending WHERE group_id = ?")?;
    let (first, last) = statement.query_row([group.id], |row| {
        let id = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<_>>(column)?.map(EntryId::from_be_bytes));
        Ok((id(0)?, id(1)?))
    })?;
    let consumers = transaction
        .sql(
            "SELECT c.name, p.count FROM (SELECT consumer, count(*) AS count FROM streamer_pending WHERE group_id = ? GROUP BY consumer) p \
             JOIN streamer_consumers c ON c.id = p.consumer ORDER BY c.name",
        )?
        .query_map([group.id], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?
        .collect::<Result<Vec<(String, u64)>, _>>()?;
    Ok(PendingSummary {
        count: consumers.iter().map(|(_, count)| count).sum(),
        range: first.zip(last),
        consumers,
    })
}

pub(super) fn list(
    transaction: &mut Transaction<'_>,
    stream: &StreamName,
    group_name: &str,
    filter: PendingFilter<'_>,
) -> Step<Vec<PendingEntry>> {
    let Some((first, last)) = bounds(filter.start, filter.end) else {
        return Ok(Vec::new());
    };
    let group = group(transaction, stream, group_name)?;
    let now = transaction.now_ms;
    let consumer = match filter.consumer {
        None => None,
        Some(name) => match find_consumer(transaction, group, name)? {
            Some(consumer) => Some(consumer),
            None => return Ok(Vec::new()),
        },
    };
    let min_idle = i64::try_from(filter.min_idle.as_millis()).unwrap_or(i64::MAX);
    let mut statement = transaction.sql(
        "SELECT p.id, p.consumer, p.delivered_ms, p.deliveries, c.name FROM streamer_pending p \
         JOIN streamer_consumers c ON c.id = p.consumer \
         WHERE p.group_id = ?1 AND (?2 IS NULL OR p.consumer = ?2) AND p.id >= ?3 AND p.id <= ?4 \
         AND max(?5 - p.delivered_ms, 0) >= ?6 ORDER BY p.id LIMIT ?7",
    )?;
    let listed = statement.query_map(
        params![
            group.id,
            consumer,
            first,
            last,
            now as i64,
            min_idle,
            limit(filter.count)
        ],
        |row| {
            let pending = Pending::of(row)?;
            Ok(PendingEntry {
                id: pending.id,
                consumer: row.get(4)?,
                idle: pending.idle(now),
                deliveries: pending.deliveries,
            })
        },
    )?;
    Ok(listed.collect::<Result<_, _>>()?)
}

pub(super) fn read_own(
    transaction: &mut Transaction<'_>,
    stream: &StreamName,
    group_name: &str,
    consumer: &str,
    after: EntryId,
    count: usize,
) -> Step<Redelivery> {
    let group = group(transaction, stream, group_name)?;
    let consumer = touch_consumer(transaction, group, consumer, false)?;
    let Some((first, _)) = bounds(RangeBound::Exclusive(after), RangeBound::Unbounded) else {
        return Ok(Redelivery::default());
    };
    let sql = format!(
        "SELECT {} FROM streamer_pending WHERE group_id = ? AND consumer = ? AND id >= ? ORDER BY id LIMIT ?",
        Pending::COLUMNS
    );
    let own = transaction
        .sql(&sql)?
        .query_map(params![group.id, consumer, first, limit(count)], Pending::of)?
        .collect::<Result<Vec<_>, _>>()?;
    let mut redelivery = Redelivery::default();
    for mut pending in own {
        let Some(entry) = entries::entry(transaction, group.stream, pending.id)? else {
            redelivery.deleted.push(pending.id);
            continue;
        };
        pending.deliveries += 1;
        hand_over(transaction, group, &pending, consumer, transaction.now_ms)?;
        redelivery.entries.push(RedeliveredEntry {
            entry,
            deliveries: pending.deliveries,
        });
    }
    Ok(redelivery)
}

/// Who claims, from which group, and what may be claimed.
struct Claim<'a> {
    group: Group,
    consumer: &'a str,
    min_idle: Duration,
}

impl Claim<'_> {
    /// Claims one pending entry into `claimed`, if it is idle for long enough; drops it if it was deleted. Tells
    /// whether either happened.
    fn one(&self, transaction: &Transaction<'_>, mut pending: Pending, claimed: &mut Redelivery) -> Step<bool> {
        let Some(entry) = entries::entry(transaction, self.group.stream, pending.id)? else {
            forget(transaction, self.group, pending.id)?;
            claimed.deleted.push(pending.id);
            return Ok(true);
        };
        if pending.idle(transaction.now_ms) < self.min_idle {
            return Ok(false);
        }
        // Not before: who gets nothing is not made a consumer.
        let consumer = touch_consumer(transaction, self.group, self.consumer, true)?;
        pending.deliveries += 1;
        hand_over(transaction, self.group, &pending, consumer, transaction.now_ms)?;
        claimed.entries.push(RedeliveredEntry {
            entry,
            deliveries: pending.deliveries,
        });
        Ok(true)
    }
}

pub(super) fn claim(
    transaction: &mut Transaction<'_>,
    stream: &StreamName,
    group_name: &str,
    consumer: &str,
    min_idle: Duration,
    ids: &[EntryId],
) -> Step<Redelivery> {
    let claim = Claim {
        group: group(transaction, stream, group_name)?,
        consumer,
        min_idle,
    };
    let mut claimed = Redelivery::default();
    for id in ids {
        if let Some(pending) = find(transaction, claim.group, *id)? {
            claim.one(transaction, pending, &mut claimed)?;
        }
    }
    Ok(claimed)
}

pub(super) fn auto_claim(
    transaction: &mut Transaction<'_>,
    stream: &StreamName,
    group_name: &str,
    consumer: &str,
    min_idle: Duration,
    from: EntryId,
    count: usize,
) -> Step<Redelivery> {
    let claim = Claim {
        group: group(transaction, stream, group_name)?,
        consumer,
        min_idle,
    };
    let looks = count.saturating_mul(LOOKS_PER_CLAIM);
    let sql = format!(
        "SELECT {} FROM streamer_pending WHERE group_id = ? AND id >= ? ORDER BY id LIMIT ?",
        Pending::COLUMNS
    );
    // One more than is looked at: it is where the next call goes on.
    let candidates = transaction
        .sql(&sql)?
        .query_map(
            params![claim.group.id, from.to_be_bytes(), limit(looks.saturating_add(1))],
            Pending::of,
        )?
        .collect::<Result<Vec<_>, _>>()?;
    let mut claimed = Redelivery::default();
    let mut done = 0;
    for (looked, pending) in candidates.into_iter().enumerate() {
        if looked == looks || done == count {
            claimed.next = pending.id;
            break;
        }
        done += usize::from(claim.one(transaction, pending, &mut claimed)?);
    }
    Ok(claimed)
}
