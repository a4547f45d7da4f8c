//! One pass through the failed list, within a bound: the kinds, and the newest failures.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use serde_json::{Value, json};
use streamer::{
    engine::EngineResult,
    failed::{FailedFilter, Listed, error_kind},
};

use crate::site::Site;

/// How many members of the list a pass looks at.
const LOOKED: u64 = 100_000;
/// How many kinds are told apart.
const KINDS: usize = 1_000;
/// How many failures are shown, the newest.
const SHOWN: usize = 200;
/// Failures of one kind.
struct Kind {
    count: u64,
    first: String,
    last: String,
}

/// A failure by its date; the oldest of those kept is the first to go.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Dated(Reverse<String>, bytes::Bytes);

/// What the filter lets through.
pub(super) async fn pass(site: &Site, filter: FailedFilter) -> EngineResult<Value> {
    let listed = site.streamer.failed().count().await?;
    let mut listing = site.streamer.failed().list(filter);
    let mut kinds: HashMap<(String, String, String), Kind> = HashMap::new();
    let mut newest: BinaryHeap<Dated> = BinaryHeap::new();
    let mut members: HashMap<bytes::Bytes, Listed> = HashMap::new();
    let (mut matching, mut unreadable, mut complete) = (0_u64, 0_u64, true);
    while let Some(page) = listing.next_page().await? {
        for one in page {
            matching += 1;
            let date = match &one.record {
                Ok(record) => {
                    let mut key = (
                        record.stream.clone(),
                        record.receiver.clone(),
                        error_kind(&record.error),
                    );
                    if kinds.len() >= KINDS && !kinds.contains_key(&key) {
                        key = (String::new(), String::new(), "errors of further kinds".to_owned());
                    }
                    let kind = kinds.entry(key).or_insert_with(|| Kind {
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
                    record.date.clone()
                }
                Err(_) => {
                    unreadable += 1;
                    String::new()
                }
            };
            newest.push(Dated(Reverse(date), one.member.clone()));
            members.insert(one.member.clone(), one);
            if newest.len() > SHOWN
                && let Some(Dated(_, oldest)) = newest.pop()
            {
                members.remove(&oldest);
            }
        }
        if listing.looked_at() >= LOOKED && listing.looked_at() < listed {
            complete = false;
            break;
        }
    }
    let mut kinds = kinds.into_iter().collect::<Vec<_>>();
    kinds
        .sort_by(|(one_key, one), (other_key, other)| other.count.cmp(&one.count).then_with(|| one_key.cmp(other_key)));
    let kinds = kinds.into_iter().map(|((stream, receiver, error), kind)| {
        json!({
            "stream": stream, "receiver": receiver, "error": error,
            "count": kind.count, "first": kind.first, "last": kind.last,
        })
    });
    let shown = newest.into_sorted_vec();
    let order = shown.into_iter().map(|Dated(_, member)| member).collect::<Vec<_>>();
    let details = site.streamer.engine().failure_details(&order).await?;
    let failures = order.iter().zip(details).filter_map(|(member, details)| {
        let one = members.get(member)?;
        Some(shown_failure(one, details.as_deref()))
    });
    Ok(json!({
        "listed": listed,
        "looked_at": listing.looked_at(),
        "complete": complete,
        "matching": matching,
        "unreadable": unreadable,
        "kinds": kinds.collect::<Vec<_>>(),
        "failures": failures.collect::<Vec<_>>(),
    }))
}

/// A failure for the browser. `member` is what names it in actions.
fn shown_failure(listed: &Listed, details: Option<&[u8]>) -> Value {
    let details: Value = details
        .and_then(|text| serde_json::from_slice(text).ok())
        .unwrap_or_default();
    let mut shown = match &listed.record {
        Ok(record) => json!(record),
        Err(error) => json!({"unreadable": error.to_string()}),
    };
    shown["member"] = json!(hex::encode(&listed.member));
    shown["attempts"] = json!(details["attempts"].as_u64().unwrap_or(1));
    shown["first_failure"] = details["first_failure"].clone();
    shown["groups"] = details["groups"].clone();
    shown["fields"] = details["fields"].clone();
    shown
}
