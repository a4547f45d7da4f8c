//! Entries that are appended together with a record, and the lists that such records make.

use bytes::Bytes;
use rusqlite::params;

use super::{
    entries::{self, Encoded, limit},
    failure::{Failure, Step},
    records, stores,
    transaction::{Kind, Transaction},
};
use crate::{
    engine::{Appended, EngineErrorKind, Record},
    entry::StreamName,
};

pub(super) fn append_recorded(transaction: &mut Transaction<'_>, append: &Encoded, record: &Record) -> Step<Appended> {
    let (list, before, after) = match record {
        Record::Push { list, before, after } => (list, before, after),
        Record::Restored { ids } => return stores::append_restored(transaction, append, ids),
    };
    // Whether the record can be written is known before the entry is.
    if append.stream == *list {
        let reason = "the record of an entry cannot have the name of its stream";
        return Err(Failure::refused(EngineErrorKind::WrongType, reason));
    }
    transaction.key(list.as_bytes(), Kind::List)?;
    let Appended { id, fresh } = entries::append(transaction, append)?;
    if !fresh {
        return Ok(Appended { id, fresh });
    }
    push(transaction, list, &[before, id.to_string().as_bytes(), after].concat())?;
    Ok(Appended { id, fresh: true })
}

fn push(transaction: &Transaction<'_>, list: &StreamName, element: &[u8]) -> Step<()> {
    let key = match transaction.key(list.as_bytes(), Kind::List)? {
        Some(key) => key,
        None => transaction.create_key(list.as_bytes(), Kind::List)?,
    };
    transaction
        .sql("INSERT INTO streamer_elements (key, element) VALUES (?, ?)")?
        .execute(params![key, element])?;
    Ok(())
}

pub(super) fn range(transaction: &Transaction<'_>, list: &StreamName, start: u64, count: usize) -> Step<Vec<Bytes>> {
    let Some(key) = transaction.key(list.as_bytes(), Kind::List)? else {
        return Ok(Vec::new());
    };
    let mut statement =
        transaction.sql("SELECT element FROM streamer_elements WHERE key = ? ORDER BY id LIMIT ? OFFSET ?")?;
    let start = i64::try_from(start).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![key, limit(count), start])?;
    let mut elements = Vec::new();
    while let Some(row) = rows.next()? {
        elements.push(Bytes::from(row.get::<_, Vec<u8>>(0)?));
    }
    Ok(elements)
}

pub(super) fn remove(transaction: &Transaction<'_>, list: &StreamName, elements: &[Bytes]) -> Step<u64> {
    records::remove(
        transaction,
        (list.as_bytes(), Kind::List),
        elements,
        "DELETE FROM streamer_elements WHERE key = ? AND element = ?",
        "SELECT 1 FROM streamer_elements WHERE key = ?",
    )
}
