//! What `#[listener]` has the compiler check. Nothing here ever runs.

use super::{FromMessage, IntoOutcome};

/// Whether a listener can be given this argument.
pub fn check_argument<S, A: FromMessage<S>>() {}

/// Whether a listener may return this.
pub fn check_outcome<R: IntoOutcome>() {}

/// Whether the listener can run on any thread: nothing that is not `Send` is held across an `.await`.
pub fn check_future<F: Future + Send>(_: F) {}

/// A value of any type, for a call that is compiled and never made.
pub fn never<T>() -> T {
    unreachable!("compiled, and never called")
}
