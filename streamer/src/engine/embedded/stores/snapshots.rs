//! The lists of snapshots.

use async_trait::async_trait;
use bytes::Bytes;

use super::super::{EmbeddedEngine, lists};
use crate::{
    engine::{EngineResult, Snapshots},
    entry::StreamName,
};

#[async_trait]
impl Snapshots for EmbeddedEngine {
    async fn snapshots(&self, list: &StreamName, start: u64, count: usize) -> EngineResult<Vec<Bytes>> {
        let name = list.clone();
        self.look(
            || format!("read the snapshots of list '{list}'"),
            move |transaction| lists::range(transaction, &name, start, count),
        )
        .await
    }

    async fn remove_snapshots(&self, list: &StreamName, snapshots: &[Bytes]) -> EngineResult<u64> {
        let (name, snapshots) = (list.clone(), snapshots.to_vec());
        self.write(
            || format!("remove snapshots of list '{list}'"),
            move |transaction| lists::remove(transaction, &name, &snapshots),
        )
        .await
    }
}
