//! The lists of snapshots that histories are made of.

use async_trait::async_trait;
use bytes::Bytes;

use super::EngineResult;
use crate::entry::StreamName;

/// Reads and cleans the lists `EVENT-IDENTIFIER`, which PHP programs share. [`Engine::append_recorded`] adds to them.
///
/// [`Engine::append_recorded`]: super::Engine::append_recorded
#[async_trait]
pub trait Snapshots {
    /// At most `count` snapshots of a list, oldest first, after the `start` oldest ones; empty when there is no such list.
    /// A snapshot is added at the other end, so that a position keeps its meaning while others add.
    async fn snapshots(&self, list: &StreamName, start: u64, count: usize) -> EngineResult<Vec<Bytes>>;

    /// Removes every snapshot of a list that equals one of these, in one step; tells how many there were.
    async fn remove_snapshots(&self, list: &StreamName, snapshots: &[Bytes]) -> EngineResult<u64>;
}
