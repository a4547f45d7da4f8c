//! Who retries a failed message.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::EngineResult;
use crate::entry::{EntryId, StreamName};

/// Claims on messages whose failures are being retried, so that two retriers at once run nothing twice.
///
/// A claim holds for its lease and ends by itself: what a retrier that died had claimed is free again. Not to be
/// implemented outside this crate.
#[async_trait]
pub trait RetryClaims {
    /// Claims a message for `owner`, or renews its claim: from now on for the time of `lease`. `false`: another one has it.
    /// One atomic step.
    async fn claim_retry(&self, stream: &StreamName, id: EntryId, owner: &str, lease: Duration) -> EngineResult<bool>;

    /// Ends a claim, if it is still `owner`'s.
    async fn release_retry(&self, stream: &StreamName, id: EntryId, owner: &str) -> EngineResult<()>;

    /// `SISMEMBER`: whether the failed list has this member.
    async fn is_listed(&self, member: &Bytes) -> EngineResult<bool>;
}
