//! What each operation of the contract is on the store: what it attempts, and whether it writes or only looks.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{
    EmbeddedEngine, consumers,
    entries::{self, Encoded},
    failure::Step,
    group, info, lists, pending,
    transaction::Transaction,
};
use crate::{
    engine::{
        Append, AppendManyError, Appended, ConsumerInfo, Engine, EngineResult, FullStreamInfo, GroupInfo, GroupStart,
        PendingEntry, PendingFilter, PendingSummary, Record, Redelivery, StreamInfo,
    },
    entry::{Entry, EntryId, RangeBound, StreamName, Trim},
};

#[async_trait]
impl Engine for EmbeddedEngine {
    fn location(&self) -> &str {
        &self.0.location
    }

    async fn warnings(&self) -> EngineResult<Vec<String>> {
        Ok(Vec::new())
    }

    async fn append(&self, append: Append) -> EngineResult<EntryId> {
        let append = Encoded::from(append);
        self.write(appending(&append.stream), move |transaction| {
            entries::append(transaction, &append).map(|appended| appended.id)
        })
        .await
    }

    fn overlapping_appends_keep_order(&self) -> bool {
        true
    }

    async fn append_recorded(&self, append: Append, record: Record) -> EngineResult<Appended> {
        let append = Encoded::from(append);
        self.write(appending(&append.stream), move |transaction| {
            lists::append_recorded(transaction, &append, &record)
        })
        .await
    }

    async fn append_many(&self, appends: Vec<Append>) -> Result<Vec<EntryId>, AppendManyError> {
        let streams: Vec<StreamName> = appends.iter().map(|append| append.stream.clone()).collect();
        let appends: Vec<Encoded> = appends.into_iter().map(Encoded::from).collect();
        let operation = move |transaction: &mut Transaction<'_>| {
            let lot = |append: &Encoded| match entries::append(transaction, append) {
                Err(failure) if !failure.is_refusal() => Err(failure),
                lot => Ok(lot.map(|appended| appended.id)),
            };
            appends.iter().map(lot).collect::<Step<Vec<Step<EntryId>>>>()
        };
        let lots = match self.0.write.run(operation).await {
            Ok(lots) => lots,
            // The commit failed, so none was written.
            Err(failure) => vec![Err(failure); streams.len()],
        };
        let results: Vec<EngineResult<EntryId>> = streams
            .iter()
            .zip(lots)
            .map(|(stream, lot)| lot.map_err(|failure| failure.attempted(appending(stream)())))
            .collect();
        if results.iter().any(Result::is_err) {
            return Err(AppendManyError { results });
        }
        Ok(results.into_iter().filter_map(Result::ok).collect())
    }

    async fn delete(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<u64> {
        let (name, ids) = (stream.clone(), ids.to_vec());
        self.write(
            || format!("delete entries of stream '{stream}'"),
            move |transaction| entries::delete(transaction, &name, &ids),
        )
        .await
    }

    async fn trim(&self, stream: &StreamName, trim: Trim) -> EngineResult<u64> {
        let name = stream.clone();
        self.write(
            || format!("trim stream '{stream}'"),
            move |transaction| entries::trim(transaction, &name, trim),
        )
        .await
    }

    async fn remove_stream(&self, stream: &StreamName) -> EngineResult<bool> {
        let name = stream.clone();
        self.write(
            || format!("remove stream '{stream}'"),
            move |transaction| transaction.remove_stream(&name),
        )
        .await
    }

    async fn len(&self, stream: &StreamName) -> EngineResult<u64> {
        let name = stream.clone();
        self.look(
            || format!("ask for the length of stream '{stream}'"),
            move |transaction| Ok(transaction.stream(&name)?.map_or(0, |stream| stream.length)),
        )
        .await
    }

    async fn range(
        &self,
        stream: &StreamName,
        start: RangeBound,
        end: RangeBound,
        count: Option<usize>,
        reverse: bool,
    ) -> EngineResult<Vec<Entry>> {
        let name = stream.clone();
        self.look(
            || format!("read a range of stream '{stream}'"),
            move |transaction| match transaction.stream(&name)? {
                Some(stream) => entries::range(transaction, stream, (start, end), count, reverse),
                None => Ok(Vec::new()),
            },
        )
        .await
    }

    async fn get_many(&self, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Vec<Option<Entry>>> {
        let (name, ids) = (stream.clone(), ids.to_vec());
        self.look(
            || format!("read entries of stream '{stream}'"),
            move |transaction| match transaction.stream(&name)? {
                Some(stream) => ids.iter().map(|id| entries::entry(transaction, stream, *id)).collect(),
                None => Ok(vec![None; ids.len()]),
            },
        )
        .await
    }

    async fn last_id(&self, stream: &StreamName) -> EngineResult<EntryId> {
        let name = stream.clone();
        self.look(
            || format!("ask for the last ID of stream '{stream}'"),
            move |transaction| Ok(transaction.stream(&name)?.map_or(EntryId::MIN, |stream| stream.last_id)),
        )
        .await
    }

    async fn info(&self, stream: &StreamName) -> EngineResult<Option<StreamInfo>> {
        let name = stream.clone();
        self.look(
            || format!("look at stream '{stream}'"),
            move |transaction| info::stream(transaction, &name),
        )
        .await
    }

    async fn full_info(&self, stream: &StreamName, count: usize) -> EngineResult<Option<FullStreamInfo>> {
        let name = stream.clone();
        self.look(
            || format!("look at stream '{stream}' in full"),
            move |transaction| info::full(transaction, &name, count),
        )
        .await
    }

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

    async fn acknowledge(&self, stream: &StreamName, group: &str, ids: &[EntryId]) -> EngineResult<u64> {
        let (name, group_name, ids) = (stream.clone(), group.to_owned(), ids.to_vec());
        self.write(
            || format!("acknowledge entries of stream '{stream}' in group '{group}'"),
            move |transaction| pending::acknowledge(transaction, &name, &group_name, &ids),
        )
        .await
    }

    async fn acknowledge_all(&self, group: &str, settled: &[(StreamName, Vec<EntryId>)]) -> EngineResult<u64> {
        // Asked for at once, they share a commit.
        let all = settled.iter().map(|(stream, ids)| self.acknowledge(stream, group, ids));
        join_all(all).await.into_iter().sum()
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

    async fn set_idle(
        &self,
        stream: &StreamName,
        group: &str,
        consumer: &str,
        ids: &[EntryId],
        idle: Duration,
    ) -> EngineResult<Vec<EntryId>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let (name, group_name, owner, ids) = (stream.clone(), group.to_owned(), consumer.to_owned(), ids.to_vec());
        self.write(
            || format!("renew entries of stream '{stream}' in group '{group}' for '{consumer}'"),
            move |transaction| pending::set_idle(transaction, &name, &group_name, &owner, &ids, idle),
        )
        .await
    }

    async fn remove_consumer_if_done(&self, stream: &StreamName, group: &str, consumer: &str) -> EngineResult<bool> {
        let (name, group_name, gone) = (stream.clone(), group.to_owned(), consumer.to_owned());
        let pending = self.write(
            || format!("remove consumer '{consumer}' of group '{group}' on stream '{stream}'"),
            move |transaction| consumers::remove_consumer(transaction, &name, &group_name, &gone, true),
        );
        Ok(pending.await?.unwrap_or_default() == 0)
    }

    async fn delete_consumer(&self, stream: &StreamName, group: &str, consumer: &str) -> EngineResult<u64> {
        let (name, group_name, gone) = (stream.clone(), group.to_owned(), consumer.to_owned());
        let pending = self.write(
            || format!("delete consumer '{consumer}' of group '{group}' on stream '{stream}'"),
            move |transaction| consumers::remove_consumer(transaction, &name, &group_name, &gone, false),
        );
        Ok(pending.await?.unwrap_or_default())
    }
}

/// What an append attempts, for error texts.
fn appending(stream: &StreamName) -> impl FnOnce() -> String + use<> {
    let stream = stream.clone();
    move || format!("append to stream '{stream}'")
}
