//! Removes details whose record is gone: PHP programs remove records alone.
//!
//! A record is found by reading the list, as details only have its hash. Details may be without their record because that
//! is written next; so they are marked when they are seen without one, and removed when that is still so some time later.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;

use super::{Failed, FailedFilter};
use crate::{
    engine::{Engine, EngineResult, keys},
    entry::unix_ms,
};

/// How much is read at once.
const PAGE: usize = 500;
/// How many details are looked at in one pass through the list.
const MOST: usize = 100_000;
/// How long after they were seen without a record they are removed.
pub(super) const AGE: Duration = Duration::from_secs(3600);

impl Failed {
    /// Removes details whose record is gone, because somebody removed the record alone as PHP programs do, and tells how
    /// many. Those that are found without a record for the first time are only marked; they go when that is still so
    /// `age` later. [`Failed::flush`] and [`Retry::run`](super::Retry::run) do this with an age of one hour.
    ///
    /// Reads the list once for every 100,000 details, which take about 10 MB then. Those two read it once, and go on only
    /// where there are more details than records.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn tidy(&self, age: Duration) -> EngineResult<u64> {
        self.tidy_some(age, true).await
    }

    async fn tidy_some(&self, age: Duration, all: bool) -> EngineResult<u64> {
        let engine = self.streamer.engine().as_ref();
        let now = unix_ms() / 1000;
        let (mut removed, mut cursor) = (0, None);
        loop {
            // When each was marked.
            let mut known: HashMap<Bytes, Option<u64>> = HashMap::new();
            loop {
                let (next, page) = engine.page_of_details(cursor, PAGE).await?;
                for one in page {
                    let marked = known.entry(one.field).or_default();
                    *marked = marked.or(one.orphaned_since);
                }
                cursor = next;
                if cursor.is_none() || known.len() >= MOST {
                    break;
                }
            }
            removed += tidy_those(engine, known, now, age).await?;
            if cursor.is_none() {
                return Ok(removed);
            }
            // Each further pass would read the whole list for what may be nothing.
            if !all && engine.count_details().await? <= engine.count_failures().await? {
                return Ok(removed);
            }
        }
    }

    /// The same at the end of something else, which has been done whatever comes of this; `emptied` let nothing stay in the
    /// list that it lets through.
    pub(super) async fn tidy_at_the_end(&self, emptied: Option<&FailedFilter>) {
        let tidied = async {
            self.tidy_some(AGE, false).await?;
            self.forget_groups(emptied).await
        };
        if let Err(error) = tidied.await {
            tracing::warn!("details of failures that are not listed any more stay: {error}");
        }
    }
}

impl Failed {
    /// Forgets in which groups listeners fail that have no failures any more. Those that fail later keep theirs again.
    async fn forget_groups(&self, emptied: Option<&FailedFilter>) -> EngineResult<()> {
        let engine = self.streamer.engine();
        let kept = engine.failing_groups().await?;
        let mut gone = kept.listeners().collect::<Vec<_>>();
        if engine.count_failures().await? > 0 {
            gone.retain(|listener| emptied.is_some_and(|filter| filter.is_all_of(*listener)));
        }
        engine.forget_failing_groups(&gone).await
    }
}

async fn tidy_those(
    engine: &dyn Engine,
    mut known: HashMap<Bytes, Option<u64>>,
    now: u64,
    age: Duration,
) -> EngineResult<u64> {
    if known.is_empty() {
        return Ok(0);
    }
    let (mut listed, mut cursor) = (Vec::new(), 0);
    loop {
        let (next, members) = engine.page_of_failures(cursor, PAGE).await?;
        let fields = members.iter().map(|member| keys::details_field(member));
        listed.extend(fields.filter_map(|field| known.remove_entry(&field)));
        if next == 0 {
            break;
        }
        cursor = next;
    }
    let unmark = listed.into_iter().filter(|(_, marked)| marked.is_some());
    let unmark: Vec<Bytes> = unmark.map(|(field, _)| field).collect();
    let (old, new): (Vec<_>, Vec<_>) = known
        .into_iter()
        .partition(|(_, marked)| marked.is_some_and(|since| now.saturating_sub(since) >= age.as_secs()));
    let fields = |pairs: Vec<(Bytes, Option<u64>)>| pairs.into_iter().map(|(field, _)| field).collect::<Vec<_>>();
    let (old, new) = (fields(old), fields(new));
    for fields in unmark.chunks(PAGE) {
        engine.unmark_orphaned(fields).await?;
    }
    for fields in new.chunks(PAGE) {
        engine.mark_orphaned(fields, now).await?;
    }
    let mut removed = 0;
    for fields in old.chunks(PAGE) {
        removed += engine.remove_details(fields).await?;
    }
    Ok(removed)
}
