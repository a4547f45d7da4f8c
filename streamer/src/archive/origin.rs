//! Which IDs a restored message had before.
//!
//! The entry of a restored message names the last of them, `original_id`, and has no room for more: laravel-streamer
//! reads the same entries. The others are kept beside the stream ([`Origins`](crate::engine::Origins)), from the first ID
//! that a message had to its current one, so that nothing is restored twice and replays find the message. [`tidy`] removes
//! what is kept of messages that are neither on the stream nor in the archive any more.
//!
//! [`tidy`]: super::tidy::tidy

use bytes::Bytes;

use super::{ArchiveStorage, ArchivedMessage, TransferError};
use crate::{
    engine::{Engine, EngineResult, Record},
    entry::{Entry, EntryId, Fields, StreamName},
    message,
};

const ORIGINAL_ID: &str = "original_id";

/// The most earlier IDs of a message that are remembered: the first and the latest ones.
const MOST_IDS: usize = 100;

/// What is written in the same step as the entry that a message becomes.
pub(super) fn record(archived: &ArchivedMessage) -> Record {
    let mut ids = archived.original_ids.clone();
    if ids.len() >= MOST_IDS {
        ids.drain(1..=ids.len() + 1 - MOST_IDS);
    }
    ids.push(archived.id);
    Record::Restored { ids }
}

/// The fields of the entry that a message becomes: its own, with the ID that it had in the archive, and a fresh hash.
pub(super) fn restored_fields(archived: &ArchivedMessage) -> Fields {
    let original_id = (Bytes::from_static(ORIGINAL_ID.as_bytes()), archived.id.to_text());
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
            original_ids: last(&entry.fields, ORIGINAL_ID)
                .and_then(EntryId::from_text)
                .into_iter()
                .collect(),
            fields: entry.fields,
        })
        .collect::<Vec<_>>();
    let mut restored = messages
        .iter_mut()
        .filter(|message| !message.original_ids.is_empty())
        .collect::<Vec<_>>();
    if !restored.is_empty() {
        let ids = restored.iter().map(|message| message.id).collect::<Vec<_>>();
        let known = engine.earlier_ids(stream, &ids).await?;
        for (message, all) in restored.iter_mut().zip(known) {
            // What else it says would be of another message.
            let all = all.filter(|all| all.last() == message.original_ids.last());
            message.original_ids = all.unwrap_or_else(|| std::mem::take(&mut message.original_ids));
        }
    }
    Ok(messages)
}

/// Forgets what is kept beside a stream for messages of it that are in the archive again, and off the stream. Where they
/// were first stays known, as long as they are in the archive.
pub(crate) async fn forget(
    engine: &dyn Engine,
    archive: &dyn ArchiveStorage,
    messages: &[ArchivedMessage],
) -> Result<(), TransferError> {
    let restored = messages.iter().filter(|message| !message.original_ids.is_empty());
    let restored = restored.collect::<Vec<_>>();
    let Some(stream) = restored.first().map(|message| &message.stream) else {
        return Ok(());
    };
    let firsts = restored.iter().map(|message| message.original_ids[0]);
    let became = engine.restored_ids(stream, &firsts.collect::<Vec<_>>()).await?;
    // A restore that was cut short may have left them in the archive under those IDs, too.
    let previous = restored.iter().zip(became);
    let previous = previous.filter(|(message, became)| *became == Some(message.id));
    let previous = previous.filter_map(|(message, _)| message.original_ids.last().copied());
    archive.delete_many(stream, &previous.collect::<Vec<_>>()).await?;
    let ids = restored.iter().map(|message| message.id).collect::<Vec<_>>();
    engine.forget_earlier_ids(stream, &ids).await?;
    Ok(())
}

fn last<'a>(fields: &'a Fields, name: &str) -> Option<&'a Bytes> {
    let named = |(field, value): &'a (Bytes, Bytes)| (field == name).then_some(value);
    fields.iter().rev().find_map(named)
}
