//! What happens in this service.

use serde::{Deserialize, Serialize};
use streamer::Event;

/// A customer ordered something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.placed")]
pub(crate) struct OrderPlaced {
    pub(crate) order: u64,
    pub(crate) customer: String,
    /// What it costs, in cents.
    pub(crate) cents: u64,
}

/// The customer has paid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "order.paid")]
pub(crate) struct OrderPaid {
    pub(crate) order: u64,
    /// All that this customer has paid so far, in cents.
    pub(crate) total: u64,
}
