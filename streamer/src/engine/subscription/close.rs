//! Gives back what is left, and leaves the group.
//!
//! Nothing is lost when that fails: what stays pending is claimed by others after the reclaim time.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, timeout};

use super::{Close, Core, lease::dead_after, take_up::set_idle};
use crate::{
    engine::{
        EngineError, EngineErrorKind, EngineResult, EntryEnd, EntrySettlement, FailureChange, Member, Scan, TakeRequest,
    },
    entry::{EntryId, StreamName},
};

/// How long leaving a group may take.
const LEAVING: Duration = Duration::from_secs(5);

/// How many entries of a stream are released in one step.
const RELEASED_AT_ONCE: usize = 1000;

/// How many streams are left at once.
const STREAMS_AT_ONCE: usize = 16;

/// A group that is gone, or was never made, has no consumer and nothing pending.
fn has_group(error: &EngineError) -> bool {
    error.kind() != EngineErrorKind::NoGroup
}

impl Core {
    /// See [`Settler::close`](super::Settler::close).
    pub(super) async fn close(&self, how: Close) -> EngineResult<()> {
        self.stop_reading();
        let mut is_closed = self.close_once.lock().await;
        if std::mem::replace(&mut *is_closed, true) {
            return Ok(());
        }
        let done = match how {
            Close::Aborted => Ok(()),
            Close::Orderly | Close::Failed => timeout(LEAVING, self.leave(how)).await.unwrap_or_else(|_| {
                Err(EngineError::new(
                    EngineErrorKind::Unavailable,
                    "give back what was not handled",
                    "the store did not answer in time; others claim it after the reclaim time",
                ))
            }),
        };
        self.closed.cancel();
        done
    }

    async fn leave(&self, how: Close) -> EngineResult<()> {
        let Some(member) = &self.spec.member else {
            return self.list_kept().await;
        };
        let mut failure = self.release_all(member, how).await.err();
        let may_miss_some = how == Close::Failed && (self.parked.load(Ordering::Acquire) < self.shards.len())
            || self.lost_reply.load(Ordering::Acquire);
        // What another process has in flight under the name is left to it.
        if may_miss_some && !self.users.is_refused() {
            failure = self.release_unknown(member).await.err().filter(has_group).or(failure);
        }
        // From here on nothing makes the consumer, or its mark, again.
        *self.has_left.write().await = true;
        for streams in self.names.chunks(STREAMS_AT_ONCE) {
            for left in self.store.leave(member, streams).await {
                failure = left.err().filter(has_group).or(failure);
            }
        }
        self.unmark_name(member).await;
        if let (Close::Orderly, Some(reclaim), None) = (how, self.spec.reclaim, &failure) {
            // Programs that always end before the first sweep would leave those that were killed for ever.
            self.sweep_once(member, dead_after(reclaim)).await;
        }
        failure.map_or(Ok(()), Err)
    }

    /// Releases what is in the table: what was not begun, or has an outcome that could not be stored, always; what runs
    /// where something failed.
    async fn release_all(&self, member: &Member, how: Close) -> EngineResult<()> {
        let mut failure = None;
        let mut requests = Vec::<(StreamName, Vec<EntrySettlement>)>::new();
        for stream in 0..self.names.len() as u32 {
            let left = self.in_flight.take_all(stream).into_iter();
            let left = left.filter(|left| !left.runs || how == Close::Failed);
            let mut released = left.map(|left| EntrySettlement {
                id: left.id,
                end: EntryEnd::Release {
                    count: u64::from(left.count_before) + u64::from(left.begun),
                },
                failures: None,
            });
            loop {
                let some = released.by_ref().take(RELEASED_AT_ONCE).collect::<Vec<_>>();
                if some.is_empty() {
                    break;
                }
                requests.push((self.name(stream).clone(), some));
            }
        }
        for some in requests.chunks(STREAMS_AT_ONCE) {
            for answer in self.store.settle(Some(member), some).await {
                failure = answer.err().or(failure);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// A reply was lost on its way: what it delivered is pending with this consumer, and nobody here knows of it.
    async fn release_unknown(&self, member: &Member) -> EngineResult<()> {
        for stream in 0..self.names.len() as u32 {
            let name = self.name(stream);
            let mut from = EntryId::MIN;
            loop {
                let request = [TakeRequest {
                    stream: name.clone(),
                    from,
                }];
                let taken = self.store.take(member, Scan::Own, &request, RELEASED_AT_ONCE).await;
                let Some(taken) = taken.into_iter().next() else { break };
                let taken = taken?;
                let ends = taken.entries.into_iter().map(|found| {
                    let id = found.entry.id;
                    match self.delayed(stream).look(stream, id) {
                        Some((count, left, _)) => {
                            let arming = super::delayed_retries::Arming::of(self.spec.reclaim, left);
                            set_idle(id, left, arming.idle, u64::from(count))
                        }
                        None => EntrySettlement {
                            id,
                            end: EntryEnd::Release {
                                count: found.count_before,
                            },
                            failures: None,
                        },
                    }
                });
                let request = [(name.clone(), ends.collect::<Vec<_>>())];
                if !request[0].1.is_empty() {
                    for answer in self.store.settle(Some(member), &request).await {
                        answer?;
                    }
                }
                let Some(next) = taken.next else { break };
                from = next;
            }
        }
        Ok(())
    }

    /// Lists what waited here, and nowhere else, for an attempt that does not come any more.
    async fn list_kept(&self) -> EngineResult<()> {
        let mut requests = Vec::<(StreamName, Vec<EntrySettlement>)>::new();
        for delayed in &self.delayed {
            for ((stream, id), deferred) in delayed.take_all() {
                let Some(kept) = deferred.kept else { continue };
                if kept.failures == FailureChange::default() {
                    continue;
                }
                let name = self.name(stream);
                let settlement = EntrySettlement {
                    id,
                    end: EntryEnd::Forget,
                    failures: Some(Box::new(kept.failures)),
                };
                match requests.last_mut() {
                    Some((known, some)) if known == name && some.len() < RELEASED_AT_ONCE => some.push(settlement),
                    _ => requests.push((name.clone(), vec![settlement])),
                }
            }
        }
        let mut failure = None;
        let begun = Instant::now();
        for some in requests.chunks(STREAMS_AT_ONCE) {
            for answer in self.store.settle(None, some).await {
                failure = answer.err().or(failure);
            }
        }
        tracing::trace!("what waited for a retry was listed within {:?}", begun.elapsed());
        failure.map_or(Ok(()), Err)
    }
}
