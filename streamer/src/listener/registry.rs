//! Which listeners an event has.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    ArgumentsOfEvent, FromMessage, Gather, Handler, IntoOutcomes, Layer, Listener, RetryPolicy, batch::BatchListener,
    handler::FunctionListener, layer::Layered,
};
use crate::{entry::StreamName, event::NamedEvent};

/// The listeners of an application, event by event, in the order they were added.
///
/// A listener's name is written to the failed list and is how a failure finds its listener again: keep it stable. One
/// event has at most one listener of a name: a second one is a mistake ([`Listeners::mistakes`]) that listening refuses.
#[derive(Clone)]
pub struct Listeners<S = ()> {
    state: S,
    events: Vec<(StreamName, Vec<RegisteredListener>)>,
    /// Mistakes in how they were registered, which listening refuses.
    mistakes: Vec<String>,
}

/// A listener under its name.
#[derive(Clone)]
pub struct RegisteredListener {
    name: Arc<str>,
    timeout: Option<Duration>,
    retry: Option<RetryPolicy>,
    listener: Arc<dyn Listener>,
}

impl RegisteredListener {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How long it may take for one message; `None` is without bound.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How it is tried again when it fails; `None` is not at all.
    #[must_use]
    pub fn retry(&self) -> Option<&RetryPolicy> {
        self.retry.as_ref()
    }

    /// The listener itself.
    #[must_use]
    pub fn listener(&self) -> &Arc<dyn Listener> {
        &self.listener
    }
}

impl fmt::Debug for RegisteredListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredListener")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .finish()
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Self::new()
    }
}

impl Listeners {
    /// No listeners, and no shared state.
    #[must_use]
    pub fn new() -> Self {
        Self::with_state(())
    }
}

impl<S: Clone + Send + Sync + 'static> Listeners<S> {
    /// No listeners yet; those to come share `state` ([`State`](super::State)).
    #[must_use]
    pub fn with_state(state: S) -> Self {
        Self {
            state,
            events: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    /// Adds a function.
    #[must_use]
    pub fn on<Arguments: 'static>(
        mut self,
        event: impl Into<StreamName>,
        name: impl Into<String>,
        handler: impl Handler<Arguments, S>,
    ) -> Self {
        self.add(event, name, handler);
        self
    }

    /// Adds a function for the event that its first argument is the payload of. So it cannot be registered for another
    /// event, whose payload it would not understand.
    ///
    /// ```
    /// use streamer::{Event, Listeners, Payload};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize, Event)]
    /// #[event(name = "order.placed")]
    /// struct OrderPlaced {
    ///     id: u64,
    /// }
    ///
    /// async fn receipt(Payload(order): Payload<OrderPlaced>) {
    ///     println!("order {}", order.id);
    /// }
    ///
    /// let listeners = Listeners::new().on_event("receipt", receipt);
    /// assert!(listeners.has("order.placed", "receipt"));
    /// // The event can be named, for readers.
    /// let listeners = Listeners::new().on_event::<OrderPlaced, _>("receipt", receipt);
    /// # assert!(listeners.has("order.placed", "receipt"));
    /// ```
    #[must_use]
    pub fn on_event<E, Arguments>(self, name: impl Into<String>, handler: impl Handler<Arguments, S>) -> Self
    where
        E: NamedEvent,
        Arguments: ArgumentsOfEvent<Event = E> + 'static,
    {
        self.on(E::NAME, name, handler)
    }

    /// Adds a function that handles many messages at once: it gets what [`Gather`] says, each as any one argument of a
    /// listener, or as a tuple of two. It returns one outcome for all, or a `Vec` with one for each, in their order.
    ///
    /// Each message is retried, listed and acknowledged by itself. As many messages are gathered as are handled at once
    /// ([`Workers::AtOnce`](crate::Workers::AtOnce)): with one worker in order a batch is one message, after its linger. A
    /// time-out of the listener counts from when a message begins to wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use streamer::{Gather, Listeners, Payload, ReceivedMessage};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Order {
    ///     id: u64,
    /// }
    ///
    /// async fn index(orders: Vec<(Payload<Order>, ReceivedMessage)>) -> Vec<Result<(), String>> {
    ///     let ids: Vec<u64> = orders.iter().map(|(order, _)| order.id).collect();
    ///     println!("one request for {ids:?}");
    ///     ids.iter().map(|id| if *id == 13 { Err("refused".to_owned()) } else { Ok(()) }).collect()
    /// }
    ///
    /// let gather = Gather::new(100, Duration::from_millis(20));
    /// let listeners = Listeners::new().on_batch("order.placed", "index", gather, index);
    /// # assert!(listeners.has("order.placed", "index"));
    /// ```
    #[must_use]
    pub fn on_batch<T, Fut>(
        mut self,
        event: impl Into<StreamName>,
        name: impl Into<String>,
        gather: Gather,
        function: impl Fn(Vec<T>) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        T: FromMessage<S> + Send + 'static,
        Fut: Future<Output: IntoOutcomes> + Send,
    {
        let listener = BatchListener::new(gather, function, self.state.clone());
        self.add_listener(event, name, listener, None);
        self
    }

    /// Adds a function.
    pub fn add<Arguments: 'static>(
        &mut self,
        event: impl Into<StreamName>,
        name: impl Into<String>,
        handler: impl Handler<Arguments, S>,
    ) {
        let listener = FunctionListener::new(handler, self.state.clone());
        self.add_listener(event, name, listener, None);
    }
}

impl<S> Listeners<S> {
    /// Adds a struct that is a listener. `timeout` bounds its time for one message; a longer one is a failure.
    pub fn add_listener(
        &mut self,
        event: impl Into<StreamName>,
        name: impl Into<String>,
        listener: impl Listener,
        timeout: Option<Duration>,
    ) {
        let name = name.into().into();
        self.add_registered(
            event.into(),
            RegisteredListener {
                name,
                timeout,
                retry: None,
                listener: Arc::new(listener),
            },
        );
    }

    /// Adds many: each event with its listeners, as another registry has them.
    pub fn add_many<T>(&mut self, others: Listeners<T>) {
        self.mistakes.extend(others.mistakes);
        for (event, listeners) in others.events {
            for listener in listeners {
                self.add_registered(event.clone(), listener);
            }
        }
    }

    /// Bounds the time that every listener without a bound of its own may take for one message.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        for listener in self.events.iter_mut().flat_map(|(_, listeners)| listeners) {
            listener.timeout.get_or_insert(timeout);
        }
        self
    }

    /// Tries every listener that has no policy of its own again in this way before its failure is recorded. Default: no
    /// listener is tried again.
    #[must_use]
    pub fn retry(mut self, policy: &RetryPolicy) -> Self {
        for listener in self.events.iter_mut().flat_map(|(_, listeners)| listeners) {
            listener.retry.get_or_insert_with(|| policy.clone());
        }
        self
    }

    /// Tries the listeners of this name again in this way, whichever event they are for. They must be registered already:
    /// a name that no event has is a mistake ([`Listeners::mistakes`]).
    #[must_use]
    pub fn retry_for(mut self, name: &str, policy: &RetryPolicy) -> Self {
        let mut known = false;
        let all = self.events.iter_mut().flat_map(|(_, listeners)| listeners);
        for listener in all.filter(|listener| listener.name() == name) {
            listener.retry = Some(policy.clone());
            known = true;
        }
        if !known {
            self.mistakes.push(format!(
                "a retry policy is for the listener `{name}`, which no event has"
            ));
        }
        self
    }

    /// Puts a layer around every listener that is registered so far: it runs before and after each of their attempts. The layer
    /// that is added last is the first to see a message.
    ///
    /// ```
    /// use streamer::{ConcurrencyLimit, Listeners};
    ///
    /// // However many workers there are, the mail server gets four requests at once.
    /// let mails = Listeners::new()
    ///     .on("order.placed", "receipt", async || ())
    ///     .on("order.shipped", "tracking", async || ())
    ///     .layer(ConcurrencyLimit::new(4));
    /// let listeners = mails.on("order.placed", "audit", async || ()); // without the limit
    /// # assert!(listeners.has("order.placed", "audit"));
    /// ```
    #[must_use]
    pub fn layer(mut self, layer: impl Layer) -> Self {
        let layer: Arc<dyn Layer> = Arc::new(layer);
        for listener in self.events.iter_mut().flat_map(|(_, listeners)| listeners) {
            let layered = Layered::new(
                Arc::clone(&listener.name),
                Arc::clone(&layer),
                Arc::clone(&listener.listener),
            );
            listener.listener = Arc::new(layered);
        }
        self
    }

    /// Mistakes in how listeners were registered: a listener without a name, two listeners of one name on an event (only
    /// the last one is kept), and a retry policy for a name that no event has. Listening and retrying refuse to begin while
    /// there is one.
    #[must_use]
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    /// Whether an event has a listener of this name.
    #[must_use]
    pub fn has(&self, event: impl Into<StreamName>, name: &str) -> bool {
        self.of(&event.into()).iter().any(|listener| listener.name() == name)
    }

    /// The listeners of an event; empty when it has none.
    #[must_use]
    pub fn of(&self, event: &StreamName) -> &[RegisteredListener] {
        let found = self.events.iter().find(|(name, _)| name == event);
        found.map_or(&[], |(_, listeners)| listeners)
    }

    /// Every event that has listeners, with them, in the order they were added.
    pub fn all(&self) -> impl Iterator<Item = (&StreamName, &[RegisteredListener])> {
        self.events
            .iter()
            .map(|(event, listeners)| (event, listeners.as_slice()))
    }

    /// The same listeners, each still with the state it was added with.
    #[must_use]
    pub fn without_state(self) -> Listeners {
        Listeners {
            state: (),
            events: self.events,
            mistakes: self.mistakes,
        }
    }

    fn add_registered(&mut self, event: StreamName, listener: RegisteredListener) {
        // The failed list could not be filtered by it, and its retries would name nobody. laravel-streamer has listed failures
        // that name neither event nor listener: those can be retried under the names that they have.
        if listener.name.is_empty() && !event.as_bytes().is_empty() {
            self.mistakes
                .push(format!("a listener of the event '{event}' has an empty name"));
        }
        let at = self
            .events
            .iter()
            .position(|(name, _)| *name == event)
            .unwrap_or_else(|| {
                self.events.push((event, Vec::new()));
                self.events.len() - 1
            });
        let (event, listeners) = &mut self.events[at];
        match listeners.iter_mut().find(|other| other.name == listener.name) {
            Some(other) => {
                let name = listener.name();
                self.mistakes
                    .push(format!("the event '{event}' has two listeners of the name `{name}`"));
                *other = listener;
            }
            None => listeners.push(listener),
        }
    }
}

impl<S> fmt::Debug for Listeners<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all()).finish()
    }
}
