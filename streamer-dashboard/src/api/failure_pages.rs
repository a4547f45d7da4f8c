//! One page of the failed list, within a bound: the kinds, and the newest failures.

use std::collections::HashMap;

use serde_json::{Value, json};
use streamer::{
    engine::EngineResult,
    failed::{FailedFilter, Listed, Position, error_kind},
};

use crate::site::Site;

/// How many kinds are told apart.
const KINDS: usize = 1_000;
/// How many failures a page has.
const SHOWN: usize = 200;

/// Failures of one kind.
struct Kind {
    count: u64,
    first: String,
    last: String,
}

/// The kinds of a part of the list.
#[derive(Default)]
struct Kinds(HashMap<(String, String, String), Kind>);

impl Kinds {
    fn count(&mut self, listed: &Listed) {
        let Ok(record) = &listed.record else { return };
        let mut key = (
            record.stream.clone(),
            record.receiver.clone(),
            error_kind(&record.error),
        );
        if self.0.len() >= KINDS && !self.0.contains_key(&key) {
            key = (String::new(), String::new(), "errors of further kinds".to_owned());
        }
        let kind = self.0.entry(key).or_insert_with(|| Kind {
            count: 0,
            first: record.date.clone(),
            last: record.date.clone(),
        });
        kind.count += 1;
        // `Y-m-d H:i:s` sorts as text.
        if record.date < kind.first {
            kind.first.clone_from(&record.date);
        }
        if record.date > kind.last {
            kind.last.clone_from(&record.date);
        }
    }

    /// The most frequent first.
    fn shown(self) -> Vec<Value> {
        let mut kinds = self.0.into_iter().collect::<Vec<_>>();
        kinds.sort_by(|(one_key, one), (other_key, other)| {
            other.count.cmp(&one.count).then_with(|| one_key.cmp(other_key))
        });
        let kinds = kinds.into_iter().map(|((stream, receiver, error), kind)| {
            json!({
                "stream": stream, "receiver": receiver, "error": error,
                "count": kind.count, "first": kind.first, "last": kind.last,
            })
        });
        kinds.collect()
    }
}

/// What the filter lets through, from a position on.
pub(super) async fn page(site: &Site, filter: FailedFilter, from: Position) -> EngineResult<Value> {
    let failed = site.streamer.failed();
    let listed = failed.count().await?;
    let (mut kinds, mut unreadable) = (Kinds::default(), 0_u64);
    let newest = failed.newest(filter).limit(SHOWN).from(from);
    let page = newest
        .page(|one| {
            kinds.count(one);
            unreadable += u64::from(one.record.is_err());
        })
        .await?;
    Ok(json!({
        "listed": listed,
        "looked_at": page.looked_at,
        "complete": page.complete,
        "matching": page.matching,
        "unreadable": unreadable,
        "kinds": kinds.shown(),
        "failures": page.failures.iter().map(shown_failure).collect::<Vec<_>>(),
        "next": page.next.map(|next| next.to_string()),
        "next_is_part": page.next.is_some_and(|next| next.begins_part()),
    }))
}

/// A failure for the browser. `member` is what names it in actions.
fn shown_failure(listed: &Listed) -> Value {
    let mut shown = match &listed.record {
        Ok(record) => json!(record),
        Err(error) => json!({"unreadable": error.to_string()}),
    };
    let details = json!(listed.details);
    shown["member"] = json!(hex::encode(&listed.member));
    for key in ["attempts", "first_failure", "group", "groups", "fields"] {
        shown[key] = details[key].clone();
    }
    shown
}
