//! What earlier attempts of pending messages achieved.

use async_trait::async_trait;
use bytes::Bytes;

use super::super::{EmbeddedEngine, failure::Step, pending, records, transaction::Transaction};
use crate::{
    engine::{EngineResult, RetryStates, keys},
    entry::{EntryId, StreamName},
};

/// How many states are moved at once.
const PAGE: usize = 1000;

#[async_trait]
impl RetryStates for EmbeddedEngine {
    async fn retry_state(&self, stream: &StreamName, group: &str, id: EntryId) -> EngineResult<Option<Bytes>> {
        let key = keys::retry_states(stream, group);
        self.look(
            || format!("read the retry state of message {id} on stream '{stream}' in group '{group}'"),
            move |transaction| state(transaction, &key, id),
        )
        .await
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
        let (known, new) = (known.cloned(), new.cloned());
        self.write(
            || format!("write the retry state of message {id} on stream '{stream}' in group '{group}'"),
            move |transaction| {
                if state(transaction, &key, id)? != known {
                    return Ok(false);
                }
                match &new {
                    Some(new) => records::hash_put(transaction, &key, &[(id.to_text(), new.clone())])?,
                    None => _ = records::hash_remove(transaction, &key, &[id.to_text()])?,
                }
                Ok(true)
            },
        )
        .await
    }

    async fn acknowledge_retried(
        &self,
        stream: &StreamName,
        group: &str,
        id: EntryId,
        known: &Bytes,
    ) -> EngineResult<bool> {
        let key = keys::retry_states(stream, group);
        let (name, group_name, known) = (stream.clone(), group.to_owned(), known.clone());
        self.write(
            || format!("acknowledge message {id} of stream '{stream}' in group '{group}'"),
            move |transaction| {
                if state(transaction, &key, id)?.as_ref() != Some(&known) {
                    return Ok(false);
                }
                pending::acknowledge(transaction, &name, &group_name, &[id])?;
                records::hash_remove(transaction, &key, &[id.to_text()])?;
                Ok(true)
            },
        )
        .await
    }

    async fn move_old_retry_states(&self, group: &str, streams: &[StreamName]) -> EngineResult<()> {
        for stream in streams {
            let (old, key) = (keys::old_retry_states(stream, group), keys::retry_states(stream, group));
            let attempted = || format!("move the retry states of stream '{stream}' in group '{group}' to '{key}'");
            let looked_for = old.clone();
            let there = self.look(attempted, move |transaction| {
                let (_, page) = records::hash_page(transaction, &looked_for, None, 1)?;
                Ok(!page.is_empty())
            });
            if !there.await? {
                continue;
            }
            loop {
                let (old, key) = (old.clone(), key.clone());
                let moved = self.write(attempted, move |transaction| {
                    let (_, states) = records::hash_page(transaction, &old, None, PAGE)?;
                    let fields: Vec<Bytes> = states.iter().map(|(field, _)| field.clone()).collect();
                    let newer = records::hash_get(transaction, &key, &fields)?;
                    let missing = states.into_iter().zip(newer).filter(|(_, newer)| newer.is_none());
                    let missing: Vec<_> = missing.map(|(state, _)| state).collect();
                    if !missing.is_empty() {
                        records::hash_put(transaction, &key, &missing)?;
                    }
                    records::hash_remove(transaction, &old, &fields)?;
                    Ok(fields.len())
                });
                if moved.await? < PAGE {
                    break;
                }
            }
        }
        Ok(())
    }
}

fn state(transaction: &Transaction<'_>, key: &str, id: EntryId) -> Step<Option<Bytes>> {
    let found = records::hash_get(transaction, key, &[id.to_text()])?;
    Ok(found.into_iter().flatten().next())
}
