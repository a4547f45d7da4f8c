//! Takes deliveries from the subscription and hands them to the dispatcher.
//!
//! This is one task, and the only one that waits for messages. What it receives is in the subscription's table already;
//! it is never dropped in the midst of a read, but told to stop ([`Settler::stop_reading`]).

use std::{sync::Arc, time::Instant};

use super::{EndReason, ListenError, dispatch::Dispatcher, plan::Plan, supervisor::Finished};
use crate::engine::{Deliveries, Delivery, Next, Settler, WhyEnded};

/// Reads until the subscription ends.
pub(super) async fn read(
    plan: Arc<Plan>,
    mut deliveries: Deliveries,
    settler: Settler,
    dispatcher: Dispatcher,
) -> Result<Finished, ListenError> {
    let mut left = plan.options.stop_after;
    loop {
        if left == Some(0) {
            settler.finish_reading();
            // What still comes is in the table, and goes back to the group at the end.
            while let Next::Batch(_) = deliveries.next().await? {}
            return Ok(Finished::Read(EndReason::Enough));
        }
        let batch = match deliveries.next().await? {
            Next::Batch(batch) => batch,
            Next::Ended(WhyEnded::Stopped) => return Ok(Finished::Read(EndReason::Stopped)),
            Next::Ended(WhyEnded::Quiet) => return Ok(Finished::Read(EndReason::Quiet)),
        };
        let (messages, began) = (batch.len(), Instant::now());
        if let Some(metrics) = &plan.metrics {
            let (in_flight, waiting) = deliveries.load();
            metrics.delivered(in_flight, waiting);
        }
        // To hand it over may take long then, and nobody would renew what was asked for ahead and not received.
        let rest = match dispatcher.is_full() {
            true => deliveries.drain().await,
            false => Ok(None),
        };
        let dispatch = dispatcher.dispatch(&plan, enough(batch, &mut left));
        deliveries.dispatching(dispatch).await??;
        deliveries.observe_dispatch(messages, began.elapsed());
        if let Some(rest) = rest? {
            let dispatch = dispatcher.dispatch(&plan, enough(rest, &mut left));
            deliveries.dispatching(dispatch).await??;
        }
        if plan.options.workers.count() == 1 && !deliveries.has_backlog() {
            // The next read would wait at the store. To write it takes as long as to handle a message, so the worker
            // comes first. (Several workers may keep one thread busy while another could read on.)
            tokio::task::yield_now().await;
        }
    }
}

/// As many of them as may still come.
fn enough(mut batch: Vec<Delivery>, left: &mut Option<u64>) -> Vec<Delivery> {
    if let Some(left) = left {
        batch.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
        *left -= batch.len() as u64;
    }
    batch
}
