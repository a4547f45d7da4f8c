//! Real servers for tests: Redis, and databases. Each has a temporary directory and free ports of its own, and dies with
//! its value, or with the test process at the latest, so that a `static` may hold one.
//!
//! # Layout
//!
//! - `server`: one server: [`RedisServer`], and [`Options`] for how it is started.
//! - `store`: [`Store`], a store for one test, of each [`Topology`]; [`Pending`] and what operators do to stores.
//! - `place`: [`Place`], a store on either engine with a folder, and processes of the test program that use it.
//! - `proxy`: [`Proxy`], a network that is slow, narrow, stalled or cut.
//! - `narrow`: [`NarrowLink`], one that holds next to nothing.
//! - `cluster`: [`RedisCluster`], three masters that share the slots.
//! - `sentinel`: [`SentinelSetup`], a master, a replica and Sentinels that watch them.
//! - `database`: [`DatabaseServer`], PostgreSQL or MariaDB.
//! - `object_server`: [`ObjectServer`], with the protocol of S3, of Azure or, in part, of Google.
//! - `device`: [`FailingDevice`], under the file of an embedded store.
//! - `runtime`: [`connected`], which connects in the runtime of the test or in another one.
//! - `user`: [`User`], who has the permissions that the guide to production names.
//! - `certificates`: for TLS.
//! - [`cargo`](cargo()): Cargo, as a test may call it.
//! - `client`: the few lines of protocol that starting and steering servers needs.
//!
//! The binary is `redis-server`, or what `STREAMER_TEST_REDIS_SERVER` names. Everything here panics when it fails: a
//! test without its server has nothing to say.
#![allow(clippy::unwrap_used, reason = "only tests use this crate")]

mod cargo;
mod certificates;
mod client;
mod cluster;
mod database;
mod device;
mod narrow;
mod object_server;
mod place;
mod proxy;
mod runtime;
mod sentinel;
mod server;
mod store;
mod user;

pub use self::{
    cargo::cargo,
    cluster::RedisCluster,
    database::DatabaseServer,
    device::{DeviceMode, FailingDevice},
    narrow::NarrowLink,
    object_server::ObjectServer,
    place::{ChildProcess, Place},
    proxy::Proxy,
    runtime::connected,
    sentinel::SentinelSetup,
    server::{Options, RedisServer, is_7_0},
    store::{Pending, Store, Topology},
    user::User,
};

use std::time::{Duration, Instant};

/// How long anything may take that a server does by itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `condition` holds; panics naming `what` when that takes too long.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
