//! What earlier attempts of pending messages achieved.

use async_trait::async_trait;
use bytes::Bytes;
use redis::cmd;

use super::{
    super::{RedisEngine, error::engine_error, reply, script, understood},
    KEPT, eval, with_items,
};
use crate::{
    engine::{EngineResult, RetryStates, keys},
    entry::{EntryId, StreamName},
};

/// About how many states are moved at once.
const PAGE: usize = 500;

#[async_trait]
impl RetryStates for RedisEngine {
    async fn retry_state(&self, stream: &StreamName, group: &str, id: EntryId) -> EngineResult<Option<Bytes>> {
        let key = keys::retry_states(stream, group);
        let command = with_items("HMGET", &key, &[id.to_text()]);
        let states = self.ask(key.as_bytes(), &command, reply::optional_bytes, || {
            format!("read the retry state of message {id} on stream '{stream}' in group '{group}'")
        });
        Ok(states.await?.into_iter().flatten().next())
    }

    async fn replace_retry_state(
        &self,
        stream: &StreamName,
        group: &str,
        id: EntryId,
        known: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> EngineResult<bool> {
        let key = keys::retry_states(stream, group);
        let mut command = eval(&script::REPLACE_RETRY_STATE, &[key.as_bytes()]);
        command.arg(id.to_string());
        for state in [known, new] {
            let text = state.map_or(&b""[..], |state| &state[..]);
            command.arg(u8::from(state.is_some())).arg(text);
        }
        command.arg(KEPT.as_secs());
        let replaced = self.ask(key.as_bytes(), &command, reply::number, || {
            format!("write the retry state of message {id} on stream '{stream}' in group '{group}'")
        });
        Ok(replaced.await? == 1)
    }

    async fn acknowledge_retried(
        &self,
        stream: &StreamName,
        group: &str,
        id: EntryId,
        known: &Bytes,
    ) -> EngineResult<bool> {
        let key = keys::retry_states(stream, group);
        let mut command = eval(&script::ACKNOWLEDGE_RETRIED, &[stream.as_bytes(), key.as_bytes()]);
        command.arg(group).arg(id.to_string()).arg(&known[..]);
        let acknowledged = self.ask(stream.as_bytes(), &command, reply::number, || {
            format!("acknowledge message {id} of stream '{stream}' in group '{group}'")
        });
        Ok(acknowledged.await? == 1)
    }

    async fn move_old_retry_states(&self, group: &str, streams: &[StreamName]) -> EngineResult<()> {
        let attempted = |stream: &StreamName| format!("move the retry states of stream '{stream}' in group '{group}'");
        let exists = streams.iter().map(|stream| {
            let old = keys::old_retry_states(stream, group);
            let mut command = cmd("HLEN");
            command.arg(&old);
            (StreamName::from(old), command)
        });
        let found = self.run_all(exists.collect()).await;
        for (stream, found) in streams.iter().zip(found) {
            let found = found.map_err(|error| engine_error(attempted(stream), error))?;
            if understood(reply::number(found), || attempted(stream))? == 0 {
                continue;
            }
            let (old, key) = (keys::old_retry_states(stream, group), keys::retry_states(stream, group));
            let mut cursor = None;
            loop {
                let (next, states) = self
                    .page_of_hash(&old, cursor.as_ref(), PAGE, || attempted(stream))
                    .await?;
                if !states.is_empty() {
                    let mut write = eval(&script::MOVE_RETRY_STATES, &[key.as_bytes()]);
                    write.arg(KEPT.as_secs());
                    for (id, state) in &states {
                        write.arg(&id[..]).arg(&state[..]);
                    }
                    // Written before they are removed. On a Cluster the two keys are in different slots.
                    self.ask(key.as_bytes(), &write, reply::number, || attempted(stream))
                        .await?;
                    let remove = with_items("HDEL", &old, states.iter().map(|(id, _)| id));
                    self.ask(old.as_bytes(), &remove, reply::number, || attempted(stream))
                        .await?;
                }
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }
}
