//! What a listening is to do: decided once, before anything runs, and never changed.

use rand::{RngExt, distr::Alphanumeric};

use super::{Health, ListenError, Listening, StartAt, options::Options, report::Reporter};
use crate::{
    engine::{DeferredBound, GroupStart, Member, Spec, StreamSpec},
    entry::{EntryId, StreamName},
    listener::{ListenerContext, RegisteredListener, RetryPolicy},
    metrics::ListenMetrics,
};

/// What to listen to, and how. Every task has a reference to it.
#[derive(Debug)]
pub(super) struct Plan {
    /// What listeners are given.
    pub(super) context: ListenerContext,
    /// By the number that a delivery has for its stream.
    pub(super) streams: Vec<PlannedStream>,
    /// `None` without a group.
    pub(super) member: Option<Member>,
    pub(super) options: Options,
    pub(super) reporter: Reporter,
    /// Counts what was settled.
    pub(super) health: Health,
    /// `None` while metrics are not enabled.
    pub(super) metrics: Option<ListenMetrics>,
}

/// A stream with the listeners of its event.
#[derive(Debug)]
pub(super) struct PlannedStream {
    pub(super) name: StreamName,
    pub(super) listeners: Vec<RegisteredListener>,
    /// Whether one of them is tried again when it fails.
    retries: bool,
}

impl Plan {
    pub(super) fn new(listening: Listening) -> Result<Self, ListenError> {
        let Listening {
            streamer,
            listeners,
            events,
            options,
            stop,
            ends: _,
            mut reporter,
            health,
        } = listening;
        if let Some(mistake) = listeners.mistakes().first() {
            return Err(ListenError::Mistake(mistake.clone()));
        }
        let mut names = match events.is_empty() {
            true => listeners.all().map(|(event, _)| event.clone()).collect(),
            false => events,
        };
        let mut known = std::collections::HashSet::new();
        names.retain(|name| known.insert(name.clone()));
        if names.is_empty() {
            return Err(ListenError::NoEvents);
        }
        options.check()?;
        // An event without a name is listened to: laravel-streamer writes some.
        for name in names.iter().filter(|name| !name.as_bytes().is_empty()) {
            name.check().map_err(|error| ListenError::Mistake(error.to_string()))?;
        }
        let streams = names.into_iter().map(|name| {
            let listeners = listeners.of(&name).to_vec();
            match listeners.is_empty() {
                true => Err(ListenError::NoListeners(name)),
                false => Ok(PlannedStream {
                    name,
                    retries: listeners
                        .iter()
                        .any(|one| one.retry().is_some_and(RetryPolicy::retries)),
                    listeners,
                }),
            }
        });
        let member = options.group.clone().map(|group| {
            let consumer = options.consumer.clone().unwrap_or_else(|| default_consumer(&group));
            Member { group, consumer }
        });
        let streams = streams.collect::<Result<Vec<_>, _>>()?;
        let group = member.as_ref().map(|member| member.group.as_str());
        let measured = streams.iter().map(|stream| {
            let listeners = stream.listeners.iter().map(RegisteredListener::name);
            (stream.name.to_string(), listeners)
        });
        if health.is_watched() {
            let health = health.clone();
            reporter.add(move |report| health.observe(report));
        }
        Ok(Self {
            health,
            metrics: ListenMetrics::new(group, measured),
            context: ListenerContext { streamer, stop },
            streams,
            member,
            options,
            reporter,
        })
    }

    /// Whether somebody wants to know how long things take: two looks at the clock for each message.
    pub(super) fn measures(&self) -> bool {
        self.metrics.is_some() || self.reporter.wants_times()
    }

    /// The stream of a delivery.
    pub(super) fn stream(&self, number: u32) -> &PlannedStream {
        &self.streams[number as usize]
    }

    /// Whether a message with a failed listener stays pending.
    pub(super) fn keeps_failed_pending(&self) -> bool {
        self.member.is_some() && !self.options.always_acknowledge
    }

    /// Whether it is kept what listeners achieved with a message that comes again.
    pub(super) fn tracks_retry_state(&self, stream: &PlannedStream) -> bool {
        self.keeps_failed_pending() || stream.retries
    }

    /// What to subscribe to.
    pub(super) fn spec(&self) -> Spec {
        let options = &self.options;
        let default = match self.member {
            Some(_) => StartAt::Beginning,
            None => StartAt::Now,
        };
        let start = match options.start.unwrap_or(default) {
            StartAt::Now => GroupStart::Now,
            StartAt::Beginning => GroupStart::After(EntryId::MIN),
            StartAt::After(id) => GroupStart::After(id),
        };
        let streams = self.streams.iter().map(|stream| StreamSpec {
            name: stream.name.clone(),
            start,
            tracks_retry_state: self.tracks_retry_state(stream),
        });
        Spec {
            streams: streams.collect(),
            member: self.member.clone(),
            consumer_is_named: options.consumer.is_some(),
            reclaim: options.reclaim,
            read_wait: options.read_wait,
            quiet_after: options.listen_timeout,
            keep_alive: options.keep_alive,
            on_name_in_use: options.on_name_in_use,
            batch: options.batch,
            batch_bytes: options.batch_bytes,
            deferred_bound: DeferredBound::default(),
            holds_retries: options.retry_in_order,
        }
    }
}

/// The group, `-` and 16 random characters, as laravel-streamer names its consumers.
fn default_consumer(group: &str) -> String {
    let random = rand::rng().sample_iter(Alphanumeric).take(16).map(char::from);
    format!("{group}-{}", random.collect::<String>())
}
