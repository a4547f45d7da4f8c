//! An event for listeners, and what they made of it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::Location,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{difference, emitted};
use crate::{
    EntryId, Event, Listeners, NamedEvent, NewId, ReceivedMessage, Report, StartAt, StreamName, Streamer,
    engine::{Append, AppendOptions},
    entry::unix_ms,
    message::Envelope,
};

/// How many streams of a store are looked at for what listeners emit. A store of a test has fewer.
const STREAMS: usize = 10_000;

/// Gives an event to its listeners, as a listening would, and tells each one's outcome.
///
/// The event is emitted to a store of its own, and the listeners are called by a [`Listening`](crate::Listening) in a
/// group: time-outs hold, a panic is a failure, failures are on the store's failed list.
///
/// A listener that fails is tried again as its [`RetryPolicy`](crate::RetryPolicy) says, but at once: a test does not wait for
/// hours. [`Delivery::delays`] has the times for which a listening would have waited.
///
/// ```
/// use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use streamer::{Event, Listeners, Payload, ReceivedMessage, RetryPolicy, testing};
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "order.placed")]
/// struct OrderPlaced { id: u64 }
///
/// async fn charge(Payload(_): Payload<OrderPlaced>, message: ReceivedMessage) -> Result<(), String> {
///     match message.attempt() {
///         1 | 2 => Err("the bank is closed".to_owned()),
///         _ => Ok(()),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// const HOUR: Duration = Duration::from_secs(60 * 60);
/// let policy = RetryPolicy::exponential(5, HOUR, 24 * HOUR).jitter(false);
/// let listeners = Listeners::new().on_event("charge", charge).retry(&policy);
///
/// let delivery = testing::deliver(&listeners, &OrderPlaced { id: 7 }).await;
/// delivery.assert_handled();
/// assert_eq!(delivery.delays("charge"), [HOUR, 2 * HOUR]); // three attempts; no hour has passed
/// # }
/// ```
///
/// # Panics
///
/// When the event has no listener, or has no JSON text.
pub async fn deliver<S: Clone>(listeners: &Listeners<S>, event: &impl Event) -> Delivery {
    deliver_on(&super::streamer().await, listeners, event).await
}

/// The same on a store that the test has: several events one after the other, with what earlier ones left there.
///
/// Only this event is delivered, once, and not what else is on its stream.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use streamer::{Event, Listeners, Payload, testing};
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "order.placed")]
/// struct OrderPlaced { id: u64 }
///
/// async fn receipt(Payload(_): Payload<OrderPlaced>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let streamer = testing::streamer().await;
/// let listeners = Listeners::new().on_event("receipt", receipt);
/// for id in 1..=3 {
///     testing::deliver_on(&streamer, &listeners, &OrderPlaced { id }).await.assert_handled();
/// }
/// # }
/// ```
///
/// # Panics
///
/// As [`deliver`], and when the store cannot be used.
pub async fn deliver_on<S: Clone>(streamer: &Streamer, listeners: &Listeners<S>, event: &impl Event) -> Delivery {
    let before = last_ids(streamer).await;
    let name = StreamName::from(event.name().as_ref());
    match streamer.emit(event).await {
        Ok(id) => listen_to(streamer, listeners, name, id, before).await,
        Err(error) => panic!("{error}"),
    }
}

/// Gives listeners a message whose payload is this text, whatever it says: text that is no JSON, or JSON that does not fit the
/// listener's type, such as that of an older producer.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use streamer::{Event, Listeners, Payload, testing};
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "order.placed")]
/// struct OrderPlaced { id: u64 }
///
/// async fn receipt(Payload(_): Payload<OrderPlaced>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let streamer = testing::streamer().await;
/// let listeners = Listeners::new().on_event("receipt", receipt);
/// let delivery = testing::deliver_text(&streamer, &listeners, "order.placed", r#"{"id":"#).await;
/// delivery.assert_failed("receipt", "cannot be decoded");
/// # }
/// ```
///
/// # Panics
///
/// When no listener listens to this name, or the store cannot be used.
pub async fn deliver_text<S: Clone>(
    streamer: &Streamer,
    listeners: &Listeners<S>,
    name: impl Into<StreamName>,
    payload: impl Into<Bytes>,
) -> Delivery {
    let before = last_ids(streamer).await;
    let name = name.into();
    let envelope = Envelope {
        name: Bytes::copy_from_slice(name.as_bytes()),
        kind: Bytes::from_static(b"event"),
        domain: Bytes::copy_from_slice(streamer.domain().as_bytes()),
        original_id: None,
        created: unix_ms() / 1000,
        data: payload.into(),
    };
    let append = Append {
        stream: name.clone(),
        id: NewId::Auto,
        fields: envelope.encode(),
        options: AppendOptions::default(),
    };
    match streamer.engine().append(append).await {
        Ok(id) => listen_to(streamer, listeners, name, id, before).await,
        Err(error) => panic!("{error}"),
    }
}

/// Calls the listeners of a message that is on its stream.
async fn listen_to<S: Clone>(
    streamer: &Streamer,
    listeners: &Listeners<S>,
    name: StreamName,
    id: EntryId,
    before: BTreeMap<StreamName, EntryId>,
) -> Delivery {
    let awaited = listeners.of(&name).len();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let listening = streamer
        .listen(listeners.clone())
        .events([name.clone()])
        // A group of its own, which begins right before the event.
        .group(format!("testing-{id}"))
        .start(before.get(&name).map_or(StartAt::Beginning, |last| StartAt::After(*last)))
        .batch(1)
        .retry_at_once();
    let (stop, sees) = (listening.stop_handle(), Arc::clone(&seen));
    let listening = listening.on_report(move |report| {
        let mut sees = sees.lock().unwrap_or_else(PoisonError::into_inner);
        let (message, listener, outcome) = match report {
            Report::Processed { message, listener, .. } => (message, listener, Ok(())),
            Report::Failed {
                message,
                listener,
                error,
                ..
            } => (message, listener, Err((*error).to_owned())),
            Report::RetryLater {
                message,
                listener,
                delay,
                ..
            } => {
                if message.id() == id {
                    sees.delays.push(((*listener).to_owned(), *delay));
                }
                return;
            }
            _ => return,
        };
        // A listener may emit the event that it listens to.
        if message.id() == id {
            sees.outcomes.push(((*listener).to_owned(), outcome));
            if sees.outcomes.len() == awaited {
                stop.stop();
            }
        }
    });
    if let Err(error) = listening.run().await {
        panic!("'{name}' cannot be delivered: {error}");
    }
    let Seen { outcomes, delays } = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    Delivery {
        streamer: streamer.clone(),
        stream: name,
        id,
        outcomes,
        delays,
        before,
    }
}

/// What a listening reported of one message.
#[derive(Default)]
struct Seen {
    outcomes: Vec<(String, Result<(), String>)>,
    delays: Vec<(String, Duration)>,
}

/// Where each stream ends.
async fn last_ids(streamer: &Streamer) -> BTreeMap<StreamName, EntryId> {
    let engine = streamer.engine();
    let mut last = BTreeMap::new();
    let found = match engine.find_streams(STREAMS).await {
        Ok(found) => found,
        Err(error) => panic!("the streams of the store cannot be found: {error}"),
    };
    for stream in found.names {
        match engine.last_id(&stream).await {
            Ok(id) => _ = last.insert(stream, id),
            Err(error) => panic!("the stream '{stream}' cannot be read: {error}"),
        }
    }
    last
}

/// What listeners made of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    streamer: Streamer,
    stream: StreamName,
    id: EntryId,
    outcomes: Vec<(String, Result<(), String>)>,
    /// Which listener was tried again, and how long a listening would have waited before that.
    delays: Vec<(String, Duration)>,
    /// Where each stream ended before the event was emitted.
    before: BTreeMap<StreamName, EntryId>,
}

impl Delivery {
    /// Each listener's name with its outcome (the error as it stands in the failed list), in the order they ended.
    pub fn outcomes(&self) -> &[(String, Result<(), String>)] {
        &self.outcomes
    }

    /// The outcome of one listener: `Err` with the text of its error.
    ///
    /// # Panics
    ///
    /// When the event has no listener of this name.
    #[track_caller]
    pub fn outcome(&self, listener: &str) -> Result<(), &str> {
        match self.outcomes.iter().find(|(name, _)| name == listener) {
            Some((_, outcome)) => outcome.as_ref().copied().map_err(String::as_str),
            None => panic!("the event has no listener '{listener}'; its outcomes:{}", self.shown()),
        }
    }

    /// How long a listening would have waited before the second attempt of a listener, before its third, and so on; empty when
    /// one attempt was enough. Here no attempt waits.
    ///
    /// A policy with [jitter](crate::RetryPolicy::jitter) shortens each at random.
    ///
    /// # Panics
    ///
    /// When the event has no listener of this name.
    #[track_caller]
    pub fn delays(&self, listener: &str) -> Vec<Duration> {
        let _ = self.outcome(listener);
        let delays = self.delays.iter().filter(|(name, _)| name == listener);
        delays.map(|(_, delay)| *delay).collect()
    }

    /// Asserts that every listener handled it.
    ///
    /// # Panics
    ///
    /// When one failed; the text shows each one's outcome.
    #[track_caller]
    pub fn assert_handled(&self) {
        let handled = self.outcomes.iter().all(|(_, outcome)| outcome.is_ok());
        assert!(handled, "a listener failed:{}", self.shown());
    }

    /// Asserts that a listener failed with an error whose text contains `text`.
    ///
    /// # Panics
    ///
    /// When it did not; the text shows each one's outcome.
    #[track_caller]
    pub fn assert_failed(&self, listener: &str, text: &str) {
        let as_expected = self.outcome(listener).is_err_and(|error| error.contains(text));
        assert!(
            as_expected,
            "the listener '{listener}' should have failed with '{text}':{}",
            self.shown()
        );
    }

    /// The events of a type that were emitted since the event was, oldest first: what its listeners emitted.
    ///
    /// # Panics
    ///
    /// When one does not fit the type, or the store cannot be read.
    pub async fn emitted<E: NamedEvent + DeserializeOwned>(&self) -> Vec<E> {
        emitted::events(&self.messages(E::NAME).await)
    }

    /// The messages that were emitted under a name since the event was, oldest first, without the event itself.
    ///
    /// # Panics
    ///
    /// When the store cannot be read.
    pub async fn messages(&self, name: impl Into<StreamName>) -> Vec<ReceivedMessage> {
        let name = name.into();
        let last = self.before.get(&name).copied().unwrap_or(EntryId::MIN);
        let mut messages = emitted::messages(&self.streamer, name).await;
        messages.retain(|message| message.id() > last && (message.stream() != &self.stream || message.id() != self.id));
        messages
    }

    /// Asserts that the listeners emitted exactly these events of a type, in this order.
    ///
    /// # Panics
    ///
    /// When they did not; the text shows the differences, field by field.
    #[track_caller]
    pub fn assert_emitted<'a, E: NamedEvent + Serialize>(&'a self, expected: &'a [E]) -> impl Future<Output = ()> + 'a {
        let caller = Location::caller();
        async move {
            let messages = self.messages(E::NAME).await;
            if let Some(differences) = difference::between(expected, &messages) {
                panic!("{caller}: '{}' was not emitted as expected:{differences}", E::NAME);
            }
        }
    }

    /// The event's entry ID.
    #[must_use]
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// The store that the listeners ran on: what they emitted is there, and the failed list.
    #[must_use]
    pub fn streamer(&self) -> &Streamer {
        &self.streamer
    }

    /// Each listener's outcome on a line of its own.
    fn shown(&self) -> String {
        let mut text = String::new();
        for (listener, outcome) in &self.outcomes {
            let _ = match outcome {
                Ok(()) => write!(text, "\n  {listener}: handled"),
                Err(error) => write!(text, "\n  {listener}: failed: {error}"),
            };
        }
        text
    }
}
