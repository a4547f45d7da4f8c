//! An event for listeners, and what they made of it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{EntryId, Event, Listeners, Report, Start, Streamer};

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
    let streamer = super::streamer().await;
    let name = event.name();
    let id = match streamer.emit(event).await {
        Ok(id) => id,
        Err(error) => panic!("{error}"),
    };
    let awaited = listeners.of(&name.as_ref().into()).len();
    let outcomes = Arc::new(Mutex::new(Vec::with_capacity(awaited)));
    let listening = streamer
        .listen(listeners.clone())
        .events([name.as_ref()])
        .group("testing")
        .start(Start::Beginning)
        .batch(1);
    let stop = listening.stop_handle();
    let seen = Arc::clone(&outcomes);
    let listening = listening.on_report(move |report| {
        let (message, listener, outcome) = match report {
            Report::Processed { message, listener } => (message, listener, Ok(())),
            Report::Failed {
                message,
                listener,
                error,
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
    Delivery { streamer, id, outcomes }
}

/// What listeners made of an event.
#[derive(Clone, Debug)]
pub struct Delivery {
    streamer: Streamer,
    id: EntryId,
    outcomes: Vec<(String, Result<(), String>)>,
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
            None => panic!(
                "the event has no listener '{listener}'; its outcomes: {:?}",
                self.outcomes
            ),
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
        assert!(handled, "a listener failed: {:?}", self.outcomes);
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
}
