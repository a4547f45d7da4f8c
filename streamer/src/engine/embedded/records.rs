//! Sets and hashes. Like in Redis, one that is empty is not there.

use bytes::Bytes;
use rusqlite::{OptionalExtension, Row, params};

use super::{
    entries::limit,
    failure::Step,
    transaction::{Kind, Transaction},
};

fn key_or_create(transaction: &Transaction<'_>, name: &str, kind: Kind) -> Step<i64> {
    match transaction.key(name.as_bytes(), kind)? {
        Some(key) => Ok(key),
        None => transaction.create_key(name.as_bytes(), kind),
    }
}

/// Removes items of a key with `sql`, and the key when none is left.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    (name, kind): (&[u8], Kind),
    items: &[Bytes],
    sql: &str,
    any_left: &str,
) -> Step<u64> {
    let Some(key) = transaction.key(name, kind)? else {
        return Ok(0);
    };
    let mut removed = 0;
    for item in items {
        removed += transaction.sql(sql)?.execute(params![key, &item[..]])? as u64;
    }
    if !transaction.sql(any_left)?.exists([key])? {
        transaction
            .sql("DELETE FROM streamer_keys WHERE id = ?")?
            .execute([key])?;
    }
    Ok(removed)
}

pub(super) fn set_add(transaction: &Transaction<'_>, name: &str, members: &[Bytes]) -> Step<u64> {
    let key = key_or_create(transaction, name, Kind::Set)?;
    let mut added = 0;
    for member in members {
        added += transaction
            .sql("INSERT OR IGNORE INTO streamer_members (key, member) VALUES (?, ?)")?
            .execute(params![key, &member[..]])? as u64;
    }
    Ok(added)
}

pub(super) fn set_remove(transaction: &Transaction<'_>, name: &str, members: &[Bytes]) -> Step<u64> {
    remove(
        transaction,
        (name.as_bytes(), Kind::Set),
        members,
        "DELETE FROM streamer_members WHERE key = ? AND member = ?",
        "SELECT 1 FROM streamer_members WHERE key = ?",
    )
}

pub(super) fn set_len(transaction: &Transaction<'_>, name: &str) -> Step<u64> {
    let Some(key) = transaction.key(name.as_bytes(), Kind::Set)? else {
        return Ok(0);
    };
    let members: i64 = transaction
        .sql("SELECT count(*) FROM streamer_members WHERE key = ?")?
        .query_row([key], |row| row.get(0))?;
    Ok(members as u64)
}

pub(super) fn set_scan(
    transaction: &Transaction<'_>,
    name: &str,
    cursor: u64,
    count: usize,
) -> Step<(u64, Vec<Bytes>)> {
    let Some(key) = transaction.key(name.as_bytes(), Kind::Set)? else {
        return Ok((0, Vec::new()));
    };
    let mut statement =
        transaction.sql("SELECT id, member FROM streamer_members WHERE key = ? AND id > ? ORDER BY id LIMIT ?")?;
    let after = i64::try_from(cursor).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![key, after, limit(count)])?;
    let (mut next, mut members) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        next = row.get::<_, i64>(0)? as u64;
        members.push(Bytes::from(row.get::<_, Vec<u8>>(1)?));
    }
    // A page that is not full is the last one.
    let next = if members.len() < count { 0 } else { next };
    Ok((next, members))
}

pub(super) fn hash_len(transaction: &Transaction<'_>, name: &str) -> Step<u64> {
    let Some(key) = transaction.key(name.as_bytes(), Kind::Hash)? else {
        return Ok(0);
    };
    let fields: i64 = transaction
        .sql("SELECT count(*) FROM streamer_hash_fields WHERE key = ?")?
        .query_row([key], |row| row.get(0))?;
    Ok(fields as u64)
}

pub(super) fn hash_put(transaction: &Transaction<'_>, name: &str, fields: &[(Bytes, Bytes)]) -> Step<()> {
    let key = key_or_create(transaction, name, Kind::Hash)?;
    for (field, value) in fields {
        transaction
            .sql("INSERT OR REPLACE INTO streamer_hash_fields (key, name, value) VALUES (?, ?, ?)")?
            .execute(params![key, &field[..], &value[..]])?;
    }
    Ok(())
}

pub(super) fn hash_get(transaction: &Transaction<'_>, name: &str, fields: &[Bytes]) -> Step<Vec<Option<Bytes>>> {
    let Some(key) = transaction.key(name.as_bytes(), Kind::Hash)? else {
        return Ok(vec![None; fields.len()]);
    };
    let mut statement = transaction.sql("SELECT value FROM streamer_hash_fields WHERE key = ? AND name = ?")?;
    let mut value = |field: &Bytes| {
        let value = statement.query_row(params![key, &field[..]], |row| row.get::<_, Vec<u8>>(0));
        Ok(value.optional()?.map(Bytes::from))
    };
    fields.iter().map(&mut value).collect()
}

/// Where the next page begins, and the fields of this one with their values.
pub(super) type FieldsPage = (Option<Bytes>, Vec<(Bytes, Bytes)>);

/// A page of fields by name, after `after`, and where the next one begins.
pub(super) fn hash_page(
    transaction: &Transaction<'_>,
    name: &str,
    after: Option<&Bytes>,
    count: usize,
) -> Step<FieldsPage> {
    let Some(key) = transaction.key(name.as_bytes(), Kind::Hash)? else {
        return Ok((None, Vec::new()));
    };
    let bytes = |row: &Row<'_>, column| row.get::<_, Vec<u8>>(column).map(Bytes::from);
    let count = count.max(1);
    let fields = match after {
        None => transaction
            .sql("SELECT name, value FROM streamer_hash_fields WHERE key = ? ORDER BY name LIMIT ?")?
            .query_map(params![key, limit(count)], |row| Ok((bytes(row, 0)?, bytes(row, 1)?)))?
            .collect::<Result<Vec<_>, _>>()?,
        Some(after) => transaction
            .sql("SELECT name, value FROM streamer_hash_fields WHERE key = ? AND name > ? ORDER BY name LIMIT ?")?
            .query_map(params![key, &after[..], limit(count)], |row| {
                Ok((bytes(row, 0)?, bytes(row, 1)?))
            })?
            .collect::<Result<Vec<_>, _>>()?,
    };
    // A page that is not full is the last one.
    let next = fields.last().filter(|_| fields.len() == count);
    Ok((next.map(|(name, _)| name.clone()), fields))
}

pub(super) fn hash_remove(transaction: &Transaction<'_>, name: &str, fields: &[Bytes]) -> Step<u64> {
    remove(
        transaction,
        (name.as_bytes(), Kind::Hash),
        fields,
        "DELETE FROM streamer_hash_fields WHERE key = ? AND name = ?",
        "SELECT 1 FROM streamer_hash_fields WHERE key = ?",
    )
}
