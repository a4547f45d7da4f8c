//! Entries: appending, deleting, trimming, ranges.

use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

use super::{
    failure::{Failure, Step},
    once, stores,
    transaction::{Stream, Transaction},
};
use crate::{
    engine::{Append, AppendOptions, Appended, EngineErrorKind, Idempotency, field_codec},
    entry::{Entry, EntryId, NewId, RangeBound, StreamName, Trim, TrimLimit},
};

/// What to append, its fields encoded by the caller: what many tasks can do is not left to the one thread that writes.
pub(super) struct Encoded {
    pub(super) stream: StreamName,
    id: NewId,
    fields: Vec<u8>,
    /// `None` where they say nothing, as nearly always: what is appended is moved from place to place on its way to the thread
    /// that writes.
    options: Option<Box<AppendOptions>>,
}

impl From<Append> for Encoded {
    fn from(append: Append) -> Self {
        Self {
            fields: field_codec::encode(&append.fields),
            stream: append.stream,
            id: append.id,
            options: (append.options != AppendOptions::default()).then(|| Box::new(append.options)),
        }
    }
}

impl Encoded {
    /// What was scheduled, with its fields encoded already.
    pub(super) fn due(stream: &StreamName, fields: Vec<u8>, trim: Option<Trim>) -> Self {
        let options = || {
            Box::new(AppendOptions {
                trim,
                ..AppendOptions::default()
            })
        };
        Self {
            stream: stream.clone(),
            id: NewId::Auto,
            fields,
            options: trim.is_some().then(options),
        }
    }

    fn trim(&self) -> Option<Trim> {
        self.options.as_ref()?.trim
    }

    fn idempotency(&self) -> Option<&Idempotency> {
        self.options.as_ref()?.idempotency.as_ref()
    }

    fn due_ms(&self) -> Option<u64> {
        self.options.as_ref()?.due_ms
    }

    fn creates_stream(&self) -> bool {
        self.options.as_ref().is_none_or(|options| options.create_stream)
    }
}

/// Larger entries take long enough to hold up others of the caller's thread.
const SHORT: usize = 64 * 1024;

impl Encoded {
    /// Whether it takes no longer than a task may take that others wait for.
    pub(super) fn is_short(&self) -> bool {
        self.fields.len() <= SHORT && self.trim().is_none()
    }
}

pub(super) fn append(transaction: &mut Transaction<'_>, append: &Encoded) -> Step<Appended> {
    if append.fields.is_empty() {
        return Err(Failure::refused(
            EngineErrorKind::InvalidInput,
            "an entry needs at least one field",
        ));
    }
    if append.id == NewId::Explicit(EntryId::MIN) {
        return Err(Failure::refused(
            EngineErrorKind::IdTooSmall,
            "the ID of an entry must be greater than 0-0",
        ));
    }
    let known = transaction.stream(&append.stream)?;
    if known.is_none() && !append.creates_stream() {
        return Err(Failure::refused(EngineErrorKind::NoStream, "there is no such stream"));
    }
    let due_ms = append.due_ms().filter(|due_ms| *due_ms > transaction.now_ms);
    let idempotency = append.idempotency();
    if let (Some(idempotency), Some(stream)) = (idempotency, known)
        && let Some(id) = once::known(transaction, stream, idempotency)?
    {
        return Ok(Appended { id, fresh: false });
    }
    if let Some(idempotency) = idempotency {
        once::check(idempotency)?;
    }
    let last_id = known.map_or(EntryId::MIN, |stream| stream.last_id);
    let id = next_id(append.id, last_id, transaction.now_ms)?;
    transaction.make_room(append.fields.len())?;

    // From here on nothing is refused.
    if let Some(due_ms) = due_ms {
        let stream = match known {
            Some(stream) => stream,
            None => transaction.create_stream(&append.stream)?,
        };
        let id = stores::keep(transaction, stream, due_ms, &append.fields, append.trim())?;
        if let Some(idempotency) = idempotency {
            once::remember(transaction, stream, idempotency, id)?;
        }
        return Ok(Appended { id, fresh: true });
    }
    let mut stream = match known {
        Some(stream) => stream,
        None => transaction.create_stream(&append.stream)?,
    };
    transaction.insert_entry(stream, id, &append.fields)?;
    if let Some(idempotency) = idempotency {
        once::remember(transaction, stream, idempotency, id)?;
    }
    stream.last_id = id;
    stream.entries_added += 1;
    stream.length += 1;
    if let Some(trim) = append.trim() {
        cut(transaction, &mut stream, trim)?;
    }
    transaction.put_stream(&append.stream, stream);
    transaction.tell_readers();
    Ok(Appended { id, fresh: true })
}

/// The ID of a new entry, as `XADD` chooses and checks it.
fn next_id(wanted: NewId, last: EntryId, now_ms: u64) -> Step<EntryId> {
    let exhausted = "the stream has given its last possible ID and can take no more entries";
    let after_last = last
        .next()
        .ok_or_else(|| Failure::refused(EngineErrorKind::Other, exhausted))?;
    let id = match wanted {
        NewId::Auto if now_ms > last.ms => EntryId::new(now_ms, 0),
        NewId::Auto => after_last,
        NewId::AutoSequence(ms) if ms == last.ms && after_last.ms == ms => after_last,
        // Redis has no word of its own for it either.
        NewId::AutoSequence(ms) if ms == last.ms => {
            let reason = format!("millisecond {ms} has no sequence number left");
            return Err(Failure::refused(EngineErrorKind::Other, reason));
        }
        NewId::AutoSequence(ms) => EntryId::new(ms, 0),
        NewId::Explicit(id) => id,
    };
    if id <= last {
        let reason = format!("the ID {id} is not greater than the stream's last ID {last}");
        return Err(Failure::refused(EngineErrorKind::IdTooSmall, reason));
    }
    Ok(id)
}

pub(super) fn delete(transaction: &mut Transaction<'_>, name: &StreamName, ids: &[EntryId]) -> Step<u64> {
    let Some(mut stream) = transaction.stream(name)? else {
        return Ok(0);
    };
    let mut deleted = 0;
    for id in ids {
        let gone = transaction
            .sql("DELETE FROM streamer_entries WHERE stream = ? AND id = ?")?
            .execute(params![stream.key, id.to_be_bytes()])?;
        if gone > 0 {
            deleted += 1;
            stream.max_deleted_id = stream.max_deleted_id.max(*id);
        }
    }
    stream.length = stream.length.saturating_sub(deleted);
    transaction.put_stream(name, stream);
    Ok(deleted)
}

pub(super) fn trim(transaction: &mut Transaction<'_>, name: &StreamName, trim: Trim) -> Step<u64> {
    let Some(mut stream) = transaction.stream(name)? else {
        return Ok(0);
    };
    let trimmed = cut(transaction, &mut stream, trim)?;
    transaction.put_stream(name, stream);
    Ok(trimmed)
}

/// Cuts exactly, also when asked for about that much: here the exact cut is not dearer.
fn cut(transaction: &Transaction<'_>, stream: &mut Stream, trim: Trim) -> Step<u64> {
    let gone = match trim.keep {
        TrimLimit::Newest(keep) => {
            let excess = stream.length.saturating_sub(keep);
            if excess == 0 {
                return Ok(0);
            }
            transaction
                .sql(
                    "DELETE FROM streamer_entries WHERE stream = ?1 AND id IN \
                     (SELECT id FROM streamer_entries WHERE stream = ?1 ORDER BY id LIMIT ?2)",
                )?
                .execute(params![stream.key, excess as i64])?
        }
        TrimLimit::From(id) => transaction
            .sql("DELETE FROM streamer_entries WHERE stream = ? AND id < ?")?
            .execute(params![stream.key, id.to_be_bytes()])?,
    };
    stream.length = stream.length.saturating_sub(gone as u64);
    Ok(gone as u64)
}

/// The smallest and the greatest ID of a range; `None` when it can hold none.
pub(super) fn bounds(start: RangeBound, end: RangeBound) -> Option<([u8; 16], [u8; 16])> {
    let first = match start {
        RangeBound::Unbounded => EntryId::MIN,
        RangeBound::Inclusive(id) => id,
        RangeBound::Exclusive(id) => id.next()?,
    };
    let last = match end {
        RangeBound::Unbounded => EntryId::MAX,
        RangeBound::Inclusive(id) => id,
        RangeBound::Exclusive(id) => id.previous()?,
    };
    Some((first.to_be_bytes(), last.to_be_bytes()))
}

/// A count as SQL takes it: at most what can be there.
pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn range(
    transaction: &Transaction<'_>,
    stream: Stream,
    bounds: (RangeBound, RangeBound),
    count: Option<usize>,
    reverse: bool,
) -> Step<Vec<Entry>> {
    let stored = stored(transaction, stream, bounds, count, reverse)?;
    stored.iter().map(Stored::decoded).collect()
}

/// An entry as it lies in its row. Whoever asked for it decodes it: the one thread that writes has enough to do.
pub(super) struct Stored {
    pub(super) id: EntryId,
    fields: Bytes,
}

impl Stored {
    pub(super) fn decoded(&self) -> Step<Entry> {
        let id = self.id;
        let fields = field_codec::decode(&self.fields);
        Ok(Entry {
            id,
            fields: fields.ok_or_else(|| Failure::corrupt(&format!("the fields of entry {id} cannot be decoded")))?,
        })
    }
}

fn stored(
    transaction: &Transaction<'_>,
    stream: Stream,
    (start, end): (RangeBound, RangeBound),
    count: Option<usize>,
    reverse: bool,
) -> Step<Vec<Stored>> {
    let Some((first, last)) = bounds(start, end) else {
        return Ok(Vec::new());
    };
    let sql = if reverse {
        "SELECT id, fields FROM streamer_entries WHERE stream = ? AND id >= ? AND id <= ? ORDER BY id DESC LIMIT ?"
    } else {
        "SELECT id, fields FROM streamer_entries WHERE stream = ? AND id >= ? AND id <= ? ORDER BY id LIMIT ?"
    };
    let mut statement = transaction.sql(sql)?;
    let mut rows = statement.query(params![stream.key, first, last, count.map_or(i64::MAX, limit)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let fields = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        entries.push(Stored {
            id: EntryId::from_be_bytes(row.get(0)?),
            fields: Bytes::copy_from_slice(fields),
        });
    }
    Ok(entries)
}

/// The entries after an ID, oldest first.
pub(super) fn after(transaction: &Transaction<'_>, stream: Stream, after: EntryId, count: usize) -> Step<Vec<Stored>> {
    let from = RangeBound::Exclusive(after);
    stored(transaction, stream, (from, RangeBound::Unbounded), Some(count), false)
}

/// One entry, if it was not deleted.
pub(super) fn entry(transaction: &Transaction<'_>, stream: Stream, id: EntryId) -> Step<Option<Entry>> {
    let exactly = RangeBound::Inclusive(id);
    Ok(range(transaction, stream, (exactly, exactly), Some(1), false)?.pop())
}

/// The ID of the oldest entry (`reverse`: of the newest).
pub(super) fn edge(transaction: &Transaction<'_>, stream: Stream, reverse: bool) -> Step<Option<EntryId>> {
    let sql = if reverse {
        "SELECT id FROM streamer_entries WHERE stream = ? ORDER BY id DESC LIMIT 1"
    } else {
        "SELECT id FROM streamer_entries WHERE stream = ? ORDER BY id LIMIT 1"
    };
    let id = transaction
        .sql(sql)?
        .query_row([stream.key], |row| row.get(0))
        .optional()?;
    Ok(id.map(EntryId::from_be_bytes))
}
