//! For the tests of an application: a store in memory, what was emitted, and what its listeners make of an event.
//!
//! Nothing here is a stand-in: events are emitted to the embedded engine, and listeners are called by a real
//! [`Listening`](crate::Listening) in a group. Everything here panics with a text for the reader of a failed test.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use streamer::{Event, Listeners, NamedEvent, Payload, Streamer, testing};
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[event(name = "order.placed")]
//! struct OrderPlaced { id: u64 }
//!
//! #[derive(Serialize, Deserialize, Event)]
//! #[event(name = "receipt.sent")]
//! struct ReceiptSent { order: u64 }
//!
//! async fn receipt(Payload(order): Payload<OrderPlaced>, streamer: Streamer) -> Result<(), streamer::EmitError> {
//!     streamer.emit(&ReceiptSent { order: order.id }).await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let listeners = Listeners::new().on(OrderPlaced::NAME, "receipt", receipt);
//! let delivery = testing::deliver(&listeners, &OrderPlaced { id: 7 }).await;
//! delivery.assert_handled();
//! testing::assert_emitted(delivery.streamer(), |sent: &ReceiptSent| sent.order == 7).await;
//! # }
//! ```
//!
//! # Layout
//!
//! - [`streamer`], here: the store.
//! - `emitted`: what is on its streams. `scheduled`: what waits until it is due.
//! - `deliver`: an event for listeners, and its outcome. `difference`: in what events differ from those expected.

mod deliver;
mod difference;
mod emitted;
mod scheduled;

pub use self::{
    deliver::{Delivery, deliver, deliver_on, deliver_text},
    emitted::{assert_emitted, assert_nothing_emitted, emitted, messages},
    scheduled::scheduled,
};
use crate::Streamer;

/// A [`Streamer`] on a store in memory that nobody else sees, empty and without a domain.
///
/// # Panics
///
/// When it cannot be opened.
pub async fn streamer() -> Streamer {
    match Streamer::connect("memory:").await {
        Ok(streamer) => streamer,
        Err(error) => panic!("the store in memory cannot be opened: {error}"),
    }
}
