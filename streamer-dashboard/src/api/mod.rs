//! What the browser asks for: one file for each page.

mod archive;
mod doctor;
mod entries;
mod failed;
mod failure_pages;
mod group;
#[cfg(feature = "outbox")]
mod outbox;
mod overview;
mod replay;

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use self::entries::shown_entry;
use crate::{Actor, assets, guard, jobs::Progress, live, login, observer, params::Body, problem::Problem, site::Site};

/// What a handler answers.
type Answer = Result<Json<Value>, Problem>;

/// All of it.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let open = Router::new()
        .route("/", get(assets::page))
        .route("/assets/{file}", get(assets::file))
        .route("/api/session", get(session))
        .route("/api/login", post(login::login))
        .route("/api/logout", post(login::logout));
    let pages = Router::new()
        .route("/api/live", get(live::live))
        .route("/api/overview", get(overview::overview))
        .route("/api/stream", get(overview::stream))
        .route("/api/entries", get(entries::entries))
        .route("/api/entry", get(entries::entry))
        .route("/api/payload", get(entries::payload))
        .route("/api/scheduled", get(entries::scheduled))
        .route("/api/group", get(group::group))
        .route("/api/group/reset", post(group::reset))
        .route("/api/failed", get(failed::list))
        .route("/api/failed/count", get(failed::count))
        .route("/api/failed/retry", post(failed::retry))
        .route("/api/failed/forget", post(failed::forget))
        .route("/api/archive", get(archive::list))
        .route("/api/archive/count", get(archive::count))
        .route("/api/archive/restore", post(archive::restore))
        .route("/api/replay", get(replay::replay))
        .route("/api/doctor", get(doctor::doctor))
        .route("/api/jobs", get(jobs))
        .route("/api/jobs/stop", post(stop));
    #[cfg(feature = "outbox")]
    let pages = pages
        .route("/api/outbox", get(outbox::status))
        .route("/api/outbox/retry", post(outbox::retry))
        .route("/api/outbox/skip", post(outbox::skip));
    let pages = pages
        .layer(middleware::from_fn_with_state(Arc::clone(&site), wanted))
        .layer(middleware::from_fn_with_state(Arc::clone(&site), guard::read_only))
        .layer(middleware::from_fn_with_state(Arc::clone(&site), login::require));
    open.merge(pages)
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), guard::guard))
        .with_state(site)
}

/// Whoever asks for something wants to see what is so now.
async fn wanted(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    observer::start(&site);
    site.observer.wanted();
    next.run(request).await
}

async fn nothing() -> Problem {
    Problem::not_found("the dashboard has no such page")
}

/// `GET api/session`: what this dashboard can do, and whether somebody is logged in.
async fn session(State(site): State<Arc<Site>>, request: Request) -> Json<Value> {
    let login = site.login.as_ref();
    let logged_in = login.is_none_or(|login| login.knows(&request));
    if !logged_in {
        return Json(json!({"login": true, "logged_in": false}));
    }
    #[cfg(feature = "outbox")]
    let outbox = site.outbox.is_some();
    #[cfg(not(feature = "outbox"))]
    let outbox = false;
    Json(json!({
        "login": login.is_some(),
        "logged_in": true,
        "version": env!("CARGO_PKG_VERSION"),
        "store": site.streamer.location(),
        "read_only": site.read_only,
        "cannot_retry": site.cannot_retry(),
        "archive": site.archive.as_ref().map(|archive| archive.location()),
        "outbox": outbox,
    }))
}

/// `GET api/jobs`: the newest actions first.
async fn jobs(State(site): State<Arc<Site>>) -> Json<Value> {
    Json(site.jobs.shown())
}

#[derive(Deserialize)]
struct Stop {
    id: u64,
}

/// `POST api/jobs/stop`: ends an action in good order; what it has not begun stays as it is.
async fn stop(State(site): State<Arc<Site>>, actor: Actor, Body(Stop { id }): Body<Stop>) -> Answer {
    if !site.jobs.stop(id) {
        return Err(Problem::gone("the action has ended"));
    }
    actor.did("stop", &format!("action {id}"), 0);
    Ok(Json(json!({"stopped": id})))
}

/// Ends a job, and says so in the log.
fn finish(actor: &Actor, action: &'static str, about: &str, progress: Progress, ended: Result<(), String>) {
    match &ended {
        Err(error) => {
            actor.failed(action, about, error);
            progress.end(ended);
        }
        Ok(()) => {
            let (succeeded, _) = progress.end(ended);
            actor.did(action, about, succeeded);
        }
    }
}
