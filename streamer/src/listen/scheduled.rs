//! Moves events that are due to the streams that this listening reads.
//!
//! A task beside the stages looks once a second which event of each stream is due first, in one round trip, and sleeps no longer
//! than until then. Nothing is done for a message. Every listening does so: the store moves each event once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::plan::Plan;
use crate::{
    engine::{EngineError, FirstScheduled, Settler},
    entry::StreamName,
};

/// How often a listening looks whether something was scheduled.
const LOOK: Duration = Duration::from_secs(1);

/// How long a stream is left alone after it could not be looked at for a reason that does not pass by itself.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// How many events one step moves.
const AT_ONCE: usize = 256;

/// What could not be done, and when it is tried again.
#[derive(Debug)]
struct Refused {
    again: tokio::time::Instant,
}

/// Moves what is due, until the subscription is closed.
pub(super) async fn move_due(plan: Arc<Plan>, settler: Settler) {
    let names: Vec<StreamName> = plan.streams.iter().map(|stream| stream.name.clone()).collect();
    let mut refused = HashMap::new();
    loop {
        // One that is cut off is done as a whole by the store, or not at all.
        let wait = tokio::select! {
            () = settler.closed() => return,
            wait = look(&plan, &names, &mut refused) => wait,
        };
        tokio::select! {
            () = settler.closed() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Moves what is due now, and tells how long to wait before the next look.
async fn look(plan: &Plan, names: &[StreamName], refused: &mut HashMap<StreamName, Refused>) -> Duration {
    let engine = plan.context.streamer.engine();
    let now = tokio::time::Instant::now();
    let is_left_alone = |name: &&StreamName| refused.get(*name).is_some_and(|refused| refused.again > now);
    let looked_at: Vec<StreamName> = names.iter().filter(|name| !is_left_alone(name)).cloned().collect();
    if looked_at.is_empty() {
        return LOOK;
    }
    let mut wait = LOOK;
    for (name, first) in looked_at.iter().zip(engine.first_scheduled(&looked_at).await) {
        let next = match first {
            Ok(first) if first.is_due() => engine.append_due(name, AT_ONCE).await.map(|done| done.next),
            first => first,
        };
        match next {
            Ok(next) => {
                refused.remove(name);
                wait = wait.min(until(next));
            }
            Err(error) => note(name, &error, refused),
        }
    }
    wait
}

/// How long until an event is due.
fn until(next: FirstScheduled) -> Duration {
    next.id
        .map_or(LOOK, |id| Duration::from_millis(id.ms.saturating_sub(next.now_ms)))
}

/// What passes by itself is no news: the subscription tells of a store that is away. Anything else is told once.
fn note(name: &StreamName, error: &EngineError, refused: &mut HashMap<StreamName, Refused>) {
    if error.kind().is_transient() {
        tracing::debug!("events of '{name}' that are due could not be moved to their stream: {error}");
        return;
    }
    let again = tokio::time::Instant::now() + AFTER_REFUSAL;
    if refused.insert(name.clone(), Refused { again }).is_none() {
        tracing::warn!("events of '{name}' that are due cannot be moved to their stream: {error}");
    }
}
