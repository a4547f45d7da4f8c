//! Which processes use a consumer's name.

use std::time::Duration;

use async_trait::async_trait;

use super::{EngineResult, Member};
use crate::entry::StreamName;

/// The marks of processes that use a consumer's name which somebody chose, so that a second one is noticed, and both know
/// which of them came later.
///
/// Not to be implemented outside this crate.
#[async_trait]
pub trait NameUsers {
    /// Marks `user` as using the name of `member`'s consumer on each stream, for the time of `lease` from now on, and tells
    /// who else has a mark. A lease of zero removes the mark. Marks that have expired are removed. One atomic step for each
    /// stream, in one round trip to each server or one transaction. Neither stream nor group has to exist.
    async fn use_name(
        &self,
        member: &Member,
        user: &NameUser,
        streams: &[StreamName],
        lease: Duration,
    ) -> Vec<EngineResult<NameUse>>;
}

/// A process that uses a name. The order is that in which processes came.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameUser {
    /// Since when, in milliseconds of the store's clock. Given as 0, it is now.
    pub since_ms: u64,
    /// Random letters and digits that no other process has.
    pub token: String,
}

/// What [`NameUsers::use_name`] found on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameUse {
    /// Since when the caller uses the name. 0 where its mark was removed.
    pub since_ms: u64,
    /// The other processes, each with the instant at which its mark expires, in milliseconds of the store's clock. A mark is
    /// no proof that its process lives; one that was renewed is.
    pub others: Vec<(NameUser, u64)>,
}
