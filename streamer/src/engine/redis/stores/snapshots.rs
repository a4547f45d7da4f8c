//! The lists of snapshots.

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    super::{RedisEngine, command::on, reply, script},
    eval,
};
use crate::{
    engine::{EngineResult, Snapshots},
    entry::StreamName,
};

#[async_trait]
impl Snapshots for RedisEngine {
    async fn snapshots(&self, list: &StreamName, start: u64, count: usize) -> EngineResult<Vec<Bytes>> {
        if count == 0 {
            return Ok(Vec::new());
        }
        // Counted from the tail: -1 is the oldest.
        let newest = i64::try_from(start).map_or(i64::MIN, |start| -1 - start);
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let mut command = on("LRANGE", list);
        command.arg(newest.saturating_sub(count - 1)).arg(newest);
        let attempted = || format!("read the snapshots of list '{list}'");
        let mut snapshots = self.ask(list.as_bytes(), &command, reply::all_bytes, attempted).await?;
        snapshots.reverse();
        Ok(snapshots)
    }

    async fn remove_snapshots(&self, list: &StreamName, snapshots: &[Bytes]) -> EngineResult<u64> {
        if snapshots.is_empty() {
            return Ok(0);
        }
        let mut command = eval(script::LIST_REMOVE, &[list.as_bytes()]);
        for snapshot in snapshots {
            command.arg(&snapshot[..]);
        }
        let attempted = || format!("remove snapshots of list '{list}'");
        self.ask(list.as_bytes(), &command, reply::number, attempted).await
    }
}
