//! Deliveries of a group: taking pending entries, renewing their leases, beginning an attempt.
//!
//! The delivery count is the number of attempts that began, see `engine::group_store`.

use std::time::Duration;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Row, params};

use super::{
    consumers::{consumer_with_deliveries, find_consumer, touch_consumer},
    entries::{self, limit},
    failure::Step,
    group::{Group, group},
    pending::{self, Pending},
    records,
    transaction::{Kind, Transaction},
};
use crate::{
    engine::{Member, Missing, Renewal, Scan, Taken, TakenEntry},
    entry::{EntryId, StreamName},
};

/// Counts below this are raised when an entry is taken; greater ones only when an attempt begins.
const COUNTED_WHEN_TAKEN: u64 = 2;
/// How many pending entries of a stream one scan looks at. At about ten million a second, so that other
/// looks need not wait long.
const SCANNED: i64 = 20_000;
/// How many entries of another process with the same consumer name a renewal names at most.
const STRANGERS: i64 = 100;
/// How many retry states are looked at in one transaction.
const STATES: usize = 1000;

/// Pending entries that may be taken, found without a payload.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) ids: Vec<EntryId>,
    /// Where a scan goes on.
    pub(super) next: Option<EntryId>,
}

fn id_of(row: &Row<'_>) -> rusqlite::Result<EntryId> {
    Ok(EntryId::from_be_bytes(row.get(0)?))
}

/// The latest time of delivery of what is idle for that long.
fn idle_since(transaction: &Transaction<'_>, idle: Duration) -> i64 {
    let idle_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
    transaction.now_ms.saturating_sub(idle_ms) as i64
}

pub(super) fn candidates(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    scan: Scan,
    from: EntryId,
    count: usize,
) -> Step<Candidates> {
    let group = group(transaction, stream, &member.group)?;
    // One more than is taken: it is where the next call goes on.
    let most = limit(count.saturating_add(1));
    let from = from.to_be_bytes();
    let (wanted, bound) = match scan {
        Scan::Own => match consumer_with_deliveries(transaction, group, &member.consumer)? {
            Some(consumer) => ("consumer = ?", consumer),
            None => return Ok(Candidates::default()),
        },
        Scan::Idle(idle) => ("delivered_ms <= ?", idle_since(transaction, idle)),
    };
    let sql = format!(
        "SELECT id FROM (SELECT id, consumer, delivered_ms FROM streamer_pending WHERE group_id = ? AND id >= ? ORDER BY id LIMIT ?) \
         WHERE {wanted} ORDER BY id LIMIT ?"
    );
    let mut ids = transaction
        .sql(&sql)?
        .query_map(params![group.id, from, SCANNED, bound, most], id_of)?
        .collect::<Result<Vec<_>, _>>()?;
    let next = if ids.len() > count {
        ids.pop()
    } else {
        let not_scanned = "SELECT id FROM streamer_pending WHERE group_id = ? AND id >= ? ORDER BY id LIMIT 1 OFFSET ?";
        let mut statement = transaction.sql(not_scanned)?;
        let mut rows = statement.query_map(params![group.id, from, SCANNED], id_of)?;
        rows.next().transpose()?
    };
    Ok(Candidates { ids, next })
}

/// Takes those of the candidates that still may be taken; where a scan goes on is known to who found them.
pub(super) fn take(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    scan: Scan,
    ids: &[EntryId],
) -> Step<Taken> {
    let now_ms = transaction.now_ms;
    let may_be_taken = |pending: &Pending, own: bool| match scan {
        Scan::Own => own,
        Scan::Idle(idle) => pending.idle(now_ms) >= idle,
    };
    let raised = |count: u64| if count < COUNTED_WHEN_TAKEN { count + 1 } else { count };
    take_those(transaction, member, stream, ids, may_be_taken, raised)
}

/// Takes the consumer's own pending entries again whose next attempt is due.
pub(super) fn take_due(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    ids: &[EntryId],
) -> Step<Taken> {
    take_those(transaction, member, stream, ids, |_, own| own, |count| count + 1)
}

fn take_those(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    ids: &[EntryId],
    may_be_taken: impl Fn(&Pending, bool) -> bool,
    raised: impl Fn(u64) -> u64,
) -> Step<Taken> {
    let group = group(transaction, stream, &member.group)?;
    let states = retry_states_key(member, stream);
    // Before the first change: it may be refused.
    let have_states = transaction.key(states.as_bytes(), Kind::Hash)?.is_some();
    let owner = find_consumer(transaction, group, &member.consumer)?;
    let mut taken = Taken::default();
    let mut consumer = None;
    for id in ids {
        let Some(mut pending) = pending::find(transaction, group, *id)? else {
            continue;
        };
        if !may_be_taken(&pending, owner == Some(pending.consumer)) {
            continue;
        }
        let state_field = [field(*id)];
        let Some(entry) = entries::entry(transaction, group.stream, *id)? else {
            pending::forget(transaction, group, *id)?;
            if have_states {
                records::hash_remove(transaction, &states, &state_field)?;
            }
            taken.gone.push(*id);
            continue;
        };
        // Not before: who gets nothing is not made a consumer.
        let consumer = match consumer {
            Some(consumer) => consumer,
            None => *consumer.insert(touch_consumer(transaction, group, &member.consumer, true)?),
        };
        let count_before = pending.deliveries;
        pending.deliveries = raised(count_before);
        pending::hand_over(transaction, group, &pending, consumer, transaction.now_ms)?;
        let retry_state = match have_states {
            true => records::hash_get(transaction, &states, &state_field)?.pop().flatten(),
            false => None,
        };
        taken.entries.push(TakenEntry {
            entry,
            count_before,
            retry_state,
        });
    }
    Ok(taken)
}

// ----- leases ---------------------------------------------------------------------------------------------------------

pub(super) fn renew(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    ids: &[EntryId],
) -> Step<Renewal> {
    let group = group(transaction, stream, &member.group)?;
    let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
        return Ok(Renewal::default());
    };
    let owner = find_consumer(transaction, group, &member.consumer)?;
    let mut renewal = Renewal::default();
    let mut set = transaction.sql(
        "UPDATE streamer_pending SET delivered_ms = ? WHERE group_id = ? AND id = ? AND consumer = ? RETURNING deliveries",
    )?;
    for id in ids {
        let count = match owner {
            Some(owner) => {
                let renewed = params![transaction.now_ms as i64, group.id, id.to_be_bytes(), owner];
                set.query_row(renewed, |row| row.get::<_, i64>(0)).optional()?
            }
            None => None,
        };
        let is_there = is_on_stream(transaction, group, *id)?;
        if let (Some(count), true) = (count, is_there) {
            if count > 1 && renewal.counts.len() < STRANGERS as usize {
                renewal.counts.push((*id, count.unsigned_abs()));
            }
            continue;
        }
        if count.is_some() {
            // As `XCLAIM` does with entries that were deleted.
            pending::forget(transaction, group, *id)?;
        }
        let missing = match pending::find(transaction, group, *id)? {
            Some(_) => Missing::Claimed,
            None if is_there => Missing::Unowned,
            None => Missing::Gone,
        };
        renewal.missing.push((*id, missing));
    }
    touch_consumer(transaction, group, &member.consumer, false)?;
    if let Some(owner) = owner {
        renewal.strangers = strangers(transaction, group, owner, ids, *first, *last)?;
    }
    if !renewal.missing.is_empty() {
        renewal.last_delivered_id = group.last_delivered_id;
        renewal.consumer_was_missing = owner.is_none();
    }
    Ok(renewal)
}

/// The first of the consumer's pending entries in a range that are not among `ids`, which are sorted. Only the beginning of a
/// long range is looked at.
fn strangers(
    transaction: &Transaction<'_>,
    group: Group,
    owner: i64,
    ids: &[EntryId],
    first: EntryId,
    last: EntryId,
) -> Step<Vec<EntryId>> {
    let most = limit(ids.len()).saturating_add(STRANGERS);
    let mut statement = transaction.sql(
        "SELECT id FROM (SELECT id, consumer FROM streamer_pending WHERE group_id = ? AND id >= ? AND id <= ? ORDER BY id LIMIT ?) \
         WHERE consumer = ? ORDER BY id LIMIT ?",
    )?;
    let range = params![group.id, first.to_be_bytes(), last.to_be_bytes(), SCANNED, owner, most];
    let own = statement.query_map(range, id_of)?;
    let mut strangers = Vec::new();
    for id in own {
        let id = id?;
        if ids.binary_search(&id).is_err() {
            strangers.push(id);
        }
    }
    Ok(strangers)
}

/// Makes entries that are on the stream and pending with nobody pending with this consumer.
pub(super) fn adopt(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    adopted: &[(EntryId, u64)],
) -> Step<()> {
    let group = group(transaction, stream, &member.group)?;
    if adopted.is_empty() {
        return Ok(());
    }
    let owner = find_consumer(transaction, group, &member.consumer)?;
    let mut consumer = None;
    let mut adopt = transaction.sql(
        "INSERT INTO streamer_pending (group_id, id, consumer, delivered_ms, deliveries) VALUES (?, ?, ?, ?, ?) \
         ON CONFLICT DO UPDATE SET delivered_ms = excluded.delivered_ms, deliveries = excluded.deliveries \
         WHERE consumer = excluded.consumer",
    )?;
    for (id, count) in adopted {
        let owned = pending::find(transaction, group, *id)?.map(|pending| pending.consumer);
        if (owned.is_none() || owned == owner) && is_on_stream(transaction, group, *id)? {
            // Not before: who gets nothing is not made a consumer.
            let consumer = match consumer {
                Some(consumer) => consumer,
                None => *consumer.insert(touch_consumer(transaction, group, &member.consumer, true)?),
            };
            let now_ms = transaction.now_ms as i64;
            adopt.execute(params![group.id, id.to_be_bytes(), consumer, now_ms, *count as i64])?;
        }
    }
    Ok(())
}

/// An attempt begins; `false` when the entry is not pending with this consumer any more.
pub(super) fn begin(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    id: EntryId,
    count: u64,
) -> Step<bool> {
    let group = group(transaction, stream, &member.group)?;
    let Some(owner) = find_consumer(transaction, group, &member.consumer)? else {
        return Ok(false);
    };
    set_own(transaction, group, owner, id, count, transaction.now_ms)
}

/// Sets the count and the time of delivery of an entry, if it is pending with this consumer; tells whether it is. One that
/// was deleted from the stream stays as it is: whoever takes it next names it.
pub(super) fn set_own(
    transaction: &Transaction<'_>,
    group: Group,
    owner: i64,
    id: EntryId,
    count: u64,
    delivered_ms: u64,
) -> Step<bool> {
    if !is_on_stream(transaction, group, id)? {
        let pending = pending::find(transaction, group, id)?;
        return Ok(pending.is_some_and(|pending| pending.consumer == owner));
    }
    let set = transaction
        .sql("UPDATE streamer_pending SET deliveries = ?, delivered_ms = ? WHERE group_id = ? AND id = ? AND consumer = ?")?
        .execute(params![
            count as i64,
            delivered_ms as i64,
            group.id,
            id.to_be_bytes(),
            owner
        ])?;
    Ok(set > 0)
}

/// Whether an entry is on the stream. Its payload is not read.
fn is_on_stream(transaction: &Transaction<'_>, group: Group, id: EntryId) -> Step<bool> {
    let stream = group.stream;
    let mut statement = transaction.sql("SELECT 1 FROM streamer_entries WHERE stream = ? AND id = ?")?;
    Ok(statement.exists(params![stream.key, id.to_be_bytes()])?)
}

// ----- retry states ---------------------------------------------------------------------------------------------------

/// The hash with the retry states of a stream's messages in the group. A field is an entry ID.
pub(super) fn retry_states_key(member: &Member, stream: &StreamName) -> String {
    crate::engine::keys::retry_states(stream, &member.group)
}

pub(super) fn field(id: EntryId) -> Bytes {
    id.to_string().into()
}

/// A page of retry states whose entries are not pending any more, and where the next page begins.
pub(super) fn obsolete_states(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    after: &Bytes,
) -> Step<(Vec<Bytes>, Option<Bytes>)> {
    let group = group(transaction, stream, &member.group)?;
    let states = retry_states_key(member, stream);
    let Some(key) = transaction.key(states.as_bytes(), Kind::Hash)? else {
        return Ok((Vec::new(), None));
    };
    let fields = transaction
        .sql("SELECT name FROM streamer_hash_fields WHERE key = ? AND name > ? ORDER BY name LIMIT ?")?
        .query_map(params![key, &after[..], limit(STATES)], |row| {
            Ok(Bytes::from(row.get::<_, Vec<u8>>(0)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let next = (fields.len() == STATES).then(|| fields.last().cloned()).flatten();
    let mut obsolete = Vec::new();
    for field in fields {
        if is_obsolete(transaction, group, &field)? {
            obsolete.push(field);
        }
    }
    Ok((obsolete, next))
}

/// Removes those of these retry states whose entries are still not pending.
pub(super) fn remove_states(
    transaction: &mut Transaction<'_>,
    member: &Member,
    stream: &StreamName,
    fields: &[Bytes],
) -> Step<()> {
    let group = group(transaction, stream, &member.group)?;
    let mut obsolete = Vec::new();
    for field in fields {
        if is_obsolete(transaction, group, field)? {
            obsolete.push(field.clone());
        }
    }
    records::hash_remove(transaction, &retry_states_key(member, stream), &obsolete)?;
    Ok(())
}

/// What is no entry ID belongs to nobody and is left alone.
fn is_obsolete(transaction: &Transaction<'_>, group: Group, field: &[u8]) -> Step<bool> {
    let id = std::str::from_utf8(field)
        .ok()
        .and_then(|id| id.parse::<EntryId>().ok());
    match id {
        Some(id) => Ok(pending::find(transaction, group, id)?.is_none()),
        None => Ok(false),
    }
}
