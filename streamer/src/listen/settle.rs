//! Settles outcomes: what failed is recorded, and only then the message is acknowledged.
//!
//! That order is the store's ([`GroupStore::settle`](crate::engine::GroupStore::settle)): a crash at any point leaves the
//! message pending, and somebody handles it again. What is to be archived is stored before that; `retention` says why.

use std::sync::Arc;

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::sync::{Notify, mpsc};

use super::{ListenError, outcome::Outcome, plan::Plan, retention::Retention, supervisor::Finished};
use crate::engine::{Settled, Settler};

/// The settle stage.
pub(super) struct Settling {
    pub(super) plan: Arc<Plan>,
    pub(super) settler: Settler,
    /// `None` where messages that were handled stay.
    pub(super) retention: Option<Retention>,
    /// Notified when outcomes of some stream cannot be stored for now.
    pub(super) trouble: Arc<Notify>,
}

impl Settling {
    /// Settles outcomes until the workers are gone.
    pub(super) async fn settle(self, mut outcomes: mpsc::Receiver<Vec<Outcome>>) -> Result<Finished, ListenError> {
        let mut batches = Vec::new();
        // Batches that wait for a stream in trouble. They are in flight, so that there are never many.
        let mut waiting = FuturesUnordered::new();
        let mut all = true;
        loop {
            // Whatever gathers while one batch is being settled makes up the next.
            let received = tokio::select! {
                received = outcomes.recv_many(&mut batches, 64) => received,
                Some(settled) = waiting.next() => {
                    all &= settled?;
                    continue;
                }
            };
            if received == 0 {
                break;
            }
            let mut settling = Box::pin(self.settle_batches(std::mem::take(&mut batches)));
            tokio::select! {
                settled = &mut settling => all &= settled?,
                // Other streams must not wait with it.
                () = self.trouble.notified() => waiting.push(settling),
            }
        }
        while let Some(settled) = waiting.next().await {
            all &= settled?;
        }
        Ok(Finished::Settled { all })
    }

    /// Tells whether all were settled. Where they were not, and that is no error, they stay pending.
    async fn settle_batches(&self, batches: Vec<Vec<Outcome>>) -> Result<bool, ListenError> {
        let len = batches.iter().map(Vec::len).sum();
        let outcomes = batches.into_iter().flatten();
        let mut settlements = Vec::with_capacity(len);
        let leaving = match &self.retention {
            Some(retention) => {
                let mut outcomes = outcomes.collect::<Vec<_>>();
                let leaving = retention.before(&mut outcomes).await?;
                settlements.extend(outcomes.into_iter().map(|outcome| outcome.settlement));
                leaving
            }
            None => {
                settlements.extend(outcomes.map(|outcome| outcome.settlement));
                Vec::new()
            }
        };
        let outcomes = len as u64;
        let settled = self.settler.settle(settlements).await;
        self.plan.health.settled(outcomes);
        if let Some(metrics) = &self.plan.metrics {
            let (in_flight, waiting) = self.settler.load();
            metrics.settled(outcomes, in_flight, waiting);
        }
        if let Some(retention) = self.retention.as_ref().filter(|_| !leaving.is_empty()) {
            let leaving = leaving
                .into_iter()
                .filter(|(number, _)| matches!(settled.get(*number), Some(Settled::Done)));
            retention.after(leaving.map(|(_, message)| message).collect()).await?;
        }
        let refused = settled.into_iter().filter_map(|settled| match settled {
            Settled::Refused(error) => Some(error),
            Settled::Done | Settled::NotOurs => None,
        });
        let mut refused = refused.collect::<Vec<_>>();
        match refused.pop() {
            None => Ok(true),
            Some(error) if self.plan.context.stop.is_stopped() => {
                tracing::warn!("{} messages that were handled stay pending: {error}", refused.len() + 1);
                Ok(false)
            }
            Some(error) => Err(ListenError::Engine(*error)),
        }
    }
}
