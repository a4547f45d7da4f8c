//! What an `async fn` listener may ask for: each argument says by its type where it comes from.

use std::ops::{Deref, DerefMut};

use serde::de::DeserializeOwned;

use super::{ListenerContext, ListenerError, StopHandle};
use crate::{client::Streamer, message::ReceivedMessage};

/// An argument of a listener function.
///
/// Implemented for [`Payload<T>`], [`State<T>`], [`Raw`](crate::Raw), [`ReceivedMessage`], [`Streamer`] and [`StopHandle`]; implement it for
/// a type of your own to take it as an argument too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a listener",
    label = "not something a listener can be given",
    note = "a listener takes `Payload<T>` (T: serde::Deserialize), `State<T>`, `ReceivedMessage`, `Streamer` or \
            `StopHandle`, in any order; for a payload write `Payload<{Self}>`, for shared state `State<{Self}>`"
)]
pub trait FromMessage<S>: Sized {
    /// Whether making this finds out that a payload cannot be decoded; see [`Listener::decodes`](super::Listener::decodes).
    const DECODES: bool = false;

    /// Makes the argument.
    ///
    /// # Errors
    ///
    /// When the message does not give it. The listener is then not called and has failed for this message.
    fn from_message(message: &ReceivedMessage, context: &ListenerContext, state: &S) -> Result<Self, ListenerError>;
}

/// The payload, parsed into `T`.
///
/// A payload that does not parse is a failure of the listener that asked for it, for this message.
#[derive(Clone, Copy, Debug)]
pub struct Payload<T>(pub T);

impl<T: DeserializeOwned, S> FromMessage<S> for Payload<T> {
    const DECODES: bool = true;

    fn from_message(message: &ReceivedMessage, _: &ListenerContext, _: &S) -> Result<Self, ListenerError> {
        Ok(Self(message.payload()?))
    }
}

impl<T> Deref for Payload<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Payload<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// State that listeners share: what [`Listeners::with_state`](super::Listeners::with_state) was given, or a part of it
/// ([`FromRef`]). It is cloned for each message, so put what is costly to clone into an `Arc`.
#[derive(Clone, Copy, Debug)]
pub struct State<T>(pub T);

impl<S, T: FromRef<S>> FromMessage<S> for State<T> {
    fn from_message(_: &ReceivedMessage, _: &ListenerContext, state: &S) -> Result<Self, ListenerError> {
        Ok(Self(T::from_ref(state)))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A part of the shared state. Every cloneable type is a part of itself.
#[diagnostic::on_unimplemented(
    message = "the listeners' state `{S}` has no part `{Self}`",
    note = "give the state with `Listeners::with_state(state)`, and implement `FromRef<{S}>` for `{Self}` if it is a \
            part of that state"
)]
pub trait FromRef<S> {
    /// Takes the part out of the whole.
    fn from_ref(state: &S) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> T {
        state.clone()
    }
}

/// Two arguments as one: for functions that get many messages at once.
impl<S, A: FromMessage<S>, B: FromMessage<S>> FromMessage<S> for (A, B) {
    const DECODES: bool = A::DECODES || B::DECODES;

    fn from_message(message: &ReceivedMessage, context: &ListenerContext, state: &S) -> Result<Self, ListenerError> {
        Ok((
            A::from_message(message, context, state)?,
            B::from_message(message, context, state)?,
        ))
    }
}

impl<S> FromMessage<S> for ReceivedMessage {
    fn from_message(message: &ReceivedMessage, _: &ListenerContext, _: &S) -> Result<Self, ListenerError> {
        Ok(message.clone())
    }
}

impl<S> FromMessage<S> for Streamer {
    fn from_message(_: &ReceivedMessage, context: &ListenerContext, _: &S) -> Result<Self, ListenerError> {
        Ok(context.streamer.clone())
    }
}

impl<S> FromMessage<S> for StopHandle {
    fn from_message(_: &ReceivedMessage, context: &ListenerContext, _: &S) -> Result<Self, ListenerError> {
        Ok(context.stop.clone())
    }
}
