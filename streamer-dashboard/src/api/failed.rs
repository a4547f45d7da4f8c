//! The failed list: seen, retried, forgotten.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use streamer::{
    Moment, StopHandle,
    failed::{self, FailedFilter, FailedMessage, Position, RetryReport, Skipped},
};

use super::{Answer, failure_pages::page, finish};
use crate::{
    Actor,
    jobs::Progress,
    params::{Body, Params},
    problem::Problem,
    site::{Retrying, Site},
};

/// How long matches are counted before an action.
const COUNTING: Duration = Duration::from_secs(5);
/// How many failures may be selected.
const SELECTED: usize = 1_000;
/// How many failures are retried at once, as in `streamer failed retry`.
const WORKERS: usize = 4;

/// Which failures. What is empty lets everything through.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Filter {
    id: String,
    stream: String,
    receiver: String,
    error: String,
    since: String,
}

impl Filter {
    fn read(&self) -> Result<FailedFilter, Problem> {
        let mut filter = FailedFilter::all();
        if !self.id.is_empty() {
            filter = filter.id(&self.id);
        }
        if !self.stream.is_empty() {
            filter = filter.stream(&self.stream);
        }
        if !self.receiver.is_empty() {
            filter = filter.receiver(&self.receiver);
        }
        if !self.error.is_empty() {
            filter = filter.error(&self.error);
        }
        if !self.since.trim().is_empty() {
            let since = self.since.parse::<Moment>();
            filter = filter.since(since.map_err(|error| Problem::bad_request(error.to_string()))?);
        }
        Ok(filter)
    }

    /// In words, for the list of actions and the audit line.
    fn about(&self) -> String {
        let parts = [
            ("message", &self.id),
            ("stream", &self.stream),
            ("listener", &self.receiver),
            ("error with", &self.error),
            ("since", &self.since),
        ];
        let said = parts.iter().filter(|(_, value)| !value.is_empty());
        let said = said
            .map(|(what, value)| format!("{what} '{value}'"))
            .collect::<Vec<_>>();
        match said.is_empty() {
            true => "all failures".to_owned(),
            false => format!("failures: {}", said.join(", ")),
        }
    }
}

/// Which page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Begin {
    /// The `next` of the page before; empty for the newest failures.
    from: String,
}

/// `GET api/failed`: a page, the newest failures first.
pub(super) async fn list(
    State(site): State<Arc<Site>>,
    Params(filter): Params<Filter>,
    Params(Begin { from }): Params<Begin>,
) -> Answer {
    let key = json!([filter, from]).to_string();
    let filter = filter.read()?;
    let from = match from.is_empty() {
        true => Position::default(),
        false => from
            .parse()
            .map_err(|error: streamer::failed::InvalidPosition| Problem::bad_request(error.to_string()))?,
    };
    let page = async { Ok(page(&site, filter, from).await?) };
    Ok(Json(site.failures.get(key, page).await?.as_ref().clone()))
}

/// `GET api/failed/count`: how many failures an action would be about.
pub(super) async fn count(State(site): State<Arc<Site>>, Params(filter): Params<Filter>) -> Answer {
    let filter = filter.read()?;
    if filter.is_all() {
        let count = site.streamer.failed().count().await?;
        return Ok(Json(json!({"count": count, "exact": true})));
    }
    let began = Instant::now();
    let (mut count, mut exact) = (0, true);
    let mut listing = site.streamer.failed().list(filter);
    while let Some(page) = listing.next_page().await? {
        count += page.len() as u64;
        if began.elapsed() > COUNTING {
            exact = false;
            break;
        }
    }
    Ok(Json(json!({"count": count, "exact": exact})))
}

/// Which failures an action is about: those selected, or all that a filter lets through.
#[derive(Deserialize)]
pub(super) struct Which {
    /// Members of the list, in hex.
    members: Option<Vec<String>>,
    filter: Option<Filter>,
    /// So many were confirmed.
    expected: Option<u64>,
}

enum These {
    Selected(Vec<Bytes>),
    Matching(FailedFilter),
}

impl Which {
    fn read(&self) -> Result<(These, String), Problem> {
        match (&self.members, &self.filter) {
            (Some(members), None) if members.is_empty() => Err(Problem::bad_request("no failure is selected")),
            (Some(members), None) if members.len() > SELECTED => Err(Problem::bad_request(format!(
                "{} failures are selected, at most {SELECTED} can be; use a filter",
                members.len()
            ))),
            (Some(members), None) => {
                let decoded = members.iter().map(|member| hex::decode(member).map(Bytes::from));
                let decoded = decoded.collect::<Result<Vec<_>, _>>();
                let decoded = decoded.map_err(|_| Problem::bad_request("a member is not hex"))?;
                let s = if decoded.len() == 1 { "" } else { "s" };
                let about = match FailedMessage::from_member(&decoded[0]) {
                    Ok(one) if decoded.len() == 1 => {
                        format!("failure of '{}' with {} of '{}'", one.receiver, one.id, one.stream)
                    }
                    _ => format!("{} selected failure{s}", decoded.len()),
                };
                Ok((These::Selected(decoded), about))
            }
            (None, Some(filter)) => Ok((These::Matching(filter.read()?), filter.about())),
            _ => Err(Problem::bad_request("name either members or a filter")),
        }
    }
}

/// `POST api/failed/forget`: takes failures off the list; their messages stay.
pub(super) async fn forget(State(site): State<Arc<Site>>, actor: Actor, Body(which): Body<Which>) -> Answer {
    let (these, about) = which.read()?;
    let progress = site
        .jobs
        .begin("forget", about.clone(), which.expected, StopHandle::new())?;
    let id = progress.id();
    actor.begins("failed_forget", &about);
    tokio::spawn(async move {
        let ended = forget_these(&site, these, &progress).await;
        site.failures.clear().await;
        site.observer.wanted();
        finish(&actor, "failed_forget", &about, progress, ended);
    });
    Ok(Json(json!({"job": id})))
}

async fn forget_these(site: &Site, these: These, progress: &Progress) -> Result<(), String> {
    let engine = site.streamer.engine().as_ref();
    let remove = async |members: &[Bytes]| {
        let removed = failed::forget(engine, members)
            .await
            .map_err(|error| error.to_string())?;
        progress.update(|shown| {
            shown.done += members.len() as u64;
            shown.succeeded += removed;
            shown.skipped += (members.len() as u64).saturating_sub(removed);
        });
        Ok::<_, String>(())
    };
    match these {
        These::Selected(members) => {
            for chunk in members.chunks(100) {
                remove(chunk).await?;
            }
        }
        These::Matching(filter) => {
            let mut listing = site.streamer.failed().list(filter);
            while !progress.is_stopped()
                && let Some(page) = listing.next_page().await.map_err(|error| error.to_string())?
            {
                let members = page.into_iter().map(|listed| listed.member).collect::<Vec<_>>();
                remove(&members).await?;
            }
        }
    }
    Ok(())
}

/// `POST api/failed/retry`: the listeners run once more.
pub(super) async fn retry(State(site): State<Arc<Site>>, actor: Actor, Body(which): Body<Which>) -> Answer {
    if let Some(why) = site.cannot_retry() {
        return Err(Problem::forbidden(why));
    }
    let Retrying::With(listeners) = &site.retrying else {
        return Err(Problem::forbidden("this dashboard has no listeners"));
    };
    let (these, about) = which.read()?;
    let filter = match these {
        These::Matching(filter) => filter,
        These::Selected(members) => {
            let records = members.iter().map(|member| FailedMessage::from_member(member));
            let records = records.collect::<Result<Vec<_>, _>>();
            FailedFilter::all().only(records.map_err(|error| Problem::bad_request(error.to_string()))?)
        }
    };
    let mut retry = site.streamer.failed().retry(filter, listeners.clone()).workers(WORKERS);
    if let Some(archive) = &site.archive {
        retry = retry.archive(Arc::clone(archive));
    }
    let stop = retry.stop_handle();
    let progress = Arc::new(site.jobs.begin("retry", about.clone(), which.expected, stop.clone())?);
    let id = progress.id();
    actor.begins("failed_retry", &about);
    let telling = Arc::clone(&progress);
    let retry = retry.on_report(move |report| tell(&telling, report));
    tokio::spawn(async move {
        // The end of the server ends it in good order, as a stop does.
        let running = retry.run();
        let mut running = std::pin::pin!(running);
        let ended = tokio::select! {
            ended = &mut running => ended,
            () = site.stop.stopped() => {
                stop.stop();
                running.await
            }
        };
        site.failures.clear().await;
        site.observer.wanted();
        let ended = ended.map(drop).map_err(|error| error.to_string());
        // The retry is gone, and with it the other owner.
        if let Some(progress) = Arc::into_inner(progress) {
            finish(&actor, "failed_retry", &about, progress, ended);
        }
    });
    Ok(Json(json!({"job": id})))
}

fn tell(progress: &Progress, report: &RetryReport<'_>) {
    match report {
        RetryReport::Retried(_) => progress.update(|shown| {
            shown.done += 1;
            shown.succeeded += 1;
        }),
        RetryReport::FailedAgain { .. } => progress.update(|shown| {
            shown.done += 1;
            shown.failed += 1;
        }),
        RetryReport::Skipped { .. } | RetryReport::Unreadable(_) => progress.update(|shown| {
            shown.done += 1;
            shown.skipped += 1;
        }),
        _ => {}
    }
    let quiet = matches!(
        report,
        RetryReport::Retried(_)
            | RetryReport::Progress { .. }
            | RetryReport::Skipped {
                reason: Skipped::Busy | Skipped::Settled,
                ..
            }
    );
    if !quiet {
        progress.line(report.to_string());
    }
}
