//! One attempt of one listener at one message: its error, its panic and its time-out are all its failure.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;

use super::{ListenerContext, ListenerError, RegisteredListener};
use crate::message::ReceivedMessage;

impl RegisteredListener {
    /// Lets the listener handle a message. It returns whatever the listener does.
    pub(crate) async fn try_handle(
        &self,
        message: &ReceivedMessage,
        context: &ListenerContext,
    ) -> Result<(), ListenerError> {
        // All of the listener's methods are called inside, so that none can panic outside.
        let handling = AssertUnwindSafe(async {
            if !self.listener().decodes() {
                message.check()?;
            }
            self.listener().handle(message, context).await
        })
        .catch_unwind();
        let result = match self.timeout() {
            None => handling.await,
            Some(timeout) => tokio::time::timeout(timeout, handling)
                .await
                .map_err(|_| ListenerError::new(format!("took longer than {} ms", timeout.as_millis())))?,
        };
        result.unwrap_or_else(|panic| Err(ListenerError::new(format!("panicked: {}", text_of_panic(&*panic)))))
    }
}

/// What a panic says.
pub(crate) fn text_of_panic(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with a value that is no text")
}
