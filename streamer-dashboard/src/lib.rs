//! A dashboard for streamer-events in the browser, as an [`axum::Router`]: streams and groups, the log, failures, archive,
//! replay. `streamer dashboard` serves it; an application mounts it under a path of its own, behind its own login.
//!
//! ```no_run
//! use axum::Router;
//! use streamer::{Listeners, Streamer};
//! use streamer_dashboard::Dashboard;
//!
//! # async fn example(streamer: Streamer, listeners: Listeners) -> std::io::Result<()> {
//! let dashboard = Dashboard::new(streamer).listeners(listeners).router();
//! // Put the application's login around it: the dashboard shows payloads and changes the store.
//! let app: Router = Router::new().nest("/ops/streamer", dashboard);
//! axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await
//! # }
//! ```
//!
//! # Layout
//!
//! - [`Dashboard`], here: what is served, and to whom. `site`: what all requests share.
//! - `observer`: looks at the store, once for all viewers. `tail`: follows streams, once for all viewers. `live`: tells
//!   the browsers, by server-sent events. `cache`: answers that several viewers ask for.
//! - `api/`: one file for each page. `jobs`: what takes longer than a request. `audit`: who changed what.
//! - `guard`: hosts, origins, headers, read-only. `login`: the token and the cookie. `problem`: errors as JSON.
//! - `assets`: the files that the browser gets; they are in `assets/`, and there is no build step.

mod api;
mod assets;
mod audit;
mod cache;
mod guard;
mod jobs;
mod live;
mod login;
mod observer;
mod params;
mod problem;
mod site;
mod tail;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use streamer::{Listeners, StopHandle, Streamer, archive::ArchiveStorage};

pub use self::{
    audit::{AUDIT_TARGET, Actor},
    login::{InvalidToken, Token},
};
use self::{
    guard::Hosts,
    site::{Retrying, Site},
};

/// A dashboard that is being described; [`Dashboard::router`] makes it.
///
/// It has no login of its own unless [`Dashboard::token`] says so: mount it behind yours.
#[derive(Debug)]
#[must_use = "nothing is served before `router`"]
pub struct Dashboard {
    streamer: Streamer,
    retrying: Retrying,
    archive: Option<Arc<dyn ArchiveStorage>>,
    #[cfg(feature = "outbox")]
    outbox: Option<streamer::outbox::Outbox>,
    events: Vec<String>,
    read_only: bool,
    token: Option<Token>,
    hosts: Hosts,
    interval: Duration,
    stop: StopHandle,
}

impl Dashboard {
    /// A dashboard of this store.
    pub fn new(streamer: Streamer) -> Self {
        Self {
            streamer,
            retrying: Retrying::No(
                "This dashboard has no listeners. Retry failures where the listeners are: streamer failed retry --all"
                    .to_owned(),
            ),
            archive: None,
            #[cfg(feature = "outbox")]
            outbox: None,
            events: Vec::new(),
            read_only: false,
            token: None,
            hosts: Hosts::Any,
            interval: Duration::from_secs(2),
            stop: StopHandle::new(),
        }
    }

    /// The listeners that retry failures, in this process. Default: none; failures cannot be retried then, and the page says so.
    pub fn listeners<S>(self, listeners: Listeners<S>) -> Self {
        let listeners = listeners.without_state();
        let events = listeners.all().map(|(event, _)| event.to_string()).collect();
        Self {
            retrying: Retrying::With(listeners),
            events,
            ..self
        }
    }

    /// The reason why failures cannot be retried here, which the page shows in place of the usual sentence.
    pub fn cannot_retry(self, why: impl Into<String>) -> Self {
        Self {
            retrying: Retrying::No(why.into()),
            ..self
        }
    }

    /// The archive whose messages can be seen, restored and replayed. Default: none.
    pub fn archive(self, archive: Arc<dyn ArchiveStorage>) -> Self {
        Self {
            archive: Some(archive),
            ..self
        }
    }

    /// Shows this outbox. Default: none.
    #[cfg(feature = "outbox")]
    pub fn outbox(self, outbox: streamer::outbox::Outbox) -> Self {
        Self {
            outbox: Some(outbox),
            ..self
        }
    }

    /// The events that have a listener somewhere: the page Doctor names those that no stream has, and streams that
    /// nobody listens to. Default: those of [`Dashboard::listeners`].
    pub fn events(self, events: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            events: events.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Refuses every request that would change something. Default: changes are allowed.
    pub fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// The token that a browser must give before it sees anything. Default: no login, which is for routers behind a login of the
    /// application, and for loopback addresses.
    pub fn token(self, token: Token) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    /// Answers only requests for these host names, for `localhost` and for IP addresses: a page of another site whose
    /// name is made to point here (DNS rebinding) is refused. Default: any host name, which is for routers of an
    /// application that checks it.
    pub fn hosts(self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            hosts: Hosts::Only(names.into_iter().map(|name| name.into().to_lowercase()).collect()),
            ..self
        }
    }

    /// How often the store is looked at while somebody views the dashboard. Default: 2 s; at least 0.5 s. Where looks
    /// take long, ten times as long as the faster one of the last two took. While nobody views it, every 30 s.
    pub fn interval(self, interval: Duration) -> Self {
        Self {
            interval: interval.max(Duration::from_millis(500)),
            ..self
        }
    }

    /// Ends what the dashboard does by itself, and the answers to browsers that would go on for ever: stop it when the
    /// server is to end, or a graceful end waits for the last browser.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The router. Nest it under any path, or merge it. It must be called inside a Tokio runtime, or else looks at the
    /// store from the first request on only.
    pub fn router(self) -> Router {
        let site = Arc::new(Site::new(self));
        if tokio::runtime::Handle::try_current().is_ok() {
            observer::start(&site);
        }
        api::router(site)
    }

    /// Serves the dashboard at the root of `listener`, until [`Dashboard::stop_handle`] stops it: then what runs finishes.
    ///
    /// # Errors
    ///
    /// A permanent error of the listener.
    pub async fn serve(self, listener: tokio::net::TcpListener) -> std::io::Result<()> {
        let stop = self.stop_handle();
        let service = self.router().into_make_service_with_connect_info::<SocketAddr>();
        let ended = async move { stop.stopped().await };
        axum::serve(listener, service).with_graceful_shutdown(ended).await
    }
}

/// The example of the guide compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/dashboard.md")]
struct Guide;
