//! What views of the store look at.

use std::{fs, path::Path};

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Rows, params};

use super::{
    EmbeddedEngine,
    entries::limit,
    failure::Step,
    group, pending, records, states,
    transaction::{Kind, Transaction},
};
use crate::{
    engine::{
        EngineError, EngineErrorKind, EngineResult, EntriesAfter, FileHealth, FoundStreams, Inspection, PendingEntry,
        StoreHealth, StreamState, keys,
    },
    entry::{EntryId, StreamName},
};

/// The streams of these names, of which one more than `most` was asked for.
pub(super) fn found(names: Rows<'_>, most: usize) -> Step<FoundStreams> {
    let names = names.mapped(|row| row.get::<_, Vec<u8>>(0).map(StreamName::from));
    let mut names = names.collect::<Result<Vec<_>, _>>()?;
    let complete = names.len() <= most;
    names.truncate(most);
    Ok(FoundStreams { names, complete })
}

#[async_trait]
impl Inspection for EmbeddedEngine {
    async fn find_streams(&self, most: usize) -> EngineResult<FoundStreams> {
        let find = move |transaction: &mut Transaction<'_>| {
            let mut statement =
                transaction.sql("SELECT name FROM streamer_keys WHERE kind = ? ORDER BY name LIMIT ?")?;
            let more = limit(most.saturating_add(1));
            found(statement.query(params![Kind::Stream as i64, more])?, most)
        };
        self.look(|| "look for streams".to_owned(), find).await
    }

    async fn stream_states(&self, streams: &[StreamName]) -> Vec<EngineResult<Option<StreamState>>> {
        let attempted = |stream: &StreamName| format!("look at stream '{stream}'");
        self.each(streams, attempted, states::state).await
    }

    async fn entries_after(&self, positions: &[(StreamName, EntryId)], most: usize) -> Vec<EngineResult<EntriesAfter>> {
        let attempted = |(stream, _): &(StreamName, EntryId)| format!("look at the entries of stream '{stream}'");
        self.each(positions, attempted, move |transaction, (name, after)| {
            let Some(stream) = transaction.stream(name)? else {
                return Ok(EntriesAfter::default());
            };
            let mut statement =
                transaction.sql("SELECT id FROM streamer_entries WHERE stream = ? AND id > ? ORDER BY id LIMIT ?")?;
            let more = limit(most.saturating_add(1));
            let ids = statement.query_map(params![stream.key, after.to_be_bytes(), more], |row| row.get(0))?;
            let (mut first, mut seen) = (None, 0);
            for id in ids {
                first.get_or_insert(EntryId::from_be_bytes(id?));
                seen += 1;
            }
            Ok(EntriesAfter {
                first,
                count: (seen <= most as u64).then_some(seen),
                looked_at: seen.min(most as u64),
            })
        })
        .await
    }

    async fn pending_in(
        &self,
        stream: &StreamName,
        groups: &[String],
        id: EntryId,
    ) -> Vec<EngineResult<Option<PendingEntry>>> {
        let name = stream.clone();
        let attempted = |group: &String| format!("look at what is pending in group '{group}' on stream '{stream}'");
        self.each(groups, attempted, move |transaction, group_name| {
            let Some(group) = group::find(transaction, &name, group_name)? else {
                return Ok(None);
            };
            let Some(found) = pending::find(transaction, group, id)? else {
                return Ok(None);
            };
            let consumer = transaction
                .sql("SELECT name FROM streamer_consumers WHERE id = ?")?
                .query_row([found.consumer], |row| row.get(0))?;
            Ok(Some(PendingEntry {
                id,
                consumer,
                idle: found.idle(transaction.now_ms),
                deliveries: found.deliveries,
            }))
        })
        .await
    }

    async fn keys_beside(&self, most: usize) -> EngineResult<Vec<Bytes>> {
        let find = move |transaction: &mut Transaction<'_>| {
            let mut statement = transaction.sql("SELECT name FROM streamer_keys WHERE kind IN (?, ?) ORDER BY name")?;
            let names = statement.query_map(params![Kind::Hash as i64, Kind::Set as i64], |row| {
                row.get::<_, Vec<u8>>(0).map(Bytes::from)
            })?;
            let kept = names.filter(|name| name.as_ref().map_or(true, |name| keys::may_be_kept(name)));
            Ok(kept.take(most).collect::<Result<Vec<_>, _>>()?)
        };
        self.look(|| "look for keys beside streams".to_owned(), find).await
    }

    async fn count_retry_states(&self, groups: &[(StreamName, String)]) -> Vec<EngineResult<u64>> {
        let attempted = |(stream, group): &(StreamName, String)| {
            format!("count the retry states of group '{group}' on stream '{stream}'")
        };
        self.each(groups, attempted, |transaction, (stream, group)| {
            records::hash_len(transaction, &keys::retry_states(stream, group))
        })
        .await
    }

    async fn store_health(&self) -> EngineResult<StoreHealth> {
        let attempted = || format!("ask how {} is", self.0.location);
        let problems = |transaction: &mut Transaction<'_>| {
            let mut statement = transaction.sql("PRAGMA quick_check(5)")?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            let lines = lines.collect::<Result<Vec<_>, _>>()?;
            Ok(lines.into_iter().filter(|line| line != "ok").collect::<Vec<_>>())
        };
        let problems = self.look(attempted, problems).await?;
        let Some(path) = self.0.watch.path() else {
            return Ok(StoreHealth::default());
        };
        let size = fs::metadata(path).map_err(|error| {
            let reason = format!("{}: {error}", path.display());
            EngineError::new(EngineErrorKind::Connection, attempted(), reason).with_source(error)
        })?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(StoreHealth {
            nodes: Vec::new(),
            file: Some(FileHealth {
                path: path.display().to_string(),
                bytes: size.len(),
                log_bytes: fs::metadata(log).map_or(0, |log| log.len()),
                full_sync: self.0.full_sync,
                problems,
                file_system: file_system(path),
            }),
        })
    }
}

impl EmbeddedEngine {
    /// Does the same for each, all in one transaction. An error ends it for those that follow, too.
    async fn each<A: Clone + Send + 'static, T: Send + 'static>(
        &self,
        all: &[A],
        attempted: impl Fn(&A) -> String,
        one: impl Fn(&mut Transaction<'_>, &A) -> Step<T> + Send + 'static,
    ) -> Vec<EngineResult<T>> {
        let asked = all.to_vec();
        let operation = move |transaction: &mut Transaction<'_>| {
            let lot = |one_of: &A| match one(transaction, one_of) {
                Err(failure) if !failure.is_refusal() => Err(failure),
                lot => Ok(lot),
            };
            asked.iter().map(lot).collect::<Step<Vec<Step<T>>>>()
        };
        let lots = match self.0.look.run(operation).await {
            Ok(lots) => lots,
            Err(failure) => all.iter().map(|_| Err(failure.clone())).collect(),
        };
        let lots = all.iter().zip(lots);
        lots.map(|(one, lot)| lot.map_err(|failure| failure.attempted(attempted(one))))
            .collect()
    }
}

/// The type of the file system that a file is on, where `/proc` tells.
fn file_system(path: &Path) -> Option<String> {
    let path = fs::canonicalize(path).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        // Spaces in the path are written as \040.
        let place = words.next()?.replace("\\040", " ");
        path.starts_with(&place)
            .then_some((place.len(), words.next()?.to_owned()))
    });
    // Of several at one place the last one counts.
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}
