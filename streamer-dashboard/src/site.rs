//! What all requests share.

use std::{sync::Arc, time::Duration};

use streamer::{Listeners, StopHandle, Streamer, archive::ArchiveStorage, inspect::Inspect};

use crate::{Dashboard, cache::Cache, guard::Hosts, jobs::Jobs, login::Login, observer::Observer, tail::Tails};

/// Whether failures can be retried here.
#[derive(Debug)]
pub(crate) enum Retrying {
    With(Listeners),
    /// Why not.
    No(String),
}

/// The dashboard of one store.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) streamer: Streamer,
    pub(crate) retrying: Retrying,
    pub(crate) archive: Option<Arc<dyn ArchiveStorage>>,
    #[cfg(feature = "outbox")]
    pub(crate) outbox: Option<streamer::outbox::Outbox>,
    /// The events that have a listener.
    pub(crate) events: Vec<String>,
    pub(crate) read_only: bool,
    pub(crate) login: Option<Login>,
    pub(crate) hosts: Hosts,
    pub(crate) interval: Duration,
    pub(crate) stop: StopHandle,
    pub(crate) observer: Observer,
    pub(crate) tails: Tails,
    pub(crate) jobs: Jobs,
    /// Passes through the failed list.
    pub(crate) failures: Cache,
    /// Pending entries of groups.
    pub(crate) pending: Cache,
    /// How the outbox stands.
    #[cfg(feature = "outbox")]
    pub(crate) outbox_status: Cache,
}

impl Site {
    pub(crate) fn new(dashboard: Dashboard) -> Self {
        Self {
            streamer: dashboard.streamer,
            retrying: dashboard.retrying,
            archive: dashboard.archive,
            #[cfg(feature = "outbox")]
            outbox: dashboard.outbox,
            events: dashboard.events,
            read_only: dashboard.read_only,
            login: dashboard.token.map(Login::new),
            hosts: dashboard.hosts,
            interval: dashboard.interval,
            stop: dashboard.stop,
            observer: Observer::default(),
            tails: Tails::default(),
            jobs: Jobs::default(),
            failures: Cache::default(),
            pending: Cache::default(),
            #[cfg(feature = "outbox")]
            outbox_status: Cache::default(),
        }
    }

    /// Looks at the store, with the archive and the outbox.
    pub(crate) fn inspect(&self) -> Inspect {
        let mut inspect = self.streamer.inspect().also(&self.events);
        if let Some(archive) = &self.archive {
            inspect = inspect.archive(Arc::clone(archive));
        }
        #[cfg(feature = "outbox")]
        if let Some(outbox) = &self.outbox {
            inspect = inspect.outbox(outbox.clone());
        }
        inspect
    }

    /// Why failures cannot be retried here; `None` where they can.
    pub(crate) fn cannot_retry(&self) -> Option<String> {
        if self.read_only {
            return Some("The dashboard is read-only.".to_owned());
        }
        match &self.retrying {
            Retrying::No(why) => Some(why.clone()),
            Retrying::With(listeners) if listeners.all().next().is_none() => Some(
                "No listener is configured here. Run the dashboard where streamer.toml names the listeners.".to_owned(),
            ),
            Retrying::With(_) => None,
        }
    }
}
