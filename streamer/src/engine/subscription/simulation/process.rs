//! A process that listens, as far as a subscription sees it: it can crash, stand still, and stop in good order.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

use super::{
    super::{in_flight::locked, *},
    store::MemoryStore,
    wall_clock,
};
use crate::{
    engine::{FailureRecord, Member},
    entry::EntryId,
};

/// What a listener does with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Succeed,
    /// Listed, and acknowledged.
    Fail,
    /// Tried again in so many milliseconds.
    RetryIn(u64),
    /// Stays pending, and is left alone for so many milliseconds by who claims it.
    KeepFor(u64),
}

/// What happens when a message is handled: how long it takes, and what comes of it. It is given the stream, the ID and
/// the number of the attempt.
pub(crate) type Listener = Arc<dyn Fn(u32, EntryId, u32) -> (Duration, Verdict) + Send + Sync>;

/// Which process began an attempt, and which attempt it was, in order.
type Begun = Vec<(String, u32)>;

/// What processes did, for the tests to look at.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// How often the attempt of each message began, by process.
    pub(crate) begun: Mutex<BTreeMap<(u32, EntryId), Begun>>,
    /// Messages that a listener handled, or of which it was decided to list them.
    pub(crate) decided: Mutex<BTreeMap<(u32, EntryId), Verdict>>,
    pub(crate) events: Mutex<Vec<String>>,
}

impl Journal {
    fn decide(&self, message: (u32, EntryId), verdict: Verdict) {
        let mut decided = locked(&self.decided);
        // One that lost its lease may decide after another that settled the message.
        let is_open = matches!(verdict, Verdict::RetryIn(_) | Verdict::KeepFor(_));
        if !(is_open && decided.contains_key(&message)) {
            decided.insert(message, verdict);
        }
    }

    pub(crate) fn begun(&self, stream: u32, id: EntryId) -> usize {
        locked(&self.begun).get(&(stream, id)).map_or(0, Vec::len)
    }

    pub(crate) fn attempts(&self, stream: u32, id: EntryId) -> Vec<u32> {
        let begun = locked(&self.begun);
        let attempts = begun.get(&(stream, id));
        attempts
            .map(|attempts| attempts.iter().map(|(_, attempt)| *attempt).collect())
            .unwrap_or_default()
    }

    pub(crate) fn told(&self, what: &str) -> usize {
        locked(&self.events).iter().filter(|event| event.contains(what)).count()
    }
}

/// One process.
pub(crate) struct Process {
    pub(crate) settler: Settler,
    tasks: JoinSet<Result<Option<WhyEnded>, SubscribeError>>,
    freezer: Arc<Freezer>,
    worker: AbortHandle,
    /// How many tasks end only after closing.
    background: usize,
}

pub(crate) fn spec(streams: &[&str], consumer: &str) -> Spec {
    Spec {
        streams: streams
            .iter()
            .map(|name| StreamSpec {
                name: (*name).into(),
                start: GroupStart::After(EntryId::MIN),
                tracks_retry_state: true,
            })
            .collect(),
        member: Some(Member {
            group: "g".into(),
            consumer: consumer.into(),
        }),
        consumer_is_named: false,
        reclaim: Some(Duration::from_secs(6)),
        read_wait: Duration::from_secs(2),
        quiet_after: None,
        keep_alive: Some(KeepAlive {
            max_attempts: None,
            first_delay: Duration::from_millis(50),
            longest_delay: Duration::from_secs(1),
        }),
        on_name_in_use: OnNameInUse::Warn,
        batch: 8,
        batch_bytes: 1 << 20,
        deferred_bound: DeferredBound::default(),
        holds_retries: false,
    }
}

pub(crate) fn succeed() -> Listener {
    Arc::new(|_, _, _| (Duration::ZERO, Verdict::Succeed))
}

pub(crate) fn takes(time: Duration) -> Listener {
    Arc::new(move |_, _, _| (time, Verdict::Succeed))
}

/// The member of the failed list that stands for a message.
pub(crate) fn record(stream: u32, id: EntryId) -> Bytes {
    format!("{stream}/{id}").into()
}

impl Process {
    pub(crate) fn start(store: &Arc<MemoryStore>, spec: Spec, listener: Listener, journal: &Arc<Journal>) -> Self {
        let told = journal.clone();
        let name = spec
            .member
            .as_ref()
            .map_or_else(String::new, |member| member.consumer.clone());
        let events: EventSink = Arc::new(move |event| locked(&told.events).push(format!("{event:?}")));
        let is_plain = spec.member.is_none();
        let store: Arc<dyn GroupStore> = Arc::new(store.clone());
        let subscription = subscribe(store, spec, events);
        let settler = subscription.settler.clone();
        let freezer = Arc::new(Freezer::default());
        let mut tasks = JoinSet::new();
        let background = subscription.tasks.len();
        for task in subscription.tasks {
            let future = task.future;
            tasks.spawn(freezer.freezing(async move { future.await.map(|()| None) }));
        }
        // As a listening: one batch waits while one is handled.
        let (sender, receiver) = mpsc::channel(1);
        let read = read(subscription.deliveries, sender);
        tasks.spawn(freezer.freezing(async move { read.await.map(Some) }));
        let work = work(receiver, settler.clone(), listener, journal.clone(), name, is_plain);
        let worker = tasks.spawn(freezer.freezing(async move {
            work.await;
            Ok(None)
        }));
        Self {
            settler,
            tasks,
            freezer,
            worker,
            background,
        }
    }

    /// Everything in it ends at once.
    pub(crate) fn crash(mut self) {
        self.tasks.abort_all();
    }

    /// Nothing in it runs until it is thawed.
    pub(crate) fn freeze(&self) {
        self.freezer.freeze();
    }

    pub(crate) fn thaw(&self) {
        self.freezer.thaw();
    }

    /// Why reading ended, if it did by itself; else the error of the first task that ended.
    pub(crate) async fn ended(&mut self) -> Result<Option<WhyEnded>, SubscribeError> {
        loop {
            let ended = self.tasks.join_next().await.expect("a task");
            match ended.expect("no panic") {
                Ok(None) => {}
                ended => return ended,
            }
        }
    }

    /// Ends in good order.
    pub(crate) async fn stop(self, how: Close) {
        self.stop_within(how, Duration::from_secs(10)).await;
    }

    /// Reading and working end by themselves, or have to after `grace`; the others end after closing.
    pub(crate) async fn stop_within(mut self, how: Close, grace: Duration) {
        self.settler.stop_reading();
        let grace = Instant::now() + grace;
        while self.tasks.len() > self.background {
            if tokio::time::timeout_at(grace, self.tasks.join_next()).await.is_err() {
                self.worker.abort();
            }
        }
        _ = self.settler.close(how).await;
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn read(mut deliveries: Deliveries, queue: mpsc::Sender<Vec<Delivery>>) -> Result<WhyEnded, SubscribeError> {
    loop {
        let batch = match deliveries.next().await? {
            Next::Ended(why) => return Ok(why),
            Next::Batch(batch) => batch,
        };
        let (messages, began) = (batch.len(), Instant::now());
        let rest = match queue.capacity() {
            0 => deliveries.drain().await?,
            _ => None,
        };
        for batch in std::iter::once(batch).chain(rest) {
            if deliveries.dispatching(queue.send(batch)).await?.is_err() {
                return Ok(WhyEnded::Stopped);
            }
        }
        deliveries.observe_dispatch(messages, began.elapsed());
    }
}

/// Runs listeners one after the other, and settles.
async fn work(
    mut queue: mpsc::Receiver<Vec<Delivery>>,
    settler: Settler,
    listener: Listener,
    journal: Arc<Journal>,
    name: String,
    is_plain: bool,
) {
    while let Some(batch) = queue.recv().await {
        for delivery in batch {
            let at = delivery.at;
            if settler.begin(at).await == Begin::Skip {
                continue;
            }
            let (stream, id) = (at.stream, delivery.entry.id);
            let attempt = delivery.count_before + 1;
            let begun = (name.clone(), attempt);
            locked(&journal.begun).entry((stream, id)).or_default().push(begun);
            let (time, verdict) = listener(stream, id, attempt);
            tokio::time::sleep(time).await;
            journal.decide((stream, id), verdict);
            let failures = || FailureChange {
                add: vec![FailureRecord {
                    member: record(stream, id),
                    details: None,
                }],
                remove: Vec::new(),
            };
            let (end, failures) = match verdict {
                Verdict::Succeed => (End::Acknowledge { delete: false }, None),
                Verdict::Fail => (End::Acknowledge { delete: false }, Some(Box::new(failures()))),
                Verdict::RetryIn(ms) => {
                    let retry_at = wall_clock() + ms;
                    let text = format!(r#"{{"attempts":{attempt},"retry_at":{retry_at},"delay_ms":{ms}}}"#);
                    let retry = Retry {
                        delay: Duration::from_millis(ms),
                        retry_state: text.into(),
                        kept: is_plain.then(|| {
                            Box::new(Kept {
                                entry: delivery.entry,
                                failures: failures(),
                            })
                        }),
                    };
                    (End::Retry(Box::new(retry)), None)
                }
                Verdict::KeepFor(ms) => {
                    let until = wall_clock() + ms;
                    let text = format!(r#"{{"attempts":{attempt},"kept_until":{until},"kept_ms":{ms}}}"#);
                    let retry_state = Box::new(text.into());
                    (End::KeepPending { retry_state }, None)
                }
            };
            settler.settle(vec![Settlement { at, end, failures }]).await;
        }
    }
}

/// Holds up the tasks of a process, as a stopped process or a virtual machine that is moved does.
#[derive(Debug, Default)]
struct Freezer {
    is_frozen: AtomicBool,
    held_up: Mutex<Vec<Waker>>,
    freezes: AtomicU64,
}

impl Freezer {
    fn freezing<F: Future + Send + 'static>(self: &Arc<Self>, inner: F) -> Freezing<F> {
        Freezing {
            inner: Box::pin(inner),
            freezer: self.clone(),
        }
    }

    fn freeze(&self) {
        self.freezes.fetch_add(1, Ordering::Relaxed);
        self.is_frozen.store(true, Ordering::Relaxed);
    }

    fn thaw(&self) {
        self.is_frozen.store(false, Ordering::Relaxed);
        for waker in locked(&self.held_up).drain(..) {
            waker.wake();
        }
    }
}

struct Freezing<F> {
    inner: Pin<Box<F>>,
    freezer: Arc<Freezer>,
}

impl<F: Future> Future for Freezing<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if self.freezer.is_frozen.load(Ordering::Relaxed) {
            locked(&self.freezer.held_up).push(context.waker().clone());
            return Poll::Pending;
        }
        self.inner.as_mut().poll(context)
    }
}
