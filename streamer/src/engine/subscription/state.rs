//! What the parts of one subscription share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, Notify, RwLock},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Begin, DeliveryRef, Event, EventSink, Spec,
    delayed_retries::DelayedRetries,
    in_flight::{InFlight, MayBegin, locked},
    lease::LeaseWatch,
    prefetch::PrefetchLimit,
    quiet::Quiet,
    strangers::Strangers,
    trouble::{SettlingTrouble, Trouble},
    users::Users,
};
use crate::{
    engine::{GroupStore, ReadMode},
    entry::{EntryId, StreamName},
};

/// How many batches may be in flight without having begun, where several shards read by themselves.
const BATCHES_WAITING: usize = 4;

/// How soon an attempt that could not begin because the store failed is tried again.
const BEGIN_AGAIN: Duration = Duration::from_millis(200);

/// What the parts of one subscription share.
pub(super) struct Core {
    pub(super) store: Arc<dyn GroupStore>,
    pub(super) spec: Spec,
    pub(super) events: EventSink,
    pub(super) names: Vec<StreamName>,
    /// The streams of each shard, and the shard of each stream.
    pub(super) shards: Vec<Vec<u32>>,
    shard_of: Vec<usize>,
    pub(super) in_flight: InFlight,
    /// What waits for a retry, by shard.
    pub(super) delayed: Vec<DelayedRetries>,
    pub(super) strangers: Strangers,
    pub(super) users: Users,
    /// For each shard: settling or renewing found that a stream or its consumer group is missing.
    pub(super) missing: Vec<Notify>,
    pub(super) trouble: Trouble,
    /// Trouble with storing outcomes, shared by all calls that settle.
    pub(super) settling: SettlingTrouble,
    pub(super) quiet: Quiet,
    pub(super) watch: LeaseWatch,
    limit: Mutex<PrefetchLimit>,
    /// One renewal of a stream at a time because of expired leases.
    pub(super) renewing: Vec<AsyncMutex<()>>,
    looks: Mutex<Looks>,
    /// The end was asked for.
    pub(super) stop: CancellationToken,
    pub(super) stopped_at: OnceLock<Instant>,
    /// Nothing more is to be read: a stop, or it was quiet for long enough.
    pub(super) halt: CancellationToken,
    /// Nothing begins any more. The same as `stop`, and cheaper to look at.
    pub(super) closing: AtomicBool,
    /// Background tasks end.
    pub(super) closed: CancellationToken,
    /// Whether the group was left. Read while signs of life are given and leases renewed, both of which make a consumer that is missing.
    pub(super) has_left: RwLock<bool>,
    pub(super) close_once: AsyncMutex<bool>,
    /// Whether a group was joined, on any stream.
    pub(super) has_joined: AtomicBool,
    /// How many sources ended with nothing outstanding.
    pub(super) parked: AtomicUsize,
    /// Whether a reply may have been lost that nobody has looked for since.
    pub(super) lost_reply: AtomicBool,
    /// Steps of the sources that succeeded, reads above all.
    pub(super) reads: AtomicU64,
}

/// Which shards were looked at first.
#[derive(Debug, Default)]
struct Looks {
    looked: Vec<bool>,
    any_works: bool,
    is_told: bool,
}

impl Core {
    pub(super) fn new(store: Arc<dyn GroupStore>, spec: Spec, events: EventSink) -> Self {
        let names = spec.streams.iter().map(|stream| stream.name.clone());
        let names = names.collect::<Vec<_>>();
        let shards = store.shards(&names).into_iter();
        let shards = shards.map(|shard| shard.into_iter().map(|stream| stream as u32).collect());
        let shards = shards.collect::<Vec<Vec<u32>>>();
        let mut shard_of = vec![0; names.len()];
        for (shard, streams) in shards.iter().enumerate() {
            for stream in streams {
                shard_of[*stream as usize] = shard;
            }
        }
        let lease = spec.member.as_ref().and(spec.reclaim);
        Self {
            in_flight: InFlight::new(names.len(), lease),
            delayed: shards.iter().map(|_| DelayedRetries::default()).collect(),
            strangers: Strangers::new(names.len(), shards.len()),
            users: Users::new(shards.len()),
            missing: shards.iter().map(|_| Notify::new()).collect(),
            trouble: Trouble::new(names.len()),
            settling: SettlingTrouble::new(names.len()),
            quiet: Quiet::new(shards.len()),
            watch: LeaseWatch::new(),
            limit: Mutex::new(PrefetchLimit::new(
                spec.batch,
                spec.batch_bytes,
                names.len(),
                shards.len(),
            )),
            renewing: names.iter().map(|_| AsyncMutex::default()).collect(),
            looks: Mutex::new(Looks {
                looked: vec![false; shards.len()],
                ..Looks::default()
            }),
            stop: CancellationToken::new(),
            stopped_at: OnceLock::new(),
            halt: CancellationToken::new(),
            closing: AtomicBool::new(false),
            closed: CancellationToken::new(),
            has_left: RwLock::new(false),
            close_once: AsyncMutex::new(false),
            has_joined: AtomicBool::new(false),
            parked: AtomicUsize::new(0),
            lost_reply: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            store,
            spec,
            events,
            names,
            shards,
            shard_of,
        }
    }

    pub(super) fn name(&self, stream: u32) -> &StreamName {
        &self.names[stream as usize]
    }

    pub(super) fn load(&self) -> (usize, usize) {
        let waiting = self.delayed.iter().map(DelayedRetries::len);
        (self.in_flight.len(), waiting.sum())
    }

    pub(super) fn delayed(&self, stream: u32) -> &DelayedRetries {
        &self.delayed[self.shard_of[stream as usize]]
    }

    /// Settling or renewing found that a stream or its consumer group is missing: its source rejoins the group, also while
    /// it waits for workers.
    pub(super) fn mark_missing(&self, stream: u32) {
        self.in_flight.set_vanished(stream, true);
        self.missing[self.shard(stream)].notify_one();
    }

    /// The shard of a stream.
    pub(super) fn shard(&self, stream: u32) -> usize {
        self.shard_of[stream as usize]
    }

    pub(super) fn limit(&self) -> MutexGuard<'_, PrefetchLimit> {
        locked(&self.limit)
    }

    /// How long a lease is valid; `None` where there are none.
    pub(super) fn lease(&self) -> Option<Duration> {
        self.spec.member.as_ref().and(self.spec.reclaim)
    }

    /// How often to look for what others left idle.
    pub(super) fn claim_interval(&self) -> Option<Duration> {
        let reclaim = self.lease()?;
        Some((reclaim / 4).clamp(Duration::from_millis(20), Duration::from_secs(15)))
    }

    /// How many deliveries, and of how many bytes, may wait to begin where several shards read by themselves.
    pub(super) fn most_waiting(&self) -> (usize, usize) {
        (
            self.spec.batch.saturating_mul(BATCHES_WAITING),
            self.spec.batch_bytes.saturating_mul(BATCHES_WAITING),
        )
    }

    /// Whether so much waits for a retry that reading has to wait too.
    pub(super) fn defers_too_much(&self) -> bool {
        let bound = self.spec.deferred_bound;
        match (&self.spec.member, self.spec.reclaim) {
            (None, _) => self.delayed.iter().map(DelayedRetries::bytes).sum::<usize>() >= bound.bytes,
            (Some(_), None) => self.deferred() >= bound.entries,
            // More than that comes by the ordinary claim.
            (Some(_), Some(_)) => false,
        }
    }

    /// Whether one more may wait here for its retry; else the ordinary claim brings it.
    pub(super) fn may_defer(&self) -> bool {
        self.lease().is_none() || self.deferred() < self.spec.deferred_bound.entries
    }

    fn deferred(&self) -> usize {
        self.delayed.iter().map(DelayedRetries::len).sum()
    }

    /// What a reader of these streams reads.
    pub(super) fn mode(&self, streams: &[(u32, EntryId)]) -> ReadMode {
        match &self.spec.member {
            Some(member) => ReadMode::Group {
                group: member.group.clone(),
                consumer: member.consumer.clone(),
                streams: streams.iter().map(|(stream, _)| self.name(*stream).clone()).collect(),
            },
            None => ReadMode::Plain(
                streams
                    .iter()
                    .map(|(stream, seen)| (self.name(*stream).clone(), *seen))
                    .collect(),
            ),
        }
    }

    /// A shard was looked at: once all were and one can be read, the subscription has started.
    pub(super) fn looked(&self, shard: usize, works: bool) {
        let mut looks = locked(&self.looks);
        if looks.is_told {
            return;
        }
        looks.looked[shard] = true;
        looks.any_works |= works;
        looks.is_told = looks.any_works && looks.looked.iter().all(|looked| *looked);
        let tells = looks.is_told;
        drop(looks);
        if tells {
            self.in_flight.start_clock();
            (self.events)(Event::Started);
        }
    }

    /// Whether nothing begins any more.
    pub(super) fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Sleeps, at most until reading is to end.
    pub(super) async fn sleep(&self, time: Duration) {
        tokio::select! {
            biased;
            () = tokio::time::sleep(time) => {}
            () = self.halt.cancelled() => {}
        }
    }

    /// See [`Settler::stop_reading`](super::Settler::stop_reading).
    pub(super) fn stop_reading(&self) {
        _ = self.stopped_at.set(Instant::now());
        self.closing.store(true, Ordering::Release);
        self.stop.cancel();
        self.halt.cancel();
    }

    /// See [`Settler::begin`](super::Settler::begin).
    pub(super) async fn begin(&self, at: DeliveryRef) -> Begin {
        loop {
            if self.closing() {
                return Begin::Skip;
            }
            let done = match self.in_flight.begin(at) {
                MayBegin::Yes => return Begin::Run,
                MayBegin::No => return Begin::Skip,
                MayBegin::Expired => {
                    let refs = || std::iter::once(at);
                    self.renew_expired(at.stream, || self.in_flight.any_expired(at.stream, refs()))
                        .await
                }
                MayBegin::Mark { id, count } => self.mark(at, id, count).await,
            };
            if let Err(error) = done {
                tracing::debug!("an attempt cannot begin yet: {error}");
                tokio::select! {
                    biased;
                    () = tokio::time::sleep(BEGIN_AGAIN) => {}
                    () = self.stop.cancelled() => {}
                }
            }
        }
    }

    /// Tells the store that an attempt begins, so that a crash counts for this one.
    async fn mark(&self, at: DeliveryRef, id: EntryId, count: u64) -> crate::engine::EngineResult<()> {
        let Some(member) = &self.spec.member else {
            self.in_flight.marked(at);
            return Ok(());
        };
        for _ in 0..2 {
            if self.store.begin(member, self.name(at.stream), id, count).await? {
                self.in_flight.marked(at);
                return Ok(());
            }
            // Another consumer has it, or nobody.
            self.renew_stream(at.stream).await?;
            if !self.in_flight.must_mark(at) {
                return Ok(());
            }
        }
        self.in_flight.marked(at);
        Ok(())
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("spec", &self.spec).finish_non_exhaustive()
    }
}
