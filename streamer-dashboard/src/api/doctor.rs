//! Doctor's checks.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;

use super::Answer;
use crate::{observer, params::Params, problem::Problem, site::Site};

#[derive(Deserialize)]
pub(super) struct Query {
    /// Make the checks again, unless that was done a moment ago.
    #[serde(default)]
    again: bool,
}

/// `GET api/doctor`
pub(super) async fn doctor(State(site): State<Arc<Site>>, Params(query): Params<Query>) -> Answer {
    let made = site.observer.seen().diagnosis.is_some();
    if query.again || !made {
        observer::diagnose_now(&site).await?;
    }
    let mut answer = site.observer.summary();
    let seen = site.observer.seen();
    let Some(diagnosed) = &seen.diagnosis else {
        return Err(Problem::unavailable("the checks could not be made"));
    };
    answer["findings"] = json!(diagnosed.diagnosis.findings);
    answer["checks"] = json!(diagnosed.diagnosis.checks);
    answer["looked_at"] = json!(diagnosed.diagnosis.looked_at);
    answer["scope"] = json!(diagnosed.diagnosis.scope());
    Ok(Json(answer))
}
