//! One source, or several as one: on a Redis Cluster a blocking read takes streams of one slot only.
//!
//! A single source is driven by whoever asks for deliveries, so that a batch crosses no task more than it must. Several
//! have a task each, and one channel with room for a few batches. Each registers what it received before it sends it, so
//! that it is renewed while it waits there; and none reads while too much waits.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{
    Core, Delivery, Next, SubscribeError, WhyEnded,
    source::{Source, Step},
};

/// How many batches wait in the channel.
const BATCHES: usize = 2;

/// Where deliveries come from.
pub(super) enum Sources {
    One(Box<Source>),
    Many(mpsc::Receiver<Vec<Delivery>>),
}

/// The sources of all shards, and the tasks that drive them where there are several.
pub(super) fn sources(core: &Arc<Core>) -> (Sources, Vec<impl Future<Output = Result<(), SubscribeError>> + use<>>) {
    if core.shards.len() == 1 {
        return (Sources::One(Box::new(Source::new(core.clone(), 0))), Vec::new());
    }
    let (sender, receiver) = mpsc::channel(BATCHES);
    let tasks = (0..core.shards.len()).map(|shard| drive(Source::new(core.clone(), shard), sender.clone()));
    let tasks = tasks.collect();
    (Sources::Many(receiver), tasks)
}

impl Sources {
    pub(super) async fn next(&mut self, core: &Core) -> Result<Next, SubscribeError> {
        match self {
            Self::One(source) => one(source, core).await,
            Self::Many(batches) => many(batches, core).await,
        }
    }

    /// What was prefetched by the caller's own source; the others see to it themselves.
    pub(super) async fn drain(&mut self) -> Result<Option<Vec<Delivery>>, SubscribeError> {
        let Self::One(source) = self else { return Ok(None) };
        drain(source).await;
        let mut drained = Vec::new();
        while let Some(batch) = source.ready.pop_front() {
            drained.extend(batch);
        }
        Ok(Some(drained).filter(|drained| !drained.is_empty()))
    }

    /// Waits for `dispatch`. A source that is driven by the caller rejoins missing consumer groups meanwhile; sources with a
    /// task of their own do so in that task.
    pub(super) async fn dispatching<T>(&mut self, dispatch: impl Future<Output = T>) -> Result<T, SubscribeError> {
        match self {
            Self::One(source) => source.wait_for_workers(dispatch).await,
            Self::Many(_) => Ok(dispatch.await),
        }
    }

    pub(super) fn has_backlog(&self) -> bool {
        match self {
            Self::One(source) => source.is_behind(),
            Self::Many(batches) => !batches.is_empty(),
        }
    }
}

/// Receives what is outstanding. Should that fail, the next step tells it, and is patient if it may.
async fn drain(source: &mut Source) {
    if let Err(error) = source.drain().await {
        source.postpone(error);
    }
}

async fn one(source: &mut Source, core: &Core) -> Result<Next, SubscribeError> {
    loop {
        match source.step().await? {
            Step::Batch(batch) => return Ok(Next::Batch(batch)),
            Step::Stopped => return Ok(Next::Ended(WhyEnded::Stopped)),
            Step::Idle if core.is_quiet() => {
                drain(source).await;
                if let Some(batch) = source.ready.pop_front() {
                    return Ok(Next::Batch(batch));
                }
                source.park().await;
                return Ok(Next::Ended(WhyEnded::Quiet));
            }
            Step::Idle => {}
        }
    }
}

async fn many(batches: &mut mpsc::Receiver<Vec<Delivery>>, core: &Core) -> Result<Next, SubscribeError> {
    loop {
        tokio::select! {
           biased;
            batch = batches.recv() => match batch {
                Some(batch) => return Ok(Next::Batch(batch)),
                None if core.stop.is_cancelled() => return Ok(Next::Ended(WhyEnded::Stopped)),
                None if core.halt.is_cancelled() => return Ok(Next::Ended(WhyEnded::Quiet)),
                // A task ended before its time: whoever joins it will stop this.
                None => core.stop.cancelled().await,
            },
            () = core.quiet.changed() => {
                if core.is_quiet() {
                    // What still comes is handed on before the end.
                    core.halt.cancel();
                }
            }
        }
    }
}

/// The task of one shard.
async fn drive(mut source: Source, batches: mpsc::Sender<Vec<Delivery>>) -> Result<(), SubscribeError> {
    let core = source.core.clone();
    loop {
        match source.step().await? {
            Step::Batch(batch) => {
                let batch = match batches.try_send(batch) {
                    Ok(()) => continue,
                    Err(error) => error.into_inner(),
                };
                // Waiting may take long, and nobody would renew a reply that nobody receives.
                drain(&mut source).await;
                tokio::select! {
                    biased;
                    sent = source.wait_for_workers(batches.send(batch)) => {
                        if sent?.is_err() {
                            // Nobody asks any more; what is registered is released.
                            core.halt.cancelled().await;
                        }
                    }
                    () = core.closed.cancelled() => return Ok(()),
                }
            }
            // A store that answers at once with nothing must not keep a thread busy.
            Step::Idle => tokio::time::sleep(Duration::ZERO).await,
            Step::Stopped => break,
        }
    }
    while let Some(batch) = source.ready.pop_front() {
        // Where it was only quiet; after a stop it is released.
        if core.stop.is_cancelled() || batches.send(batch).await.is_err() {
            break;
        }
    }
    drop(batches);
    core.closed.cancelled().await;
    Ok(())
}
