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
    command,
    error::spoils_connection,
    reader_connection::ReaderConnection,
    reply::{self, Decoded},
    resp,
    shared_connection::SharedConnection,
};
use crate::engine::{Append, StreamEntries};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may take to answer an ordinary command. Blocking reads have connections of their own.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A shared connection to one server.
pub(super) struct Reconnecting {
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
    connected: Option<Connection>,
    connecting: Option<Connecting>,
}

type Connecting = Shared<BoxFuture<'static, RedisResult<Connection>>>;

/// A connection that tasks share.
#[derive(Clone)]
enum Connection {
    /// Our own, where there is no TLS.
    SharedConnection(SharedConnection),
    /// The client library's.
    Client(MultiplexedConnection),
}

impl Connection {
    async fn open(client: &Client) -> RedisResult<Self> {
        match ReaderConnection::connect(client.get_connection_info(), CONNECT_TIMEOUT).await? {
            Some(wire) => Ok(Self::SharedConnection(SharedConnection::new(wire, RESPONSE_TIMEOUT))),
            None => Ok(Self::Client(connect(client, Some(RESPONSE_TIMEOUT)).await?)),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self, Self::SharedConnection(pipe) if pipe.has_ended())
    }

    async fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::SharedConnection(pipe) => resp::value(&pipe.exchange(&command.get_packed_command(), 1).await?),
            Self::Client(connection) => connection.send_packed_command(command).await.and_then(top_level_error),
        }
    }

    async fn append(&mut self, append: &Append) -> RedisResult<Value> {
        match self {
            Self::SharedConnection(pipe) => {
                let mut packed = Vec::new();
                command::pack_xadd(&mut packed, append);
                resp::value(&pipe.exchange(&packed, 1).await?)
            }
            Self::Client(_) => self.run(&command::xadd(append)).await,
        }
    }

    async fn append_all(&mut self, appends: &[&Append]) -> RedisResult<Vec<RedisResult<Value>>> {
        match self {
            Self::SharedConnection(pipe) => {
                let mut packed = Vec::new();
                appends
                    .iter()
                    .for_each(|append| command::pack_xadd(&mut packed, append));
                let replies = pipe.exchange(&packed, appends.len() as u64).await?;
                Ok(resp::values(&replies, appends.len()))
            }
            Self::Client(_) => {
                let mut commands = Pipeline::with_capacity(appends.len());
                appends
                    .iter()
                    .for_each(|append| _ = commands.add_command(command::xadd(append)));
                self.run_all(&commands).await
            }
        }
    }

    async fn run_all(&mut self, commands: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let expected = commands.len();
        match self {
            Self::SharedConnection(pipe) => {
                let replies = pipe.exchange(&commands.get_packed_pipeline(), expected as u64).await?;
                Ok(resp::values(&replies, expected))
            }
            Self::Client(connection) => {
                let answers = connection.send_packed_commands(commands, 0, expected).await?;
                Ok(answers.into_iter().map(top_level_error).collect())
            }
        }
    }
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
    ReaderConnection(ReaderConnection),
    /// The client library's.
    Client(MultiplexedConnection),
}

impl Dedicated {
    /// Sends any command and gives its answer.
    pub(super) async fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::ReaderConnection(wire) => wire.run(command).await,
            Self::Client(connection) => connection.send_packed_command(command).await.and_then(top_level_error),
        }
    }

    /// Gives the entries that answer an `XREAD` or `XREADGROUP`: `command`, or without one what was sent ahead. A command
    /// that `ahead` gives is sent when it is worth it; where it is not asked for one, nothing was.
    pub(super) async fn read(
        &mut self,
        command: Option<Cmd>,
        ahead: impl FnOnce() -> Option<Cmd>,
    ) -> RedisResult<Decoded<Vec<StreamEntries>>> {
        match (self, command) {
            (Self::ReaderConnection(wire), command) => {
                if let Some(command) = command {
                    wire.send(&command).await?;
                }
                wire.entries(ahead).await
            }
            (client, Some(command)) => client.run(&command).await.map(reply::streams),
            // It never sends anything ahead.
            (Self::Client(_), None) => Ok(Ok(Vec::new())),
        }
    }
}

impl Reconnecting {
    pub(super) fn new(source: Source) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            slot: Mutex::default(),
        })
    }

    /// Sends one command and gives its answer.
    pub(super) async fn run(&self, command: &Cmd) -> RedisResult<Value> {
        let (generation, mut connection) = self.connection().await?;
        let answer = connection.run(command).await;
        self.check_broken(generation, answer)
    }

    /// Sends commands in one pipeline and gives each one's answer, in order.
    pub(super) async fn run_all(&self, commands: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let (generation, mut connection) = self.connection().await?;
        let answers = connection.run_all(commands).await;
        self.check_all(generation, answers)
    }

    /// Sends an `XADD` and gives its answer.
    pub(super) async fn append(&self, append: &Append) -> RedisResult<Value> {
        let (generation, mut connection) = self.connection().await?;
        let answer = connection.append(append).await;
        self.check_broken(generation, answer)
    }

    /// Sends `XADD`s in one pipeline and gives each one's answer, in order.
    pub(super) async fn append_all(&self, appends: &[&Append]) -> RedisResult<Vec<RedisResult<Value>>> {
        let (generation, mut connection) = self.connection().await?;
        let answers = connection.append_all(appends).await;
        self.check_all(generation, answers)
    }

    /// A connection for one reader alone, whose commands may take as long as they like to be answered.
    pub(super) async fn dedicated(&self) -> RedisResult<Dedicated> {
        let client = self.source.client().await?;
        match ReaderConnection::connect(client.get_connection_info(), CONNECT_TIMEOUT).await? {
            Some(wire) => Ok(Dedicated::ReaderConnection(wire)),
            None => Ok(Dedicated::Client(connect(&client, None).await?)),
        }
    }

    async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let (generation, connecting) = {
            let mut slot = self.slot();
            if slot.connected.as_ref().is_some_and(Connection::has_ended) {
                slot.reset();
            }
            let generation = slot.generation;
            if let Some(connection) = &slot.connected {
                return Ok((generation, connection.clone()));
            }
            let source = self.source.clone();
            let begin = || {
                async move { Connection::open(&source.client().await?).await }
                    .boxed()
                    .shared()
            };
            (generation, slot.connecting.get_or_insert_with(begin).clone())
        };
        match connecting.await {
            Ok(connection) => {
                let mut slot = self.slot();
                if slot.generation == generation {
                    slot.connected = Some(connection.clone());
                }
                Ok((generation, connection))
            }
            Err(error) => {
                self.discard(generation);
                Err(error)
            }
        }
    }

    fn check_broken<T>(&self, generation: u64, answer: RedisResult<T>) -> RedisResult<T> {
        if answer.as_ref().is_err_and(spoils_connection) {
            self.discard(generation);
        }
        answer
    }

    fn check_all(
        &self,
        generation: u64,
        answers: RedisResult<Vec<RedisResult<Value>>>,
    ) -> RedisResult<Vec<RedisResult<Value>>> {
        let answers = self.check_broken(generation, answers)?;
        Ok(answers
            .into_iter()
            .map(|answer| self.check_broken(generation, answer))
            .collect())
    }

    fn discard(&self, generation: u64) {
        let mut slot = self.slot();
        if slot.generation == generation {
            slot.reset();
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Makes room for the next connection.
    fn reset(&mut self) {
        *self = Self {
            generation: self.generation + 1,
            ..Self::default()
        };
    }
}

/// An error of the command itself. Errors deeper inside an answer cannot happen in ours.
fn top_level_error(answer: Value) -> RedisResult<Value> {
    match answer {
        Value::ServerError(error) => Err(error.into()),
        answer => Ok(answer),
    }
}
