//! A small shop on SeaORM: its orders emit events in the transactions that save them, a listener prints each event, and an
//! order is rebuilt from its events.
//!
//! ```text
//! cargo run -p orders
//! cargo run -p orders -- replay 1
//! ```
//!
//! `DATABASE_URL` is the shop's database (default: `sqlite://orders.db?mode=rwc`; `postgres://…` works as well). `STREAMER_URL` is where
//! the events go: by default into the shop's own SQLite file, which needs no relay; beside another database `sqlite://events.db`, or
//! `redis://…`.
//!
//! - `order`: the model. `shop`: what the shop does. Here: the relay, where one is needed, the listener, the replay.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

mod order;
mod shop;

use std::{error::Error, time::Duration};

use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, EntityTrait as _, Schema};
use streamer::{Listeners, OrderedJson, ReceivedMessage, Streamer, outbox::Outbox};
use streamer_sea_orm::{DateFormat, row_fields};
use tokio::sync::watch;

const EVENTS: [&str; 3] = ["order.created", "order.updated", "order.deleted"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let database = variable("DATABASE_URL", "sqlite://orders.db?mode=rwc");
    let file = database.split('?').next().filter(|url| url.starts_with("sqlite:"));
    let store = variable("STREAMER_URL", file.unwrap_or("sqlite://events.db"));
    // In one file an event is on its stream when its row is committed. Anywhere else a relay carries it there.
    let needs_relay = file != Some(&*store);
    let streamer = Streamer::connect(&store).await?;
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(&database, &streamer, needs_relay).await,
        ["replay", id] => replay(&streamer, id).await,
        _ => Err("usage: orders [replay ID]".into()),
    }
}

/// The shop, the relay and the listener, in one process. Each could be a process of its own.
async fn run(database: &str, streamer: &Streamer, needs_relay: bool) -> Result<(), Box<dyn Error>> {
    let db = connect(database).await?;

    // Publishes what the shop commits. `streamer outbox relay` does the same as a process of its own.
    let outbox = Outbox::connect(database).await?;
    let relay = outbox.relay(streamer).poll(Duration::from_millis(20));
    let stop_relay = relay.stop_token();
    let relay = needs_relay.then(|| tokio::spawn(relay.run()));

    // Prints each event, and counts them.
    let (printed, mut count) = watch::channel(0);
    let print = move |message: ReceivedMessage| {
        let shown = message.payload::<OrderedJson>();
        let shown = shown.map(|data| println!("{} {data}", message.name()));
        let shown = shown.map_err(|error| error.to_string());
        printed.send_modify(|count| *count += 1);
        async { shown }
    };
    let events = ["order.created", "order.updated", "order.deleted"];
    let listeners = events.into_iter().fold(Listeners::new(), |listeners, event| {
        listeners.on(event, "print", print.clone())
    });
    let listening = streamer.listen(listeners).group("printer");
    let stop_listening = listening.stop_handle();
    let listening = tokio::spawn(listening.run());

    let before = emitted(streamer).await?;
    let order = shop::work(&db).await?;
    while outbox.status().await?.waiting > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop_relay.cancel();
    if let Some(relay) = relay {
        relay.await??;
    }
    let new = emitted(streamer).await? - before;
    count.wait_for(|printed| *printed >= new).await?;
    stop_listening.stop();
    listening.await??;

    // The order as its events tell it, and as it is.
    let replayed = streamer.replay_model("order", order.id.to_string()).run().await?;
    let replayed = replayed.ok_or("the order has no history")?;
    println!(
        "order {} from its {} events: {}",
        order.id, replayed.messages, replayed.data
    );
    let row = order::Entity::find_by_id(order.id)
        .one(&db)
        .await?
        .ok_or("the order is gone")?;
    let mut fields = row_fields(&row, DateFormat::Iso);
    fields.retain(|(name, _)| name != "card");
    println!(
        "order {} in the database: {}",
        order.id,
        fields.into_iter().collect::<OrderedJson>()
    );
    Ok(())
}

/// How many events are on their streams.
async fn emitted(streamer: &Streamer) -> Result<u64, Box<dyn Error>> {
    let mut count = 0;
    for event in EVENTS {
        count += streamer.stream(event).len().await?;
    }
    Ok(count)
}

async fn replay(streamer: &Streamer, id: &str) -> Result<(), Box<dyn Error>> {
    match streamer.replay_model("order", id).run().await? {
        None => println!("there is no order {id}"),
        Some(replayed) if replayed.deleted => println!("order {id} is deleted"),
        Some(replayed) => println!("{}", replayed.data),
    }
    Ok(())
}

/// Connects, and makes the tables where they are missing.
async fn connect(database: &str) -> Result<DatabaseConnection, Box<dyn Error>> {
    let mut options = ConnectOptions::new(database);
    options.sqlx_logging(false);
    let db = Database::connect(options).await?;
    let mut table = Schema::new(db.get_database_backend()).create_table_from_entity(order::Entity);
    db.execute(table.if_not_exists()).await?;
    streamer_sea_orm::install(&db).await?;
    Ok(db)
}
