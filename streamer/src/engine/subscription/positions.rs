//! Where streams and groups stand, found out once, and again after they vanished.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::Instant;

use super::{
    Core, Event, OnNameInUse, SubscribeError,
    source::{Failure, Search, Source},
    trouble::{is_missing, is_of_a_stream},
};
use crate::{
    engine::{EngineError, EngineResult, GroupStart, Member},
    entry::{EntryId, StreamName},
};

/// How often a consumer shows that it is alive where an empty read does not.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(5);

/// Where one stream stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) stream: u32,
    /// The ID up to which messages were seen; `None` before the first look at the stream.
    pub(super) seen: Option<EntryId>,
    /// Whether the group is known to exist, and the position to be right.
    pub(super) is_resolved: bool,
    /// Trouble with this stream alone: how many attempts failed, and when the next one is.
    pub(super) aside: Option<Aside>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Aside {
    pub(super) attempts: u32,
    /// `None`: an attempt is under way.
    pub(super) until: Option<Instant>,
}

impl Standing {
    pub(super) fn new(stream: u32) -> Self {
        Self {
            stream,
            seen: None,
            is_resolved: false,
            aside: None,
        }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        let until = self.aside.and_then(|aside| aside.until);
        !self.is_resolved && until.is_none_or(|until| until <= now)
    }
}

impl Source {
    /// Finds out where streams stand that are not resolved, and creates groups that are missing. Streams that cannot be
    /// resolved are set aside.
    pub(super) async fn resolve(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        let asked = (0..self.standings.len())
            .filter(|local| self.standings[*local].is_due(now))
            .collect::<Vec<_>>();
        if asked.is_empty() {
            return Ok(());
        }
        if self.standings.iter().all(|standing| standing.seen.is_none()) {
            self.refuse_if_in_use().await?;
        }
        let core = self.core.clone();
        let answers = match &core.spec.member {
            Some(member) => self.join(&core, member, &asked).await,
            None => self.locate(&core, &asked).await,
        };
        let mut failures = Vec::new();
        let mut resolved = Vec::new();
        for (local, answer) in asked.iter().zip(answers) {
            match answer {
                Ok(seen) => {
                    let standing = &mut self.standings[*local];
                    standing.seen = Some(seen);
                    standing.is_resolved = true;
                    if let Some(aside) = &mut standing.aside {
                        aside.until = None;
                    }
                    resolved.push(standing.stream);
                }
                Err(error) => failures.push((*local, error)),
            }
        }
        if !resolved.is_empty() {
            core.has_joined.store(true, Ordering::Release);
            // Before the reader is replaced by one that reads these too.
            self.drain().await?;
            self.close_reader();
            self.take_up.own(&core, &resolved);
        }
        let nothing_works = failures.len() == self.standings.len();
        if nothing_works && failures.iter().all(|(_, error)| !is_of_a_stream(error.kind())) {
            // Not one stream's affair.
            if let Some((_, error)) = failures.into_iter().next() {
                return Err(error.into());
            }
            return Ok(());
        }
        for (local, error) in failures {
            self.set_aside(local, error)?;
        }
        for stream in resolved {
            if core.in_flight.has_vanished(stream) {
                // Should the store go away meanwhile, the lease task does it later.
                _ = core.renew_stream(stream).await;
            }
        }
        Ok(())
    }

    /// One stream is left out for a while, and the others are read without it.
    pub(super) fn set_aside(&mut self, local: usize, error: EngineError) -> Result<(), SubscribeError> {
        // Then it is what a joint read failed because of.
        self.search = Search::No;
        let standing = &mut self.standings[local];
        standing.is_resolved = false;
        let attempts = standing.aside.map_or(0, |aside| aside.attempts);
        let again = self.core.again(&[standing.stream], attempts, error)?;
        standing.aside = Some(Aside {
            attempts: again.attempt,
            until: Some(Instant::now() + again.delay),
        });
        Ok(())
    }

    /// Joins the group on streams; gives the last ID that was delivered or seen.
    async fn join(&mut self, core: &Core, member: &Member, asked: &[usize]) -> Vec<EngineResult<EntryId>> {
        let standings = || asked.iter().map(|local| &self.standings[*local]);
        let names = standings().map(|standing| core.name(standing.stream).clone());
        let names = names.collect::<Vec<_>>();
        let again = standings().any(|standing| standing.seen.is_some());
        let (last_ids, idle) = match again {
            true => {
                futures_util::future::join(core.store.last_ids(&names), core.store.consumer_idle(member, &names)).await
            }
            false => (Vec::new(), Vec::new()),
        };
        let mut last_ids = last_ids.into_iter();
        let mut idle = idle.into_iter();
        let mut groups = Vec::with_capacity(names.len());
        let mut failed = Vec::with_capacity(names.len());
        for (standing, name) in standings().zip(names) {
            let (last_id, idle) = (last_ids.next(), idle.next());
            let Some(seen) = standing.seen else {
                failed.push(None);
                groups.push((name, core.spec.streams[standing.stream as usize].start));
                continue;
            };
            match idle {
                // It was a consumer there.
                Some(Ok(None)) => core.in_flight.set_vanished(standing.stream, true),
                Some(Err(error)) if is_missing(error.kind()) => core.in_flight.set_vanished(standing.stream, true),
                _ => {}
            }
            let stood = match last_id {
                // Another stream than before: all of it is new.
                Some(Ok(last_id)) if last_id < seen => Ok(EntryId::MIN),
                Some(Err(error)) if is_missing(error.kind()) => Ok(EntryId::MIN),
                Some(Err(error)) => Err(error),
                _ => Ok(seen),
            };
            groups.push((name, GroupStart::After(*stood.as_ref().unwrap_or(&seen))));
            failed.push(stood.err());
        }
        let mut joined = if failed.iter().all(Option::is_none) {
            core.store.join(member, &groups).await.into_iter()
        } else {
            // Where a position could not be looked up, no group may be created.
            let some = groups.iter().zip(&failed).filter(|(_, failed)| failed.is_none());
            let some = some.map(|(group, _)| group.clone()).collect::<Vec<_>>();
            core.store.join(member, &some).await.into_iter()
        };
        let mut answers = Vec::with_capacity(groups.len());
        for ((standing, (_, start)), failed) in standings().zip(&groups).zip(failed) {
            let answer = match failed {
                Some(error) => Err(error),
                None => joined
                    .next()
                    .unwrap_or_else(|| Err(no_answer(core.name(standing.stream)))),
            };
            answers.push(answer.map(|joined| match (standing.seen, start) {
                (Some(_), GroupStart::After(stood)) if joined.created => {
                    core.in_flight.set_vanished(standing.stream, true);
                    (core.events)(Event::GroupRecreated {
                        stream: standing.stream,
                        after: *stood,
                    });
                    *stood
                }
                (Some(seen), _) => seen,
                (None, _) => joined.last_delivered_id,
            }));
        }
        answers
    }

    /// Where to begin without a group.
    async fn locate(&mut self, core: &Core, asked: &[usize]) -> Vec<EngineResult<EntryId>> {
        let standings = asked.iter().map(|local| &self.standings[*local]);
        let names = standings.clone().map(|standing| core.name(standing.stream).clone());
        // Also where the position is known: a look tells whether the stream can be read.
        let answers = core.store.last_ids(&names.collect::<Vec<_>>()).await;
        let located = standings.zip(answers).map(|(standing, last_id)| {
            let last_id = last_id?;
            Ok(
                match (standing.seen, core.spec.streams[standing.stream as usize].start) {
                    (Some(seen), _) => seen,
                    (None, GroupStart::After(id)) => id,
                    (None, GroupStart::Now) => last_id,
                },
            )
        });
        located.collect()
    }

    /// Where a name was chosen for the consumer and its use by two processes is refused: whether another one uses it. Its
    /// idle time falls then, while this process does nothing but wait.
    async fn refuse_if_in_use(&mut self) -> Result<(), Failure> {
        let core = &self.core;
        let Some(member) = &core.spec.member else { return Ok(()) };
        if core.spec.on_name_in_use != OnNameInUse::Refuse || !core.spec.consumer_is_named {
            return Ok(());
        }
        let streams = self.standings.iter().map(|standing| standing.stream);
        let names = streams.map(|stream| core.name(stream).clone()).collect::<Vec<_>>();
        let begun = Instant::now();
        let before = core.store.consumer_idle(member, &names).await;
        if !before.iter().any(|idle| matches!(idle, Ok(Some(_)))) {
            return Ok(());
        }
        core.sleep(core.spec.read_wait.max(HEARTBEAT) + Duration::from_secs(1))
            .await;
        if core.stop.is_cancelled() {
            return Ok(());
        }
        let waited = begun.elapsed();
        let after = core.store.consumer_idle(member, &names).await;
        for ((before, after), name) in before.into_iter().zip(after).zip(names) {
            if let (Ok(Some(before)), Ok(Some(after))) = (before, after)
                // Half, because the network may have taken some of the time.
                && after < before + waited / 2
            {
                return Err(Failure::Ends(SubscribeError::NameInUse {
                    stream: name,
                    member: member.clone(),
                }));
            }
        }
        Ok(())
    }
}

/// A store that gave fewer answers than it was asked for.
pub(super) fn no_answer(stream: &StreamName) -> EngineError {
    EngineError::new(
        crate::engine::EngineErrorKind::Other,
        format!("work on stream '{stream}'"),
        "the store gave no answer for it",
    )
}
