//! Which listeners of a message have succeeded, kept at the store for messages that stay pending because others failed.
//!
//! Only used when failed messages stay pending ([`always_acknowledge`](super::Listening::always_acknowledge) off). A
//! message all of whose listeners succeed at once never has such a record, so they cost nothing in the normal case.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::run::{GroupMember, Shared};
use crate::{
    engine::{EngineError, EngineErrorKind, EngineResult},
    message::ReceivedMessage,
};

/// What earlier deliveries of a message achieved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Listeners that succeeded.
    succeeded: Vec<String>,
    /// The members of the failed list that stand for listeners that did not.
    failed: Vec<String>,
}

impl Progress {
    /// What is known of a message; nothing for one that was never delivered before.
    pub(super) async fn load(shared: &Shared, stream: usize, message: &ReceivedMessage) -> EngineResult<Self> {
        let Some(member) = shared
            .group
            .as_ref()
            .filter(|_| shared.keeps_failed_pending() && message.attempt() > 1)
        else {
            return Ok(Self::default());
        };
        let key = key(member, shared, stream);
        let stored = shared
            .engine()
            .hash_get(&key, &[Bytes::from(message.id().to_string())])
            .await?;
        let Some(Some(text)) = stored.into_iter().next() else {
            return Ok(Self::default());
        };
        serde_json::from_slice(&text).map_err(|error| {
            EngineError::new(
                EngineErrorKind::Corrupt,
                format!("read which listeners of message {} have succeeded", message.id()),
                format!("hash '{key}' holds something else ({error}); remove that field to run all of them again"),
            )
        })
    }

    pub(super) fn has_succeeded(&self, listener: &str) -> bool {
        self.succeeded.iter().any(|name| name == listener)
    }

    pub(super) fn add_succeeded(&mut self, listener: &str) {
        self.succeeded.push(listener.to_owned());
    }

    /// Whether the store holds, or must hold, a record.
    pub(super) fn is_empty(&self) -> bool {
        self.succeeded.is_empty() && self.failed.is_empty()
    }

    /// Replaces the failures by those of the latest delivery, and returns the earlier ones.
    pub(super) fn replace_failed(&mut self, latest: &[Bytes]) -> Vec<Bytes> {
        // Members are JSON text in ASCII, so nothing is lost on the way to text and back.
        let latest = latest
            .iter()
            .map(|member| String::from_utf8_lossy(member).into_owned())
            .collect();
        std::mem::replace(&mut self.failed, latest)
            .into_iter()
            .map(Bytes::from)
            .collect()
    }

    /// The text that [`Progress::load`] reads.
    pub(super) fn to_text(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// The hash that keeps the progress of a stream's messages in a group; a field is an entry ID.
pub(super) fn key(member: &GroupMember, shared: &Shared, stream: usize) -> String {
    format!("streamer:progress:{}:{}", member.group, shared.streams[stream].name)
}
