//! The archive: browsed, and messages put back on their streams.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;
use streamer::{
    EntryId, StopHandle, StreamName,
    archive::{ArchiveStorage, Restore},
};

use super::{Answer, entries::shown, finish};
use crate::{
    Actor,
    jobs::Progress,
    params::{Body, Params},
    problem::Problem,
    site::Site,
};

/// How many messages a page has.
const PAGE: usize = 50;
/// How many are asked for at once when they are counted.
const COUNTED_AT_ONCE: usize = 500;
/// How long messages are counted before an action.
const COUNTING: Duration = Duration::from_secs(5);

fn archive(site: &Site) -> Result<&Arc<dyn ArchiveStorage>, Problem> {
    let none = "no archive is configured: set `archive_driver` and `archive_url` in streamer.toml";
    site.archive.as_ref().ok_or_else(|| Problem::not_found(none))
}

#[derive(Deserialize)]
pub(super) struct Query {
    /// Only messages of this stream.
    #[serde(default)]
    stream: String,
    /// Only what comes after this message, by stream and ID.
    after_stream: Option<String>,
    after_id: Option<String>,
}

impl Query {
    fn stream(&self) -> Option<StreamName> {
        (!self.stream.is_empty()).then(|| StreamName::from(&self.stream))
    }
}

/// `GET api/archive`: by stream and ID, a page at a time.
pub(super) async fn list(State(site): State<Arc<Site>>, Params(query): Params<Query>) -> Answer {
    let archive = archive(&site)?;
    let after = match (&query.after_stream, &query.after_id) {
        (Some(stream), Some(id)) => {
            let id = id.parse::<EntryId>();
            Some((
                StreamName::from(stream),
                id.map_err(|error| Problem::bad_request(error.to_string()))?,
            ))
        }
        _ => None,
    };
    let after = after.as_ref().map(|(stream, id)| (stream, *id));
    let page = archive.page(query.stream().as_ref(), after, PAGE).await?;
    // A page may be short because its messages are large: only an empty one is the end.
    let next = page
        .last()
        .map(|last| json!({"after_stream": last.stream, "after_id": last.id}));
    let messages = page.iter().map(|archived| {
        let mut object = shown(&archived.message());
        object["original_ids"] = json!(archived.original_ids);
        object
    });
    Ok(Json(
        json!({"location": archive.location(), "messages": messages.collect::<Vec<_>>(), "next": next}),
    ))
}

/// `GET api/archive/count`: how many messages a restore would be about.
pub(super) async fn count(State(site): State<Arc<Site>>, Params(query): Params<Query>) -> Answer {
    let archive = archive(&site)?;
    let only = query.stream();
    let began = Instant::now();
    let (mut count, mut after, mut exact) = (0, None::<(StreamName, EntryId)>, true);
    loop {
        let from = after.as_ref().map(|(stream, id)| (stream, *id));
        let page = archive.page(only.as_ref(), from, COUNTED_AT_ONCE).await?;
        let Some(last) = page.last() else { break };
        after = Some((last.stream.clone(), last.id));
        count += page.len();
        if began.elapsed() > COUNTING {
            exact = false;
            break;
        }
    }
    Ok(Json(json!({"count": count, "exact": exact})))
}

/// What is restored: one message, those of a stream, or all.
#[derive(Deserialize)]
pub(super) struct What {
    stream: Option<String>,
    id: Option<String>,
    #[serde(default)]
    all: bool,
    /// So many were confirmed.
    expected: Option<u64>,
}

/// `POST api/archive/restore`
pub(super) async fn restore(State(site): State<Arc<Site>>, actor: Actor, Body(what): Body<What>) -> Answer {
    let archive = Arc::clone(archive(&site)?);
    let about = match (&what.stream, &what.id, what.all) {
        (Some(stream), Some(id), false) => format!("message {id} of '{stream}'"),
        (Some(stream), None, false) => format!("all archived messages of '{stream}'"),
        (None, None, true) => "all archived messages".to_owned(),
        _ => return Err(Problem::bad_request("name a stream, a stream and an ID, or all")),
    };
    let id = what.id.as_ref().map(|id| id.parse::<EntryId>()).transpose();
    let id = id.map_err(|error| Problem::bad_request(error.to_string()))?;
    let progress = site
        .jobs
        .begin("restore", about.clone(), what.expected, StopHandle::new())?;
    let job = progress.id();
    actor.begins("archive_restore", &about);
    let stream = what.stream.map(StreamName::from);
    tokio::spawn(async move {
        let progress = Arc::new(progress);
        let ended = put_back(&site, archive, stream, id, &progress).await;
        site.observer.wanted();
        if let Some(progress) = Arc::into_inner(progress) {
            finish(&actor, "archive_restore", &about, progress, ended);
        }
    });
    Ok(Json(json!({"job": job})))
}

async fn put_back(
    site: &Site,
    archive: Arc<dyn ArchiveStorage>,
    stream: Option<StreamName>,
    id: Option<EntryId>,
    progress: &Arc<Progress>,
) -> Result<(), String> {
    // The function may live a little longer than the restore, so it must not own the progress.
    let told = Arc::new(Mutex::new(Some(Arc::clone(progress))));
    let telling = Arc::clone(&told);
    let restore = Restore::new(&site.streamer, archive).on_message(move |message, outcome| {
        let telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(progress) = &*telling else { return };
        progress.update(|shown| {
            shown.done += 1;
            match outcome {
                Ok(_) => shown.succeeded += 1,
                Err(_) => shown.failed += 1,
            }
        });
        if let Err(error) = outcome {
            progress.line(format!("{} of '{}': {error}", message.id, message.stream));
        }
    });
    let ended = match (&stream, id) {
        (Some(stream), Some(id)) => match restore.one(stream, id).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(format!("the archive has no message {id} of '{stream}'")),
            Err(error) => Err(error.to_string()),
        },
        // It has no stop: what is under way ends, and the next page is not begun when the future is dropped.
        (stream, _) => tokio::select! {
            ended = restore.run(stream.as_ref()) => ended.map(drop).map_err(|error| error.to_string()),
            () = progress.stopped() => Ok(()),
            () = site.stop.stopped() => Err("the dashboard was ended; restore the rest again".to_owned()),
        },
    };
    told.lock().unwrap_or_else(PoisonError::into_inner).take();
    ended
}
