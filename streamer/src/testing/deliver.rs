//! An event for listeners, and what they made of it.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::Location,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{difference, emitted};
use crate::{EntryId, Event, Listeners, NamedEvent, ReceivedMessage, Report, StartAt, StreamName, Streamer};

/// How many streams of a store are looked at for what listeners emit. A store of a test has fewer.
const STREAMS: usize = 10_000;

/// Gives an event to its listeners, as a listening would, and tells each one's outcome. A listener that is tried
/// again ([`RetryPolicy`](crate::RetryPolicy)) is waited for.
///
/// The event is emitted to a store of its own, and the listeners are called by a [`Listening`](crate::Listening) in a
/// group: time-outs hold, a panic is a failure, failures are on the store's failed list.
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
    let id = match streamer.emit(event).await {
        Ok(id) => id,
        Err(error) => panic!("{error}"),
    };
    let awaited = listeners.of(&name).len();
    let outcomes = Arc::new(Mutex::new(Vec::with_capacity(awaited)));
    let listening = streamer
        .listen(listeners.clone())
        .events([name.clone()])
        // A group of its own, which begins right before the event.
        .group(format!("testing-{id}"))
        .start(before.get(&name).map_or(StartAt::Beginning, |last| StartAt::After(*last)))
        .batch(1);
    let stop = listening.stop_handle();
    let seen = Arc::clone(&outcomes);
    let listening = listening.on_report(move |report| {
        let (message, listener, outcome) = match report {
            Report::Processed { message, listener, .. } => (message, listener, Ok(())),
            Report::Failed {
                message,
                listener,
                error,
                ..
            } => (message, listener, Err((*error).to_owned())),
            _ => return,
        };
        // A listener may emit the event that it listens to.
        if message.id() == id {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push(((*listener).to_owned(), outcome));
            if seen.len() == awaited {
                stop.stop();
            }
        }
    });
    if let Err(error) = listening.run().await {
        panic!("'{name}' cannot be delivered: {error}");
    }
    let outcomes = std::mem::take(&mut *outcomes.lock().unwrap_or_else(PoisonError::into_inner));
    Delivery {
        streamer: streamer.clone(),
        stream: name,
        id,
        outcomes,
        before,
    }
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
