//! What each operation of the contract is on the store: what it attempts, and whether it writes or only looks.

use async_trait::async_trait;

use super::{
    EmbeddedEngine, durable,
    entries::{self, Encoded},
    failure::Step,
    info, layout, lists,
    transaction::Transaction,
};
use crate::{
    engine::{
        Append, AppendManyError, Appended, Durability, DurableAppend, Engine, EngineResult, FullStreamInfo, Record,
        StreamInfo,
    },
    entry::{Entry, EntryId, RangeBound, StreamName, Trim},
};

#[async_trait]
impl Engine for EmbeddedEngine {
    fn location(&self) -> &str {
        &self.0.location
    }

    async fn warnings(&self) -> EngineResult<Vec<String>> {
        let warning = self.look(
            || "look at the outbox of the store".to_owned(),
            |transaction| layout::warning(transaction.connection()),
        );
        Ok(warning.await?.into_iter().collect())
    }

    async fn append(&self, append: Append) -> EngineResult<EntryId> {
        append.check_due(None)?;
        let append = Encoded::from(append);
        let attempted = appending(&append.stream);
        let is_short = append.is_short();
        let operation =
            move |transaction: &mut Transaction<'_>| entries::append(transaction, &append).map(|appended| appended.id);
        match is_short {
            true => self.write_at_once(attempted, operation).await,
            false => self.write(attempted, operation).await,
        }
    }

    fn overlapping_appends_keep_order(&self) -> bool {
        true
    }

    async fn append_recorded(&self, append: Append, record: Record) -> EngineResult<Appended> {
        append.check_due(Some(&record))?;
        let append = Encoded::from(append);
        let attempted = appending(&append.stream);
        let is_short = append.is_short();
        let operation = move |transaction: &mut Transaction<'_>| lists::append_recorded(transaction, &append, &record);
        match is_short {
            true => self.write_at_once(attempted, operation).await,
            false => self.write(attempted, operation).await,
        }
    }

    async fn append_durably(
        &self,
        append: Append,
        record: Option<Record>,
        durability: Durability,
    ) -> EngineResult<DurableAppend> {
        durable::append(self, append, record, durability).await
    }

    async fn append_many(&self, appends: Vec<Append>) -> Result<Vec<EntryId>, AppendManyError> {
        if appends.iter().any(|append| append.check_due(None).is_err()) {
            return self.append_one_by_one(appends).await;
        }
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
}

impl EmbeddedEngine {
    /// Appends many of which some are refused: each has a result of its own.
    async fn append_one_by_one(&self, appends: Vec<Append>) -> Result<Vec<EntryId>, AppendManyError> {
        let mut results = Vec::with_capacity(appends.len());
        for append in appends {
            results.push(Engine::append(self, append).await);
        }
        Err(AppendManyError { results })
    }
}

/// What an append attempts, for error texts.
fn appending(stream: &StreamName) -> impl FnOnce() -> String + use<> {
    let stream = stream.clone();
    move || format!("append to stream '{stream}'")
}
