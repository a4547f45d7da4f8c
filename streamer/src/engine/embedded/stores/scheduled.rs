//! Entries that are appended later.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{OptionalExtension, params};

use super::super::{
    EmbeddedEngine,
    entries::{self, Encoded, limit},
    failure::{Failure, Step},
    group_store::each,
    inspection,
    layout::has_scheduled as has_table,
    transaction::{Stream, Transaction},
};
use crate::{
    engine::{
        AppendedDue, EngineResult, FirstScheduled, FoundStreams, Scheduled, ScheduledEntry, ScheduledState, field_codec,
    },
    entry::{EntryId, StreamName, Trim, TrimLimit},
    message::SCHEDULED_ID,
};

/// After so many bytes of entries a transaction appends no more: others wait for it.
const MOST_BYTES: usize = 1 << 20;

#[async_trait]
impl Scheduled for EmbeddedEngine {
    async fn first_scheduled(&self, streams: &[StreamName]) -> Vec<EngineResult<FirstScheduled>> {
        let attempted = "look at what is scheduled for";
        each(&self.0.look, attempted, streams.to_vec(), |stream| stream, first_of).await
    }

    async fn count_scheduled(&self, streams: &[StreamName]) -> Vec<EngineResult<u64>> {
        let attempted = "count what is scheduled for";
        each(&self.0.look, attempted, streams.to_vec(), |stream| stream, count).await
    }

    async fn find_scheduled(&self, most: usize) -> EngineResult<FoundStreams> {
        self.look(
            || "look for what is scheduled".to_owned(),
            move |transaction| find(transaction, most),
        )
        .await
    }

    async fn append_due(&self, stream: &StreamName, most: usize) -> EngineResult<AppendedDue> {
        let name = stream.clone();
        self.write(
            || format!("append what is due on stream '{stream}'"),
            move |transaction| append_due(transaction, &name, most),
        )
        .await
    }

    async fn page_of_scheduled(
        &self,
        stream: &StreamName,
        after: Option<EntryId>,
        count: usize,
    ) -> EngineResult<Vec<ScheduledEntry>> {
        let name = stream.clone();
        self.look(
            || format!("list what is scheduled for stream '{stream}'"),
            move |transaction| page(transaction, &name, after, count),
        )
        .await
    }

    async fn cancel_scheduled(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64> {
        let (name, ids) = (stream.clone(), ids.to_vec());
        self.write(
            || format!("cancel what is scheduled for stream '{stream}'"),
            move |transaction| {
                let Some(stream) = transaction.stream(&name)? else {
                    return Ok(0);
                };
                let mut cancelled = 0;
                for id in &ids {
                    cancelled += remove(transaction, stream, *id)?;
                }
                Ok(cancelled)
            },
        )
        .await
    }
}

/// The stream, if anything may be scheduled for it: a file that may only be read, and that an earlier version wrote, has no
/// such table.
fn with_table(transaction: &mut Transaction<'_>, name: &StreamName) -> Step<Option<Stream>> {
    let Some(stream) = transaction.stream(name)? else {
        return Ok(None);
    };
    Ok(has_table(transaction.connection())?.then_some(stream))
}

fn first_of(transaction: &mut Transaction<'_>, name: &StreamName) -> Step<FirstScheduled> {
    let id = match with_table(transaction, name)? {
        Some(stream) => first(transaction, stream)?,
        None => None,
    };
    let now_ms = transaction.now_ms;
    Ok(FirstScheduled { id, now_ms })
}

fn first(transaction: &Transaction<'_>, stream: Stream) -> Step<Option<EntryId>> {
    let id = transaction
        .sql("SELECT id FROM streamer_scheduled WHERE stream = ? ORDER BY id LIMIT 1")?
        .query_row([stream.key], |row| row.get(0))
        .optional()?;
    Ok(id.map(EntryId::from_be_bytes))
}

fn count(transaction: &mut Transaction<'_>, name: &StreamName) -> Step<u64> {
    let Some(stream) = with_table(transaction, name)? else {
        return Ok(0);
    };
    let waiting: i64 = transaction
        .sql("SELECT count(*) FROM streamer_scheduled WHERE stream = ?")?
        .query_row([stream.key], |row| row.get(0))?;
    Ok(waiting as u64)
}

/// So many are counted for a view: each is a row to read.
const COUNTED: i64 = 10_000;

/// What views look at.
pub(in super::super) fn state(transaction: &Transaction<'_>, stream: Stream) -> Step<ScheduledState> {
    let mut state = ScheduledState::default();
    if has_table(transaction.connection())? {
        state.first = first(transaction, stream)?;
    }
    let Some(first) = state.first else {
        return Ok(state);
    };
    let mut count = transaction
        .sql("SELECT count(*) FROM (SELECT 1 FROM streamer_scheduled WHERE stream = ? AND id < ? LIMIT ?)")?;
    let mut count_before = |id: EntryId| -> Step<u64> {
        let counted: i64 = count.query_row(params![stream.key, id.to_be_bytes(), COUNTED + 1], |row| row.get(0))?;
        Ok(counted as u64)
    };
    let waiting = count_before(EntryId::MAX)?;
    let overdue = match first.ms <= transaction.now_ms {
        true => count_before(EntryId::new(transaction.now_ms.saturating_add(1), 0))?,
        false => 0,
    };
    state.is_part = waiting > COUNTED as u64;
    state.waiting = waiting.min(COUNTED as u64);
    state.overdue = overdue.min(COUNTED as u64);
    Ok(state)
}

fn find(transaction: &Transaction<'_>, most: usize) -> Step<FoundStreams> {
    if !has_table(transaction.connection())? {
        return Ok(FoundStreams {
            complete: true,
            ..FoundStreams::default()
        });
    }
    let mut statement = transaction.sql(
        "SELECT name FROM streamer_keys WHERE EXISTS (SELECT 1 FROM streamer_scheduled WHERE stream = streamer_keys.id) \
         ORDER BY name LIMIT ?",
    )?;
    inspection::found(statement.query([limit(most.saturating_add(1))])?, most)
}

fn page(
    transaction: &mut Transaction<'_>,
    name: &StreamName,
    after: Option<EntryId>,
    count: usize,
) -> Step<Vec<ScheduledEntry>> {
    let Some(stream) = with_table(transaction, name)? else {
        return Ok(Vec::new());
    };
    let mut statement =
        transaction.sql("SELECT id, fields FROM streamer_scheduled WHERE stream = ? AND id > ? ORDER BY id LIMIT ?")?;
    let after = after.unwrap_or(EntryId::MIN).to_be_bytes();
    let mut rows = statement.query(params![stream.key, after, limit(count)])?;
    let mut page = Vec::new();
    while let Some(row) = rows.next()? {
        let fields = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        page.push(ScheduledEntry {
            id: EntryId::from_be_bytes(row.get(0)?),
            fields: field_codec::decode(&Bytes::copy_from_slice(fields))
                .ok_or_else(|| Failure::corrupt("the fields of a scheduled entry cannot be decoded"))?,
        });
    }
    Ok(page)
}

fn remove(transaction: &Transaction<'_>, stream: Stream, id: EntryId) -> Step<u64> {
    let removed = transaction
        .sql("DELETE FROM streamer_scheduled WHERE stream = ? AND id = ?")?
        .execute(params![stream.key, id.to_be_bytes()])?;
    Ok(removed as u64)
}

/// Keeps an entry until it is due, and gives the ID under which it waits.
pub(in super::super) fn keep(
    transaction: &Transaction<'_>,
    stream: Stream,
    due_ms: u64,
    fields: &[u8],
    trim: Option<Trim>,
) -> Step<EntryId> {
    let newest = transaction
        .sql("SELECT max(id) FROM streamer_scheduled WHERE stream = ? AND id >= ? AND id <= ?")?
        .query_row(
            params![
                stream.key,
                EntryId::new(due_ms, 0).to_be_bytes(),
                EntryId::new(due_ms, u64::MAX).to_be_bytes()
            ],
            |row| row.get::<_, Option<[u8; 16]>>(0),
        )?
        .map_or(0, |id| EntryId::from_be_bytes(id).seq);
    let number = newest.saturating_add(1).max(transaction.now_ms.saturating_mul(1000));
    let id = EntryId::new(due_ms, number);
    let (keep_newest, keep_from) = match trim.map(|trim| trim.keep) {
        None => (None, None),
        Some(TrimLimit::Newest(count)) => (Some(i64::try_from(count).unwrap_or(i64::MAX)), None),
        Some(TrimLimit::From(id)) => (None, Some(id.to_be_bytes())),
    };
    transaction
        .sql("INSERT INTO streamer_scheduled (stream, id, fields, keep_newest, keep_from) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![stream.key, id.to_be_bytes(), fields, keep_newest, keep_from])?;
    Ok(id)
}

/// What is kept of an entry, as it is appended.
struct Due {
    id: EntryId,
    fields: Vec<u8>,
    trim: Option<Trim>,
}

fn append_due(transaction: &mut Transaction<'_>, name: &StreamName, most: usize) -> Step<AppendedDue> {
    let mut done = AppendedDue::default();
    done.next.now_ms = transaction.now_ms;
    let Some(stream) = transaction.stream(name)? else {
        return Ok(done);
    };
    let mut bytes = 0;
    while done.appended < most.max(1) as u64 && bytes < MOST_BYTES {
        let Some(Due { id, mut fields, trim }) = next_due(transaction, stream)? else {
            break;
        };
        bytes += fields.len();
        let scheduled_id = (Bytes::from_static(SCHEDULED_ID.as_bytes()), id.to_text());
        fields.extend_from_slice(&field_codec::encode(&vec![scheduled_id]));
        match entries::append(transaction, &Encoded::due(name, fields, trim)) {
            Ok(_) => {}
            // The ones before it stand; the next call tells why this one does not.
            Err(failure) if failure.is_refusal() && done.appended > 0 => break,
            Err(failure) => return Err(failure),
        }
        remove(transaction, stream, id)?;
        done.appended += 1;
    }
    done.next.id = first(transaction, stream)?;
    Ok(done)
}

/// The first entry that is due.
fn next_due(transaction: &Transaction<'_>, stream: Stream) -> Step<Option<Due>> {
    let later = EntryId::new(transaction.now_ms.saturating_add(1), 0).to_be_bytes();
    let due = transaction
        .sql(
            "SELECT id, fields, keep_newest, keep_from FROM streamer_scheduled WHERE stream = ? AND id < ? ORDER BY id LIMIT 1",
        )?
        .query_row(params![stream.key, later], |row| {
            let keep_newest = row.get::<_, Option<i64>>(2)?.map(|count| Trim::max_len(count as u64));
            let keep_from = row.get::<_, Option<[u8; 16]>>(3)?;
            let keep_from = keep_from.map(|id| Trim::min_id(EntryId::from_be_bytes(id)));
            Ok(Due {
                id: EntryId::from_be_bytes(row.get(0)?),
                fields: row.get(1)?,
                trim: keep_newest.or(keep_from),
            })
        })
        .optional()?;
    Ok(due)
}
