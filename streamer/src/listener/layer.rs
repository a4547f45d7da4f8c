//! What is around listeners: the same code before and after each attempt, whichever listener it is for.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Semaphore, time::Instant};

use super::{Listener, ListenerContext, ListenerError};
use crate::message::ReceivedMessage;

/// Runs around each attempt of the listeners that it is given to ([`Listeners::layer`](super::Listeners::layer)).
///
/// It may look at the message, wait, refuse with an error, or change the outcome. What it returns is the listener's outcome, with its
/// retries and its failure. The listener's time-out counts from before the layer, and a panic of the layer is a failure of the listener.
/// A message that cannot be decoded reaches the layer only where it reaches the listener ([`Listener::decodes`]).
///
/// ```
/// use streamer::{Layer, ListenerContext, ListenerError, Listeners, Next, ReceivedMessage, async_trait};
///
/// /// Logs what failed, with who was asked.
/// struct Log;
///
/// #[async_trait]
/// impl Layer for Log {
///     async fn handle(&self, message: &ReceivedMessage, context: &ListenerContext, next: Next<'_>) -> Result<(), ListenerError> {
///         let name = next.name().to_owned();
///         let outcome = next.run(message, context).await;
///         if let Err(error) = &outcome {
///             eprintln!("{name} failed at {}: {error}", message.id());
///         }
///         outcome
///     }
/// }
///
/// let listeners = Listeners::new().on("order.placed", "receipt", async || ()).layer(Log);
/// ```
#[async_trait]
pub trait Layer: Send + Sync + 'static {
    /// Whether an attempt may begin at once. Asked before each attempt of a listening, so it must be quick; `false` leads to
    /// [`Layer::ready`]. Default: yes.
    fn is_ready(&self) -> bool {
        true
    }

    /// Waits until an attempt may begin. The message has not begun: it counts no attempt, and goes back to the group when the listening
    /// ends; its time-out does not count yet. Its worker waits, which at last holds up reading. It may be dropped at any
    /// time, and the attempt may yet not begin. Default: at once.
    async fn ready(&self) {}

    /// Handles one message by [`Next::run`], or without it.
    ///
    /// # Errors
    ///
    /// When the listener failed, or is not to be asked.
    async fn handle(
        &self,
        message: &ReceivedMessage,
        context: &ListenerContext,
        next: Next<'_>,
    ) -> Result<(), ListenerError>;
}

/// What a [`Layer`] is around: the listener, or the layer that was added before.
pub struct Next<'a> {
    name: &'a str,
    listener: &'a dyn Listener,
}

impl Next<'_> {
    /// The name of the listener.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// Hands the message on.
    ///
    /// # Errors
    ///
    /// When the listener failed.
    pub async fn run(self, message: &ReceivedMessage, context: &ListenerContext) -> Result<(), ListenerError> {
        self.listener.handle(message, context).await
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A listener with a layer around it.
pub(super) struct Layered {
    name: Arc<str>,
    layer: Arc<dyn Layer>,
    listener: Arc<dyn Listener>,
}

impl Layered {
    pub(super) fn new(name: Arc<str>, layer: Arc<dyn Layer>, listener: Arc<dyn Listener>) -> Self {
        Self { name, layer, listener }
    }
}

#[async_trait]
impl Listener for Layered {
    async fn handle(&self, message: &ReceivedMessage, context: &ListenerContext) -> Result<(), ListenerError> {
        let next = Next {
            name: &self.name,
            listener: &*self.listener,
        };
        self.layer.handle(message, context, next).await
    }

    fn decodes(&self) -> bool {
        self.listener.decodes()
    }

    fn is_ready(&self) -> bool {
        self.layer.is_ready() && self.listener.is_ready()
    }

    async fn ready(&self) {
        self.layer.ready().await;
        self.listener.ready().await;
    }
}

/// At most so many attempts at once, of all listeners of this process that it is given to together.
///
/// An attempt that waits for its turn is in flight: its lease is renewed, and its time-out counts. A clone shares the limit. A
/// function of batches ([`Listeners::on_batch`](super::Listeners::on_batch)) gathers no more messages than the limit allows.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit(Arc<Semaphore>);

impl ConcurrencyLimit {
    /// At most `most` at once, at least one.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS))))
    }
}

#[async_trait]
impl Layer for ConcurrencyLimit {
    async fn handle(
        &self,
        message: &ReceivedMessage,
        context: &ListenerContext,
        next: Next<'_>,
    ) -> Result<(), ListenerError> {
        // It is never closed.
        let _permit = self.0.acquire().await.map_err(ListenerError::from)?;
        next.run(message, context).await
    }
}

/// At most so many attempts in a time, evenly spread, of all listeners of this process that it is given to together.
///
/// An attempt that waits for its turn is in flight: its lease is renewed, and its time-out counts. A clone shares the limit. An
/// attempt that ends while it waits (by its time-out) has used its turn.
#[derive(Clone, Debug)]
pub struct RateLimit {
    interval: Duration,
    /// When the next attempt may begin; set by each attempt that takes its turn.
    next: Arc<Mutex<Option<Instant>>>,
}

impl RateLimit {
    /// At most `most` (at least one) in each `time`, one after every `time / most`.
    #[must_use]
    pub fn new(most: u32, time: Duration) -> Self {
        Self {
            interval: time / most.max(1),
            next: Arc::default(),
        }
    }

    /// Takes the next turn.
    fn turn(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = next.map_or(now, |next| next.max(now));
        *next = turn.checked_add(self.interval);
        turn
    }
}

#[async_trait]
impl Layer for RateLimit {
    async fn handle(
        &self,
        message: &ReceivedMessage,
        context: &ListenerContext,
        next: Next<'_>,
    ) -> Result<(), ListenerError> {
        tokio::time::sleep_until(self.turn(Instant::now())).await;
        next.run(message, context).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_evenly_spread_and_none_is_saved_up() {
        let limit = RateLimit::new(4, Duration::from_secs(1));
        let begin = Instant::now();
        let after = |turn: Instant| turn.duration_since(begin).as_millis();
        let turns: Vec<_> = (0..3).map(|_| after(limit.clone().turn(begin))).collect();
        assert_eq!(turns, [0, 250, 500]);
        let later = begin + Duration::from_secs(10);
        assert_eq!(after(limit.turn(later)), 10_000);
        assert_eq!(after(limit.turn(later)), 10_250);
    }
}
