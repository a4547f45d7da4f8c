//! An application that saves events with its rows, and the relay that publishes them.

use std::{path::Path, time::Duration};

use anyhow::Result;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sqlx::{Connection as _, SqliteConnection};
use streamer::{
    StopHandle,
    outbox::{Outbox, emit_in},
};

use super::producer::RECOGNISED;
use super::{Assignment, STREAMS, connect, event, sleep};
use crate::{clock, ledger::Ledger};

/// The application's database.
fn database(folder: &Path) -> String {
    format!("sqlite://{}?mode=rwc", folder.join("application.db").display())
}

async fn open(assignment: &Assignment) -> Result<Outbox> {
    let outbox = Outbox::connect(&database(&assignment.folder)).await?;
    outbox.migrate().await?;
    Ok(outbox)
}

pub(super) async fn application(assignment: &Assignment, ledger: &Ledger, stop: &StopHandle) -> Result<()> {
    drop(open(assignment).await?);
    let mut connection = SqliteConnection::connect(&database(&assignment.folder)).await?;
    sqlx::query("PRAGMA busy_timeout = 10000")
        .execute(&mut connection)
        .await?;
    let mut chance = StdRng::seed_from_u64(assignment.first_number);
    let mut number = assignment.first_number;
    while sleep(stop, Duration::from_millis(chance.random_range(30..90))).await {
        let stream = STREAMS[chance.random_range(0..STREAMS.len())];
        let begin = clock::now();
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        emit_in(&mut *transaction, &event(stream, number), "shop").await?;
        // Some never commit.
        if number % 7 != 3 {
            transaction.commit().await?;
            ledger.acknowledged(stream, begin, std::iter::once(number), false)?;
        }
        number += 1;
    }
    Ok(())
}

pub(super) async fn relay(assignment: &Assignment, stop: &StopHandle) -> Result<()> {
    let outbox = open(assignment).await?;
    let Some(streamer) = connect(&assignment.url, stop).await? else {
        return Ok(());
    };
    let relay = outbox.relay(&streamer).poll(Duration::from_millis(50));
    let relay = relay.window(RECOGNISED);
    let token = relay.stop_token();
    let stop = stop.clone();
    tokio::spawn(async move {
        stop.stopped().await;
        token.cancel();
    });
    relay.run().await?;
    Ok(())
}
