//! The overview, and one stream: what the observer saw last. Nothing here asks the store.

use std::{cmp::Reverse, sync::Arc};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use streamer::inspect::{Collector, GroupOverview, Importance, Lag, Overview, Series, StreamOverview};

use super::Answer;
use crate::{observer::Diagnosed, params::Params, problem::Problem, site::Site};

/// How many rows there are unless it is said.
const ROWS: usize = 200;
/// How many findings stand on top.
const FINDINGS: usize = 20;

#[derive(Deserialize)]
pub(super) struct Query {
    /// Only streams or groups whose name contains this.
    #[serde(default)]
    q: String,
    /// `lag` (default), `waits`, `pending`, `oldest`, `incoming`, `stream`.
    #[serde(default)]
    sort: String,
    limit: Option<usize>,
}

/// `GET api/overview`
pub(super) async fn overview(State(site): State<Arc<Site>>, Params(query): Params<Query>) -> Answer {
    site.observer.ready().await?;
    let mut answer = site.observer.summary();
    let seen = site.observer.seen();
    let Some(overview) = seen.collector.latest() else {
        return Err(Problem::unavailable("the store has not been looked at yet"));
    };
    let mut rows = rows(overview, &query.q.to_lowercase());
    sort(&mut rows, &query.sort, &seen.collector);
    let count = rows.len();
    rows.truncate(query.limit.unwrap_or(ROWS).min(1_000));
    let rows = rows
        .into_iter()
        .map(|(stream, group)| row(&seen.collector, stream, group));
    answer["rows"] = rows.collect();
    answer["count"] = json!(count);
    answer["complete"] = json!(overview.complete);
    answer["missing"] = json!(overview.missing);
    answer["refused"] = json!(overview.refused.iter().take(FINDINGS).collect::<Vec<_>>());
    answer["findings"] = findings(seen.diagnosis.as_ref());
    Ok(Json(answer))
}

/// The most important findings.
fn findings(diagnosed: Option<&Diagnosed>) -> Value {
    let findings = diagnosed.into_iter().flat_map(|one| &one.diagnosis.findings);
    let important = findings.filter(|finding| finding.importance >= Importance::Warning);
    json!(important.take(FINDINGS).collect::<Vec<_>>())
}

type Row<'a> = (&'a StreamOverview, Option<&'a GroupOverview>);

/// One row for each group, and one for each stream without.
fn rows<'a>(overview: &'a Overview, text: &str) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for stream in &overview.streams {
        let of_stream = stream.name.to_lowercase().contains(text);
        if stream.groups.is_empty() && of_stream {
            rows.push((stream, None));
        }
        for group in &stream.groups {
            if of_stream || group.name.to_lowercase().contains(text) {
                rows.push((stream, Some(group)));
            }
        }
    }
    rows
}

/// What is worst comes first; unknown is worse than nothing.
fn sort(rows: &mut [Row<'_>], by: &str, collector: &Collector) {
    let lag = |group: &Option<&GroupOverview>| match group.map(|group| group.lag) {
        None => (0, 0),
        Some(Lag::Unknown) => (1, 0),
        Some(lag) => (1, lag.messages().unwrap_or(0)),
    };
    match by {
        // They come by name.
        "stream" => {}
        "waits" => rows.sort_by_key(|(_, group)| Reverse(group.and_then(|group| group.lag_ms))),
        "pending" => rows.sort_by_key(|(_, group)| Reverse(group.map(|group| group.pending))),
        "oldest" => rows.sort_by_key(|(_, group)| {
            Reverse(group.and_then(|group| group.oldest_pending.as_ref().and_then(|oldest| oldest.age_ms)))
        }),
        "incoming" => rows.sort_by_cached_key(|(stream, _)| {
            let rate = collector.stream_rates(&stream.name).incoming.unwrap_or(0.0);
            Reverse((rate * 1000.0) as u64)
        }),
        _ => rows.sort_by_key(|(_, group)| Reverse(lag(group))),
    }
}

fn row(collector: &Collector, stream: &StreamOverview, group: Option<&GroupOverview>) -> Value {
    let rates = collector.stream_rates(&stream.name);
    json!({
        "stream": stream.name,
        "length": stream.length,
        "bytes": stream.bytes,
        "last_age_ms": stream.last_age_ms,
        "scheduled": stream.scheduled,
        "incoming": rates.incoming,
        "incoming_series": incoming(&collector.stream_series(&stream.name)),
        "group": group.map(|group| group_row(collector, stream, group)),
    })
}

/// A group as a row shows it.
pub(super) fn group_row(collector: &Collector, stream: &StreamOverview, group: &GroupOverview) -> Value {
    let rates = collector.group_rates(&stream.name, &group.name);
    let series = collector.group_series(&stream.name, &group.name);
    json!({
        "name": group.name,
        "lag": group.lag,
        "lag_ms": group.lag_ms,
        "missed": group.missed,
        "pending": group.pending,
        "oldest": group.oldest_pending,
        "alive": group.alive,
        "stale": group.stale,
        "abandoned": group.is_abandoned(),
        "last_delivered_id": group.last_delivered_id,
        "delivered": rates.delivered,
        "acknowledged": rates.acknowledged,
        "lag_series": series.iter().map(|point| point.messages).collect::<Vec<_>>(),
        "acknowledged_series": series.iter().map(|point| rounded(point.rates.acknowledged)).collect::<Vec<_>>(),
    })
}

fn incoming(series: &Series) -> Vec<Option<f64>> {
    series.iter().map(|point| rounded(point.rates.incoming)).collect()
}

fn rounded(rate: Option<f64>) -> Option<f64> {
    rate.map(|rate| (rate * 100.0).round() / 100.0)
}

#[derive(Deserialize)]
pub(super) struct OfStream {
    stream: String,
}

/// `GET api/stream`
pub(super) async fn stream(State(site): State<Arc<Site>>, Params(OfStream { stream }): Params<OfStream>) -> Answer {
    site.observer.ready().await?;
    let is_seen = || {
        let seen = site.observer.seen();
        seen.collector
            .latest()
            .is_some_and(|overview| overview.stream(&stream).is_some())
    };
    // It may be new.
    if !is_seen() {
        site.observer.next_look().await;
    }
    let mut answer = site.observer.summary();
    let seen = site.observer.seen();
    let found = seen.collector.latest().and_then(|overview| overview.stream(&stream));
    let Some(found) = found else {
        return Err(Problem::gone(format!("there is no stream '{}'", stream.escape_debug())));
    };
    let groups = found
        .groups
        .iter()
        .map(|group| group_row(&seen.collector, found, group));
    answer["stream"] = json!({
        "name": found.name,
        "length": found.length,
        "bytes": found.bytes,
        "first_id": found.first_id,
        "first_age_ms": found.first_age_ms,
        "last_id": found.last_id,
        "last_age_ms": found.last_age_ms,
        "entries_added": found.entries_added,
        "scheduled": found.scheduled,
        "incoming": seen.collector.stream_rates(&found.name).incoming,
        "incoming_series": incoming(&seen.collector.stream_series(&found.name)),
        "groups": groups.collect::<Vec<_>>(),
    });
    Ok(Json(answer))
}
