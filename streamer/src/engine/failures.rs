//! The failed list: records of failures, and what a record has no room for.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;

use super::{EngineResult, FailureRecord};

/// Keeps failure records in the set `failed_stream` and their details in the hash `failed_stream:details`.
///
/// A record is a member of the set, byte for byte as PHP writes it. PHP programs add and remove members, too, and know
/// nothing of details. The details of a member are a field whose name is the member's SHA-256. The group in which a listener
/// fails is kept once for all of its failures, in the hash `failed_stream:groups`.
///
/// [`GroupStore::settle`](super::GroupStore::settle) changes the same keys together with the deliveries that failed.
#[async_trait]
pub trait Failures {
    /// Adds records. Details are written before their record, so that no record is seen without them. A record that is
    /// there already stays; the `groups` of its details are united with the new ones inside the store.
    ///
    /// After an error some records may have been added. Adding them again does no harm.
    async fn add_failures(&self, records: &[FailureRecord]) -> EngineResult<()>;

    /// Removes members, and their details after them; tells how many members were there.
    ///
    /// After an error some may have been removed. Removing them again does no harm.
    async fn remove_failures(&self, members: &[Bytes]) -> EngineResult<u64>;

    /// How many members there are.
    async fn count_failures(&self) -> EngineResult<u64>;

    /// How many details and marks there are.
    async fn count_details(&self) -> EngineResult<u64>;

    /// A page of about `count` members and the cursor of the next page. Begin with cursor 0; cursor 0 in the answer ends
    /// the list. A member that is there throughout comes at least once, maybe more often.
    async fn page_of_failures(&self, cursor: u64, count: usize) -> EngineResult<(u64, Vec<Bytes>)>;

    /// The details of each of these members; `None` for those that have none.
    async fn failure_details(&self, members: &[Bytes]) -> EngineResult<Vec<Option<Bytes>>>;

    /// A page of about `count` details by themselves, to find those whose record is gone. Begin with `None`; `None` in the
    /// answer ends them. Details that are there throughout come at least once, maybe more often; a mark may come apart
    /// from its details.
    async fn page_of_details(
        &self,
        cursor: Option<Bytes>,
        count: usize,
    ) -> EngineResult<(Option<Bytes>, Vec<DetailsField>)>;

    /// Marks details as being without a record since `second`, in seconds since the Unix epoch; those that are marked stay
    /// as they are.
    async fn mark_orphaned(&self, fields: &[Bytes], second: u64) -> EngineResult<()>;

    /// Removes such marks.
    async fn unmark_orphaned(&self, fields: &[Bytes]) -> EngineResult<()>;

    /// Removes details whose record is gone, with their marks; tells how many were there.
    async fn remove_details(&self, fields: &[Bytes]) -> EngineResult<u64>;

    /// Keeps in which group a listener fails, so that its failures need no details for that; answers the group that is kept
    /// now: of several the first, until they are forgotten.
    async fn keep_failing_group(&self, listener: FailingListener<'_>, group: &str) -> EngineResult<String>;

    /// The groups that are kept.
    async fn failing_groups(&self) -> EngineResult<FailingGroups>;

    /// Forgets the groups that are kept of these listeners.
    async fn forget_failing_groups(&self, of: &[FailingListener<'_>]) -> EngineResult<()>;
}

/// A listener, as its failure records name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailingListener<'a> {
    /// The stream; what of its name is not UTF-8 is U+FFFD.
    pub stream: &'a str,
    /// The name of the listener.
    pub receiver: &'a str,
}

impl FailingListener<'_> {
    /// The field that keeps its group: `["STREAM","LISTENER"]`.
    pub(super) fn field(self) -> Bytes {
        serde_json::json!([self.stream, self.receiver]).to_string().into()
    }
}

/// In which groups listeners fail: by stream, then by listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailingGroups(HashMap<String, HashMap<String, String>>);

impl FailingGroups {
    /// The group in which a listener fails, where that is kept.
    #[must_use]
    pub fn of(&self, listener: FailingListener<'_>) -> Option<&str> {
        let group = self.0.get(listener.stream)?.get(listener.receiver)?;
        Some(group)
    }

    /// The listeners.
    pub fn listeners(&self) -> impl Iterator<Item = FailingListener<'_>> {
        self.0.iter().flat_map(|(stream, listeners)| {
            listeners
                .keys()
                .map(move |receiver| FailingListener { stream, receiver })
        })
    }

    /// Adds fields of the hash. One that names no listener is nobody's.
    pub(super) fn add(&mut self, fields: Vec<(Bytes, Bytes)>) {
        for (field, group) in fields {
            if let Ok((stream, receiver)) = serde_json::from_slice::<(String, String)>(&field) {
                let group = String::from_utf8_lossy(&group).into_owned();
                self.0.entry(stream).or_default().insert(receiver, group);
            }
        }
    }
}

/// Details by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetailsField {
    /// The lower-case hex SHA-256 of the member that they belong to.
    pub field: Bytes,
    /// Since when they were seen without a record, in seconds since the Unix epoch.
    pub orphaned_since: Option<u64>,
}

/// What comes before the field of details in that of their mark.
const MARK: &[u8] = b"orphaned:";

/// The field that marks details.
pub(super) fn mark(field: &Bytes) -> Bytes {
    [MARK, field].concat().into()
}

/// What a field of the hash says.
pub(super) fn read_field((field, value): (Bytes, Bytes)) -> DetailsField {
    let since = || std::str::from_utf8(&value).ok()?.parse().ok();
    match field.strip_prefix(MARK) {
        Some(of) => DetailsField {
            field: field.slice_ref(of),
            // One that cannot be read counts as new.
            orphaned_since: since(),
        },
        None => DetailsField {
            field,
            orphaned_since: None,
        },
    }
}
