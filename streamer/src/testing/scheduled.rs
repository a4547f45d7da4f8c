//! What waits until it is due.

use serde::de::DeserializeOwned;

use super::emitted;
use crate::{Entry, Moment, NamedEvent, ReceivedMessage, Streamer, entry::StreamName};

/// How many events are read at once.
const PAGE: usize = 1_000;

/// The events of a type that were emitted for later ([`EmitOptions::deliver_at`](crate::EmitOptions::deliver_at)) and are not on
/// their stream yet, each with the moment in which it is due, the first to be due first.
///
/// A test does not wait for that moment: it looks at what was scheduled, and gives the same event to its listeners
/// ([`deliver_on`](super::deliver_on)). The store has the clock of the machine, also where the test has paused that of tokio.
///
/// ```
/// use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use streamer::{EmitError, EmitOptions, Event, Listeners, Payload, Streamer, testing};
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "cart.left")]
/// struct CartLeft { cart: u64 }
///
/// #[derive(Serialize, Deserialize, Event)]
/// #[event(name = "cart.reminder")]
/// struct CartReminder { cart: u64 }
///
/// async fn remind(Payload(left): Payload<CartLeft>, streamer: Streamer) -> Result<(), EmitError> {
///     let tomorrow = EmitOptions::new().deliver_after(Duration::from_secs(24 * 60 * 60));
///     streamer.emit_with(&CartReminder { cart: left.cart }, tomorrow).await?;
///     Ok(())
/// }
/// async fn send(Payload(_): Payload<CartReminder>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let streamer = testing::streamer().await;
/// let listeners = Listeners::new().on_event("remind", remind).on_event("send", send);
/// testing::deliver_on(&streamer, &listeners, &CartLeft { cart: 7 }).await.assert_handled();
///
/// let scheduled = testing::scheduled::<CartReminder>(&streamer).await;
/// let [(due, reminder)] = &scheduled[..] else { panic!("one reminder should wait") };
/// assert!(due.unix_ms() > streamer::Moment::now().unix_ms() + 23 * 60 * 60 * 1000);
/// // A day later.
/// testing::deliver_on(&streamer, &listeners, reminder).await.assert_handled();
/// # }
/// ```
///
/// # Panics
///
/// When one does not fit the type, or the store cannot be read.
pub async fn scheduled<E: NamedEvent + DeserializeOwned>(streamer: &Streamer) -> Vec<(Moment, E)> {
    let name = StreamName::from(E::NAME);
    let waiting = streamer.scheduled(name.clone());
    let (mut moments, mut messages) = (Vec::new(), Vec::new());
    let mut after = None;
    loop {
        let page = match waiting.page(after, PAGE).await {
            Ok(page) => page,
            Err(error) => panic!("what is scheduled cannot be read: {error}"),
        };
        let is_last = page.len() < PAGE;
        for entry in page {
            after = Some(entry.id);
            moments.push(Moment::from_unix_ms(entry.id.ms));
            let entry = Entry {
                id: entry.id,
                fields: entry.fields,
            };
            messages.push(ReceivedMessage::new(name.clone(), entry, 1));
        }
        if is_last {
            break;
        }
    }
    moments.into_iter().zip(emitted::events(&messages)).collect()
}
