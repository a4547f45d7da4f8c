//! How much of a store the checks looked at.

use serde::Serialize;

use super::Diagnosis;
use crate::inspect::Overview;

/// How much of one kind of thing was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LookedAt {
    /// What: `streams`, `groups`, `newest entries` (whether they can be decoded), `oldest pending entries` (whether they have their
    /// entry), `failures` (of which kind they are), or `keys beside streams` (whether they have an owner). These names stay.
    pub what: &'static str,
    /// How many were looked at.
    pub looked_at: u64,
    /// How many there are; `None` where that is unknown.
    pub of: Option<u64>,
}

impl LookedAt {
    pub(super) fn new(what: &'static str, looked_at: u64, of: Option<u64>) -> Self {
        // What there is was counted at another moment.
        let of = of.map(|of| of.max(looked_at));
        Self { what, looked_at, of }
    }

    /// Whether all of them were looked at.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.of == Some(self.looked_at)
    }
}

/// The streams and groups of an overview.
pub(super) fn of_overview(overview: &Overview) -> [LookedAt; 2] {
    let (streams, groups) = (overview.totals.streams, overview.totals.groups);
    let is_all = overview.complete && overview.refused.iter().all(|refused| refused.stream.is_none());
    [("streams", streams), ("groups", groups)].map(|(what, count)| LookedAt::new(what, count, is_all.then_some(count)))
}

impl Diagnosis {
    /// How much was looked at, in sentences for people; empty where nothing could be looked at.
    ///
    /// ```
    /// use serde_json::json;
    /// use streamer::{DynamicEvent, Streamer, inspect::Known};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let streamer = Streamer::connect("memory:").await?;
    /// streamer.emit(&DynamicEvent::new("order.placed", json!({"id": 7}))).await?;
    /// let diagnosis = streamer.inspect().diagnose(&Known::default()).await?;
    /// assert_eq!(
    ///     diagnosis.scope(),
    ///     "Looked at all there is: 1 stream, 0 groups, 1 newest entry, 0 oldest pending entries, 0 failures, 0 keys beside streams."
    /// );
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn scope(&self) -> String {
        if self.looked_at.is_empty() {
            return String::new();
        }
        let all = self.looked_at.iter().all(LookedAt::is_all);
        let parts = self.looked_at.iter().map(|part| {
            let LookedAt { what, looked_at, of } = *part;
            let what = if looked_at == 1 { singular(what) } else { what };
            match of {
                _ if all => format!("{looked_at} {what}"),
                Some(0) => format!("0 {what}"),
                Some(of) if of == looked_at => format!("all {looked_at} {what}"),
                Some(of) => format!("{looked_at} of {of} {}", part.what),
                None => format!("{looked_at} {what} of an unknown number"),
            }
        });
        let parts = parts.collect::<Vec<_>>().join(", ");
        match all {
            true => format!("Looked at all there is: {parts}."),
            false => {
                format!("Looked at {parts}. The rest was not looked at, and may have trouble that is not told here.")
            }
        }
    }
}

fn singular(what: &'static str) -> &'static str {
    match what {
        "streams" => "stream",
        "groups" => "group",
        "newest entries" => "newest entry",
        "oldest pending entries" => "oldest pending entry",
        "failures" => "failure",
        "keys beside streams" => "key beside streams",
        other => other,
    }
}
