//! Messages that were handled and stay until other groups have acknowledged them.

use async_trait::async_trait;
use bytes::Bytes;

use super::super::{EmbeddedEngine, records};
use crate::{
    engine::{EngineResult, Handled, keys},
    entry::{EntryId, StreamName},
};

#[async_trait]
impl Handled for EmbeddedEngine {
    async fn add_handled(&self, stream: &StreamName, group: Option<&str>, ids: &[EntryId]) -> EngineResult<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let (key, members) = (keys::handled(stream, group), members(ids));
        self.write(
            || format!("mark entries of stream '{stream}' as handled"),
            move |transaction| records::set_add(transaction, &key, &members).map(drop),
        )
        .await
    }

    async fn page_of_handled(
        &self,
        stream: &StreamName,
        group: Option<&str>,
        cursor: u64,
        count: usize,
    ) -> EngineResult<(u64, Vec<EntryId>)> {
        let key = keys::handled(stream, group);
        let (next, members) = self
            .look(
                || format!("read which entries of stream '{stream}' are handled"),
                move |transaction| records::set_scan(transaction, &key, cursor, count),
            )
            .await?;
        Ok((next, members.iter().filter_map(EntryId::from_text).collect()))
    }

    async fn remove_handled(&self, stream: &StreamName, group: Option<&str>, ids: &[EntryId]) -> EngineResult<u64> {
        let (key, members) = (keys::handled(stream, group), members(ids));
        self.write(
            || format!("unmark handled entries of stream '{stream}'"),
            move |transaction| records::set_remove(transaction, &key, &members),
        )
        .await
    }
}

fn members(ids: &[EntryId]) -> Vec<Bytes> {
    ids.iter().map(|id| id.to_text()).collect()
}
