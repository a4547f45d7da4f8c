//! What happened to one resource, and what it looked like at any moment.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use streamer::Change;

use super::Answer;
use crate::{params::Params, problem::Problem, site::Site};

/// How many changes are told.
const CHANGES: usize = 10_000;
/// About how many bytes of values are told.
const BYTES: usize = 8 << 20;

#[derive(Deserialize)]
pub(super) struct Query {
    /// The event, or the model.
    event: String,
    /// The identifier, or the key of the row.
    id: String,
    #[serde(default)]
    model: bool,
}

/// `GET api/replay`
pub(super) async fn replay(State(site): State<Arc<Site>>, Params(query): Params<Query>) -> Answer {
    let mut steps = Steps::default();
    let replay = match query.model {
        true => site.streamer.replay_model(&query.event, &query.id),
        false => site.streamer.replay(&query.event, &query.id),
    };
    let replay = match &site.archive {
        Some(archive) => replay.archive(archive.as_ref()),
        None => replay,
    };
    let replayed = replay.on_change(|change| steps.add(change)).run().await?;
    let Some(replayed) = replayed else {
        return Err(Problem::gone(format!(
            "there is no history of '{}' with the identifier '{}': only events that were emitted with an identifier have one",
            query.event.escape_debug(),
            query.id.escape_debug()
        )));
    };
    Ok(Json(json!({
        "data": format!("{:#}", replayed.data),
        "messages": replayed.messages,
        "missing": replayed.missing,
        "unreadable": replayed.unreadable,
        "deleted": replayed.deleted,
        "steps": steps.all,
        "complete": steps.complete,
    })))
}

/// The changes of each message together.
struct Steps {
    all: Vec<Value>,
    changes: usize,
    bytes: usize,
    complete: bool,
}

impl Default for Steps {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            changes: 0,
            bytes: 0,
            complete: true,
        }
    }
}

impl Steps {
    fn add(&mut self, change: Change) {
        if self.changes >= CHANGES || self.bytes >= BYTES {
            self.complete = false;
            return;
        }
        self.changes += 1;
        // As texts, so that a browser does not round numbers.
        let (from, to) = (change.from.map(|from| from.to_string()), change.to.to_string());
        self.bytes += to.len() + from.as_ref().map_or(0, String::len);
        let entry = json!(change.entry);
        let told = json!({"field": change.field, "from": from, "to": to});
        match self.all.last_mut() {
            Some(step) if step["entry"] == entry => {
                if let Some(changes) = step["changes"].as_array_mut() {
                    changes.push(told);
                }
            }
            _ => self
                .all
                .push(json!({"entry": entry, "at_ms": unix_ms(change.when), "changes": [told]})),
        }
    }
}

fn unix_ms(when: SystemTime) -> u64 {
    let since = when.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
