//! Puts the stages of a listening together, and ends them in order.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::try_join_all;
use rand::{RngExt, distr::Alphanumeric};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{
    Ended, ListenError, Listening, Report, Summary, When, after,
    lease::{self, InHand},
    options::Options,
    queue, read,
    report::Reporter,
    settle,
    supervisor::{Finished, Stage, Supervisor},
    waiting::Waiting,
    work,
};
use crate::{
    engine::{Engine, EngineResult},
    entry::StreamName,
    listener::{Context, RegisteredListener, RetryPolicy},
};

/// How many streams are left at once.
const LEFT_AT_ONCE: usize = 16;

/// How long leaving a group may take at the end.
const LEAVING: Duration = Duration::from_secs(5);

/// What the stages of one listening share.
#[derive(Debug)]
pub(super) struct Shared {
    /// What listeners are given; the stages take the stop handle from it too.
    pub(super) context: Context,
    pub(super) streams: Vec<ListenedStream>,
    pub(super) group: Option<GroupMember>,
    pub(super) options: Options,
    pub(super) reporter: Reporter,
    pub(super) in_hand: InHand,
    pub(super) waiting: Waiting,
    pub(super) counts: Counts,
    /// Why the listening could not go on.
    failure: Mutex<Option<ListenError>>,
}

/// A stream with the listeners of its event.
#[derive(Debug)]
pub(super) struct ListenedStream {
    pub(super) name: StreamName,
    pub(super) listeners: Vec<RegisteredListener>,
    /// Whether one of them is tried again when it fails.
    pub(super) retries: bool,
}

/// Who listens in a group.
#[derive(Debug)]
pub(super) struct GroupMember {
    pub(super) group: String,
    pub(super) consumer: String,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) messages: AtomicU64,
    pub(super) processed: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Shared {
    pub(super) fn engine(&self) -> &Arc<dyn Engine> {
        self.context.streamer.engine()
    }

    /// Whether a message with a failed listener stays pending.
    pub(super) fn keeps_failed_pending(&self) -> bool {
        self.group.is_some() && !self.options.always_acknowledge
    }

    /// Whether it is kept what listeners achieved with a message that comes again.
    pub(super) fn keeps_progress(&self, stream: usize) -> bool {
        self.keeps_failed_pending() || self.streams[stream].retries
    }

    /// Ends the listening with an error.
    pub(super) fn fail(&self, error: ListenError) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        self.context.stop.stop();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

/// See [`Listening::run`].
pub(super) async fn run(listening: Listening) -> Result<Summary, ListenError> {
    let shared = Arc::new(prepare(listening)?);
    let (hand_over, queues) = queue::queues(&shared.options.workers);
    let (outcomes, settled) = mpsc::channel(64);

    // Each stage ends when the one before it has: the reader drops the queues, the workers drop their ends of
    // `outcomes`, and settling ends the line.
    let mut supervisor = Supervisor::default();
    supervisor.spawn(Stage::Read, read::read(Arc::clone(&shared), hand_over));
    for queue in queues {
        supervisor.spawn(Stage::Work, work::work(Arc::clone(&shared), queue, outcomes.clone()));
    }
    drop(outcomes);
    let (all_settled, sweep_on) = oneshot::channel::<()>();
    let settling = settle::settle(Arc::clone(&shared), settled);
    supervisor.spawn(Stage::Settle, async move {
        let settled = settling.await;
        drop(all_settled);
        settled
    });
    let after = &shared.options.after_success;
    if after
        .as_ref()
        .is_some_and(|after| after.when == When::AllGroupsAcknowledged)
    {
        supervisor.spawn(Stage::Retention, after::sweep_until(Arc::clone(&shared), sweep_on));
    }
    if let Some(reclaim) = shared.group.as_ref().and(shared.options.reclaim) {
        let renewing = lease::renew(Arc::clone(&shared), reclaim);
        supervisor.spawn(Stage::Beside("the lease task"), renewing);
    }

    let ended = supervise(&shared, &mut supervisor).await;
    supervisor.end().await;
    if !shared.context.stop.is_aborted() {
        if let Err(error) = settle::give_up_waiting(&shared).await {
            shared.fail(error);
        }
        leave(&shared).await;
    }

    if let Some(error) = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error);
    }
    Ok(Summary {
        messages: shared.counts.messages.load(Ordering::Relaxed),
        processed: shared.counts.processed.load(Ordering::Relaxed),
        failed: shared.counts.failed.load(Ordering::Relaxed),
        ended,
    })
}

fn prepare(listening: Listening) -> Result<Shared, ListenError> {
    let Listening {
        streamer,
        listeners,
        events,
        options,
        stop,
        reporter,
    } = listening;
    let mut names = match events.is_empty() {
        true => listeners.all().map(|(event, _)| event.clone()).collect(),
        false => events,
    };
    let mut known = std::collections::HashSet::new();
    names.retain(|name| known.insert(name.clone()));
    if names.is_empty() {
        return Err(ListenError::NoEvents);
    }
    if options.consumer.is_some() && options.group.is_none() {
        return Err(ListenError::InvalidOption(
            "a consumer needs a group: name the group too",
        ));
    }
    if options.reclaim.is_some_and(|reclaim| reclaim.as_millis() < 3) {
        return Err(ListenError::InvalidOption(
            "a reclaim time below 3 ms leaves no time to renew: make it longer",
        ));
    }
    if options.group.as_deref() == Some("") {
        return Err(ListenError::InvalidOption("a group needs a name"));
    }
    if options.batch == 0 {
        return Err(ListenError::InvalidOption(
            "a batch of 0 messages reads nothing: make it 1 or more",
        ));
    }
    let streams = names.into_iter().map(|name| {
        let listeners = listeners.of(&name).to_vec();
        match listeners.is_empty() {
            true => Err(ListenError::NoListeners(name)),
            false => Ok(ListenedStream {
                name,
                retries: listeners
                    .iter()
                    .any(|one| one.retry().is_some_and(RetryPolicy::retries)),
                listeners,
            }),
        }
    });
    let streams = streams.collect::<Result<Vec<_>, _>>()?;
    let group = options.group.clone().map(|group| {
        let consumer = options.consumer.clone().unwrap_or_else(|| default_consumer(&group));
        GroupMember { group, consumer }
    });
    Ok(Shared {
        context: Context { streamer, stop },
        in_hand: InHand::new(streams.len()),
        waiting: Waiting::default(),
        streams,
        group,
        options,
        reporter,
        counts: Counts::default(),
        failure: Mutex::default(),
    })
}

/// The group, `-` and 16 random characters, as laravel-streamer names its consumers.
fn default_consumer(group: &str) -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(16).map(char::from);
    format!("{group}-{}", random.collect::<String>())
}

/// Waits for the stages to end. The first failure ends the listening as a stop does: what was begun is finished, what
/// was not goes back.
async fn supervise(shared: &Shared, supervisor: &mut Supervisor) -> Ended {
    // The time to finish runs from the moment the end is asked for, through all stages.
    let mut overdue = pin!(overdue(shared));
    let mut ended = Ended::Stopped;
    loop {
        let next = tokio::select! {
            next = supervisor.next() => next,
            error = shared.reporter.panicked() => Some(Err(error)),
            () = &mut overdue => return Ended::Aborted,
        };
        match next {
            Some(Ok(Finished::Read(why))) => ended = why,
            Some(Ok(Finished::Other)) => {}
            Some(Err(error)) => shared.fail(error),
            None => return ended,
        }
    }
}

/// Ends when the listening has to be over at once: it was aborted, or its grace period after a stop ran out.
async fn overdue(shared: &Shared) {
    let stop = &shared.context.stop;
    let grace = async {
        stop.stopped().await;
        if !shared.has_failed() {
            shared.reporter.tell(&Report::Stopping);
        }
        sleep(shared.options.grace).await;
    };
    tokio::select! {
        () = grace => {}
        () = stop.aborted() => {}
    }
}

/// Leaves the group in order: gives back what was not begun, and goes from it if nothing is pending.
///
/// Nothing is lost when that fails: what stays pending is claimed by others after the reclaim time.
async fn leave(shared: &Shared) {
    match timeout(LEAVING, try_leave(shared)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("could not leave the group in order: {error}"),
        Err(_) => tracing::warn!("could not leave the group in order: the store did not answer in time"),
    }
}

async fn try_leave(shared: &Shared) -> EngineResult<()> {
    let Some(GroupMember { group, consumer }) = &shared.group else {
        return Ok(());
    };
    lease::hand_back(shared).await?;
    for streams in shared.streams.chunks(LEFT_AT_ONCE) {
        let engine = shared.engine();
        let removals = streams
            .iter()
            .map(|stream| engine.remove_consumer_if_done(&stream.name, group, consumer));
        try_join_all(removals).await?;
    }
    Ok(())
}
