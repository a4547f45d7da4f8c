//! Takes deliveries from the subscription and hands them to the dispatcher.
//!
//! This is one task, and the only one that waits for messages. What it receives is in the subscription's table already;
//! it is never dropped in the midst of a read, but told to stop ([`Settler::stop_reading`](crate::engine::Settler)).

use std::{sync::Arc, time::Instant};

use super::{Ended, ListenError, dispatch::Dispatcher, plan::Plan, supervisor::Finished};
use crate::engine::{Deliveries, Next, WhyEnded};

/// Reads until the subscription ends.
pub(super) async fn read(
    plan: Arc<Plan>,
    mut deliveries: Deliveries,
    dispatcher: Dispatcher,
) -> Result<Finished, ListenError> {
    loop {
        let batch = match deliveries.next().await? {
            Next::Batch(batch) => batch,
            Next::Ended(WhyEnded::Stopped) => return Ok(Finished::Read(Ended::Stopped)),
            Next::Ended(WhyEnded::Quiet) => return Ok(Finished::Read(Ended::Quiet)),
        };
        let (messages, began) = (batch.len(), Instant::now());
        // To hand it over may take long then, and nobody would renew what was asked for ahead and not received.
        let rest = match dispatcher.is_full() {
            true => deliveries.drain().await,
            false => Ok(None),
        };
        dispatcher.dispatch(&plan, batch).await?;
        deliveries.observe_dispatch(messages, began.elapsed());
        if let Some(rest) = rest? {
            dispatcher.dispatch(&plan, rest).await?;
        }
        if plan.options.workers.count() == 1 && !deliveries.has_backlog() {
            // The next read would wait at the store. To write it takes as long as to handle a message, so the worker
            // comes first. (Several workers may keep one thread busy while another could read on.)
            tokio::task::yield_now().await;
        }
    }
}
