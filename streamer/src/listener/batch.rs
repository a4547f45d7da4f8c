//! A function that handles many messages at once, with an outcome for each.
//!
//! Each message is handled by an attempt of its own, as by any listener: with its time-out, its retries and its failure. The
//! attempts meet here: what they bring is gathered, one of them calls the function, and each gets its outcome. So nothing is
//! acknowledged before the batch that contains it is handled.

use std::{
    panic::AssertUnwindSafe,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use super::{FromMessage, Listener, ListenerContext, ListenerError, text_of_panic};
use crate::message::ReceivedMessage;

/// How messages are gathered for a function that handles many at once ([`Listeners::on_batch`](super::Listeners::on_batch)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    most: usize,
    linger: Duration,
}

impl Gather {
    /// At most so many (at least one), and for so long after the first.
    #[must_use]
    pub fn new(most: usize, linger: Duration) -> Self {
        Self {
            most: most.max(1),
            linger,
        }
    }
}

/// What a function that handles many messages may return.
#[diagnostic::on_unimplemented(
    message = "a listener of batches cannot return `{Self}`",
    note = "it returns `()` or `Result<(), E>`, which is the outcome of every message of the batch, or \
            `Vec<Result<(), E>>` with an outcome for each, in their order"
)]
pub trait IntoOutcomes {
    /// As the outcome of each of `count` messages, in their order.
    fn into_outcomes(self, count: usize) -> Vec<Result<(), ListenerError>>;
}

impl IntoOutcomes for () {
    fn into_outcomes(self, count: usize) -> Vec<Result<(), ListenerError>> {
        (0..count).map(|_| Ok(())).collect()
    }
}

impl<E: Into<ListenerError>> IntoOutcomes for Result<(), E> {
    fn into_outcomes(self, count: usize) -> Vec<Result<(), ListenerError>> {
        let outcome = self.map_err(Into::into);
        (0..count)
            .map(|_| outcome.as_ref().copied().map_err(ListenerError::same))
            .collect()
    }
}

impl<E: Into<ListenerError>> IntoOutcomes for Vec<Result<(), E>> {
    fn into_outcomes(self, count: usize) -> Vec<Result<(), ListenerError>> {
        if self.len() == count {
            return self.into_iter().map(|outcome| outcome.map_err(Into::into)).collect();
        }
        // Nobody knows whose outcome is missing.
        let text = format!("the listener gave {} outcomes for {count} messages", self.len());
        Err::<(), _>(ListenerError::new(text)).into_outcomes(count)
    }
}

/// A message that waits for its batch, with what tells its attempt the outcome.
type Waiting<T> = (T, oneshot::Sender<Result<(), ListenerError>>);

/// The batch that is being gathered.
struct Open<T> {
    /// Which batch this is; grows when one is closed.
    number: u64,
    waiting: Vec<Waiting<T>>,
}

/// A function of many messages, as a [`Listener`].
pub(super) struct BatchListener<F, T, S> {
    function: F,
    state: S,
    gather: Gather,
    open: Mutex<Open<T>>,
}

impl<F, T, S> BatchListener<F, T, S> {
    pub(super) fn new(gather: Gather, function: F, state: S) -> Self {
        Self {
            function,
            state,
            gather,
            open: Mutex::new(Open {
                number: 0,
                waiting: Vec::new(),
            }),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open<T>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the batch of this number, and gives it to whoever comes first.
    fn close(&self, number: u64) -> Option<Vec<Waiting<T>>> {
        let mut open = self.open();
        (open.number == number).then(|| {
            open.number += 1;
            std::mem::take(&mut open.waiting)
        })
    }
}

/// Held by the attempt that waits for a batch to fill. When it ends before (by its time-out), nobody would close the batch: it
/// is given up, and all that wait in it fail with this one.
struct Linger<'a, F, T, S>(&'a BatchListener<F, T, S>, u64);

impl<F, T, S> Drop for Linger<'_, F, T, S> {
    fn drop(&mut self) {
        drop(self.0.close(self.1));
    }
}

#[async_trait]
impl<F, Fut, T, S> Listener for BatchListener<F, T, S>
where
    F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcomes> + Send,
    T: FromMessage<S> + Send + 'static,
    S: Send + Sync + 'static,
{
    async fn handle(&self, message: &ReceivedMessage, context: &ListenerContext) -> Result<(), ListenerError> {
        // A message that gives no such argument fails alone.
        let item = T::from_message(message, context, &self.state)?;
        let (tell, mut told) = oneshot::channel();
        let (number, gathered) = {
            let mut open = self.open();
            open.waiting.push((item, tell));
            (open.number, open.waiting.len())
        };
        if gathered >= self.gather.most {
            self.run(number).await;
        } else if gathered == 1 {
            let linger = Linger(self, number);
            tokio::select! {
                biased;
                outcome = &mut told => return outcome.unwrap_or_else(|_| Err(given_up())),
                () = tokio::time::sleep(self.gather.linger) => {}
            }
            self.run(number).await;
            drop(linger);
        }
        told.await.unwrap_or_else(|_| Err(given_up()))
    }

    fn decodes(&self) -> bool {
        T::DECODES
    }
}

impl<F, Fut, T, S> BatchListener<F, T, S>
where
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output: IntoOutcomes>,
{
    /// Calls the function with this batch, if nobody has, and tells each message's attempt its outcome.
    async fn run(&self, number: u64) {
        let Some(batch) = self.close(number) else { return };
        let (items, tells): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let count = items.len();
        let handling = AssertUnwindSafe(async { (self.function)(items).await.into_outcomes(count) });
        let outcomes = handling.catch_unwind().await.unwrap_or_else(|panic| {
            let text = format!("panicked: {}", text_of_panic(&*panic));
            Err::<(), _>(ListenerError::new(text)).into_outcomes(count)
        });
        for (tell, outcome) in tells.into_iter().zip(outcomes) {
            // An attempt that ended before (by its time-out) has its outcome.
            let _ = tell.send(outcome);
        }
    }
}

fn given_up() -> ListenerError {
    ListenerError::new("the attempt that gathered this batch was ended, by its time-out for example")
}
