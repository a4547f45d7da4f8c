//! Moves events that are due to the streams that this listening reads.
//!
//! A task beside the stages looks once a second, in one round trip, which event of each stream is due first, and at the moment that the
//! store told last. Which streams it asks for is in `looks`. Nothing is done for a message. Every listening does so: the store moves
//! each event once.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{looks::Looks, plan::Plan};
use crate::{
    engine::{EngineError, Settler},
    entry::StreamName,
};

/// How many events one step moves.
const AT_ONCE: usize = 256;

/// Moves what is due, until the subscription is closed.
pub(super) async fn move_due(plan: Arc<Plan>, settler: Settler) {
    let mut looks = Looks::new(plan.streams.iter().map(|stream| stream.name.clone()));
    loop {
        // One that is cut off is done as a whole by the store, or not at all.
        let wait = tokio::select! {
            () = settler.closed() => return,
            wait = look(&plan, &mut looks) => wait,
        };
        tokio::select! {
            () = settler.closed() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Moves what is due now, and tells how long to wait before the next look.
async fn look(plan: &Plan, looks: &mut Looks) -> Duration {
    let engine = plan.context.streamer.engine();
    let taken = looks.take(Instant::now());
    let names: Vec<StreamName> = taken.iter().map(|index| looks.name(*index).clone()).collect();
    // Where nothing is asked, nothing is sent.
    for ((index, name), first) in taken.iter().zip(&names).zip(engine.first_scheduled(&names).await) {
        let next = match first {
            Ok(first) if first.is_due() => engine.append_due(name, AT_ONCE).await.map(|done| done.next),
            first => first,
        };
        let now = Instant::now();
        match next {
            Ok(next) => looks.told(*index, next, now),
            // What passes by itself is no news: the subscription tells of a store that is away.
            Err(error) if error.kind().is_transient() => {
                looks.failed(*index, now);
                tracing::debug!("events of '{name}' that are due could not be moved to their stream: {error}");
            }
            Err(error) => refused(looks.refused(*index, now), name, &error),
        }
    }
    looks.wait(Instant::now())
}

/// It is told once.
fn refused(is_news: bool, name: &StreamName, error: &EngineError) {
    if is_news {
        tracing::warn!("events of '{name}' that are due cannot be moved to their stream: {error}");
    }
}
