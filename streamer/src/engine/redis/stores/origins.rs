//! Which IDs restored messages had, and have.

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    super::{RedisEngine, command::with_ids, reply, script},
    eval, texts, with_items,
};
use crate::{
    engine::{EngineResult, Origin, Origins, keys, origins::ids_from_text},
    entry::{EntryId, StreamName},
};

#[async_trait]
impl Origins for RedisEngine {
    async fn restored_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<EntryId>>> {
        let attempted = || format!("look up restored messages of stream '{stream}'");
        let found = self.fields_of_ids(&keys::restored(stream), ids, attempted).await?;
        let id = |found: Option<Bytes>| found.as_ref().and_then(EntryId::from_text);
        Ok(found.into_iter().map(id).collect())
    }

    async fn earlier_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<Vec<EntryId>>>> {
        let attempted = || format!("look up the earlier IDs of messages of stream '{stream}'");
        let found = self.fields_of_ids(&keys::original_ids(stream), ids, attempted).await?;
        let ids = |found: Option<Bytes>| found.as_deref().and_then(ids_from_text);
        Ok(found.into_iter().map(ids).collect())
    }

    async fn forget_earlier_ids(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let key = keys::original_ids(stream);
        let command = with_items("HDEL", &key, &texts(ids));
        self.ask(key.as_bytes(), &command, reply::number, || {
            format!("remove the earlier IDs of messages of stream '{stream}'")
        })
        .await
    }

    async fn forget_restored(&self, stream: &StreamName, gone: &[Origin]) -> EngineResult<u64> {
        if gone.is_empty() {
            return Ok(0);
        }
        let key = keys::restored(stream);
        let mut command = eval(&script::FORGET_RESTORED, &[stream.as_bytes(), key.as_bytes()]);
        for Origin { first, current } in gone {
            command.arg(first.to_string()).arg(current.to_string());
        }
        self.ask(key.as_bytes(), &command, reply::number, || {
            format!("forget restored messages of stream '{stream}'")
        })
        .await
    }

    async fn page_of_lost(
        &self,
        stream: &StreamName,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<Origin>)> {
        let key = keys::restored(stream);
        let attempted = || format!("list the restored messages of stream '{stream}'");
        let (next, page) = self.page_of_hash(&key, cursor.as_ref(), count, attempted).await?;
        let origin = |(first, current)| {
            Some(Origin {
                first: EntryId::from_text(&first)?,
                current: EntryId::from_text(&current)?,
            })
        };
        let origins: Vec<Origin> = page.into_iter().filter_map(origin).collect();
        let ids = origins.iter().map(|origin| origin.current).collect();
        let lost = self.lost(&[stream.as_bytes(), key.as_bytes()], ids, attempted).await?;
        let origin = |place| origins.get(place).copied();
        Ok((next, lost.into_iter().filter_map(origin).collect()))
    }

    async fn page_of_lost_earlier_ids(
        &self,
        stream: &StreamName,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<EntryId>)> {
        let attempted = || format!("list the messages of stream '{stream}' that were restored more than once");
        let (next, page) = self
            .page_of_hash(&keys::original_ids(stream), cursor.as_ref(), count, attempted)
            .await?;
        let ids: Vec<EntryId> = page.iter().filter_map(|(id, _)| EntryId::from_text(id)).collect();
        let lost = self.lost(&[stream.as_bytes()], ids.clone(), attempted).await?;
        Ok((
            next,
            lost.into_iter().filter_map(|place| ids.get(place).copied()).collect(),
        ))
    }
}

impl RedisEngine {
    /// The fields of a hash whose names are these IDs.
    async fn fields_of_ids(
        &self,
        key: &str,
        ids: &[EntryId],
        attempted: impl Fn() -> String,
    ) -> EngineResult<Vec<Option<Bytes>>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let command = with_items("HMGET", key, &texts(ids));
        self.ask(key.as_bytes(), &command, reply::optional_bytes, attempted)
            .await
    }

    /// The places of those that are not on the stream, and lead to no other ID.
    async fn lost(
        &self,
        keys: &[&[u8]],
        ids: Vec<EntryId>,
        attempted: impl Fn() -> String,
    ) -> EngineResult<Vec<usize>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let command = with_ids(eval(&script::LOST, keys), &ids);
        let place = |value| {
            Ok(usize::try_from(reply::number(value)?)
                .unwrap_or_default()
                .saturating_sub(1))
        };
        let places = |answer| reply::array(answer)?.into_iter().map(place).collect();
        self.ask(keys[0], &command, places, attempted).await
    }
}
