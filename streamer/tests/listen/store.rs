//! A store of its own for each case, and which cases run where.

use std::{cell::Cell, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use streamer::Streamer;
use streamer_test_servers::{RedisServer, Topology, User};

use crate::known::{Fails, KNOWN, NOT_HERE};

/// What a test waits for at most: nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same where a failure is expected.
const SHORT_PATIENCE: Duration = Duration::from_secs(6);

thread_local! {
    /// A case runs on the thread of its test: this is its own.
    static PATIENT: Cell<Duration> = const { Cell::new(PATIENCE) };
}

/// How long the case that runs on this thread waits for what must become so.
pub(crate) fn patience() -> Duration {
    PATIENT.get()
}

/// A store, and how an application connects to it.
pub(crate) struct Store(streamer_test_servers::Store);

impl std::ops::Deref for Store {
    type Target = streamer_test_servers::Store;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Store {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Store {
    pub(crate) fn new(topology: Topology) -> Self {
        Self(streamer_test_servers::Store::new(topology))
    }

    /// On a plain server.
    pub(crate) fn redis() -> Self {
        Self::new(Topology::Redis)
    }

    /// Its URL, for a user with exactly the documented permissions.
    pub(crate) fn url(&self) -> String {
        self.0.url_of(User::Application)
    }

    /// The server, where there is one; it may be stopped.
    pub(crate) fn server(&mut self) -> Option<&mut RedisServer> {
        self.0.server()
    }

    pub(crate) async fn connect(&self) -> Streamer {
        let url = self.url();
        streamer_test_servers::connected(async move { Streamer::connect(&url).await })
            .await
            .unwrap()
    }
}

/// Runs a case on a new store. See [`crate::known`] for those that do not run, and those that must fail.
pub(crate) async fn run<F: Future<Output = ()>>(topology: Topology, case: &str, body: impl FnOnce(Store) -> F) {
    let topology = match topology {
        Topology::Redis => Topology::of_servers(),
        other => other,
    };
    let listed = |cases: &[&str], topologies: &[Topology]| cases.contains(&case) && topologies.contains(&topology);
    if NOT_HERE.iter().any(|not| listed(not.cases, not.topologies)) {
        return;
    }
    let Some(known) = KNOWN.iter().find(|known| listed(known.cases, known.topologies)) else {
        let all_of_it = tokio::time::timeout(PATIENCE * 4, body(Store::new(topology)));
        assert!(all_of_it.await.is_ok(), "{case} on {topology:?} did not end");
        return;
    };
    PATIENT.set(SHORT_PATIENCE);
    let body = tokio::time::timeout(SHORT_PATIENCE * 3, body(Store::new(topology)));
    let passes = matches!(AssertUnwindSafe(body).catch_unwind().await, Ok(Ok(())));
    assert!(
        !passes || known.fails == Fails::Sometimes,
        "{case} on {topology:?} passes now: take it out of KNOWN, in streamer/tests/listen/known.rs"
    );
}
