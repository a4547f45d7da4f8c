//! Puts the stages of a listening together, and ends them in order.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
};

use tokio::{
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::sleep,
};

use super::{
    EndReason, ListenError, Listening, Report, Scope, Summary,
    dispatch::{self, Queue},
    failing_group::FailingGroupCache,
    plan::Plan,
    read,
    retention::Retention,
    scheduled,
    settle::Settling,
    supervisor::{Finished, Stage, Supervisor},
    work::{Counts, Worker},
};
use crate::engine::{self, Close, End, Event, EventSink, Settlement, Settler, Subscription};

/// See [`Listening::run`].
pub(super) async fn run(listening: Listening) -> Result<Summary, ListenError> {
    // However this ends, also when the future is dropped.
    let _ends = listening.health.ends();
    let plan = Arc::new(Plan::new(listening)?);
    let trouble = Arc::new(Notify::new());
    let store: Arc<dyn engine::GroupStore> = plan.context.streamer.engine().clone();
    let events = event_sink(&plan, &trouble);
    let Subscription {
        deliveries,
        settler,
        tasks,
    } = engine::subscribe(store, plan.spec(), events);

    // Each stage ends when the one before it has: reading drops the queues, the workers drop their ends of `outcomes`,
    // and settling tells the retention stage.
    let mut supervisor = Supervisor::default();
    for task in tasks {
        supervisor.spawn(Stage::Beside(task.name), async {
            task.future.await?;
            Ok(Finished::Other)
        });
    }
    if plan.health.is_watched() {
        let sampling = plan.health.clone().sample(settler.clone());
        supervisor.spawn(Stage::Beside("the health check"), async {
            sampling.await;
            Ok(Finished::Other)
        });
    }
    let moving = scheduled::move_due(Arc::clone(&plan), settler.clone());
    supervisor.spawn(Stage::Beside("the task that moves events that are due"), async {
        moving.await;
        Ok(Finished::Other)
    });
    let (dispatcher, queues) = dispatch::queues(&plan.options.workers);
    supervisor.spawn(
        Stage::Read,
        read::read(Arc::clone(&plan), deliveries, settler.clone(), dispatcher),
    );
    let (outcomes, settled) = mpsc::channel(64);
    let suspects = Arc::new(Semaphore::new(1));
    let failing = Arc::new(FailingGroupCache::new(&plan));
    let counts = queues.iter().map(|_| Arc::<Counts>::default()).collect::<Vec<_>>();
    for (queue, counts) in queues.iter().zip(&counts) {
        let worker = Worker {
            plan: Arc::clone(&plan),
            settler: settler.clone(),
            queue: Arc::clone(queue),
            suspects: Arc::clone(&suspects),
            failing: Arc::clone(&failing),
            counts: Arc::clone(counts),
        };
        supervisor.spawn(Stage::Work, worker.work(outcomes.clone()));
    }
    drop(outcomes);
    let retention = Retention::of(&plan);
    let (all_settled, sweep_on) = oneshot::channel::<()>();
    let settling = Settling {
        plan: Arc::clone(&plan),
        settler: settler.clone(),
        retention: retention.clone(),
        trouble,
    };
    supervisor.spawn(Stage::Settle, async move {
        let ended = settling.settle(settled).await;
        // After an error nothing is swept any more.
        ended.inspect(|_| drop(all_settled))
    });
    if let Some(retention) = retention.filter(|retention| retention.after.waits()) {
        supervisor.spawn(Stage::Retention, retention.sweep_until(sweep_on));
    }

    let Supervised {
        ended,
        is_unsettled,
        mut error,
    } = supervise(&plan, &settler, &queues, &mut supervisor).await;
    let how = match &error {
        _ if plan.context.stop.is_aborted() => Close::Aborted,
        // Nobody runs any more what has no outcome, or one that could not be stored.
        Some(_) => Close::Failed,
        None if is_unsettled => Close::Failed,
        None => Close::Orderly,
    };
    // What still runs is given up, before what it works on is given back.
    supervisor.abort_stages().await;
    match settler.close(how).await {
        Ok(()) => {}
        // Failures that were kept here for another attempt could not be listed.
        Err(lost) if plan.member.is_none() => _ = error.get_or_insert(ListenError::Engine(lost)),
        // What was not released can be claimed after the reclaim time.
        Err(error) => tracing::warn!("could not leave the group in order: {error}"),
    }
    supervisor.end().await;
    if let Some(metrics) = &plan.metrics {
        metrics.ended();
    }
    if let Some(error) = error {
        return Err(error);
    }
    let sum = |of: fn(&Counts) -> u64| counts.iter().map(|counts| of(counts)).sum();
    Ok(Summary {
        messages: sum(|counts| counts.messages.load(Ordering::Relaxed)),
        processed: sum(|counts| counts.processed.load(Ordering::Relaxed)),
        failed: sum(|counts| counts.failed.load(Ordering::Relaxed)),
        ended: if is_unsettled { EndReason::Aborted } else { ended },
    })
}

/// How the stages ended.
struct Supervised {
    ended: EndReason,
    /// Whether outcomes could not be stored.
    is_unsettled: bool,
    error: Option<ListenError>,
}

/// Waits for the stages to end, or for the time when the listening has to be over. The first failure ends the listening
/// as a stop does: what was begun is finished, what was not is released.
async fn supervise(plan: &Plan, settler: &Settler, queues: &[Arc<Queue>], supervisor: &mut Supervisor) -> Supervised {
    let stop = &plan.context.stop;
    let mut stopped = pin!(stop.stopped());
    // The time to finish runs from the moment the end is asked for, through all stages.
    let mut grace = pin!(async {
        stop.stopped().await;
        sleep(plan.options.grace).await;
    });
    let mut is_stopping = false;
    let mut supervised = Supervised {
        ended: EndReason::Stopped,
        is_unsettled: false,
        error: None,
    };
    loop {
        let next = tokio::select! {
            next = supervisor.next() => match next {
                Some(next) => Some(next),
                None => return supervised,
            },
            error = plan.reporter.panicked() => Some(Err(error)),
            () = &mut stopped, if !is_stopping => {
                is_stopping = true;
                settler.stop_reading();
                if supervised.error.is_none() {
                    plan.reporter.tell(&Report::Stopping);
                }
                continue;
            }
            () = stop.aborted() => None,
            () = &mut grace => None,
        };
        match next {
            Some(Ok(Finished::Read(why))) => supervised.ended = why,
            Some(Ok(Finished::Settled { all })) => supervised.is_unsettled = !all,
            Some(Ok(Finished::Other)) => {}
            Some(Err(error)) => {
                tracing::debug!("a part of the listening failed: {error}");
                supervised.error.get_or_insert(error);
                stop.stop();
                settler.stop_reading();
            }
            None => {
                supervised.ended = EndReason::Aborted;
                return supervised;
            }
        }
        if !supervisor.is_running(Stage::Read) && stop.is_stopped() {
            release_queued(settler, queues, supervisor);
        }
    }
}

/// Releases what no worker has begun, while workers finish what they have: nobody else has to wait for them.
fn release_queued(settler: &Settler, queues: &[Arc<Queue>], supervisor: &mut Supervisor) {
    let recalled = queues.iter().flat_map(|queue| queue.recall());
    let release = recalled.map(|at| Settlement {
        at,
        end: End::Release { begun: false },
        failures: None,
    });
    let release = release.collect::<Vec<_>>();
    if !release.is_empty() {
        let settler = settler.clone();
        supervisor.spawn(Stage::Release, async move {
            // What is not released here is released at the end.
            settler.settle(release).await;
            Ok(Finished::Other)
        });
    }
}

/// Tells the application what the subscription tells, and the settle stage of trouble with settling.
fn event_sink(plan: &Arc<Plan>, trouble: &Arc<Notify>) -> EventSink {
    let (plan, trouble) = (Arc::clone(plan), Arc::clone(trouble));
    Arc::new(move |event| {
        let name = |stream: u32| &plan.stream(stream).name;
        let scope = |scope: &engine::Scope| {
            let names = |streams: &[u32]| streams.iter().map(|stream| name(*stream).clone()).collect();
            match scope {
                engine::Scope::Store => Scope::Store,
                engine::Scope::Streams(streams) => Scope::Streams(names(streams)),
                engine::Scope::Settling(streams) => Scope::Settling(names(streams)),
            }
        };
        let member = plan.member.as_ref();
        let tell = |report: &Report<'_>| plan.reporter.tell(report);
        match event {
            Event::Started => {
                let streams = plan.streams.iter().map(|stream| stream.name.clone());
                tell(&Report::Started {
                    streams: &streams.collect::<Vec<_>>(),
                    group: member.map(|member| (&*member.group, &*member.consumer)),
                });
            }
            Event::Recovered { stream, count, claimed } => {
                if let (true, Some(metrics)) = (claimed, &plan.metrics) {
                    metrics.stream(stream).reclaimed(count);
                }
                tell(&Report::Recovered {
                    stream: name(stream),
                    count,
                    claimed,
                });
            }
            Event::Gone { stream, ids } => tell(&Report::Gone {
                stream: name(stream),
                ids,
            }),
            Event::LeaseLost {
                stream,
                ids,
                stood_still,
            } => {
                if let Some(metrics) = &plan.metrics {
                    metrics.stream(stream).leases_lost(ids.len());
                }
                tell(&Report::LeaseLost {
                    stream: name(stream),
                    ids,
                    stood_still,
                });
            }
            Event::Orphaned { stream, ids } => tell(&Report::Orphaned {
                stream: name(stream),
                ids,
            }),
            Event::Detached { stream, ids } => tell(&Report::Detached {
                stream: name(stream),
                ids,
            }),
            Event::GroupRecreated { stream, after } => tell(&Report::GroupRecreated {
                stream: name(stream),
                group: member.map_or("", |member| &member.group),
                after,
            }),
            Event::NameInUse { stream, ids } => tell(&Report::NameInUse {
                stream: name(stream),
                consumer: member.map_or("", |member| &member.consumer),
                ids,
            }),
            Event::ConsumersRemoved { stream, names } => tell(&Report::ConsumersRemoved {
                stream: name(stream),
                names,
            }),
            Event::Interrupted {
                scope: where_,
                error,
                attempt,
                delay,
            } => tell(&Report::Interrupted {
                scope: &scope(where_),
                error,
                attempt,
                delay,
            }),
            Event::SettlingWaits => trouble.notify_one(),
            Event::Resumed { scope: where_ } => tell(&Report::Resumed { scope: &scope(where_) }),
        }
    })
}
