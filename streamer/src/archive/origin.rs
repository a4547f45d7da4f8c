//! Which IDs a restored message had before.
//!
//! The entry of a restored message names the last of them, `original_id`, and has no room for more: laravel-streamer
//! reads the same entries. So two hashes are kept beside the stream:
//!
//! - `{stream}:restored`: an archived ID → the ID of the entry that it became. It is written in the same step as that
//!   entry, so that nothing is restored twice, and it stays: replays follow it, also when that entry is archived in turn.
//! - `{stream}:original_ids`: the ID of an entry that was restored more than once → all IDs that it had, oldest first.

use bytes::Bytes;

use super::ArchivedMessage;
use crate::{
    engine::{Engine, EngineResult, Record, keys},
    entry::{Entry, EntryId, Fields, StreamName},
    message,
};

const ORIGINAL_ID: &str = "original_id";

/// What is written in the same step as the entry that a message becomes.
pub(super) fn record(archived: &ArchivedMessage) -> Record {
    Record::Once {
        hash: restored_key(&archived.stream),
        field: text(archived.id),
    }
}

/// The fields of the entry that a message becomes: its own, with the ID that it had in the archive, and a fresh hash.
pub(super) fn restored_fields(archived: &ArchivedMessage) -> Fields {
    let original_id = (Bytes::from_static(ORIGINAL_ID.as_bytes()), text(archived.id));
    let part = |name: &str| last(&archived.fields, name).map_or(&[][..], |value| value);
    let hash = message::hash([part("type"), part("name"), part("domain"), part("data")]);
    let hash = Bytes::copy_from_slice(&hash);
    let mut fields = Vec::with_capacity(archived.fields.len() + 1);
    // Where laravel-streamer has it; an entry of somebody else has no `_id`.
    let envelope = archived.fields.first().is_some_and(|(name, _)| name == "_id");
    if !envelope {
        fields.push(original_id.clone());
    }
    for (name, value) in &archived.fields {
        match name.as_ref() {
            b"_id" if fields.is_empty() => {
                fields.push((name.clone(), Bytes::from_static(b"*")));
                fields.push(original_id.clone());
            }
            b"original_id" => {}
            b"hash" => fields.push((name.clone(), hash.clone())),
            _ => fields.push((name.clone(), value.clone())),
        }
    }
    fields
}

/// Keeps the IDs that a message had before it became the entry `id`, where there is more than `original_id` tells.
pub(super) async fn remember(engine: &dyn Engine, archived: &ArchivedMessage, id: EntryId) -> EngineResult<()> {
    if archived.original_ids.is_empty() {
        return Ok(());
    }
    let all = archived
        .original_ids
        .iter()
        .chain([&archived.id])
        .map(EntryId::to_string);
    let all = Bytes::from(all.collect::<Vec<_>>().join(" "));
    engine
        .hash_put(&original_ids_key(&archived.stream), &[(text(id), all)])
        .await
}

/// These entries as messages for the archive, with the IDs that they had before.
pub(crate) async fn to_archive(
    engine: &dyn Engine,
    stream: &StreamName,
    entries: Vec<Entry>,
) -> EngineResult<Vec<ArchivedMessage>> {
    let mut messages = entries
        .into_iter()
        .map(|entry| ArchivedMessage {
            stream: stream.clone(),
            id: entry.id,
            original_ids: last(&entry.fields, ORIGINAL_ID).and_then(id).into_iter().collect(),
            fields: entry.fields,
        })
        .collect::<Vec<_>>();
    let mut restored = messages
        .iter_mut()
        .filter(|message| !message.original_ids.is_empty())
        .collect::<Vec<_>>();
    if !restored.is_empty() {
        let fields = restored.iter().map(|message| text(message.id)).collect::<Vec<_>>();
        let known = engine.hash_get(&original_ids_key(stream), &fields).await?;
        for (message, known) in restored.iter_mut().zip(known) {
            let all = known.as_deref().and_then(ids);
            // What else it says would be of another message.
            let all = all.filter(|all| all.last() == message.original_ids.last());
            message.original_ids = all.unwrap_or_else(|| std::mem::take(&mut message.original_ids));
        }
    }
    Ok(messages)
}

/// Forgets what is kept beside the stream for messages that are in the archive again.
pub(crate) async fn forget(
    engine: &dyn Engine,
    archive: &dyn super::ArchiveStorage,
    messages: &[ArchivedMessage],
) -> Result<(), super::TransferError> {
    for message in messages {
        let Some(previous) = message.original_ids.last().copied() else {
            continue;
        };
        let became = engine
            .hash_get(&restored_key(&message.stream), &[text(previous)])
            .await?;
        if became.into_iter().flatten().next() == Some(text(message.id)) {
            // A restore that was cut short may have left it in the archive under that ID too.
            archive.delete(&message.stream, previous).await?;
        }
        engine
            .hash_remove(&original_ids_key(&message.stream), &[text(message.id)])
            .await?;
    }
    Ok(())
}

fn restored_key(stream: &StreamName) -> String {
    keys::restored(stream)
}

fn original_ids_key(stream: &StreamName) -> String {
    keys::original_ids(stream)
}

fn text(id: EntryId) -> Bytes {
    Bytes::from(id.to_string())
}

fn id(text: &Bytes) -> Option<EntryId> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn ids(text: &[u8]) -> Option<Vec<EntryId>> {
    let ids = std::str::from_utf8(text).ok()?.split(' ');
    ids.map(|id| id.parse().ok()).collect()
}

fn last<'a>(fields: &'a Fields, name: &str) -> Option<&'a Bytes> {
    let named = |(field, value): &'a (Bytes, Bytes)| (field == name).then_some(value);
    fields.iter().rev().find_map(named)
}
