//! The failed list in numbers: what fails where, and since when.

use std::collections::BTreeMap;

use super::{Failed, FailedFilter, FailedMessage};
use crate::engine::EngineResult;

/// So many kinds of failure are told apart; what comes beyond is counted together.
const KINDS: usize = 10_000;
/// The most characters of a kind of error.
const LONGEST_KIND: usize = 160;

/// Failures of one kind: of one listener, on one stream, with errors that differ in details only.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct FailureKind {
    /// The stream; empty where kinds are counted together.
    pub stream: String,
    /// The listener; empty where kinds are counted together.
    pub receiver: String,
    /// What the errors have in common ([`error_kind`]).
    pub error: String,
    /// How many failures there are.
    pub count: u64,
    /// The date of the oldest, as [`FailedMessage::date`].
    pub first: String,
    /// The date of the newest.
    pub last: String,
}

/// The failed list in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct FailureSummary {
    /// How many failures there are.
    pub count: u64,
    /// How many members of the list are no records.
    pub unreadable: u64,
    /// The kinds, the most frequent first.
    pub kinds: Vec<FailureKind>,
}

impl FailureSummary {
    /// How many failures each stream has, by name. Unreadable members are not among them.
    #[must_use]
    pub fn streams(&self) -> BTreeMap<&str, u64> {
        let mut streams = BTreeMap::new();
        for kind in &self.kinds {
            *streams.entry(kind.stream.as_str()).or_default() += kind.count;
        }
        streams
    }
}

impl Failed {
    /// Counts the failures that a filter lets through, by stream, listener and kind of error.
    ///
    /// One pass through the list; memory for at most 10,000 kinds, beyond which kinds are counted together. A failure that
    /// the store gives twice, which is rare, counts twice.
    ///
    /// # Errors
    ///
    /// The engine's.
    pub async fn summary(&self, filter: FailedFilter) -> EngineResult<FailureSummary> {
        Ok(self.summary_of(filter, u64::MAX).await?.0)
    }

    /// The same of about `most` members of the list, and whether these are all.
    pub(crate) async fn summary_of(&self, filter: FailedFilter, most: u64) -> EngineResult<(FailureSummary, bool)> {
        let (mut summary, mut complete) = (FailureSummary::default(), true);
        let mut kinds: BTreeMap<(String, String, String), FailureKind> = BTreeMap::new();
        let mut listing = self.list(filter);
        loop {
            // A list that ends just here is complete, too.
            if listing.looked_at() >= most && !listing.is_at_end() {
                complete = false;
                break;
            }
            let Some(page) = listing.next_page().await? else { break };
            for listed in page {
                let Ok(FailedMessage {
                    stream,
                    receiver,
                    error,
                    date,
                    ..
                }) = listed.record
                else {
                    summary.unreadable += 1;
                    continue;
                };
                summary.count += 1;
                let mut key = (stream, receiver, error_kind(&error));
                if kinds.len() >= KINDS && !kinds.contains_key(&key) {
                    key = (String::new(), String::new(), "errors of further kinds".to_owned());
                }
                let kind = kinds
                    .entry(key)
                    .or_insert_with_key(|(stream, receiver, error)| FailureKind {
                        stream: stream.clone(),
                        receiver: receiver.clone(),
                        error: error.clone(),
                        count: 0,
                        first: date.clone(),
                        last: date.clone(),
                    });
                kind.count += 1;
                // `Y-m-d H:i:s` sorts as text.
                if date < kind.first {
                    kind.first.clone_from(&date);
                }
                if date > kind.last {
                    kind.last = date;
                }
            }
        }
        summary.kinds = kinds.into_values().collect();
        summary.kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        Ok((summary, complete))
    }
}

/// What an error has in common with others of its kind: its first line, with `#` for numbers and `…` for quoted text.
///
/// ```
/// use streamer::failed::error_kind;
///
/// assert_eq!(error_kind("order 17 of 'Ann' has no items\nat line 3"), "order # of '…' has no items");
/// ```
#[must_use]
pub fn error_kind(error: &str) -> String {
    let line = error.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let mut kind = String::new();
    let mut rest = line.trim();
    while let Some(c) = rest.chars().next() {
        if kind.chars().count() >= LONGEST_KIND {
            kind.push('…');
            break;
        }
        let after = &rest[c.len_utf8()..];
        // An apostrophe inside a word begins no quotation.
        let begins = !kind.ends_with(|c: char| c.is_alphanumeric());
        if matches!(c, '\'' | '"' | '`')
            && begins
            && let Some((_, after)) = after.split_once(c)
        {
            kind.extend([c, '…', c]);
            rest = after;
            continue;
        }
        // Numbers, and words with digits in them, such as IDs.
        if c.is_alphanumeric() {
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            let word = &rest[..end];
            match word.chars().any(|c| c.is_ascii_digit()) {
                true => kind.push('#'),
                false => kind.push_str(word),
            }
            rest = &rest[end..];
            continue;
        }
        kind.push(c);
        rest = after;
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::error_kind;

    #[test]
    fn errors_that_differ_in_details_are_of_one_kind() {
        for (one, other) in [
            ("no stock for 17", "no stock for 18"),
            ("user 'Ann' unknown\nstack 1", "user 'Bob' unknown\nstack 2"),
            ("id 3f2b-77aa failed", "id 9e01-11bb failed"),
        ] {
            assert_eq!(error_kind(one), error_kind(other));
        }
        assert_ne!(error_kind("no stock"), error_kind("no paper"));
        assert_eq!(error_kind("it doesn't work, it can't"), "it doesn't work, it can't");
        assert_eq!(error_kind("'unclosed"), "'unclosed");
        assert!(error_kind(&"long ".repeat(100_000)).chars().count() <= 200);
        assert_eq!(error_kind(""), "");
    }
}
