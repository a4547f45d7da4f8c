//! `GET api/live`: tells a browser of each look at the store, of jobs, and of new entries of one stream.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream;
use serde::Deserialize;
use streamer::StreamName;
use tokio::sync::{broadcast, watch};

use crate::{
    observer::{self, Viewer},
    params::Params,
    problem::Problem,
    site::Site,
    tail::{self, Told},
};

#[derive(Deserialize)]
pub(crate) struct Query {
    /// Its new entries are told, too.
    stream: Option<String>,
}

/// What a browser is told of.
struct Telling {
    site: Arc<Site>,
    looks: watch::Receiver<u64>,
    jobs: watch::Receiver<u64>,
    tail: Option<broadcast::Receiver<Told>>,
    _viewer: Viewer,
}

pub(crate) async fn live(
    State(site): State<Arc<Site>>,
    Params(query): Params<Query>,
) -> Result<impl IntoResponse, Problem> {
    let viewer = observer::view(&site)?;
    let tail = match query.stream {
        Some(stream) => Some(tail::follow(&site, StreamName::from(stream)).await?),
        None => None,
    };
    let mut telling = Telling {
        looks: site.observer.looks(),
        jobs: site.jobs.changes(),
        site,
        tail,
        _viewer: viewer,
    };
    // What is known by now comes at once.
    telling.looks.mark_changed();
    telling.jobs.mark_changed();
    let events = stream::unfold(telling, |mut telling| async move {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events).keep_alive(keep_alive))
}

impl Telling {
    /// `None` ends the answer.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                () = self.site.stop.stopped() => return None,
                changed = self.looks.changed() => {
                    changed.ok()?;
                    return Some(Event::default().event("look").data(self.site.observer.summary().to_string()));
                }
                changed = self.jobs.changed() => {
                    changed.ok()?;
                    return Some(Event::default().event("jobs").data(self.site.jobs.shown().to_string()));
                }
                told = of(&mut self.tail) => match told {
                    Ok(told) => return Some(Event::default().event("tail").data(&*told)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        return Some(Event::default().event("tail").data(r#"{"entries":[],"skipped":true}"#));
                    }
                    Err(broadcast::error::RecvError::Closed) => self.tail = None,
                },
            }
        }
    }
}

async fn of(tail: &mut Option<broadcast::Receiver<Told>>) -> Result<Told, broadcast::error::RecvError> {
    match tail {
        Some(tail) => tail.recv().await,
        None => std::future::pending().await,
    }
}
