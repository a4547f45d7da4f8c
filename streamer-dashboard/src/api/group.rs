//! One group: its consumers, what is pending, and moving it.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use streamer::{
    EntryId, Moment, RangeBound, StartAt, StreamName,
    engine::{GroupInfo, GroupStart, PendingFilter},
};

use super::{Answer, overview::group_row};
use crate::{
    Actor,
    params::{Body, Params},
    problem::Problem,
    site::Site,
};

/// How many pending entries a page has.
const PAGE: usize = 100;
/// So many entries are counted in a dry run; beyond it is "more than".
const COUNTED: usize = 10_000;
/// Entries asked for at once.
const STEP: usize = 500;

#[derive(Deserialize)]
pub(super) struct Query {
    stream: String,
    group: String,
    /// Only pending entries after this ID.
    after: Option<String>,
    /// Only pending entries of this consumer.
    consumer: Option<String>,
}

/// `GET api/group`
pub(super) async fn group(State(site): State<Arc<Site>>, Params(query): Params<Query>) -> Answer {
    site.observer.ready().await?;
    let is_seen = || {
        let seen = site.observer.seen();
        let stream = seen
            .collector
            .latest()
            .and_then(|overview| overview.stream(&query.stream));
        stream.is_some_and(|stream| stream.groups.iter().any(|group| group.name == query.group))
    };
    // It may be new.
    if !is_seen() {
        site.observer.next_look().await;
    }
    let mut answer = site.observer.summary();
    {
        let seen = site.observer.seen();
        let stream = seen
            .collector
            .latest()
            .and_then(|overview| overview.stream(&query.stream));
        let group = stream.and_then(|stream| stream.groups.iter().find(|group| group.name == query.group));
        let (Some(stream), Some(group)) = (stream, group) else {
            return Err(Problem::gone(format!(
                "the stream '{}' has no group '{}'",
                query.stream.escape_debug(),
                query.group.escape_debug()
            )));
        };
        answer["group"] = group_row(&seen.collector, stream, group);
        answer["consumers"] = json!(group.consumers);
        answer["last_id"] = json!(stream.last_id);
    }
    let start = match &query.after {
        None => RangeBound::Unbounded,
        Some(after) => {
            let after = after.parse::<EntryId>();
            RangeBound::Exclusive(after.map_err(|error| Problem::bad_request(error.to_string()))?)
        }
    };
    let key = json!([query.stream, query.group, query.after, query.consumer]).to_string();
    let pending = site.pending.get(key, pending(&site, &query, start)).await?;
    answer["pending"] = pending["entries"].clone();
    answer["next"] = pending["next"].clone();
    Ok(Json(answer))
}

/// A page of pending entries, by ID.
async fn pending(site: &Site, query: &Query, start: RangeBound) -> Result<Value, Problem> {
    let filter = PendingFilter {
        start,
        count: PAGE,
        consumer: query.consumer.as_deref().filter(|name| !name.is_empty()),
        ..PendingFilter::default()
    };
    let stream = StreamName::from(&query.stream);
    let pending = site.streamer.engine().pending(&stream, &query.group, filter).await?;
    let next = pending.last().filter(|_| pending.len() == PAGE).map(|last| last.id);
    let entries = pending.into_iter().map(|entry| {
        json!({
            "id": entry.id,
            "consumer": entry.consumer,
            "idle_ms": u64::try_from(entry.idle.as_millis()).unwrap_or(u64::MAX),
            "deliveries": entry.deliveries,
        })
    });
    Ok(json!({"entries": entries.collect::<Vec<_>>(), "next": next}))
}

#[derive(Deserialize)]
pub(super) struct Reset {
    stream: String,
    group: String,
    /// `start`, `now`, an entry ID, a date or an age.
    to: String,
    dry_run: bool,
}

fn place(text: &str) -> Result<StartAt, Problem> {
    let text = text.trim();
    match text {
        "now" => return Ok(StartAt::Now),
        "start" => return Ok(StartAt::Beginning),
        _ => {}
    }
    if let Ok(id) = text.parse::<EntryId>() {
        return Ok(StartAt::After(id));
    }
    match text.parse::<Moment>() {
        Ok(moment) => Ok(moment.first_id().previous().map_or(StartAt::Beginning, StartAt::After)),
        Err(error) => Err(Problem::bad_request(format!(
            "{error}; or an entry ID, such as 1795407980936-0, `start` or `now`"
        ))),
    }
}

/// `POST api/group/reset`: moves a group, or tells what that would do.
pub(super) async fn reset(State(site): State<Arc<Site>>, actor: Actor, Body(reset): Body<Reset>) -> Answer {
    let start = place(&reset.to)?;
    let stream = StreamName::from(&reset.stream);
    let engine = site.streamer.engine();
    let groups = engine.groups(&stream).await?;
    let Some(info) = groups.iter().find(|group| group.name == reset.group) else {
        return Err(Problem::gone(format!(
            "the stream '{}' has no group '{}'",
            reset.stream.escape_debug(),
            reset.group.escape_debug()
        )));
    };
    let GroupInfo {
        last_delivered_id: from,
        pending,
        ..
    } = *info;
    let last = engine.last_id(&stream).await?;
    let to = match start {
        StartAt::Beginning => EntryId::MIN,
        StartAt::Now => last,
        StartAt::After(id) => id,
    };
    let (between, exact) = count(&site, &stream, from.min(to), from.max(to)).await?;
    if !reset.dry_run {
        let place = match start {
            // What is appended at this moment belongs to "from now on".
            StartAt::Now => GroupStart::Now,
            _ => GroupStart::After(to),
        };
        let about = format!("group '{}' of '{}' from {from} to {to}", reset.group, reset.stream);
        if let Err(error) = engine.set_group_position(&stream, &reset.group, place).await {
            actor.failed("group_reset", &about, &error.to_string());
            return Err(error.into());
        }
        actor.did("group_reset", &about, between);
        site.observer.wanted();
    }
    let (again, left_out) = if to < from { (between, 0) } else { (0, between) };
    Ok(Json(json!({
        "from": from, "to": to, "again": again, "left_out": left_out, "exact": exact, "pending": pending,
        "beyond_the_end": to > last, "dry_run": reset.dry_run,
    })))
}

/// How many entries lie after `from`, up to `to`, and whether these are all.
async fn count(site: &Site, stream: &StreamName, from: EntryId, to: EntryId) -> Result<(u64, bool), Problem> {
    let mut start = RangeBound::Exclusive(from);
    let mut counted = 0;
    while counted < COUNTED {
        let end = RangeBound::Inclusive(to);
        let page = site
            .streamer
            .engine()
            .range(stream, start, end, Some(STEP), false)
            .await?;
        counted += page.len();
        match page.last() {
            Some(last) if page.len() == STEP => start = RangeBound::Exclusive(last.id),
            _ => return Ok((counted as u64, true)),
        }
    }
    Ok((counted as u64, false))
}
