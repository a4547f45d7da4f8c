//! What the shop does about its events.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use streamer::{EmitError, Listeners, NamedEvent as _, Payload, Streamer, extract::State};

use crate::events::{OrderPlaced, ReceiptWanted};

/// What the listeners share: how many of each article are left.
#[derive(Clone)]
pub(crate) struct Stock(Arc<Mutex<HashMap<String, u32>>>);

/// Every listener of the shop.
pub(crate) fn all() -> Listeners<Stock> {
    let left = [("tea", 1000), ("teapot", 50), ("cup", 200)];
    let stock = Stock(Arc::new(Mutex::new(
        left.map(|(sku, count)| (sku.to_owned(), count)).into(),
    )));
    Listeners::with_state(stock)
        .on(OrderPlaced::NAME, "reserve", reserve)
        .on(OrderPlaced::NAME, "charge", charge)
        .on(ReceiptWanted::NAME, "receipt", receipt)
}

/// Takes the ordered articles out of the stock, all or none.
async fn reserve(Payload(order): Payload<OrderPlaced>, State(stock): State<Stock>) -> Result<(), String> {
    let mut left = stock.0.lock().unwrap_or_else(PoisonError::into_inner);
    for item in &order.items {
        let count = left
            .get(&item.sku)
            .copied()
            .ok_or_else(|| format!("there is no article '{}'", item.sku))?;
        if count < item.quantity {
            return Err(format!(
                "order {} wants {} × {}, and {count} are left",
                order.id, item.quantity, item.sku
            ));
        }
    }
    for item in &order.items {
        left.entry(item.sku.clone())
            .and_modify(|count| *count = count.saturating_sub(item.quantity));
    }
    Ok(())
}

/// Charges the customer, and wants a receipt: a listener can emit.
async fn charge(Payload(order): Payload<OrderPlaced>, streamer: Streamer) -> Result<(), EmitError> {
    let cents = order
        .items
        .iter()
        .map(|item| u64::from(item.quantity) * item.cents)
        .sum();
    streamer
        .emit(&ReceiptWanted {
            order: order.id,
            customer: order.customer,
            cents,
        })
        .await?;
    Ok(())
}

/// Sends the receipt.
async fn receipt(Payload(wanted): Payload<ReceiptWanted>) {
    let (whole, cents) = (wanted.cents / 100, wanted.cents % 100);
    tracing::info!(
        "receipt for {}: order {}, {whole}.{cents:02}",
        wanted.customer,
        wanted.order
    );
}
