//! The worker: listeners with state, retries and keyed order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use streamer::{
    KeepAlive, ListenError, ListenerError, Listeners, Listening, OrderKey, Payload, RetryPolicy, Streamer, Summary,
    Workers, extract::State,
};

use crate::events::{OrderPaid, OrderPlaced};

/// What listeners share: how much each customer has paid, and with which orders. A real one is a database.
#[derive(Clone, Default)]
pub(crate) struct Accounts(Arc<Mutex<HashMap<String, HashMap<u64, u64>>>>);

impl Accounts {
    /// Notes a payment, and gives the customer's total. The same order a second time changes nothing: a message may come
    /// twice, so a listener is idempotent.
    fn pay(&self, customer: &str, order: u64, cents: u64) -> u64 {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = accounts.entry(customer.to_owned()).or_default();
        paid.insert(order, cents);
        paid.values().sum()
    }
}

/// Charges the customer and tells so.
async fn charge(
    Payload(order): Payload<OrderPlaced>,
    State(accounts): State<Accounts>,
    streamer: Streamer,
) -> Result<(), ListenerError> {
    if order.customer.is_empty() {
        // Another attempt does not help: listed at once.
        return Err(ListenerError::permanent(format!(
            "order {} has no customer",
            order.order
        )));
    }
    if order.cents == 0 {
        return Err(ListenerError::new(format!("order {} has no price yet", order.order)));
    }
    let total = accounts.pay(&order.customer, order.order, order.cents);
    let paid = OrderPaid {
        order: order.order,
        total,
    };
    streamer.emit(&paid).await?;
    Ok(())
}

/// Tells whoever watches.
async fn announce(Payload(paid): Payload<OrderPaid>) {
    tracing::info!("order {} is paid; {} cents in all", paid.order, paid.total);
}

/// Every listener, each under a name that stays: failures are listed under it.
pub(crate) fn listeners(accounts: Accounts) -> Listeners<Accounts> {
    let patient = RetryPolicy::exponential(3, Duration::from_millis(100), Duration::from_secs(5));
    Listeners::with_state(accounts)
        .on_event("charge", charge)
        .on_event("announce", announce)
        .timeout(Duration::from_secs(30))
        .retry_for("charge", &patient)
}

/// A listening of the worker: the orders of one customer are handled in order, those of others at the same time.
pub(crate) fn listening(streamer: &Streamer, accounts: Accounts) -> Listening {
    streamer
        .listen(listeners(accounts))
        .group("accounts")
        .workers(Workers::PerKey(8, OrderKey::path("customer")))
        .keep_alive(KeepAlive::default())
        .grace(Duration::from_secs(20))
}

/// Works until `end`, then finishes what runs and gives back the rest.
pub(crate) async fn work(
    streamer: &Streamer,
    end: impl Future<Output = ()> + Send + 'static,
) -> Result<Summary, ListenError> {
    listening(streamer, Accounts::default()).stop_when(end).run().await
}

#[cfg(test)]
mod tests {
    use streamer::testing;

    use super::*;

    fn order(order: u64, customer: &str, cents: u64) -> OrderPlaced {
        let customer = customer.to_owned();
        OrderPlaced { order, customer, cents }
    }

    #[tokio::test]
    async fn an_order_is_charged_once_however_often_it_comes() {
        let store = testing::streamer().await;
        let listeners = listeners(Accounts::default());
        for (event, total) in [
            (order(1, "Ada", 850), 850),
            (order(2, "Ada", 100), 950),
            (order(1, "Ada", 850), 950),
            (order(3, "Grace", 5), 5),
        ] {
            let delivery = testing::deliver_on(&store, &listeners, &event).await;
            delivery.assert_handled();
            let paid = OrderPaid {
                order: event.order,
                total,
            };
            delivery.assert_emitted(&[paid]).await;
        }
    }

    #[tokio::test]
    async fn an_order_without_a_customer_is_listed_at_once_and_one_without_a_price_after_three_attempts() {
        let store = testing::streamer().await;
        let listeners = listeners(Accounts::default());
        let delivery = testing::deliver_on(&store, &listeners, &order(1, "", 850)).await;
        delivery.assert_failed("charge", "order 1 has no customer");
        let delivery = testing::deliver_on(&store, &listeners, &order(2, "Ada", 0)).await;
        delivery.assert_failed("charge", "order 2 has no price yet");
        delivery.assert_emitted::<OrderPaid>(&[]).await;
        assert_eq!(store.failed().count().await.unwrap_or_default(), 2);
    }
}
