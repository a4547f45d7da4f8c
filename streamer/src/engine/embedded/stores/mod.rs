//! The stores beside the streams, each with a file: what its operations are on a transaction.

mod failures;
mod handled;
mod origins;
mod retry_states;
mod scheduled;
mod snapshots;

pub(super) use self::{
    origins::append_restored,
    scheduled::{keep, state as scheduled_state},
};
