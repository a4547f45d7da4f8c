//! The outbox: how it stands, and rows that could not be published.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;
use streamer::outbox::Outbox;

use super::Answer;
use crate::{Actor, params::Body, problem::Problem, site::Site};

fn outbox(site: &Site) -> Result<&Outbox, Problem> {
    let none = "no outbox is configured: set `outbox_url` in streamer.toml";
    site.outbox.as_ref().ok_or_else(|| Problem::not_found(none))
}

/// `GET api/outbox`
pub(super) async fn status(State(site): State<Arc<Site>>) -> Answer {
    let outbox = outbox(&site)?;
    let ask = async { Ok(json!(outbox.status().await?)) };
    Ok(Json(site.outbox_status.get(String::new(), ask).await?.as_ref().clone()))
}

/// One row, or all that are blocked.
#[derive(Deserialize)]
pub(super) struct Which {
    event_id: Option<String>,
    #[serde(default)]
    all: bool,
}

impl Which {
    fn read(&self) -> Result<(Option<&str>, String), Problem> {
        match (&self.event_id, self.all) {
            (Some(event_id), false) => Ok((Some(event_id), format!("event {event_id}"))),
            (None, true) => Ok((None, "all blocked rows".to_owned())),
            _ => Err(Problem::bad_request("name either an event_id or all")),
        }
    }
}

/// `POST api/outbox/retry`: blocked rows are published again.
pub(super) async fn retry(State(site): State<Arc<Site>>, actor: Actor, Body(which): Body<Which>) -> Answer {
    let (event_id, about) = which.read()?;
    match outbox(&site)?.retry(event_id).await {
        Ok(rows) => {
            site.outbox_status.clear().await;
            actor.did("outbox_retry", &about, rows);
            Ok(Json(json!({"rows": rows})))
        }
        Err(error) => {
            actor.failed("outbox_retry", &about, &error.to_string());
            Err(error.into())
        }
    }
}

/// `POST api/outbox/skip`: a blocked row is deleted and never published.
pub(super) async fn skip(State(site): State<Arc<Site>>, actor: Actor, Body(which): Body<Which>) -> Answer {
    let (Some(event_id), about) = which.read()? else {
        return Err(Problem::bad_request("rows are skipped one by one: name an event_id"));
    };
    match outbox(&site)?.skip(event_id).await {
        Ok(rows) => {
            site.outbox_status.clear().await;
            actor.did("outbox_skip", &about, rows);
            Ok(Json(json!({"rows": rows})))
        }
        Err(error) => {
            actor.failed("outbox_skip", &about, &error.to_string());
            Err(error.into())
        }
    }
}
