//! A listening.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

use super::{is_enabled, list};
use crate::entry::{EntryId, unix_ms};

/// What a listening records; made once, so that a message costs a few additions.
pub(crate) struct ListenMetrics {
    streams: Vec<StreamMetrics>,
    in_flight: Gauge,
    prefetched: Gauge,
    waiting_retries: Gauge,
    /// Messages whose first listener has begun and which are not settled.
    begun: AtomicU64,
    /// Messages in flight, as the gauge has them.
    last_in_flight: AtomicU64,
}

/// What is recorded about one stream.
pub(crate) struct StreamMetrics {
    received: Counter,
    reclaimed: Counter,
    leases_lost: Counter,
    duplicates: Counter,
    queue_wait: Histogram,
    end_to_end: Histogram,
    listeners: Vec<ListenerMetrics>,
}

/// What is recorded about one listener.
struct ListenerMetrics {
    handled: Counter,
    failed: Counter,
    retried: Counter,
    dead_lettered: Counter,
    process_duration: Histogram,
}

impl fmt::Debug for ListenMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListenMetrics")
    }
}

impl ListenMetrics {
    /// For these streams, each with its listeners; `None` while metrics are not enabled.
    pub(crate) fn new<'a, L: Iterator<Item = &'a str>>(
        group: Option<&str>,
        streams: impl Iterator<Item = (String, L)>,
    ) -> Option<Self> {
        if !is_enabled() {
            return None;
        }
        let group = Label::new(list::GROUP, group.unwrap_or_default().to_owned());
        let of_group = || vec![group.clone()];
        let streams = streams.map(|(stream, listeners)| {
            let stream = Label::new(list::STREAM, stream);
            let labels = || vec![stream.clone(), group.clone()];
            let listeners = listeners.map(|listener| {
                let listener = Label::new(list::LISTENER, listener.to_owned());
                let labels = || vec![stream.clone(), group.clone(), listener.clone()];
                ListenerMetrics {
                    handled: counter!(list::HANDLED, labels()),
                    failed: counter!(list::FAILED, labels()),
                    retried: counter!(list::RETRIED, labels()),
                    dead_lettered: counter!(list::DEAD_LETTERED, labels()),
                    process_duration: histogram!(list::PROCESS_DURATION, labels()),
                }
            });
            StreamMetrics {
                listeners: listeners.collect(),
                received: counter!(list::RECEIVED, labels()),
                reclaimed: counter!(list::RECLAIMED, labels()),
                leases_lost: counter!(list::LEASES_LOST, labels()),
                duplicates: counter!(list::DUPLICATES, labels()),
                queue_wait: histogram!(list::QUEUE_WAIT, labels()),
                end_to_end: histogram!(list::END_TO_END, labels()),
            }
        });
        Some(Self {
            streams: streams.collect(),
            in_flight: gauge!(list::IN_FLIGHT, of_group()),
            prefetched: gauge!(list::PREFETCHED, of_group()),
            waiting_retries: gauge!(list::WAITING_RETRIES, of_group()),
            begun: AtomicU64::new(0),
            last_in_flight: AtomicU64::new(0),
        })
    }

    /// The stream of a delivery.
    pub(crate) fn stream(&self, number: u32) -> &StreamMetrics {
        &self.streams[number as usize]
    }

    /// A worker begins a message.
    pub(crate) fn begin(&self, stream: u32, received: Option<Instant>, may_be_duplicate: bool) {
        let begun = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        // A listener may take long, and nothing is settled until then.
        self.set_prefetched(self.last_in_flight.load(Ordering::Relaxed), begun);
        let stream = self.stream(stream);
        stream.received.increment(1);
        if may_be_duplicate {
            stream.duplicates.increment(1);
        }
        if let Some(received) = received {
            stream.queue_wait.record(received.elapsed().as_secs_f64());
        }
    }

    /// So many outcomes were settled, or given up; so many messages are in flight and wait for retries now.
    pub(crate) fn settled(&self, outcomes: u64, in_flight: usize, waiting_retries: usize) {
        let begun = self
            .begun
            .fetch_sub(outcomes, Ordering::Relaxed)
            .saturating_sub(outcomes);
        self.measure(in_flight, begun, waiting_retries);
    }

    /// Messages were delivered.
    pub(crate) fn delivered(&self, in_flight: usize, waiting_retries: usize) {
        self.measure(in_flight, self.begun.load(Ordering::Relaxed), waiting_retries);
    }

    fn measure(&self, in_flight: usize, begun: u64, waiting_retries: usize) {
        self.last_in_flight.store(in_flight as u64, Ordering::Relaxed);
        self.in_flight.set(in_flight as f64);
        self.set_prefetched(in_flight as u64, begun);
        self.waiting_retries.set(waiting_retries as f64);
    }

    fn set_prefetched(&self, in_flight: u64, begun: u64) {
        self.prefetched.set(in_flight.saturating_sub(begun) as f64);
    }

    /// The listening has ended.
    pub(crate) fn ended(&self) {
        self.measure(0, 0, 0);
    }
}

impl StreamMetrics {
    /// A listener ended an attempt.
    pub(crate) fn tried(&self, listener: usize, began: Instant, end: Tried) {
        let listener = &self.listeners[listener];
        listener.process_duration.record(began.elapsed().as_secs_f64());
        match end {
            Tried::Handled => listener.handled.increment(1),
            Tried::Retried => {
                listener.failed.increment(1);
                listener.retried.increment(1);
            }
            Tried::DeadLettered => {
                listener.failed.increment(1);
                listener.dead_lettered.increment(1);
            }
        }
    }

    /// A message is given up although its listener did not run this time.
    pub(crate) fn given_up(&self, listener: usize) {
        self.listeners[listener].dead_lettered.increment(1);
    }

    /// All listeners of a message have ended.
    pub(crate) fn ended(&self, id: EntryId) {
        /// IDs of 2001 and before are no times.
        const EARLIEST: u64 = 1_000_000_000_000;
        if id.ms >= EARLIEST {
            self.end_to_end.record(unix_ms().saturating_sub(id.ms) as f64 / 1000.0);
        }
    }

    /// Messages were taken over from other consumers.
    pub(crate) fn reclaimed(&self, messages: usize) {
        self.reclaimed.increment(messages as u64);
    }

    /// Other consumers claimed messages that are in flight here.
    pub(crate) fn leases_lost(&self, messages: usize) {
        self.leases_lost.increment(messages as u64);
    }
}

/// How an attempt of a listener ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    Handled,
    Retried,
    DeadLettered,
}
