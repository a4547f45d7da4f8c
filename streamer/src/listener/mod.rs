//! What handles messages: listeners, who has which, and one attempt at one message.
//!
//! This is below [`listen`](crate::Listening), which gives listeners the messages of streams, and below
//! [`failed`](crate::failed), which runs them once more for what they failed at.
//!
//! # Layout
//!
//! - Here: the [`Listener`] trait, for structs, and what every listener may use. `handler`, `extract`: an `async fn` is a
//!   listener too, and its arguments say what it needs.
//! - `batch`: a function that handles many messages at once.
//! - `layer`: what is around listeners, such as limits. `breaker`: the one that pauses after failures.
//! - `check`: what `#[listener]` calls, so that a mistake is reported where the function is written.
//! - `registry`: which event has which listeners.
//! - `retry`: when to try a listener again.
//! - `attempt`: one attempt, in which an error, a panic and a time-out are all the listener's failure.
//! - `stop`: ends what calls the listeners.

mod attempt;
mod batch;
mod breaker;
pub(crate) mod check;
mod extract;
mod handler;
mod layer;
mod registry;
mod retry;
mod stop;

use std::{error::Error as StdError, fmt, time::Duration};

use async_trait::async_trait;

pub(crate) use self::attempt::text_of_panic;
pub use self::{
    batch::{Gather, IntoOutcomes},
    breaker::CircuitBreaker,
    extract::{FromMessage, FromRef, Payload, State},
    handler::{ArgumentsOfEvent, Handler, IntoOutcome},
    layer::{ConcurrencyLimit, Layer, Next, RateLimit},
    registry::{Listeners, RegisteredListener},
    retry::RetryPolicy,
    stop::StopHandle,
};
use crate::{
    client::Streamer,
    message::{DecodeError, ReceivedMessage},
};

/// Handles messages.
///
/// ```
/// use streamer::{ListenerContext, Listener, ListenerError, ReceivedMessage, async_trait};
///
/// struct Audit {
///     path: std::path::PathBuf,
/// }
///
/// #[async_trait]
/// impl Listener for Audit {
///     async fn handle(&self, message: &ReceivedMessage, _: &ListenerContext) -> Result<(), ListenerError> {
///         std::fs::write(&self.path, message.id().to_string())?;
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Listener: Send + Sync + 'static {
    /// Handles one message. `Ok` settles it for this listener; an error (a panic and a time-out count as errors) is
    /// recorded in the failed list for this listener alone.
    ///
    /// A message may come more than once, so handling it twice must do no harm.
    async fn handle(&self, message: &ReceivedMessage, context: &ListenerContext) -> Result<(), ListenerError>;

    /// Whether [`Listener::handle`] finds out by itself that a payload cannot be decoded. When `false`, the default,
    /// messages that are not JSON never reach it: they are recorded as failed.
    fn decodes(&self) -> bool {
        false
    }

    /// Whether an attempt may begin at once; see [`Layer::is_ready`].
    fn is_ready(&self) -> bool {
        true
    }

    /// Waits until an attempt may begin; see [`Layer::ready`].
    async fn ready(&self) {}
}

/// What a listener may use beside the message.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListenerContext {
    /// Emits events from inside a listener.
    pub streamer: Streamer,
    /// Ends the listening that called this listener.
    pub stop: StopHandle,
}

/// Why a listener could not handle a message: a text, made from any error, that goes to the failed list.
///
/// The `?` operator turns every error into it. The text is the error's with those of its causes, joined by `: `.
pub struct ListenerError {
    text: String,
    permanent: bool,
    retry_after: Option<Duration>,
}

impl ListenerError {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            permanent: false,
            retry_after: None,
        }
    }

    /// An error that another attempt would not mend: it is recorded at once, whatever the listener's
    /// [`RetryPolicy`](RetryPolicy) is.
    pub fn permanent(error: impl Into<Self>) -> Self {
        Self {
            permanent: true,
            ..error.into()
        }
    }

    /// The same error, when another attempt before this time is of no use: what a server says with `Retry-After`, for
    /// example. A [`RetryPolicy`](RetryPolicy) waits at least so long, but at most
    /// [`RetryPolicy::LONGEST_RETRY_AFTER`]. It makes no attempt that the policy does not make.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self {
            retry_after: Some(delay),
            ..self
        }
    }

    /// The same once more, for another message of a batch.
    fn same(&self) -> Self {
        Self {
            text: self.text.clone(),
            ..*self
        }
    }

    /// Whether another attempt would not mend it. A payload that cannot be decoded is permanent, too.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }
}

impl<E: Into<Box<dyn StdError + Send + Sync>>> From<E> for ListenerError {
    fn from(error: E) -> Self {
        let error = error.into();
        let permanent = error.is::<DecodeError>();
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            // Many errors print their cause themselves.
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        Self {
            text,
            permanent,
            retry_after: None,
        }
    }
}

impl fmt::Display for ListenerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for ListenerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("sending the receipt failed")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_tells_its_causes_once() {
        let error = ListenerError::from(Outer(std::io::Error::other("no route to host")));
        assert_eq!(error.to_string(), "sending the receipt failed: no route to host");
        assert_eq!(ListenerError::from("plain").to_string(), "plain");
        assert!(!ListenerError::from("plain").is_permanent());
        assert!(ListenerError::permanent("plain").is_permanent());
    }
}
