//! The verbs of a delivery, each one transaction.
//!
//! What may find nothing looks first, with the connection that does not write, so that a quiet listening writes nothing
//! and holds up nobody.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    EmbeddedEngine, consumers, deliveries, failure::Step, gone_groups, reader::EmbeddedReader, settlement,
    transaction::Transaction, worker::Worker,
};
use crate::{
    engine::{
        DueEntries, EngineErrorKind, EngineResult, EntryEnd, EntrySettlement, GroupStart, GroupStore, Joined, Member,
        ReadMode, Reader, Renewal, RetryStates, Scan, TakeRequest, Taken, some_stream,
    },
    entry::{EntryId, StreamName},
};

/// Settlements of streams.
type Settlements = Vec<(StreamName, Vec<EntrySettlement>)>;

#[async_trait]
impl GroupStore for EmbeddedEngine {
    fn shards(&self, streams: &[StreamName]) -> Vec<Vec<usize>> {
        vec![(0..streams.len()).collect()]
    }

    async fn reader(&self, mode: ReadMode) -> EngineResult<Box<dyn Reader>> {
        some_stream(&mode)?;
        Ok(Box::new(EmbeddedReader::new(self.0.clone(), mode)))
    }

    async fn last_ids(&self, streams: &[StreamName]) -> Vec<EngineResult<EntryId>> {
        each(
            &self.0.look,
            "ask for the last ID of",
            streams.to_vec(),
            |stream| stream,
            |transaction, stream| {
                Ok(transaction
                    .stream(stream)?
                    .map_or(EntryId::MIN, |stream| stream.last_id))
            },
        )
        .await
    }

    async fn join(&self, member: &Member, streams: &[(StreamName, GroupStart)]) -> Vec<EngineResult<Joined>> {
        let joining = format!("join group '{}' on", member.group);
        let who = member.clone();
        let mut found = each(
            &self.0.look,
            &joining,
            streams.to_vec(),
            |(stream, _)| stream,
            move |transaction, (stream, _)| consumers::look_up(transaction, &who, stream),
        )
        .await;
        let incomplete = |index: &usize| matches!(found[*index], Ok(None | Some((_, false))));
        let incomplete: Vec<usize> = (0..streams.len()).filter(incomplete).collect();
        let who = member.clone();
        let made = each(
            &self.0.write,
            &joining,
            incomplete.iter().map(|index| streams[*index].clone()).collect(),
            |(stream, _)| stream,
            move |transaction, (stream, start)| consumers::join(transaction, &who, stream, *start),
        )
        .await;
        for (index, made) in incomplete.into_iter().zip(made) {
            match made {
                // There is no room for the consumer. Its first delivery makes it.
                Err(error) if error.kind() == EngineErrorKind::Full && matches!(found[index], Ok(Some(_))) => {}
                made => found[index] = made.map(|joined| Some((joined, true))),
            }
        }
        // `None` does not remain: what was missing was made, or is an error.
        let joined = |found: Option<(Joined, bool)>| found.map(|(joined, _)| joined).unwrap_or_default();
        let joined: Vec<_> = found.into_iter().map(|found| found.map(joined)).collect();
        let there = streams.iter().zip(&joined).filter(|(_, joined)| joined.is_ok());
        let there = there.map(|((stream, _), _)| stream.clone()).collect::<Vec<_>>();
        // Without them listeners that have succeeded run again, which is better than not to join.
        if let Err(error) = self.move_old_retry_states(&member.group, &there).await {
            tracing::warn!("{error}");
        }
        joined
    }

    async fn consumer_idle(&self, member: &Member, streams: &[StreamName]) -> Vec<EngineResult<Option<Duration>>> {
        let who = member.clone();
        each(
            &self.0.look,
            &format!("look for consumer '{}' of group '{}' on", member.consumer, member.group),
            streams.to_vec(),
            |stream| stream,
            move |transaction, stream| consumers::idle(transaction, &who, stream),
        )
        .await
    }

    async fn take(
        &self,
        member: &Member,
        scan: Scan,
        requests: &[TakeRequest],
        count: usize,
    ) -> Vec<EngineResult<Taken>> {
        let taking = format!("take pending entries in group '{}' of", member.group);
        let who = member.clone();
        let found = each(
            &self.0.look,
            &taking,
            requests.to_vec(),
            |request| &request.stream,
            move |transaction, request| {
                deliveries::candidates(transaction, &who, &request.stream, scan, request.from, count.max(1))
            },
        )
        .await;
        let mut taken = Vec::with_capacity(found.len());
        let mut candidates = Vec::new();
        for (index, (request, found)) in requests.iter().zip(found).enumerate() {
            taken.push(found.map(|found| {
                if !found.ids.is_empty() {
                    candidates.push((index, request.stream.clone(), found.ids));
                }
                Taken {
                    next: found.next,
                    ..Taken::default()
                }
            }));
        }
        let indexes: Vec<usize> = candidates.iter().map(|(index, ..)| *index).collect();
        let who = member.clone();
        let results = each(
            &self.0.write,
            &taking,
            candidates,
            |(_, stream, _)| stream,
            move |transaction, (_, stream, ids)| deliveries::take(transaction, &who, stream, scan, ids),
        )
        .await;
        for (index, result) in indexes.into_iter().zip(results) {
            let next = taken[index].as_ref().ok().and_then(|taken| taken.next);
            taken[index] = result.map(|taken| Taken { next, ..taken });
        }
        taken
    }

    async fn take_due(&self, member: &Member, due: &[DueEntries]) -> Vec<EngineResult<Taken>> {
        let who = member.clone();
        each(
            &self.0.write,
            &format!("take entries that are due in group '{}' of", member.group),
            due.to_vec(),
            |due| &due.stream,
            move |transaction, due| deliveries::take_due(transaction, &who, &due.stream, &due.ids),
        )
        .await
    }

    async fn renew(&self, member: &Member, leases: &[(StreamName, Vec<EntryId>)]) -> Vec<EngineResult<Renewal>> {
        let who = member.clone();
        each(
            &self.0.write,
            &format!("renew leases in group '{}' on entries of", member.group),
            leases.to_vec(),
            |(stream, _)| stream,
            move |transaction, (stream, ids)| deliveries::renew(transaction, &who, stream, ids),
        )
        .await
    }

    async fn adopt(&self, member: &Member, entries: &[(StreamName, Vec<(EntryId, u64)>)]) -> Vec<EngineResult<()>> {
        let who = member.clone();
        each(
            &self.0.write,
            &format!("adopt entries in group '{}' of", member.group),
            entries.to_vec(),
            |(stream, _)| stream,
            move |transaction, (stream, entries)| deliveries::adopt(transaction, &who, stream, entries),
        )
        .await
    }

    async fn begin(&self, member: &Member, stream: &StreamName, id: EntryId, count: u64) -> EngineResult<bool> {
        let (who, name) = (member.clone(), stream.clone());
        self.write(
            || format!("begin with entry {id} of stream '{stream}' in group '{}'", member.group),
            move |transaction| deliveries::begin(transaction, &who, &name, id, count),
        )
        .await
    }

    async fn settle(
        &self,
        member: Option<&Member>,
        settlements: &[(StreamName, Vec<EntrySettlement>)],
    ) -> Vec<EngineResult<usize>> {
        let mut results = self.settle_together(member, settlements.to_vec()).await;
        // Nothing was written of streams that failed. Messages without failures must not wait for records that there is
        // no room for, or no list: they free space.
        for (result, (stream, settlements)) in results.iter_mut().zip(settlements) {
            let Err(error) = result else { continue };
            if !matches!(error.kind(), EngineErrorKind::Full | EngineErrorKind::WrongType) {
                continue;
            }
            let freeing: Vec<_> = settlements.iter().filter(|one| frees_space(one)).cloned().collect();
            if !freeing.is_empty() {
                self.settle_together(member, vec![(stream.clone(), freeing)]).await;
            }
            let alone = self
                .settle_together(member, vec![(stream.clone(), settlements.clone())])
                .await;
            *result = alone.into_iter().next().unwrap_or(Ok(0));
        }
        results
    }

    async fn sweep(&self, member: &Member, streams: &[StreamName], idle: Duration) -> Vec<EngineResult<Vec<String>>> {
        let sweeping = format!("remove abandoned consumers of group '{}' on", member.group);
        let who = member.clone();
        let mut swept = each(
            &self.0.look,
            &sweeping,
            streams.to_vec(),
            |stream| stream,
            move |transaction, stream| consumers::abandoned(transaction, &who, stream, idle),
        )
        .await;
        let any = |index: &usize| matches!(&swept[*index], Ok(names) if !names.is_empty());
        let abandoned: Vec<usize> = (0..streams.len()).filter(any).collect();
        let who = member.clone();
        let removed = each(
            &self.0.write,
            &sweeping,
            abandoned.iter().map(|index| streams[*index].clone()).collect(),
            |stream| stream,
            move |transaction, stream| consumers::sweep(transaction, &who, stream, idle),
        )
        .await;
        for (index, removed) in abandoned.into_iter().zip(removed) {
            swept[index] = removed;
        }
        for (stream, swept) in streams.iter().zip(&mut swept).filter(|(_, swept)| swept.is_ok()) {
            let done = match self.sweep_states(member, stream).await {
                Ok(()) => self.sweep_gone_groups(stream).await,
                failed => failed,
            };
            if let Err(error) = done {
                *swept = Err(error);
            }
        }
        swept
    }

    async fn heartbeat(&self, member: &Member, streams: &[StreamName], max_idle: Duration) -> Vec<EngineResult<()>> {
        let idle = self.consumer_idle(member, streams).await;
        let quiet = |index: &usize| matches!(idle[*index], Ok(idle) if idle.is_none_or(|idle| idle >= max_idle));
        let quiet: Vec<usize> = (0..streams.len()).filter(quiet).collect();
        let mut results: Vec<EngineResult<()>> = idle.into_iter().map(|idle| idle.map(|_| ())).collect();
        let who = member.clone();
        let shown = each(
            &self.0.write,
            &format!("show consumer '{}' of group '{}' on", member.consumer, member.group),
            quiet.iter().map(|index| streams[*index].clone()).collect(),
            |stream| stream,
            move |transaction, stream| consumers::show(transaction, &who, stream),
        )
        .await;
        for (index, shown) in quiet.into_iter().zip(shown) {
            results[index] = shown;
        }
        results
    }

    async fn leave(&self, member: &Member, streams: &[StreamName]) -> Vec<EngineResult<bool>> {
        let who = member.clone();
        each(
            &self.0.write,
            &format!("remove consumer '{}' of group '{}' on", member.consumer, member.group),
            streams.to_vec(),
            |stream| stream,
            move |transaction, stream| consumers::remove_if_done(transaction, stream, &who.group, &who.consumer),
        )
        .await
    }
}

impl EmbeddedEngine {
    /// Settles all in one transaction.
    async fn settle_together(&self, member: Option<&Member>, settlements: Settlements) -> Vec<EngineResult<usize>> {
        let settling = match member {
            Some(member) => format!("settle entries in group '{}' of", member.group),
            None => "settle entries of".to_owned(),
        };
        let member = member.cloned();
        let entries: usize = settlements.iter().map(|(_, entries)| entries.len()).sum();
        let place = if entries <= FEW { Where::AtOnce } else { Where::Thread };
        each_where(
            &self.0.write,
            place,
            &settling,
            settlements,
            |(stream, _)| stream,
            move |transaction, (stream, settlements)| {
                settlement::settle(transaction, member.as_ref(), stream, settlements)
            },
        )
        .await
    }

    /// Removes retry states of entries that are not pending any more, page by page: other looks need not wait for all.
    /// Removes what groups that are gone have left.
    async fn sweep_gone_groups(&self, stream: &StreamName) -> EngineResult<()> {
        let attempted = || format!("remove what groups that are gone have left beside stream '{stream}'");
        let name = stream.clone();
        let left = self.look(attempted, move |transaction| {
            gone_groups::keys_of_gone_groups(transaction, &name)
        });
        if left.await?.is_empty() {
            return Ok(());
        }
        let name = stream.clone();
        self.write(attempted, move |transaction| {
            gone_groups::remove_keys_of_gone_groups(transaction, &name)
        })
        .await
    }

    async fn sweep_states(&self, member: &Member, stream: &StreamName) -> EngineResult<()> {
        let attempted = || {
            let group = &member.group;
            format!("remove obsolete retry states of group '{group}' on stream '{stream}'")
        };
        let mut after = Some(Bytes::new());
        while let Some(from) = after {
            let (who, name) = (member.clone(), stream.clone());
            let page = self.look(attempted, move |transaction| {
                deliveries::obsolete_states(transaction, &who, &name, &from)
            });
            let (obsolete, next) = page.await?;
            if !obsolete.is_empty() {
                let (who, name) = (member.clone(), stream.clone());
                self.write(attempted, move |transaction| {
                    deliveries::remove_states(transaction, &who, &name, &obsolete)
                })
                .await?;
            }
            after = next;
        }
        Ok(())
    }
}

/// Whether a settlement leaves the store smaller, or as it is.
fn frees_space(settlement: &EntrySettlement) -> bool {
    let adds = settlement
        .failures
        .as_ref()
        .is_some_and(|change| !change.add.is_empty());
    !adds && !matches!(settlement.end, EntryEnd::Defer(_))
}

/// So few entries are settled in a moment.
const FEW: usize = 8;

/// Runs a step for each stream, all in one transaction. What is refused for one leaves the others as they are; where
/// the transaction fails, it fails for all. `attempted` is completed by the stream's name.
pub(super) async fn each<I: Send + Sync + 'static, T: Send + 'static>(
    worker: &Worker,
    attempted: &str,
    items: Vec<I>,
    stream: fn(&I) -> &StreamName,
    step: impl FnMut(&mut Transaction<'_>, &I) -> Step<T> + Send + 'static,
) -> Vec<EngineResult<T>> {
    each_where(worker, Where::Thread, attempted, items, stream, step).await
}

/// Where a transaction may run.
#[derive(Clone, Copy)]
enum Where {
    /// In the thread of the store.
    Thread,
    /// In the task of the caller, if it comes alone: it is a short one.
    AtOnce,
}

async fn each_where<I: Send + Sync + 'static, T: Send + 'static>(
    worker: &Worker,
    place: Where,
    attempted: &str,
    items: Vec<I>,
    stream: fn(&I) -> &StreamName,
    mut step: impl FnMut(&mut Transaction<'_>, &I) -> Step<T> + Send + 'static,
) -> Vec<EngineResult<T>> {
    if items.is_empty() {
        return Vec::new();
    }
    let items = Arc::new(items);
    let shared = items.clone();
    let all = move |transaction: &mut Transaction<'_>| {
        let one = |item| match step(transaction, item) {
            Err(failure) if !failure.is_refusal() => Err(failure),
            result => Ok(result),
        };
        shared.iter().map(one).collect::<Step<Vec<Step<T>>>>()
    };
    let results = match place {
        Where::Thread => worker.run(all).await,
        Where::AtOnce => worker.run_at_once(all).await,
    };
    let results = match results {
        Ok(results) => results,
        Err(failure) => items.iter().map(|_| Err(failure.clone())).collect(),
    };
    let named = |(item, result): (&I, Step<T>)| {
        result.map_err(|failure| failure.attempted(format!("{attempted} stream '{}'", stream(item))))
    };
    items.iter().zip(results).map(named).collect()
}
