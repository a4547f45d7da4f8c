//! The distributed engine: streams on a Redis or Valkey server, behind Sentinels, or on a Cluster.
//!
//! # Layout
//!
//! - here: [`RedisEngine`], and how it runs a command; `operations`: each operation in commands;
//!   `group_admin`: those on groups; `recorded`: entries with a record beside them; `durable`: appends that wait for
//!   replicas or the log.
//! - `address`: from a URL to a server; `endpoint`: one server, with its login.
//! - `reconnecting`: one shared connection that comes back; `sentinel`: which server is the master; `cluster`: many
//!   servers; `node_map`: which of them serves which stream.
//! - `group_store`: the verbs of a delivery; `settle_plan`: in which order deliveries end.
//! - `command`, `script`, `scripts/`: what is sent; `reply`: what came back.
//! - `shared_connection`: a connection that many tasks send on; `reader_connection`: one for a reader, which takes replies
//!   apart where they lie; `resp`: the protocol; `socket`: TCP, Unix or TLS, what both stand on; `tls`: whom to trust.
//! - `reader`: blocking reads on connections of their own; `read_scheduler`: of which streams, where many are backlogged;
//!   `cluster_reader`: several readers as one.
//! - `own_certificate`: a server whose certificate is its own authority.
//! - `name_users`: who uses a consumer's name. `retry_claims`: who retries a failed message. `inspection`: what views of
//!   the store look at.
//! - `error`: what went wrong, as kinds.

mod address;
mod cluster;
mod cluster_reader;
mod command;
mod durable;
mod endpoint;
mod error;
mod group_admin;
mod group_store;
mod inspection;
mod name_users;
mod node_map;
mod operations;
mod own_certificate;
mod read_scheduler;
mod reader;
mod reader_connection;
mod reconnecting;
mod recorded;
mod reply;
mod resp;
mod retry_claims;
mod script;
mod sentinel;
mod settle_plan;
mod shared_connection;
mod socket;
mod stores;
mod tls;
mod tls_stream;

use std::fmt;

use redis::{Cmd, Pipeline, RedisError, RedisResult, Value};

use self::{
    address::Server,
    error::engine_error,
    reply::{Decoded, Unexpected},
};
use super::{EngineError, EngineErrorKind, EngineResult};
use crate::entry::StreamName;

/// Streams on a Redis (6.2 or newer) or Valkey server, a master behind Sentinels, or a Redis Cluster.
///
/// All commands but reads share one connection for each server. It comes back by itself after it broke; the commands
/// that were under way fail with [`EngineErrorKind::Connection`] and are never repeated, because nobody can tell
/// whether the server did them. A server counts as gone when no byte came from it, or went to it, for 10 seconds while an
/// answer is due: a slow network takes as long as it takes.
///
/// # TLS
///
/// `rediss://`, `rediss-sentinel://` and `rediss-cluster://` take these query parameters, each a path to a PEM file:
/// `ca` (trust this instead of the system's certificates), `cert` and `key` (show this certificate to the server).
/// `insecure=true` trusts any certificate, which protects against nobody who can intercept the connection.
///
/// # Sentinel
///
/// When the Sentinels announce another master, all connections to the old one end. They are asked every second where they
/// do not allow to listen for that.
///
/// User and password in the URL are the server's; those of the Sentinels are the query parameters `sentinel_user`
/// and `sentinel_password`.
#[derive(Clone)]
pub struct RedisEngine {
    location: String,
    server: Server,
}

impl RedisEngine {
    /// Connects to the server that a URL names; [`open`](super::open) lists the forms.
    ///
    /// # Errors
    ///
    /// [`EngineErrorKind::InvalidInput`] for a URL that makes no sense, [`EngineErrorKind::Connection`],
    /// [`EngineErrorKind::Permission`] and [`EngineErrorKind::Unavailable`] when the server cannot be used now.
    pub async fn connect(url: &str) -> EngineResult<Self> {
        let (location, server) = address::parse(url).await?;
        let engine = Self { location, server };
        // Whoever connects finds out whether the server serves.
        let connected = match &engine.server {
            Server::Single(server) => server.established().await.map(|_| ()),
            Server::Cluster(cluster) => cluster.connect().await,
        };
        match connected {
            Ok(()) => Ok(engine),
            Err(error) => Err(engine_error(format!("connect to {}", engine.location), error)),
        }
    }

    async fn run(&self, key: &[u8], command: &Cmd) -> RedisResult<Value> {
        match &self.server {
            Server::Single(server) => server.run(command).await,
            Server::Cluster(cluster) => cluster.run(key, command).await,
        }
    }

    /// Runs a command that has no key and changes nothing, on any server that answers.
    async fn run_anywhere(&self, command: &Cmd) -> RedisResult<Value> {
        match &self.server {
            Server::Single(server) => server.run(command).await,
            Server::Cluster(cluster) => cluster.run_anywhere(command).await,
        }
    }

    /// Commands in one pipeline for each server, with each one's answer in order.
    async fn run_all(&self, commands: Vec<(StreamName, Cmd)>) -> Vec<RedisResult<Value>> {
        let server = match &self.server {
            Server::Single(server) => server,
            Server::Cluster(cluster) => return cluster.run_all(&commands).await,
        };
        let expected = commands.len();
        let mut pipeline = Pipeline::with_capacity(expected);
        for (_, command) in commands {
            pipeline.add_command(command);
        }
        match server.run_all(&pipeline).await {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); expected],
        }
    }

    /// The same, and on a Cluster, too, those with one key are done in their order; see [`cluster::Cluster::run_in_order`].
    async fn run_in_order(&self, commands: Vec<(StreamName, Cmd)>) -> Vec<RedisResult<Value>> {
        match &self.server {
            Server::Single(_) => self.run_all(commands).await,
            Server::Cluster(cluster) => cluster.run_in_order(&commands).await,
        }
    }

    /// Runs a command and decodes its answer. `attempted` completes "could not …".
    async fn ask<T>(
        &self,
        key: &[u8],
        command: &Cmd,
        decode: impl FnOnce(Value) -> Decoded<T>,
        attempted: impl Fn() -> String,
    ) -> EngineResult<T> {
        let answer = self
            .run(key, command)
            .await
            .map_err(|error| engine_error(attempted(), error))?;
        understood(decode(answer), attempted)
    }

    /// The same for a stream that may be missing, which gives `None`.
    async fn ask_if_there<T>(
        &self,
        stream: &StreamName,
        command: &Cmd,
        decode: impl FnOnce(Value) -> Decoded<T>,
        attempted: impl Fn() -> String,
    ) -> EngineResult<Option<T>> {
        match self.run(stream.as_bytes(), command).await {
            Ok(answer) => understood(decode(answer), attempted).map(Some),
            Err(error) if no_such_key(&error) => Ok(None),
            Err(error) => Err(engine_error(attempted(), error)),
        }
    }
}

impl fmt::Debug for RedisEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisEngine")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

fn understood<T>(decoded: Decoded<T>, attempted: impl Fn() -> String) -> EngineResult<T> {
    decoded.map_err(|Unexpected(what)| {
        let reason = format!("the server's answer makes no sense: expected {what}");
        EngineError::new(EngineErrorKind::Corrupt, attempted(), reason)
    })
}

fn no_such_key(error: &RedisError) -> bool {
    says(error, "no such key")
}

fn says(error: &RedisError, text: &str) -> bool {
    error.detail().is_some_and(|detail| detail.contains(text))
}
