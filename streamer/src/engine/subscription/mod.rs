//! The single owner of every delivery: everything that a consumer was delivered and has not settled.
//!
//! A *delivery* is one entry that was given to this consumer, with its payload. It is *in flight* from the moment the
//! store counts it as delivered until it is settled: while it is prefetched, queued, running, or has an outcome that is
//! not stored yet. A *lease* is the right to handle it: the entry is pending in the group with this consumer, and idle
//! for less than the reclaim time.
//!
//! ```text
//!         read / take-up         begin             outcome            settle answered
//! (store) ───────────▶ WAITING ────────▶ RUNNING ─────────▶ SETTLING ─────────▶ (gone)
//!                         │                 │                   │ retry later
//!                         │ close, lost     │ lost              ▼
//!                         ▼                 ▼               DEFERRED ── due ──▶ WAITING
//!                 released / dropped   not acknowledged
//! ```
//!
//! # Layout
//!
//! - here: what a caller sees. [`subscribe`] gives [`Deliveries`] (the reading end), a [`Settler`] and background tasks.
//! - `in_flight`: the table of deliveries. `source`: reads, takes up pending entries, and registers what comes before
//!   anybody gets it. `shards`: several sources as one, on a Redis Cluster. `positions`: where streams and groups stand.
//!   `take_up`: own pending entries, and those that others left idle. `prefetch`: how much to read.
//! - `lease`: renews what is in flight, and decides what became of what the store does not know any more.
//! - `delayed_retries`: what waits for its next attempt. `settle`: ends deliveries. `close`: gives the rest back.
//! - `trouble`: what failed, and when to try again (`keep_alive`: how patiently). `quiet`: whether nothing comes any more.
//!   `users`, `strangers`: whether another process uses the consumer's name, by its marks and by what it does. `event`:
//!   what is told.
//! - `state`: what these share.
//! - `simulation` (tests): a store in memory on the test's clock, each rule by itself, and long runs of random misfortune.
//!
//! # Invariants
//!
//! 1. What the store counts as pending with this consumer because of this process is in the table, deferred, or in the
//!    one reply that a reader is receiving.
//! 2. Every entry of the table is renewed three times in a reclaim time. A reader never parks while a read is outstanding.
//! 3. Recorded before acknowledged, acknowledged before deleted.
//! 4. A delivery leaves the table unhandled only if the store says that another consumer owns it, that the group will
//!    deliver it again, or that others had the time to claim and settle it.
//! 5. Nothing begins, and nothing is acknowledged, under an expired lease: both wait for one renewal.
//! 6. The delivery count is the number of begun attempts, as far as that is known.
//! 7. Memory is bounded: by a number of deliveries and bytes in flight, and by a bound for what is deferred.
//! 8. Trouble with one stream, node or store stays there.

mod close;
mod delayed_retries;
mod event;
mod in_flight;
mod keep_alive;
mod lease;
mod log;
mod positions;
mod prefetch;
mod quiet;
mod settle;
mod shards;
#[cfg(test)]
mod simulation;
mod source;
mod state;
mod strangers;
mod take_up;
mod trouble;
mod users;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub(crate) use self::event::{Event, EventSink, Scope};
pub use self::keep_alive::KeepAlive;
use self::{shards::Sources, state::Core};
use super::{EngineError, EngineResult, FailureChange, GroupStart, GroupStore, Member};
use crate::entry::{Entry, StreamName};

/// What to subscribe to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// The streams. Everywhere else a stream is its index in this list.
    pub(crate) streams: Vec<StreamSpec>,
    /// The group and the consumer; `None` to read without a group, from positions that only this process knows.
    pub(crate) member: Option<Member>,
    /// Whether somebody chose the consumer's name, which another process may then use as well.
    pub(crate) consumer_is_named: bool,
    /// For how long an entry is idle when other consumers may claim it. `None`: nobody claims, nothing is renewed.
    pub(crate) reclaim: Option<Duration>,
    /// How long one read waits at the store.
    pub(crate) read_wait: Duration,
    /// Ends with [`WhyEnded::Quiet`] when so much time has passed since the last settlement, nothing is in flight, nothing
    /// waits for a retry, and every stream answered a read with nothing.
    pub(crate) quiet_after: Option<Duration>,
    /// Whether to go on after the store was away. `None`: the first failure ends everything.
    pub(crate) keep_alive: Option<KeepAlive>,
    /// What to do when another process uses the consumer's name.
    pub(crate) on_name_in_use: OnNameInUse,
    /// The most messages of one read, over all streams.
    pub(crate) batch: usize,
    /// About the most bytes of one read.
    pub(crate) batch_bytes: usize,
    /// The most that waits for a retry.
    pub(crate) deferred_bound: DeferredBound,
    /// Whether a message that waits for a retry is the caller's to hold ([`End::Hold`]), also one that another process
    /// deferred: it comes before it is due ([`Delivery::due_in`]).
    pub(crate) holds_retries: bool,
}

/// One stream of a [`Spec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamSpec {
    pub(crate) name: StreamName,
    /// Where reading begins: without a group; with one, where the group is created because it is missing.
    pub(crate) start: GroupStart,
    /// Whether the store may hold retry states of its messages.
    pub(crate) tracks_retry_state: bool,
}

/// What to do when another process uses the same consumer name: both would handle everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnNameInUse {
    /// Tell it ([`Report::NameInUse`](crate::Report)), at most once a minute.
    #[default]
    Warn,
    /// End with an error: at the start where the consumer is being used, which takes some seconds to find out; and while
    /// running, where another process uses the name that came earlier by the store's clock. Of two processes that start at
    /// the same time the later one ends, and what it had not handled is handled by the other one.
    Refuse,
}

/// The most that waits for a retry. Past it, messages of a group leave memory and come back by the ordinary claim;
/// where that cannot be, reading waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeferredBound {
    /// Messages that wait in a group.
    pub(crate) entries: usize,
    /// Bytes of messages that wait without a group.
    pub(crate) bytes: usize,
}

impl Default for DeferredBound {
    /// 100,000 messages; 64 MiB.
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 64 << 20,
        }
    }
}

/// What [`subscribe`] gives.
pub(crate) struct Subscription {
    pub(crate) deliveries: Deliveries,
    pub(crate) settler: Settler,
    /// To be spawned and joined by whoever subscribes.
    pub(crate) tasks: Vec<NamedTask>,
}

/// A background task of a subscription. It ends after [`Settler::close`]; an earlier end is an error.
pub(crate) struct NamedTask {
    pub(crate) name: &'static str,
    pub(crate) future: BoxFuture<'static, Result<(), SubscribeError>>,
}

/// Begins a subscription. Does no I/O: the first [`Deliveries::next`] finds out where the streams stand, as patiently as
/// later reads.
pub(crate) fn subscribe(store: Arc<dyn GroupStore>, spec: Spec, events: EventSink) -> Subscription {
    let core = Arc::new(Core::new(store, spec, events));
    let (sources, shards) = shards::sources(&core);
    let mut tasks = Vec::new();
    for future in shards {
        tasks.push(NamedTask {
            name: "read",
            future: Box::pin(future),
        });
    }
    if core.spec.member.is_some() {
        tasks.push(NamedTask {
            name: "lease",
            future: Box::pin(lease::keep(core.clone())),
        });
        tasks.push(NamedTask {
            name: "sweep",
            future: Box::pin(lease::sweep(core.clone())),
        });
    }
    Subscription {
        deliveries: Deliveries {
            core: core.clone(),
            sources,
        },
        settler: Settler { core },
        tasks,
    }
}

/// The reading end; one task has it.
pub(crate) struct Deliveries {
    core: Arc<Core>,
    sources: Sources,
}

impl Deliveries {
    /// The next deliveries, or the end. Waits for messages, for the store, and for room: it does not read while too much
    /// is in flight.
    ///
    /// After [`Settler::stop_reading`] it receives what is outstanding, so that it can be released, and ends.
    /// **Not cancel safe**: a future that is dropped may take entries with it.
    ///
    /// # Errors
    ///
    /// The store failed, and keep-alive is off, gave up, or does not help. Nothing more can be read then.
    pub(crate) async fn next(&mut self) -> Result<Next, SubscribeError> {
        self.sources.next(&self.core).await
    }

    /// What was prefetched, without waiting. To be called before the caller parks (because workers are behind): nobody
    /// would renew the leases of a reply that nobody receives. Not cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Deliveries::next`].
    pub(crate) async fn drain(&mut self) -> Result<Option<Vec<Delivery>>, SubscribeError> {
        self.sources.drain().await
    }

    /// Waits for `dispatch`, which hands a batch to workers, and rejoins missing consumer groups meanwhile: the queue stays full
    /// while a worker needs a missing group to settle its message. Not cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Deliveries::next`].
    pub(crate) async fn dispatching<T>(&mut self, dispatch: impl Future<Output = T>) -> Result<T, SubscribeError> {
        self.sources.dispatching(dispatch).await
    }

    /// A batch was handed to workers, after waiting so long for room: how fast messages are handled decides how many are
    /// read at once, and whether the store is asked ahead.
    pub(crate) fn observe_dispatch(&mut self, messages: usize, waited: Duration) {
        self.core.limit().observe_dispatch(messages, waited);
    }

    /// How many messages are in flight, and how many wait for their next attempt.
    pub(crate) fn load(&self) -> (usize, usize) {
        self.core.load()
    }

    /// Whether the last read took all that it asked for of a stream, which then may have more: the next one will not wait.
    pub(crate) fn has_backlog(&self) -> bool {
        self.sources.has_backlog()
    }
}

/// What [`Deliveries::next`] gives.
pub(crate) enum Next {
    /// Deliveries, in the order of their IDs within a stream.
    Batch(Vec<Delivery>),
    /// There will be no more.
    Ended(WhyEnded),
}

/// Why reading ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyEnded {
    /// [`Settler::stop_reading`] was called.
    Stopped,
    /// See [`Spec::quiet_after`].
    Quiet,
}

/// An entry that was given to this consumer.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) at: DeliveryRef,
    pub(crate) entry: Entry,
    /// How many attempts begun before, as far as that is known. The number of the coming attempt is one more.
    pub(crate) count_before: u32,
    /// `None` for nearly all, which are moved from stage to stage: one that comes for the first time has none.
    pub(crate) earlier: Option<Box<Earlier>>,
}

/// What earlier attempts left.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    /// The retry state. Its next attempt is due: what comes before its time is put off here.
    pub(crate) retry_state: Option<Bytes>,
    /// Whether two or more attempts were cut off without an outcome: it may be what killed its process. Suspects are to be
    /// run one at a time.
    pub(crate) suspect: bool,
    /// In how long its next attempt is due. Zero, but where [`Spec::holds_retries`].
    pub(crate) due_in: Duration,
}

impl Earlier {
    /// Without a box where there is nothing to tell.
    fn boxed(self) -> Option<Box<Self>> {
        let tells = self.retry_state.is_some() || self.suspect || !self.due_in.is_zero();
        tells.then(|| Box::new(self))
    }
}

/// Stands for a delivery until it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DeliveryRef {
    /// The stream's index in [`Spec::streams`].
    pub(crate) stream: u32,
    batch: u32,
    slot: u32,
}

/// What becomes of deliveries. Cheap to clone: workers, the settle stage and the supervisor each have one.
#[derive(Clone)]
pub(crate) struct Settler {
    core: Arc<Core>,
}

impl Settler {
    /// How many messages are in flight, and how many wait for their next attempt.
    pub(crate) fn load(&self) -> (usize, usize) {
        self.core.load()
    }

    /// How many reads were answered, and other steps done to get deliveries. It grows as long as reading works.
    pub(crate) fn reads(&self) -> u64 {
        self.core.reads.load(Ordering::Relaxed)
    }

    /// Waits until it is closed: background tasks end then.
    pub(crate) async fn closed(&self) {
        self.core.closed.cancelled().await;
    }

    /// An attempt begins. To be called right before the first listener is.
    ///
    /// Ready at once in nearly every case. It waits for the store when the lease has expired (the process stood still), and
    /// for entries that were delivered twice before: a crash must count for the one that ran.
    pub(crate) async fn begin(&self, at: DeliveryRef) -> Begin {
        self.core.begin(at).await
    }

    /// Ends deliveries, all in one round trip, and answers for each by itself. Under keep-alive it is patient with
    /// a store that is away or full; once [`Settler::stop_reading`] was called, for two more seconds.
    ///
    /// Several calls may run at once. A call returns when all of its settlements have an answer, so that one that waits for
    /// a node that is away should not hold up the next call.
    pub(crate) async fn settle(&self, many: Vec<Settlement>) -> Vec<Settled> {
        self.core.settle(many).await
    }

    /// Ends reading: [`Deliveries::next`] will end with [`WhyEnded::Stopped`], and no attempt begins any more.
    pub(crate) fn stop_reading(&self) {
        self.core.stop_reading();
    }

    /// Ends reading alone: what was delivered may still begin. The reply to a read that was sent ahead is still received.
    pub(crate) fn finish_reading(&self) {
        self.core.halt.cancel();
    }

    /// Gives back what is left and leaves the group. To be called once workers and settling have ended, whatever the reason:
    /// nothing begins and nothing is renewed afterwards, and the background tasks end. Further calls do nothing.
    ///
    /// # Errors
    ///
    /// The store failed or did not answer in time: what was not given back can be claimed after the reclaim time.
    pub(crate) async fn close(&self, how: Close) -> EngineResult<()> {
        self.core.close(how).await
    }
}

/// Whether an attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Run the listeners, then settle.
    Run,
    /// Forget the delivery: another consumer has it, or the end was asked for. It must not be settled.
    Skip,
}

/// How one delivery ends.
#[derive(Debug)]
pub(crate) struct Settlement {
    pub(crate) at: DeliveryRef,
    pub(crate) end: End,
    /// What changes in the failed list before that.
    pub(crate) failures: Option<Box<FailureChange>>,
}

/// What becomes of a delivery.
#[derive(Debug)]
pub(crate) enum End {
    /// It is done with.
    Acknowledge {
        /// Whether the entry is deleted from the stream afterwards.
        delete: bool,
    },
    /// It comes again.
    Retry(Box<Retry>),
    /// It stays here, as one that has not begun, and the caller begins another attempt with the same [`DeliveryRef`] when it
    /// is due. The store keeps the retry state, for the case that this process dies. Only in a group.
    Hold(Box<Retry>),
    /// It stays pending with this consumer, and comes again when somebody claims it.
    KeepPending {
        /// What is stored beside it.
        retry_state: Box<Bytes>,
    },
    /// It is given back: whoever claims next gets it at once.
    Release {
        /// Whether an attempt was begun, which then counts.
        begun: bool,
    },
}

/// A later attempt.
#[derive(Debug)]
pub(crate) struct Retry {
    /// In how long.
    pub(crate) delay: Duration,
    /// What is stored beside the entry. It must hold `retry_at` and `delay_ms`, by which a consumer that claims it early
    /// knows how long to wait, and `attempts`.
    pub(crate) retry_state: Bytes,
    /// Without a group, where this process is the only one that knows the message.
    pub(crate) kept: Option<Box<Kept>>,
}

/// A message that only this process knows.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The entry. It is copied out of the buffer that it was read into.
    pub(crate) entry: Entry,
    /// What is recorded if there is no next attempt, because the listening ends before.
    pub(crate) failures: FailureChange,
}

/// What became of a settlement.
#[derive(Debug)]
pub(crate) enum Settled {
    /// The store has it.
    Done,
    /// Another consumer has the message by now: failures are recorded, nothing else was done.
    NotOurs,
    /// The store refused, or stayed away for longer than keep-alive is patient. The message stays pending.
    Refused(Box<EngineError>),
}

/// How a subscription ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// As it should: what was not begun is released, and what was refused; what still runs stays pending.
    Orderly,
    /// Something failed: everything is released.
    Failed,
    /// At once: everything stays pending.
    Aborted,
}

/// Why a subscription cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubscribeError {
    /// The store failed, and keep-alive is off or does not help.
    #[error("{0}")]
    Engine(#[source] EngineError),
    /// The store failed and stayed away for as many attempts as keep-alive allows.
    #[error("gave up after {attempts} attempts: {error}")]
    GaveUp {
        attempts: u32,
        #[source]
        error: EngineError,
    },
    /// See [`OnNameInUse::Refuse`].
    #[error(
        "consumer '{}' of group '{}' is being used on stream '{stream}' by another process: give each process a name of \
         its own, or none",
        member.consumer,
        member.group
    )]
    NameInUse { stream: StreamName, member: Member },
}

/// The bytes of an entry's fields.
fn bytes_of(entry: &Entry) -> usize {
    entry.fields.iter().map(|(name, value)| name.len() + value.len()).sum()
}
