//! What happens in the shop.

use serde::{Deserialize, Serialize};
use streamer::Event;

/// A customer ordered something.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(name = "order.placed")]
pub(crate) struct OrderPlaced {
    pub(crate) id: u64,
    pub(crate) customer: String,
    pub(crate) items: Vec<Item>,
}

/// One line of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
    /// The price of one, in cents.
    pub(crate) cents: u64,
}

/// The customer is to get a receipt: a command from one part of the shop to another.
#[derive(Clone, Debug, Serialize, Deserialize, Event)]
#[event(name = "receipt.wanted", kind = "command")]
pub(crate) struct ReceiptWanted {
    pub(crate) order: u64,
    pub(crate) customer: String,
    pub(crate) cents: u64,
}
