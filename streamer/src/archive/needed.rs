//! Which messages of a stream some group still needs.

use std::collections::HashSet;

use crate::{
    engine::{Engine, EngineErrorKind, EngineResult, PendingFilter},
    entry::{EntryId, RangeBound, StreamName},
};

/// How many pending entries are looked at in one step.
const STEP: usize = 1000;

/// What groups have not been delivered or have not acknowledged, among some messages.
#[derive(Debug, Default)]
pub(crate) struct Needed {
    /// The least that any group was delivered; `None` when the stream has no groups.
    delivered_to_all: Option<EntryId>,
    pending: HashSet<EntryId>,
}

impl Needed {
    /// Looks at `ids`, which are sorted.
    ///
    /// The groups' positions are taken before their pending entries: a message that is delivered in between still
    /// counts as not delivered, and one that was delivered before is pending or acknowledged.
    pub(crate) async fn among(engine: &dyn Engine, stream: &StreamName, ids: &[EntryId]) -> EngineResult<Self> {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Ok(Self::default());
        };
        let groups = engine.groups(stream).await?;
        let mut needed = Self {
            delivered_to_all: groups.iter().map(|group| group.last_delivered_id).min(),
            pending: HashSet::new(),
        };
        for group in groups.iter().filter(|group| group.last_delivered_id >= *first) {
            let mut start = RangeBound::Inclusive(*first);
            loop {
                let filter = PendingFilter {
                    start,
                    end: RangeBound::Inclusive(*last),
                    count: STEP,
                    ..PendingFilter::default()
                };
                let step = match engine.pending(stream, &group.name, filter).await {
                    // Removed meanwhile: it needs nothing any more.
                    Err(error) if error.kind() == EngineErrorKind::NoGroup => break,
                    step => step?,
                };
                let asked = step.iter().filter(|entry| ids.binary_search(&entry.id).is_ok());
                needed.pending.extend(asked.map(|entry| entry.id));
                match step.last() {
                    Some(entry) if step.len() == STEP => start = RangeBound::Exclusive(entry.id),
                    _ => break,
                }
            }
        }
        Ok(needed)
    }

    /// Whether some group has yet to be delivered it.
    pub(crate) fn is_undelivered(&self, id: EntryId) -> bool {
        self.delivered_to_all.is_some_and(|delivered| id > delivered)
    }

    /// Whether some group was delivered it and has not acknowledged it.
    pub(crate) fn is_pending(&self, id: EntryId) -> bool {
        self.pending.contains(&id)
    }
}
