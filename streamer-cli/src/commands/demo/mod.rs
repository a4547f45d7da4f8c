//! `demo`: two processes, a few hundred orders and a failure, on a store of its own, in seconds.
//!
//! - `orders`: what is emitted, and the listener that handles it.
//! - `store`: where it happens, and how it is left clean.
//! - `worker`: the second process, and what it reports.
//! - `screen`: what is shown.

mod orders;
mod screen;
mod store;
mod worker;

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub(crate) use self::worker::DemoListen;
use self::{
    orders::{BROKEN, orders},
    screen::Screen,
    store::Store,
    worker::{Told, Worker},
};
use crate::{
    args::Global,
    exit::{Exit, Failure, Outcome},
};

const EXAMPLES: &str = "\
Examples:
  streamer demo
  streamer demo --url redis://127.0.0.1:6379

Without --url it runs on a temporary SQLite file. On a store that is named it
uses names of its own and cleans up after itself.";

/// How long the whole may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Emits awaited at once: they share round trips and commits.
const AT_ONCE: usize = 64;

/// See events flow between two processes
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Demo {
    /// How many orders are placed
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    orders: u32,
}

impl Demo {
    pub(crate) async fn run(&self, global: &Global) -> Outcome {
        // The environment and streamer.toml are passed over on purpose: a demo must not touch a store that nobody named.
        let store = Store::open(global.url.as_deref()).await?;
        let screen = Screen::new(global.json, global.quiet);
        let shown = tokio::select! {
            shown = tokio::time::timeout(PATIENCE, self.show(&store, &screen)) => shown.unwrap_or_else(|_| {
                Err(Failure::failed(format!("the demo did not end within {} s", PATIENCE.as_secs())))
            }),
            _ = tokio::signal::ctrl_c() => Err(Failure::aborted()),
            () = super::tail::terminated() => Err(Failure::aborted()),
        };
        // The worker died with its future; now its traces.
        let cleaned = store.clean().await;
        shown?;
        cleaned?;
        screen.next_steps(global.url.as_deref())?;
        Ok(Exit::Done)
    }

    async fn show(&self, store: &Store, screen: &Screen) -> Result<(), Failure> {
        let total = self.orders;
        screen.opening(store)?;
        let mut worker = Worker::start(store)?;
        match worker.next().await? {
            Told::Started { pid } => screen.started(pid, store)?,
            other => return Err(Failure::failed(format!("the listening process began with {other:?}"))),
        }

        let began = Instant::now();
        let streamer = store.streamer.clone();
        let emitting = async {
            let emits = orders(&store.stream, total).map(|order| {
                let streamer = &streamer;
                async move { streamer.emit(&order).await }
            });
            let ids: Vec<_> = stream::iter(emits).buffered(AT_ONCE).try_collect().await?;
            Ok::<_, streamer::EmitError>((ids.len(), began.elapsed()))
        };
        let handling = async {
            let (mut handled, mut failed) = (0_u32, 0_u32);
            while handled + failed < total {
                match worker.next().await? {
                    Told::Handled { id, order } => {
                        handled += 1;
                        screen.handled(handled, total, &id, &order)?;
                    }
                    Told::Failed { id, error } => {
                        failed += 1;
                        screen.failed(&id, &error)?;
                    }
                    Told::Started { .. } => {}
                }
            }
            Ok::<_, Failure>((handled, failed, began.elapsed()))
        };
        let emitting = async { emitting.await.map_err(|error| Failure::failed(error.to_string())) };
        let ((emitted, emit_time), (handled, failed, handle_time)) = tokio::try_join!(emitting, handling)?;
        worker.end().await?;

        let records = store.failed().await?;
        let left = store.left().await?;
        screen.counts(emitted, emit_time, handled, failed, handle_time)?;
        screen.records(&records)?;
        let right = emitted == total as usize
            && handled == total - 1
            && failed == 1
            && records.len() == 1
            && records[0].error.contains(BROKEN)
            && left == 0;
        if !right {
            return Err(Failure::failed(format!(
                "the counts do not add up: {total} orders, {emitted} emitted, {handled} handled, {failed} failed, {} in the \
                 failed list, {left} still with the group",
                records.len()
            )));
        }
        Ok(())
    }
}
