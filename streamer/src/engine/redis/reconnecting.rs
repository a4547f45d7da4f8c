//! One connection to one server, shared by all tasks, that comes back after it broke.
//!
//! Commands of many tasks travel on it together, which is how they share round trips. Its queue is bounded: a task that
//! finds it full waits.
//!
//! A command that failed is never sent again here: nobody can tell whether the server did it, and a repeated `XADD`
//! stores the entry twice. The next command finds a new connection. With Sentinel, that means to ask for the master
//! again.

#[cfg(not(test))]
use std::sync::{Mutex, MutexGuard};
use std::{
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt, Shared};
use redis::{Cmd, Pipeline, RedisResult, Value};
#[cfg(not(test))]
use tokio::spawn;
use tokio_util::sync::CancellationToken;

use super::{
    command, endpoint::Endpoint, error::spoils_connection, reader_connection::ReaderConnection, resp,
    sentinel::Sentinels, shared_connection::SharedConnection, socket::Peer,
};
#[cfg(test)]
use crate::schedules::{Mutex, MutexGuard, spawn};
use crate::{engine::Append, entry::EntryId};

/// How long each step of connecting may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long no byte may move while a reply is due.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command waits for a connection to a server of several whose last attempt failed. The attempt goes on.
const KNOWN_TO_BE_DOWN: Duration = Duration::from_millis(250);

/// A shared connection to one server.
pub(super) struct Reconnecting {
    /// Apart, so that an attempt to connect does not keep alive what waits for it.
    source: Arc<Source>,
    slot: Mutex<Slot>,
    /// Another connection to the same server, for commands that hold up what follows them.
    for_waits: OnceLock<Arc<Reconnecting>>,
}

/// How the server is found.
pub(super) enum Source {
    Server(Endpoint),
    /// One of several, whose trouble must not hold up the others.
    Node(Endpoint),
    Sentinel(Sentinels),
    /// What a unit test makes connections of; whether it is one of several.
    #[cfg(test)]
    Made(in_many_schedules::Connect, bool),
}

/// The connection there is, or the attempt that all who need one wait for together.
#[derive(Default)]
struct Slot {
    /// Which connection this is, so that a late error of an old one does not throw away its successor.
    generation: u64,
    connected: Option<SharedConnection>,
    connecting: Option<Connecting>,
    /// Why the last attempt failed, if it did.
    failure: Option<redis::RedisError>,
}

type Connecting = Shared<BoxFuture<'static, RedisResult<SharedConnection>>>;

/// Which of a server's shared connections is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Established {
    generation: u64,
    peer: Peer,
}

impl Established {
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Source {
    /// A new connection to the server as it is to be found now.
    async fn connect(&self) -> RedisResult<ReaderConnection> {
        match self {
            Self::Server(endpoint) | Self::Node(endpoint) => {
                ReaderConnection::connect(endpoint, CONNECT_TIMEOUT, RESPONSE_TIMEOUT, CancellationToken::new()).await
            }
            Self::Sentinel(sentinels) => sentinels.connect().await,
            #[cfg(test)]
            Self::Made(connect, _) => connect().await,
        }
    }

    fn is_one_of_several(&self) -> bool {
        match self {
            Self::Server(_) | Self::Sentinel(_) => false,
            Self::Node(_) => true,
            #[cfg(test)]
            Self::Made(_, is_one_of_several) => *is_one_of_several,
        }
    }
}

impl Reconnecting {
    pub(super) fn new(source: Source) -> Arc<Self> {
        Arc::new(Self {
            source: Arc::new(source),
            slot: Mutex::default(),
            for_waits: OnceLock::new(),
        })
    }

    /// Another shared connection to the same server: what waits there holds up nothing else. It is made when it is used.
    pub(super) fn for_waits(&self) -> &Arc<Self> {
        self.for_waits.get_or_init(|| {
            Arc::new(Self {
                source: Arc::clone(&self.source),
                slot: Mutex::default(),
                for_waits: OnceLock::new(),
            })
        })
    }

    /// Sends one command and gives its answer.
    pub(super) async fn run(&self, command: &Cmd) -> RedisResult<Value> {
        let (generation, connection) = self.connection().await?;
        let answer = run(&connection, command).await;
        self.check_broken(generation, answer)
    }

    /// Sends commands in one pipeline and gives each one's answer, in order.
    pub(super) async fn run_all(&self, commands: &Pipeline) -> RedisResult<Vec<RedisResult<Value>>> {
        let (generation, connection) = self.connection().await?;
        let expected = commands.len();
        let packed = commands.get_packed_pipeline();
        let replies = connection.exchange(packed, expected as u64).await;
        let answers = replies.map(|replies| resp::values(&replies, expected));
        self.check_all(generation, answers)
    }

    /// Sends an `XADD` and gives the ID of its entry, or an answer that is no ID.
    pub(super) async fn append(&self, append: &Append) -> RedisResult<Result<EntryId, Value>> {
        let (generation, connection) = self.connection().await?;
        let mut packed = Vec::new();
        command::pack_xadd(&mut packed, append);
        let reply = connection.exchange(packed, 1).await;
        if let Some(id) = reply.as_ref().ok().and_then(|reply| resp::reply_id(reply)) {
            return Ok(Ok(id));
        }
        let answer = self.check_broken(generation, reply.and_then(|reply| resp::value(&reply)));
        answer.map(Err)
    }

    /// Sends `XADD`s in one pipeline and gives each one's answer, in order.
    pub(super) async fn append_all(&self, appends: &[&Append]) -> RedisResult<Vec<RedisResult<Value>>> {
        let (generation, connection) = self.connection().await?;
        let mut packed = Vec::new();
        appends
            .iter()
            .for_each(|append| command::pack_xadd(&mut packed, append));
        let replies = connection.exchange(packed, appends.len() as u64).await;
        let answers = replies.map(|replies| resp::values(&replies, appends.len()));
        self.check_all(generation, answers)
    }

    /// A connection for one task alone, whose commands may take as long as they like to be answered.
    pub(super) async fn reader_connection(&self) -> RedisResult<ReaderConnection> {
        self.source.connect().await
    }

    /// The shared connection that there is now, made if there is none.
    pub(super) async fn established(&self) -> RedisResult<Established> {
        let (generation, connection) = self.connection().await?;
        Ok(Established {
            generation,
            peer: connection.peer().clone(),
        })
    }

    /// Sends a command if this shared connection is still the one that is used; tells whether it was answered.
    pub(super) async fn run_over(&self, established: &Established, command: &Cmd) -> bool {
        let connection = {
            let slot = self.slot();
            let same = slot.generation == established.generation;
            slot.connected.clone().filter(|_| same)
        };
        match connection {
            Some(connection) => {
                let answer = run(&connection, command).await;
                self.check_broken(established.generation, answer).is_ok()
            }
            None => false,
        }
    }

    /// Whether there is a connection that works, as far as is known.
    pub(super) fn is_connected(&self) -> bool {
        let slot = self.slot();
        slot.connected
            .as_ref()
            .is_some_and(|connection| !connection.has_ended())
    }

    async fn connection(&self) -> RedisResult<(u64, SharedConnection)> {
        let (generation, connecting, failure) = {
            let mut slot = self.slot();
            if slot.connected.as_ref().is_some_and(SharedConnection::has_ended) {
                slot.reset();
            }
            let generation = slot.generation;
            if let Some(connection) = &slot.connected {
                return Ok((generation, connection.clone()));
            }
            let source = self.source.clone();
            let begin = || {
                let open = async move { Ok(SharedConnection::new(source.connect().await?, RESPONSE_TIMEOUT)) };
                open.boxed().shared()
            };
            let connecting = slot.connecting.get_or_insert_with(begin).clone();
            (generation, connecting, slot.failure.clone())
        };
        let outcome = match failure.filter(|_| self.source.is_one_of_several()) {
            Some(failure) => {
                // Goes on also when nobody waits for it any more.
                spawn(connecting.clone().map(drop));
                match tokio::time::timeout(KNOWN_TO_BE_DOWN, connecting).await {
                    Ok(outcome) => outcome,
                    Err(_) => return Err(failure),
                }
            }
            None => connecting.await,
        };
        let mut slot = self.slot();
        match outcome {
            Ok(connection) => {
                if slot.generation == generation {
                    if generation > 0 && slot.connected.is_none() {
                        crate::metrics::reconnected();
                    }
                    slot.connected = Some(connection.clone());
                    slot.failure = None;
                }
                Ok((generation, connection))
            }
            Err(error) => {
                if slot.generation == generation {
                    slot.reset();
                    slot.failure = Some(error.clone());
                }
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

async fn run(connection: &SharedConnection, command: &Cmd) -> RedisResult<Value> {
    resp::value(&connection.exchange(command.get_packed_command(), 1).await?)
}

#[cfg(test)]
#[path = "reconnecting_schedules.rs"]
mod in_many_schedules;
