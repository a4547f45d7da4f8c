//! Which messages end the process that handles them, again and again.
//!
//! The delivery count alone must not decide: what was prefetched together with such a message is delivered again with
//! it. So the store counts, from the third delivery on, only attempts that begin, and messages with two attempts that
//! were cut off (*suspects*) run one at a time. Three attempts that were cut off are then at least one at which this
//! message was the one that ran.
//!
//! Nobody can tell a process that has ended from one that stands still for longer than the reclaim time: both cut an
//! attempt off.

use super::{
    outcome::Attempt,
    plan::{Plan, PlannedStream},
};
use crate::failed::RetryState;

/// Below so many attempts nobody knows which message ended the process.
const KNOWN_FROM: u64 = 3;

/// How many attempts were cut off, if these are too many for another one.
///
/// Too many are as many as [`Listening::poison`](super::Listening::poison) says; or, for a message with a listener that
/// is tried again and waits for its last attempt, as many as its policy allows in all, if two of them were cut off.
pub(super) fn attempts_cut_off(plan: &Plan, stream: &PlannedStream, attempt: &Attempt<RetryState>) -> Option<u64> {
    let (begun, limit) = (attempt.message.attempt() - 1, plan.options.poison);
    if limit == 0 || begun < KNOWN_FROM {
        return None;
    }
    let cut_off = attempt.state.cut_off(begun);
    let out_of_attempts = || {
        let waiting = stream.listeners.iter().filter(|listener| {
            !attempt.state.has_succeeded(listener.name()) && !attempt.state.has_failed(listener.name())
        });
        // One may have been cut off while another message ran.
        cut_off >= 2
            && waiting
                .filter_map(|listener| listener.retry())
                .any(|policy| policy.retries() && begun >= policy.attempts())
    };
    (cut_off >= limit.max(KNOWN_FROM) || out_of_attempts()).then_some(cut_off)
}

/// What is listed of such a message.
pub(super) fn error(cut_off: u64) -> String {
    format!(
        "the process ended or stood still past the reclaim time {cut_off} {} while this message was handled",
        if cut_off == 1 { "time" } else { "times" }
    )
}
