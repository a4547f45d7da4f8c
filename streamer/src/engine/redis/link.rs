//! One connection to one server, shared by all tasks, that comes back after it broke.
//!
//! Commands of many tasks travel on it together, which is how they share round trips. Its queue is bounded: a task that
//! finds it full waits.
//!
//! A command that failed is never sent again here: nobody can tell whether the server did it, and a repeated `XADD`
//! stores the entry twice. The next command finds a new connection. With Sentinel, that means to ask for the master
//! again. (The `ConnectionManager` of the redis crate keeps a connection whose answers merely time out, and cannot ask
//! a Sentinel.)

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, Shared};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisResult, Value, aio::MultiplexedConnection,
    sentinel::SentinelClient,
};

use super::{
    error::spoils_connection,
    reply::{self, Decoded},
    wire::Wire,
};
use crate::engine::StreamEntries;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may take to answer an ordinary command. Blocking reads have connections of their own.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A shared connection to one server.
pub(super) struct Link {
    /// Apart, so that an attempt to connect does not keep alive what waits for it.
    source: Arc<Source>,
    slot: Mutex<Slot>,
}

/// How the server is found.
pub(super) enum Source {
    Server(ConnectionInfo),
    Sentinel(tokio::sync::Mutex<SentinelClient>),
}

/// The connection there is, or the attempt that all who need one wait for together.
#[derive(Default)]
struct Slot {
    /// Which connection this is, so that a late error of an old one does not throw away its successor.
    generation: u64,
    connecting: Option<Shared<BoxFuture<'static, RedisResult<MultiplexedConnection>>>>,
}

impl Source {
    /// A client of the server as it is to be found now.
    async fn client(&self) -> RedisResult<Client> {
        match self {
            Self::Server(server) => Client::open(server.clone()),
            Self::Sentinel(sentinel) => sentinel.lock().await.async_get_client().await,
        }
    }
}

/// A new connection, of which `response_timeout` is how long each answer may take.
async fn connect(client: &Client, response_timeout: Option<Duration>) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(response_timeout);
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// A connection for one reader alone.
pub(super) enum Dedicated {
    /// Our own, where there is no TLS.
    Wire(Wire),
    /// The client library's.
    Client(MultiplexedConnection),
}

impl Dedicated {
    /// Sends any command and gives its answer.
    pub(super) async fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Wire(wire) => wire.run(command).await,
            Self::Client(connection) => connection.send_packed_command(command).await.and_then(top_level_error),
        }
    }

    /// Sends `XREAD` or `XREADGROUP` and gives the entries.
    pub(super) async fn read(&mut self, command: &Cmd) -> RedisResult<Decoded<Vec<StreamEntries>>> {
        match self {
            Self::Wire(wire) => wire.read(command).await,
            Self::Client(_) => self.run(command).await.map(reply::streams),
        }
    }
}

impl Link {
    pub(super) fn new(source: Source) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            slot: Mutex::default(),
        })
    }

    /// Sends one command and gives its answer.
    pub(super) async fn run(&self, command: &Cmd) -> RedisResult<Value> {
        let (generation, mut connection) = self.connection().await?;
        let answer = connection.send_packed_command(command).await.and_then(top_level_error);
        self.judge(generation, answer)
    }

    /// Sends commands in one pipeline and gives each one's answer, in order.
    pub(super) async fn run_all(&self, commands: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let (generation, mut connection) = self.connection().await?;
        let answers = connection.send_packed_commands(commands, 0, commands.len()).await;
        let answers = self.judge(generation, answers)?;
        let judged = answers
            .into_iter()
            .map(|answer| self.judge(generation, top_level_error(answer)));
        Ok(judged.collect())
    }

    /// A connection for one reader alone, whose commands may take as long as they like to be answered.
    pub(super) async fn dedicated(&self) -> RedisResult<Dedicated> {
        let client = self.source.client().await?;
        match Wire::connect(client.get_connection_info(), CONNECT_TIMEOUT).await? {
            Some(wire) => Ok(Dedicated::Wire(wire)),
            None => Ok(Dedicated::Client(connect(&client, None).await?)),
        }
    }

    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let (generation, connecting) = {
            let mut slot = self.slot();
            let generation = slot.generation;
            let source = self.source.clone();
            let begin = || {
                async move { connect(&source.client().await?, Some(RESPONSE_TIMEOUT)).await }
                    .boxed()
                    .shared()
            };
            (generation, slot.connecting.get_or_insert_with(begin).clone())
        };
        match connecting.await {
            Ok(connection) => Ok((generation, connection)),
            Err(error) => {
                self.discard(generation);
                Err(error)
            }
        }
    }

    fn judge<T>(&self, generation: u64, answer: RedisResult<T>) -> RedisResult<T> {
        if answer.as_ref().is_err_and(spoils_connection) {
            self.discard(generation);
        }
        answer
    }

    fn discard(&self, generation: u64) {
        let mut slot = self.slot();
        if slot.generation == generation {
            *slot = Slot {
                generation: generation + 1,
                connecting: None,
            };
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error of the command itself. Errors deeper inside an answer cannot happen in ours.
fn top_level_error(answer: Value) -> RedisResult<Value> {
    match answer {
        Value::ServerError(error) => Err(error.into()),
        answer => Ok(answer),
    }
}
