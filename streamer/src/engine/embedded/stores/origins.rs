//! Which IDs restored messages had, and have.

use std::collections::HashSet;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::params;

use super::super::{
    EmbeddedEngine,
    entries::{self, Encoded},
    failure::{Failure, Step},
    records,
    transaction::{Kind, Transaction},
};
use crate::{
    engine::{
        Appended, EngineErrorKind, EngineResult, Origin, Origins, keys,
        origins::{ids_from_text, ids_to_text},
    },
    entry::{EntryId, StreamName},
};

#[async_trait]
impl Origins for EmbeddedEngine {
    async fn restored_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<EntryId>>> {
        let (key, fields) = (keys::restored(stream), texts(ids));
        let found = self.look(
            || format!("look up restored messages of stream '{stream}'"),
            move |transaction| records::hash_get(transaction, &key, &fields),
        );
        let id = |found: Option<Bytes>| found.as_ref().and_then(EntryId::from_text);
        Ok(found.await?.into_iter().map(id).collect())
    }

    async fn earlier_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<Vec<EntryId>>>> {
        let (key, fields) = (keys::original_ids(stream), texts(ids));
        let found = self.look(
            || format!("look up the earlier IDs of messages of stream '{stream}'"),
            move |transaction| records::hash_get(transaction, &key, &fields),
        );
        let ids = |found: Option<Bytes>| found.as_deref().and_then(ids_from_text);
        Ok(found.await?.into_iter().map(ids).collect())
    }

    async fn forget_earlier_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64> {
        let (key, fields) = (keys::original_ids(stream), texts(ids));
        self.write(
            || format!("remove the earlier IDs of messages of stream '{stream}'"),
            move |transaction| records::hash_remove(transaction, &key, &fields),
        )
        .await
    }

    async fn forget_restored(&self, stream: &StreamName, gone: &[Origin]) -> EngineResult<u64> {
        let (key, gone) = (keys::restored(stream), gone.to_vec());
        self.write(
            || format!("forget restored messages of stream '{stream}'"),
            move |transaction| {
                let mut forgotten = 0;
                for Origin { first, current } in &gone {
                    let way = way(transaction, &key, *first)?;
                    if way.last() == Some(current) && current != first {
                        records::hash_remove(transaction, &key, &texts(&way[..way.len() - 1]))?;
                        forgotten += 1;
                    }
                }
                Ok(forgotten)
            },
        )
        .await
    }

    async fn page_of_lost(
        &self,
        stream: &StreamName,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<Origin>)> {
        let (name, key) = (stream.clone(), keys::restored(stream));
        self.look(
            || format!("list the restored messages of stream '{stream}'"),
            move |transaction| {
                let (next, page) = records::hash_page(transaction, &key, cursor.as_ref(), count)?;
                let mut lost = Vec::new();
                for (first, current) in page {
                    let (Some(first), Some(current)) = (EntryId::from_text(&first), EntryId::from_text(&current))
                    else {
                        continue;
                    };
                    let leads_on = records::hash_get(transaction, &key, &[current.to_text()])?;
                    if leads_on == [None] && !is_on_stream(transaction, &name, current)? {
                        lost.push(Origin { first, current });
                    }
                }
                Ok((next, lost))
            },
        )
        .await
    }

    async fn page_of_lost_earlier_ids(
        &self,
        stream: &StreamName,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<EntryId>)> {
        let (name, key) = (stream.clone(), keys::original_ids(stream));
        self.look(
            || format!("list the messages of stream '{stream}' that were restored more than once"),
            move |transaction| {
                let (next, page) = records::hash_page(transaction, &key, cursor.as_ref(), count)?;
                let mut lost = Vec::new();
                for id in page.iter().filter_map(|(id, _)| EntryId::from_text(id)) {
                    if !is_on_stream(transaction, &name, id)? {
                        lost.push(id);
                    }
                }
                Ok((next, lost))
            },
        )
        .await
    }
}

/// Whether an entry is on the stream. Its payload is not read.
fn is_on_stream(transaction: &mut Transaction<'_>, stream: &StreamName, id: EntryId) -> Step<bool> {
    let Some(stream) = transaction.stream(stream)? else {
        return Ok(false);
    };
    let mut statement = transaction.sql("SELECT 1 FROM streamer_entries WHERE stream = ? AND id = ?")?;
    Ok(statement.exists(params![stream.key, id.to_be_bytes()])?)
}

fn texts(ids: &[EntryId]) -> Vec<Bytes> {
    ids.iter().map(|id| id.to_text()).collect()
}

/// The IDs from `first` to where the fields lead; only `first` where there is no field.
fn way(transaction: &Transaction<'_>, key: &str, first: EntryId) -> Step<Vec<EntryId>> {
    let (mut way, mut seen) = (vec![first], HashSet::from([first]));
    loop {
        let here = way[way.len() - 1];
        let next = records::hash_get(transaction, key, &[here.to_text()])?;
        match next.into_iter().flatten().next().as_ref().and_then(EntryId::from_text) {
            // No field of ours leads back; another's must not lead round in circles.
            Some(next) if seen.insert(next) => way.push(next),
            _ => return Ok(way),
        }
    }
}

/// Appends the entry of a message that comes back from the archive, unless it has come back already. `ids` are those that
/// the message had, oldest first; the last one is that of the archived message.
pub(in super::super) fn append_restored(
    transaction: &mut Transaction<'_>,
    append: &Encoded,
    ids: &[EntryId],
) -> Step<Appended> {
    let (Some(first), Some(archived)) = (ids.first(), ids.last()) else {
        let reason = "a restored message has at least one earlier ID";
        return Err(Failure::refused(EngineErrorKind::InvalidInput, reason));
    };
    // Whether everything can be written is known before the first of it is.
    let (restored, original_ids) = (keys::restored(&append.stream), keys::original_ids(&append.stream));
    transaction.stream(&append.stream)?;
    for hash in [&restored, &original_ids] {
        transaction.key(hash.as_bytes(), Kind::Hash)?;
    }
    let of_archived = way(transaction, &restored, *archived)?;
    let of_first = way(transaction, &restored, *first)?;
    let back = match (&of_archived[..], &of_first[..]) {
        // An earlier version wrote it, or it was the first time.
        ([_, next, ..], _) => Some(*next),
        ([_], [_, .., current]) if current != archived => Some(*current),
        _ => None,
    };
    if let Some(id) = back {
        return Ok(Appended { id, fresh: false });
    }
    let Appended { id, fresh } = entries::append(transaction, append)?;
    if !fresh {
        return Ok(Appended { id, fresh });
    }
    records::hash_remove(transaction, &restored, &texts(&of_first))?;
    records::hash_put(transaction, &restored, &[(first.to_text(), id.to_text())])?;
    records::hash_remove(transaction, &original_ids, &[archived.to_text()])?;
    if ids.len() > 1 {
        records::hash_put(transaction, &original_ids, &[(id.to_text(), ids_to_text(ids))])?;
    }
    Ok(Appended { id, fresh: true })
}
