//! What each operation on groups is on the store.

use std::time::Duration;

use async_trait::async_trait;

use super::{EmbeddedEngine, group, info, pending, transaction::Transaction};
use crate::{
    engine::{
        ConsumerInfo, EngineResult, GroupAdmin, GroupInfo, GroupStart, PendingEntry, PendingFilter, PendingSummary,
        Redelivery,
    },
    entry::{EntryId, StreamName},
};

#[async_trait]
impl GroupAdmin for EmbeddedEngine {
    async fn groups(&self, stream: &StreamName) -> EngineResult<Vec<GroupInfo>> {
        let name = stream.clone();
        self.look(
            || format!("list the groups of stream '{stream}'"),
            move |transaction| info::groups(transaction, &name),
        )
        .await
    }

    async fn consumers(&self, stream: &StreamName, group: &str) -> EngineResult<Vec<ConsumerInfo>> {
        let (name, group_name) = (stream.clone(), group.to_owned());
        self.look(
            || format!("list the consumers of group '{group}' on stream '{stream}'"),
            move |transaction| info::consumers(transaction, &name, &group_name),
        )
        .await
    }

    async fn pending_summary(&self, stream: &StreamName, group: &str) -> EngineResult<PendingSummary> {
        let (name, group_name) = (stream.clone(), group.to_owned());
        self.look(
            || format!("count what is pending on stream '{stream}' in group '{group}'"),
            move |transaction| pending::summary(transaction, &name, &group_name),
        )
        .await
    }

    async fn pending(
        &self,
        stream: &StreamName,
        group: &str,
        filter: PendingFilter<'_>,
    ) -> EngineResult<Vec<PendingEntry>> {
        let (name, group_name) = (stream.clone(), group.to_owned());
        let consumer = filter.consumer.map(str::to_owned);
        let PendingFilter {
            start,
            end,
            count,
            min_idle,
            ..
        } = filter;
        self.look(
            || format!("list what is pending on stream '{stream}' in group '{group}'"),
            move |transaction| {
                let filter = PendingFilter {
                    start,
                    end,
                    count,
                    consumer: consumer.as_deref(),
                    min_idle,
                };
                pending::list(transaction, &name, &group_name, filter)
            },
        )
        .await
    }

    async fn create_group(
        &self,
        stream: &StreamName,
        group: &str,
        start: GroupStart,
        create_stream: bool,
    ) -> EngineResult<()> {
        let (name, group_name) = (stream.clone(), group.to_owned());
        self.write(
            || format!("create group '{group}' on stream '{stream}'"),
            move |transaction| group::create(transaction, &name, &group_name, start, create_stream),
        )
        .await
    }

    async fn set_group_position(&self, stream: &StreamName, group: &str, start: GroupStart) -> EngineResult<()> {
        let (name, group_name) = (stream.clone(), group.to_owned());
        self.write(
            || format!("move group '{group}' on stream '{stream}'"),
            move |transaction| group::set_position(transaction, &name, &group_name, start),
        )
        .await
    }

    async fn destroy_group(&self, stream: &StreamName, group: &str) -> EngineResult<bool> {
        let (name, group_name) = (stream.clone(), group.to_owned());
        self.write(
            || format!("remove group '{group}' from stream '{stream}'"),
            move |transaction| group::destroy(transaction, &name, &group_name),
        )
        .await
    }

    async fn read_pending(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        after: EntryId,
        count: usize,
    ) -> EngineResult<Redelivery> {
        let (name, group_name, own) = (stream.clone(), group.to_owned(), consumer.to_owned());
        self.write(
            || format!("read what is pending with '{consumer}' on stream '{stream}' in group '{group}'"),
            move |transaction| pending::read_own(transaction, &name, &group_name, &own, after, count.max(1)),
        )
        .await
    }

    async fn claim(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        min_idle: Duration,
        ids: &[EntryId],
    ) -> EngineResult<Redelivery> {
        if ids.is_empty() {
            return Ok(Redelivery::default());
        }
        let (name, group_name, heir, ids) = (stream.clone(), group.to_owned(), consumer.to_owned(), ids.to_vec());
        self.write(
            || format!("claim entries of stream '{stream}' in group '{group}' for '{consumer}'"),
            move |transaction| pending::claim(transaction, &name, &group_name, &heir, min_idle, &ids),
        )
        .await
    }

    async fn auto_claim(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        min_idle: Duration,
        from: EntryId,
        count: usize,
    ) -> EngineResult<Redelivery> {
        let (name, group_name, heir) = (stream.clone(), group.to_owned(), consumer.to_owned());
        self.write(
            || format!("claim idle entries of stream '{stream}' in group '{group}' for '{consumer}'"),
            move |transaction| {
                pending::auto_claim(transaction, &name, &group_name, &heir, min_idle, from, count.max(1))
            },
        )
        .await
    }

    async fn acknowledge(&self, stream: &StreamName, group: &str, ids: &[EntryId]) -> EngineResult<u64> {
        let (name, group_name, ids) = (stream.clone(), group.to_owned(), ids.to_vec());
        let attempted = || format!("acknowledge entries of stream '{stream}' in group '{group}'");
        let is_one = ids.len() == 1;
        let operation =
            move |transaction: &mut Transaction<'_>| pending::acknowledge(transaction, &name, &group_name, &ids);
        match is_one {
            true => self.write_at_once(attempted, operation).await,
            false => self.write(attempted, operation).await,
        }
    }
}
