//! Entries that are appended together with a record, and the lists that such records make.

use bytes::Bytes;
use rusqlite::params;

use super::{
    entries::{self, Encoded, limit},
    failure::{Failure, Step},
    records,
    transaction::{Kind, Transaction},
};
use crate::{
    engine::{Appended, EngineErrorKind, Record},
    entry::{EntryId, StreamName},
};

pub(super) fn append_recorded(transaction: &mut Transaction<'_>, append: &Encoded, record: &Record) -> Step<Appended> {
    if append.stream.as_bytes() == record.key() {
        let reason = "the record of an entry cannot have the name of its stream";
        return Err(Failure::refused(EngineErrorKind::WrongType, reason));
    }
    // Whether the record can be written is known before the entry is.
    match record {
        Record::Push { list, .. } => _ = transaction.key(list.as_bytes(), Kind::List)?,
        Record::Once { hash, field } => {
            let known = records::hash_get(transaction, hash, std::slice::from_ref(field))?;
            if let Some(id) = known.into_iter().flatten().next() {
                // The stream is looked at all the same: what holds another kind of value is refused either way.
                transaction.stream(&append.stream)?;
                let id = std::str::from_utf8(&id).ok().and_then(|id| id.parse::<EntryId>().ok());
                let id = id.ok_or_else(|| Failure::corrupt("a record holds no entry ID"))?;
                return Ok(Appended { id, fresh: false });
            }
        }
    }
    let Appended { id, fresh } = entries::append(transaction, append)?;
    if !fresh {
        return Ok(Appended { id, fresh });
    }
    match record {
        Record::Push { list, before, after } => {
            let element = [before, id.to_string().as_bytes(), after].concat();
            push(transaction, list, &element)?;
        }
        Record::Once { hash, field } => {
            records::hash_put(transaction, hash, &[(field.clone(), Bytes::from(id.to_string()))])?;
        }
    }
    Ok(Appended { id, fresh: true })
}

fn push(transaction: &Transaction<'_>, list: &StreamName, element: &[u8]) -> Step<()> {
    let key = match transaction.key(list.as_bytes(), Kind::List)? {
        Some(key) => key,
        None => transaction.create_key(list.as_bytes(), Kind::List)?,
    };
    transaction
        .sql("INSERT INTO elements (key, element) VALUES (?, ?)")?
        .execute(params![key, element])?;
    Ok(())
}

pub(super) fn range(transaction: &Transaction<'_>, list: &StreamName, start: u64, count: usize) -> Step<Vec<Bytes>> {
    let Some(key) = transaction.key(list.as_bytes(), Kind::List)? else {
        return Ok(Vec::new());
    };
    let mut statement = transaction.sql("SELECT element FROM elements WHERE key = ? ORDER BY id LIMIT ? OFFSET ?")?;
    let start = i64::try_from(start).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![key, limit(count), start])?;
    let mut elements = Vec::new();
    while let Some(row) = rows.next()? {
        elements.push(Bytes::from(row.get::<_, Vec<u8>>(0)?));
    }
    Ok(elements)
}

pub(super) fn len(transaction: &Transaction<'_>, list: &StreamName) -> Step<u64> {
    let Some(key) = transaction.key(list.as_bytes(), Kind::List)? else {
        return Ok(0);
    };
    let elements: i64 = transaction
        .sql("SELECT count(*) FROM elements WHERE key = ?")?
        .query_row([key], |row| row.get(0))?;
    Ok(elements as u64)
}

pub(super) fn remove(transaction: &Transaction<'_>, list: &StreamName, elements: &[Bytes]) -> Step<u64> {
    records::remove(
        transaction,
        (list.as_bytes(), Kind::List),
        elements,
        "DELETE FROM elements WHERE key = ? AND element = ?",
        "SELECT 1 FROM elements WHERE key = ?",
    )
}
