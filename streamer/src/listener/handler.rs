//! An `async fn` is a listener: its arguments say what it needs, in any order.

use std::{future::Future, marker::PhantomData};

use async_trait::async_trait;

use super::{FromMessage, Listener, ListenerContext, ListenerError, Payload};
use crate::{event::NamedEvent, message::ReceivedMessage};

/// An `async fn` that handles messages.
///
/// Up to eight arguments, each a [`FromMessage`]; it returns `()` or a `Result<(), E>` with any error type.
///
/// ```
/// use streamer::{Listeners, Payload, ReceivedMessage, extract::State};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// #[derive(Clone)]
/// struct Shop;
///
/// async fn receipt(Payload(order): Payload<Order>, message: ReceivedMessage) -> Result<(), std::io::Error> {
///     println!("order {} came as {}", order.id, message.id());
///     Ok(())
/// }
///
/// async fn count(State(_shop): State<Shop>) {}
///
/// let listeners = Listeners::with_state(Shop).on("order.placed", "receipt", receipt).on("order.placed", "count", count);
/// # assert!(listeners.has("order.placed", "receipt"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a listener for state `{S}`",
    label = "not a listener function",
    note = "a listener is an `async fn` (or a closure that returns a future) whose arguments are `Payload<T>`, \
            `State<T>`, `ReceivedMessage`, `Streamer` or `StopHandle`, in any order and at most eight, and which \
            returns `()` or `Result<(), E>`; its future must be `Send`",
    note = "a struct that implements `Listener` is registered with `Listeners::add_listener`"
)]
pub trait Handler<Arguments, S>: Clone + Send + Sync + 'static {
    /// Whether one of the arguments decodes the payload.
    const DECODES: bool;

    /// Makes the arguments and calls the function.
    fn call(
        &self,
        message: &ReceivedMessage,
        context: &ListenerContext,
        state: &S,
    ) -> impl Future<Output = Result<(), ListenerError>> + Send;
}

/// The arguments of a listener function that says by its first one, a [`Payload<E>`](super::Payload), which event it is for.
#[diagnostic::on_unimplemented(
    message = "this function does not say which event it is for",
    note = "with `on_event` the first argument is `Payload<E>`, where `E` is an event (`#[derive(Event)]`); any other \
            function is registered under an event's name with `on`"
)]
pub trait ArgumentsOfEvent {
    /// The event.
    type Event: NamedEvent;
}

/// What a listener function may return.
#[diagnostic::on_unimplemented(
    message = "a listener cannot return `{Self}`",
    note = "a listener returns `()` or `Result<(), E>`, where `E` is an error type (anything that `?` turns into a \
            `Box<dyn Error + Send + Sync>`, text too)"
)]
pub trait IntoOutcome {
    /// As the outcome of handling a message.
    ///
    /// # Errors
    ///
    /// When the function's result says that it failed.
    fn into_outcome(self) -> Result<(), ListenerError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<(), ListenerError> {
        Ok(())
    }
}

impl<E: Into<ListenerError>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), ListenerError> {
        self.map_err(Into::into)
    }
}

macro_rules! functions_of {
    ($($argument:ident),*) => {
        impl<F, Fut, S, $($argument,)*> Handler<($($argument,)*), S> for F
        where
            F: Fn($($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future<Output: IntoOutcome> + Send,
            S: Sync,
            $($argument: FromMessage<S>,)*
        {
            const DECODES: bool = false $(|| $argument::DECODES)*;

            #[allow(unused_variables)] // a function without arguments uses none of these
            fn call(
                &self,
                message: &ReceivedMessage,
                context: &ListenerContext,
                state: &S,
            ) -> impl Future<Output = Result<(), ListenerError>> + Send {
                // The function is called before the first await, so that arguments need not be `Send` on their own.
                let make = || -> Result<Fut, ListenerError> {
                    Ok(self($($argument::from_message(message, context, state)?),*))
                };
                let made = make();
                async move {
                    match made {
                        Ok(future) => future.await.into_outcome(),
                        Err(error) => Err(error),
                    }
                }
            }
        }
    };
}

macro_rules! functions_of_events {
    ($($argument:ident),*) => {
        impl<E: NamedEvent, $($argument,)*> ArgumentsOfEvent for (Payload<E>, $($argument,)*) {
            type Event = E;
        }
    };
}

functions_of_events!();
functions_of_events!(A2);
functions_of_events!(A2, A3);
functions_of_events!(A2, A3, A4);
functions_of_events!(A2, A3, A4, A5);
functions_of_events!(A2, A3, A4, A5, A6);
functions_of_events!(A2, A3, A4, A5, A6, A7);
functions_of_events!(A2, A3, A4, A5, A6, A7, A8);

functions_of!();
functions_of!(A1);
functions_of!(A1, A2);
functions_of!(A1, A2, A3);
functions_of!(A1, A2, A3, A4);
functions_of!(A1, A2, A3, A4, A5);
functions_of!(A1, A2, A3, A4, A5, A6);
functions_of!(A1, A2, A3, A4, A5, A6, A7);
functions_of!(A1, A2, A3, A4, A5, A6, A7, A8);

/// A function and its state, as a [`Listener`].
pub(super) struct FunctionListener<H, Arguments, S> {
    function: H,
    state: S,
    arguments: PhantomData<fn() -> Arguments>,
}

impl<H, Arguments, S> FunctionListener<H, Arguments, S> {
    pub(super) fn new(function: H, state: S) -> Self {
        Self {
            function,
            state,
            arguments: PhantomData,
        }
    }
}

#[async_trait]
impl<H, Arguments, S> Listener for FunctionListener<H, Arguments, S>
where
    H: Handler<Arguments, S>,
    Arguments: 'static,
    S: Send + Sync + 'static,
{
    async fn handle(&self, message: &ReceivedMessage, context: &ListenerContext) -> Result<(), ListenerError> {
        self.function.call(message, context, &self.state).await
    }

    fn decodes(&self) -> bool {
        H::DECODES
    }
}
