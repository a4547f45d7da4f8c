//! Decodes what the server answered, by moving: the bytes that the parser allocated become the entry's bytes.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::resp::entry_id;
use crate::{
    engine::{
        Appended, ConsumerInfo, FullGroupInfo, FullStreamInfo, GroupInfo, PendingEntry, PendingSummary,
        RedeliveredEntry, Redelivery, StreamInfo,
    },
    entry::{Entry, EntryId},
};

/// An answer of another form than the command's. Names what was expected.
#[derive(Debug)]
pub(super) struct Unexpected(pub(super) &'static str);

pub(super) type Decoded<T> = Result<T, Unexpected>;

// ----- plain values ---------------------------------------------------------------------------------------------------

pub(super) fn array(value: Value) -> Decoded<Vec<Value>> {
    match value {
        Value::Array(items) | Value::Set(items) => Ok(items),
        Value::Nil => Ok(Vec::new()),
        Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(key, value)| [key, value]).collect()),
        _ => Err(Unexpected("an array")),
    }
}

pub(super) fn bytes(value: Value) -> Decoded<Bytes> {
    match value {
        Value::BulkString(bytes) => Ok(Bytes::from(bytes)),
        Value::SimpleString(text) => Ok(Bytes::from(text)),
        Value::Okay => Ok(Bytes::from_static(b"OK")),
        Value::Int(number) => Ok(Bytes::from(number.to_string())),
        _ => Err(Unexpected("a string")),
    }
}

/// Names of groups and consumers are text here; foreign ones that are not come with U+FFFD.
pub(super) fn text(value: Value) -> Decoded<String> {
    match value {
        Value::BulkString(bytes) => {
            Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
        }
        other => bytes(other).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    }
}

pub(super) fn number(value: Value) -> Decoded<u64> {
    let expected = Unexpected("a number");
    match value {
        Value::Int(number) => u64::try_from(number).map_err(|_| expected),
        Value::BulkString(digits) => {
            let digits = std::str::from_utf8(&digits).ok();
            digits.and_then(|digits| digits.parse().ok()).ok_or(expected)
        }
        _ => Err(expected),
    }
}

pub(super) fn id(value: Value) -> Decoded<EntryId> {
    let expected = Unexpected("an entry ID");
    match value {
        Value::BulkString(bytes) => entry_id(&bytes).ok_or(expected),
        Value::SimpleString(text) => entry_id(text.as_bytes()).ok_or(expected),
        _ => Err(expected),
    }
}

pub(super) fn ids(value: Value) -> Decoded<Vec<EntryId>> {
    array(value)?.into_iter().map(id).collect()
}

pub(super) fn optional<T>(value: Value, decode: impl FnOnce(Value) -> Decoded<T>) -> Decoded<Option<T>> {
    match value {
        Value::Nil => Ok(None),
        value => decode(value).map(Some),
    }
}

pub(super) fn exactly<const N: usize>(value: Value, expected: &'static str) -> Decoded<[Value; N]> {
    array(value)?.try_into().map_err(|_| Unexpected(expected))
}

// ----- entries --------------------------------------------------------------------------------------------------------

/// An entry as its ID and, unless it was deleted, its body.
fn possibly_deleted(value: Value) -> Decoded<(EntryId, Option<Entry>)> {
    let [entry_id, fields] = exactly(value, "an entry")?;
    let id = id(entry_id)?;
    if fields == Value::Nil {
        return Ok((id, None));
    }
    let flat = array(fields)?;
    let mut fields = Vec::with_capacity(flat.len() / 2);
    let mut flat = flat.into_iter();
    while let Some(name) = flat.next() {
        let value = flat.next().ok_or(Unexpected("a value for each field"))?;
        fields.push((bytes(name)?, bytes(value)?));
    }
    Ok((id, Some(Entry { id, fields })))
}

/// Entries that are there. Nil, whole or as a body, stands for a deleted one (Redis 6.2) and is passed over.
pub(super) fn entries(value: Value) -> Decoded<Vec<Entry>> {
    let items = array(value)?.into_iter().filter(|item| *item != Value::Nil);
    items
        .map(possibly_deleted)
        .filter_map(|entry| entry.map(|(_, entry)| entry).transpose())
        .collect()
}

/// What `XREADGROUP` answers for one stream's pending entries: those that are there, and the IDs of deleted ones.
pub(super) fn history(value: Value) -> Decoded<(Vec<Entry>, Vec<EntryId>)> {
    let (mut found, mut deleted) = (Vec::new(), Vec::new());
    for item in array(value)? {
        let [_, listed] = exactly(item, "a stream and its entries")?;
        for item in array(listed)? {
            match possibly_deleted(item)? {
                (_, Some(entry)) => found.push(entry),
                (id, None) => deleted.push(id),
            }
        }
    }
    Ok((found, deleted))
}

// ----- pending entries lists ------------------------------------------------------------------------------------------

pub(super) fn pending_summary(value: Value) -> Decoded<PendingSummary> {
    let [count, first, last, consumers] = exactly(value, "a pending summary")?;
    let one = |item| {
        let [name, count] = exactly(item, "a consumer and its count")?;
        Ok((text(name)?, number(count)?))
    };
    let mut consumers = array(consumers)?.into_iter().map(one).collect::<Decoded<Vec<_>>>()?;
    consumers.sort();
    Ok(PendingSummary {
        count: number(count)?,
        range: optional(first, id)?.zip(optional(last, id)?),
        consumers,
    })
}

pub(super) fn pending(value: Value) -> Decoded<Vec<PendingEntry>> {
    let one = |item| {
        let [entry_id, consumer, idle, deliveries] = exactly(item, "a pending entry")?;
        Ok(PendingEntry {
            id: id(entry_id)?,
            consumer: text(consumer)?,
            idle: Duration::from_millis(number(idle)?),
            deliveries: number(deliveries)?,
        })
    };
    array(value)?.into_iter().map(one).collect()
}

/// The delivery count in the answer to `XPENDING` of exactly one ID.
pub(super) fn delivery_count(value: Value) -> Decoded<Option<u64>> {
    Ok(pending(value)?.first().map(|pending| pending.deliveries))
}

// ----- XINFO ----------------------------------------------------------------------------------------------------------

/// The named attributes of an `XINFO` answer. Servers add some with every version; the unknown ones are passed over.
pub(super) struct Attributes(Vec<(Bytes, Value)>);

impl Attributes {
    pub(super) fn of(value: Value) -> Decoded<Self> {
        let mut flat = array(value)?.into_iter();
        let mut pairs = Vec::with_capacity(flat.len() / 2);
        while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
            pairs.push((bytes(name)?, value));
        }
        Ok(Self(pairs))
    }

    pub(super) fn take<T>(&mut self, name: &'static str, decode: impl FnOnce(Value) -> Decoded<T>) -> Decoded<T> {
        self.take_if_there(name, decode)?.ok_or(Unexpected(name))
    }

    /// `None` where the server is too old to know it, or does not know it now.
    pub(super) fn take_if_there<T>(
        &mut self,
        name: &'static str,
        decode: impl FnOnce(Value) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        let found = self.0.iter_mut().find(|(key, _)| key == name.as_bytes());
        found.map_or(Ok(None), |(_, value)| optional(std::mem::take(value), decode))
    }
}

pub(super) fn stream_info(value: Value) -> Decoded<StreamInfo> {
    let mut stream = Attributes::of(value)?;
    let entry = |value| possibly_deleted(value).map(|(_, entry)| entry);
    Ok(StreamInfo {
        length: stream.take("length", number)?,
        last_id: stream.take("last-generated-id", id)?,
        max_deleted_id: stream.take_if_there("max-deleted-entry-id", id)?,
        entries_added: stream.take_if_there("entries-added", number)?,
        groups: stream.take("groups", number)?,
        first_entry: stream.take_if_there("first-entry", entry)?.flatten(),
        last_entry: stream.take_if_there("last-entry", entry)?.flatten(),
    })
}

pub(super) fn groups(value: Value) -> Decoded<Vec<GroupInfo>> {
    let one = |item| {
        let mut group = Attributes::of(item)?;
        Ok(GroupInfo {
            name: group.take("name", text)?,
            consumers: group.take("consumers", number)?,
            pending: group.take("pending", number)?,
            last_delivered_id: group.take("last-delivered-id", id)?,
            entries_read: group.take_if_there("entries-read", number)?,
            lag: group.take_if_there("lag", number)?,
        })
    };
    array(value)?.into_iter().map(one).collect()
}

pub(super) fn consumers(value: Value) -> Decoded<Vec<ConsumerInfo>> {
    let one = |item| {
        let mut consumer = Attributes::of(item)?;
        Ok(ConsumerInfo {
            name: consumer.take("name", text)?,
            pending: consumer.take("pending", number)?,
            idle: Duration::from_millis(consumer.take("idle", number)?),
            // -1 is "never".
            inactive: consumer
                .take_if_there("inactive", |value| Ok(number(value).ok()))?
                .flatten()
                .map(Duration::from_millis),
        })
    };
    array(value)?.into_iter().map(one).collect()
}

/// `XINFO STREAM … FULL` tells times of day where the other commands tell idle times, so it needs the server's clock.
pub(super) fn full_info(value: Value, now_ms: u64) -> Decoded<FullStreamInfo> {
    let mut stream = Attributes::of(value)?;
    let groups = stream.take("groups", array)?.into_iter();
    Ok(FullStreamInfo {
        length: stream.take("length", number)?,
        last_id: stream.take("last-generated-id", id)?,
        entries: stream.take("entries", entries)?,
        groups: groups.map(|group| full_group(group, now_ms)).collect::<Decoded<_>>()?,
    })
}

pub(super) fn full_group(value: Value, now_ms: u64) -> Decoded<FullGroupInfo> {
    let since = |ms: u64| Duration::from_millis(now_ms.saturating_sub(ms));
    let pending = |item| {
        let [entry_id, consumer, delivered_at, deliveries] = exactly(item, "a pending entry")?;
        Ok(PendingEntry {
            id: id(entry_id)?,
            consumer: text(consumer)?,
            idle: since(number(delivered_at)?),
            deliveries: number(deliveries)?,
        })
    };
    let consumer = |item| {
        let mut consumer = Attributes::of(item)?;
        Ok(ConsumerInfo {
            name: consumer.take("name", text)?,
            pending: consumer.take("pel-count", number)?,
            idle: since(consumer.take("seen-time", number)?),
            inactive: consumer
                .take_if_there("active-time", |value| Ok(number(value).ok()))?
                .flatten()
                .map(since),
        })
    };
    let mut group = Attributes::of(value)?;
    let consumers = group
        .take("consumers", array)?
        .into_iter()
        .map(consumer)
        .collect::<Decoded<Vec<_>>>()?;
    Ok(FullGroupInfo {
        group: GroupInfo {
            name: group.take("name", text)?,
            consumers: consumers.len() as u64,
            pending: group.take("pel-count", number)?,
            last_delivered_id: group.take("last-delivered-id", id)?,
            entries_read: group.take_if_there("entries-read", number)?,
            lag: group.take_if_there("lag", number)?,
        },
        pending: group
            .take("pending", array)?
            .into_iter()
            .map(pending)
            .collect::<Decoded<_>>()?,
        consumers,
    })
}

/// The server's clock, from the answer to `TIME`.
pub(super) fn time_ms(value: Value) -> Decoded<u64> {
    let [seconds, micros] = exactly(value, "seconds and microseconds")?;
    Ok(number(seconds)?
        .saturating_mul(1000)
        .saturating_add(number(micros)? / 1000))
}

// ----- scripts, sets and hashes ---------------------------------------------------------------------------------------

/// What the claiming script answers: entries, the delivery count of each, and deleted IDs.
pub(super) fn claimed(value: Value, next: EntryId) -> Decoded<Redelivery> {
    let [claimed, counts, deleted] = exactly(value, "claimed entries")?;
    let counts = array(counts)?.into_iter().map(number);
    let entries = entries(claimed)?.into_iter().zip(counts);
    let entries = entries.map(|(entry, count)| count.map(|deliveries| RedeliveredEntry { entry, deliveries }));
    Ok(Redelivery {
        entries: entries.collect::<Decoded<_>>()?,
        deleted: ids(deleted)?,
        next,
    })
}

/// The same with, before it, where to go on.
pub(super) fn auto_claimed(value: Value) -> Decoded<Redelivery> {
    let mut parts = array(value)?;
    if parts.is_empty() {
        return Err(Unexpected("claimed entries"));
    }
    let next = id(parts.remove(0))?;
    claimed(Value::Array(parts), next)
}

/// What `SSCAN` answers: the next cursor and a page of members.
pub(super) fn scan_page(value: Value) -> Decoded<(u64, Vec<Bytes>)> {
    let [cursor, members] = exactly(value, "a cursor and members")?;
    Ok((number(cursor)?, all_bytes(members)?))
}

pub(super) fn all_bytes(value: Value) -> Decoded<Vec<Bytes>> {
    array(value)?.into_iter().map(bytes).collect()
}

/// The ID of an entry with a record, and whether it is new.
pub(super) fn recorded(value: Value) -> Decoded<Appended> {
    let [entry_id, fresh] = exactly(value, "an entry ID and whether it is new")?;
    Ok(Appended {
        id: id(entry_id)?,
        fresh: number(fresh)? == 1,
    })
}

pub(super) fn optional_bytes(value: Value) -> Decoded<Vec<Option<Bytes>>> {
    array(value)?.into_iter().map(|value| optional(value, bytes)).collect()
}
