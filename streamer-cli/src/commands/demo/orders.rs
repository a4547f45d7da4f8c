//! The orders of the demo, the same each time, and the listener that handles them.

use std::borrow::Cow;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde::{Deserialize, Serialize};
use streamer::{Event, Payload};

const SEED: u64 = 2026;
const CUSTOMERS: [&str; 8] = [
    "Ada", "Grace", "Linus", "Margaret", "Edsger", "Barbara", "Dennis", "Radia",
];
const GOODS: [(&str, u32); 8] = [
    ("green tea", 850),
    ("teapot", 3490),
    ("cup", 790),
    ("honey", 620),
    ("kettle", 4900),
    ("oolong", 1240),
    ("tray", 1990),
    ("strainer", 450),
];

/// What the error of the one failing order says.
pub(super) const BROKEN: &str = "the card was declined";

/// An order, with the stream it goes to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    #[serde(skip)]
    stream: String,
    id: u32,
    customer: String,
    items: Vec<Item>,
    total_cents: u32,
    card: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Item {
    name: String,
    quantity: u32,
    cents: u32,
}

impl Event for Order {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.stream)
    }
}

/// `total` orders, of which one has a card that is declined.
pub(super) fn orders(stream: &str, total: u32) -> impl Iterator<Item = Order> {
    let mut random = StdRng::seed_from_u64(SEED);
    let broken = random.random_range(total / 3..total / 2);
    (1..=total).map(move |id| {
        let items: Vec<Item> = (0..random.random_range(1..=3))
            .map(|_| {
                let (name, cents) = GOODS.choose(&mut random).copied().unwrap_or(GOODS[0]);
                Item {
                    name: name.to_owned(),
                    quantity: random.random_range(1..=4),
                    cents,
                }
            })
            .collect();
        Order {
            stream: stream.to_owned(),
            id,
            customer: CUSTOMERS
                .choose(&mut random)
                .copied()
                .unwrap_or(CUSTOMERS[0])
                .to_owned(),
            total_cents: items.iter().map(|item| item.quantity * item.cents).sum(),
            items,
            card: if id == broken { "declined" } else { "good" }.to_owned(),
        }
    })
}

impl Order {
    /// In words.
    pub(super) fn describe(&self) -> String {
        let items: Vec<String> = self
            .items
            .iter()
            .map(|item| format!("{} × {}", item.quantity, item.name))
            .collect();
        let (whole, cents) = (self.total_cents / 100, self.total_cents % 100);
        format!(
            "order {} of {}: {} = {whole}.{cents:02}",
            self.id,
            self.customer,
            items.join(", ")
        )
    }
}

/// The listener: checks the sum and charges the card.
pub(super) async fn charge(Payload(order): Payload<Order>) -> Result<(), String> {
    let sum: u32 = order.items.iter().map(|item| item.quantity * item.cents).sum();
    if sum != order.total_cents {
        return Err(format!(
            "order {} should cost {sum} cents, not {}",
            order.id, order.total_cents
        ));
    }
    if order.card != "good" {
        return Err(format!("{BROKEN} for order {} of {}", order.id, order.customer));
    }
    Ok(())
}
