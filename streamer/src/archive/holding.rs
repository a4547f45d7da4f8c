//! Which groups keep messages from being archived or purged.

use serde::Serialize;

use super::TransferError;
use crate::{client::Streamer, engine::EngineErrorKind, entry::StreamName};

/// A group that keeps messages on their stream: it has not been delivered, or has not acknowledged, all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HoldingGroup {
    /// The group.
    pub group: String,
    /// How many messages of the stream it has not been delivered; `None` where the store cannot tell.
    pub undelivered: Option<u64>,
    /// How many are pending in it.
    pub pending: u64,
    /// For how long none of its consumers did anything, in milliseconds; `None` when it has no consumers.
    pub idle_ms: Option<u64>,
}

/// The groups of a stream that are behind, or have messages pending. It costs two round trips and one more for each of
/// them.
///
/// # Errors
///
/// The engine's.
pub async fn holding_groups(streamer: &Streamer, stream: &StreamName) -> Result<Vec<HoldingGroup>, TransferError> {
    let engine = streamer.engine();
    let last = engine.last_id(stream).await?;
    let mut holding = Vec::new();
    for group in engine.groups(stream).await? {
        let behind = group.lag.map_or(group.last_delivered_id < last, |lag| lag > 0);
        if !behind && group.pending == 0 {
            continue;
        }
        let consumers = match engine.consumers(stream, &group.name).await {
            // It was deleted since, and holds nothing any more.
            Err(error) if error.kind() == EngineErrorKind::NoGroup => continue,
            consumers => consumers?,
        };
        let idle = consumers.iter().map(|consumer| consumer.idle).min();
        holding.push(HoldingGroup {
            group: group.name,
            undelivered: if behind { group.lag } else { Some(0) },
            pending: group.pending,
            idle_ms: idle.map(|idle| u64::try_from(idle.as_millis()).unwrap_or(u64::MAX)),
        });
    }
    Ok(holding)
}
