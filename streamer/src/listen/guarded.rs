//! Calls an application's code that is not a listener: a panic in it ends the listening, with an error that names it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

use super::ListenError;
use crate::listener::text_of_panic;

/// Calls `call`, which is part of `name`.
///
/// The call may leave what it captured half done: whoever gets the error must end.
pub(super) fn guarded<T>(name: &'static str, call: impl FnOnce() -> T) -> Result<T, ListenError> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| ListenError::panicked(name, &*panic))
}

/// As [`guarded`], for what has to be awaited.
pub(super) async fn guarded_future<T>(name: &'static str, call: impl Future<Output = T>) -> Result<T, ListenError> {
    let done = AssertUnwindSafe(call).catch_unwind().await;
    done.map_err(|panic| ListenError::panicked(name, &*panic))
}

impl ListenError {
    /// Something that is named panicked.
    pub(super) fn panicked(stage: &'static str, panic: &(dyn std::any::Any + Send)) -> Self {
        Self::Stage {
            stage,
            text: format!("panicked: {}", text_of_panic(panic)),
        }
    }
}
