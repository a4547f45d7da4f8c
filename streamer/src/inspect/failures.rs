//! The failed list in numbers, within a bound.

use serde::Serialize;

use super::Inspect;
use crate::{
    engine::EngineResult,
    failed::{FailedFilter, FailureSummary},
};

/// What a part of the failed list says about all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FailureSample {
    /// How many failures there are in all.
    pub listed: u64,
    /// Whether all of them are in the summary.
    pub complete: bool,
    /// The failures that were looked at, by stream, listener and kind of error.
    pub summary: FailureSummary,
}

impl Inspect {
    /// Counts failures by stream, listener and kind of error, of at most about `most` members of the failed list. The list has
    /// no order, so what is left out is like what is looked at, but a rare kind may be missing.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn failures(&self, most: u64) -> EngineResult<FailureSample> {
        let failed = self.streamer.failed();
        let listed = failed.count().await?;
        let (summary, complete) = failed.summary_of(FailedFilter::all(), most).await?;
        Ok(FailureSample {
            listed,
            complete,
            summary,
        })
    }
}
