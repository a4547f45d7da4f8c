//! A Redis Cluster: commands go to the node that serves their key, also while that changes.
//!
//! The redis crate's own cluster connection repeats commands after a broken connection, and whole pipelines when one
//! command of it was redirected: each would store entries twice. Here only what a node has refused (`MOVED`, `ASK`) is
//! sent again.
//!
//! A node that is down holds up nobody who does not need it: the map is asked of all nodes at once, and the first answer
//! counts; who needs another node goes on with the old map where none comes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, Shared},
    stream::FuturesUnordered,
};
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd, pipe};
use tokio::time::{Instant, timeout};

use super::{
    endpoint::Endpoint,
    error::is_read_only,
    node_map::{NodeMap, ranges},
    reconnecting::Reconnecting,
    reply::Unexpected,
    socket::Address,
};
use crate::{engine::slot::slot, entry::StreamName};

/// How often one command follows redirections. Two are ordinary while a slot migrates.
const REDIRECTIONS: usize = 5;
/// How long a node may take to tell the map.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// A map that is so young is not asked for again on mere suspicion: while a node is down every command to it is one.
const YOUNG: Duration = Duration::from_millis(100);
/// How many of the nodes that are known are asked, beside those of the URL.
const MOST_ASKED: usize = 16;

/// Connections to the nodes of a cluster and the map of what each serves.
pub(super) struct Cluster {
    /// The nodes that the URL names.
    seeds: Vec<Endpoint>,
    known: Mutex<Known>,
    /// What answers said about the map: [`FRESH`], [`SUSPECT`] or [`WRONG`]. Unless it is fresh the next command asks for
    /// a new one.
    state: AtomicU8,
    /// Whether the log has been told that the user may not use transactions.
    transactions_refused: Once,
}

/// Nothing speaks against the map.
const FRESH: u8 = 0;
/// A node is not there, or does not serve.
const SUSPECT: u8 = 1;
/// A node said that another serves a slot.
const WRONG: u8 = 2;

#[derive(Default)]
struct Known {
    map: Arc<NodeMap>,
    /// When it was asked for last, and what came of it.
    asked: Option<(Instant, RedisResult<()>)>,
    /// The question for a new one that all who need it wait for together.
    refreshing: Option<Shared<BoxFuture<'static, RedisResult<()>>>>,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Endpoint>) -> Arc<Self> {
        Arc::new(Self {
            seeds,
            known: Mutex::default(),
            state: AtomicU8::new(WRONG),
            transactions_refused: Once::new(),
        })
    }

    /// Finds out which nodes there are. Succeeds as long as one of them answers.
    pub(super) async fn connect(self: &Arc<Self>) -> RedisResult<()> {
        self.refresh().await
    }

    /// Runs a command on the node that serves `key`.
    pub(super) async fn run(self: &Arc<Self>, key: &[u8], command: &Cmd) -> RedisResult<Value> {
        let mut node = self.node_of(key).await?;
        let mut asking = false;
        for _ in 0..REDIRECTIONS {
            let answer = if asking {
                run_asking(&node, command).await
            } else {
                node.run(command).await
            };
            let Err(error) = answer else { return answer };
            let Some(referred_to) = self.check_outdated(&error) else {
                return Err(error);
            };
            asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
            node = self.map().node(&referred_to, &self.seeds[0]);
        }
        Err((
            ErrorKind::ClusterConnectionNotFound,
            "the cluster's nodes refer to each other without end",
        )
            .into())
    }

    /// Runs a command that has no key and changes nothing on any node that answers.
    pub(super) async fn run_anywhere(self: &Arc<Self>, command: &Cmd) -> RedisResult<Value> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let mut nodes: Vec<_> = map.nodes().map(|(_, node)| node).collect();
        nodes.sort_by_key(|node| !node.is_connected());
        let mut failure = None;
        for node in nodes {
            match node.run(command).await {
                Err(error) if error.is_io_error() => failure = Some(error),
                answer => return answer,
            }
        }
        Err(failure.unwrap_or_else(unserved))
    }

    /// Every node that serves slots, each with its address.
    pub(super) async fn masters(self: &Arc<Self>) -> RedisResult<Vec<(String, Arc<Reconnecting>)>> {
        self.refresh_if_stale().await?;
        let map = self.map();
        let nodes = map
            .nodes()
            .map(|(address, node)| (address.to_string(), Arc::clone(node)));
        Ok(nodes.collect())
    }

    /// Runs commands, one pipeline for each node, and gives the answers in the order of the commands.
    pub(super) async fn run_all(self: &Arc<Self>, commands: &[(StreamName, Cmd)]) -> Vec<RedisResult<Value>> {
        self.run_parts(commands, (0..commands.len()).map(|index| vec![index]))
            .await
    }

    /// The same, and the commands with one key are done in their order. A slot may come to a node, or back to it, between two
    /// commands of a pipeline: it refuses the first and does the second, and what is refused is sent again. So those with
    /// one key are a transaction, of which a node refuses all or nothing.
    ///
    /// A user who may not use transactions has each command done by itself: while a slot moves, they may change their order. The
    /// log says so once.
    pub(super) async fn run_in_order(self: &Arc<Self>, commands: &[(StreamName, Cmd)]) -> Vec<RedisResult<Value>> {
        let (mut parts, mut part_of): (Vec<Vec<usize>>, HashMap<&StreamName, usize>) = Default::default();
        for (index, (key, _)) in commands.iter().enumerate() {
            let part = *part_of.entry(key).or_insert(parts.len());
            match parts.get_mut(part) {
                Some(part) => part.push(index),
                None => parts.push(vec![index]),
            }
        }
        self.run_parts(commands, parts.into_iter()).await
    }

    /// Runs commands in parts, each the indexes of commands with one key that are refused together.
    async fn run_parts(
        self: &Arc<Self>,
        commands: &[(StreamName, Cmd)],
        parts: impl Iterator<Item = Vec<usize>>,
    ) -> Vec<RedisResult<Value>> {
        let mut by_node: Vec<(Arc<Reconnecting>, Vec<Vec<usize>>)> = Vec::new();
        let mut answers: Vec<Option<RedisResult<Value>>> = commands.iter().map(|_| None).collect();
        for part in parts {
            let Some(first) = part.first() else { continue };
            match self.node_of(commands[*first].0.as_bytes()).await {
                Err(error) => part.iter().for_each(|index| answers[*index] = Some(Err(error.clone()))),
                Ok(node) => match by_node.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &node)) {
                    Some((_, parts)) => parts.push(part),
                    None => by_node.push((node, vec![part])),
                },
            }
        }
        let pipelines = by_node.iter().map(|(node, parts)| async move {
            let mut pipeline = Pipeline::with_capacity(commands.len());
            for part in parts {
                let of_part = part.iter().map(|index| commands[*index].1.clone());
                let (begin, end) = match part.len() {
                    1 => (None, None),
                    _ => (Some(cmd("MULTI")), Some(cmd("EXEC"))),
                };
                for command in begin.into_iter().chain(of_part).chain(end) {
                    pipeline.add_command(command);
                }
            }
            node.run_all(&pipeline).await
        });
        let all = futures_util::future::join_all(pipelines).await;
        let lost = || Err((ErrorKind::Client, "a command of a pipeline was not answered").into());
        for ((_, parts), outcome) in by_node.iter().zip(all) {
            let (mut outcome, failure) = match outcome {
                Ok(outcome) => (outcome.into_iter(), None),
                Err(error) => (Vec::new().into_iter(), Some(error)),
            };
            let mut next = || match &failure {
                Some(error) => Err(error.clone()),
                None => outcome.next().unwrap_or_else(lost),
            };
            for part in parts {
                let of_part = match part.len() {
                    1 => vec![next()],
                    length => {
                        let begun = next();
                        if let Err(error) = &begun
                            && error.code() == Some("NOPERM")
                        {
                            self.warn_of_refused_transactions(error);
                        }
                        let queued = (0..length).map(|_| next()).collect();
                        of_transaction(begun, queued, next())
                    }
                };
                for (index, answer) in part.iter().zip(of_part) {
                    answers[*index] = Some(answer);
                }
            }
        }
        let mut in_order = Vec::with_capacity(commands.len());
        for ((key, command), answer) in commands.iter().zip(answers) {
            in_order.push(match answer.unwrap_or_else(lost) {
                // Redirected means not executed. One after another keeps the order within a stream.
                Err(error) if self.check_outdated(&error).is_some() => self.run(key.as_bytes(), command).await,
                answer => answer,
            });
        }
        in_order
    }

    fn warn_of_refused_transactions(&self, error: &RedisError) {
        self.transactions_refused.call_once(|| {
            tracing::warn!(
                "events that are emitted together may change their order while a slot of the Cluster moves to another node: \
                 this user may not run MULTI ({error}); on each node: redis-cli ACL SETUSER USER +multi +exec +asking"
            );
        });
    }

    /// The shared connection to the node that serves `key`.
    pub(super) async fn node_of(self: &Arc<Self>, key: &[u8]) -> RedisResult<Arc<Reconnecting>> {
        self.refresh_if_stale().await?;
        let node = self.map().serving(slot(key)).cloned();
        node.ok_or_else(|| {
            self.suspect();
            unserved()
        })
    }

    /// Learns from an error what the map lacks. Gives the node to go to, when the error names one.
    pub(super) fn check_outdated(&self, error: &RedisError) -> Option<Address> {
        use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved};
        match error.kind() {
            ErrorKind::Server(Moved) => _ = self.state.fetch_max(WRONG, Ordering::AcqRel),
            ErrorKind::Io | ErrorKind::Server(ClusterDown | MasterDown) => self.suspect(),
            ErrorKind::Server(Ask) => {}
            _ if is_read_only(error) => self.suspect(),
            _ => return None,
        }
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        // Without a host it is the one that was asked: the new map will tell.
        let known = !host.is_empty() && host != "?";
        known
            .then(|| Some(Address::Tcp(host.to_owned(), port.parse().ok()?)))
            .flatten()
    }

    /// Has the next command ask for a new map.
    pub(super) fn suspect(&self) {
        self.state.fetch_max(SUSPECT, Ordering::AcqRel);
    }

    fn map(&self) -> Arc<NodeMap> {
        self.known().map.clone()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a new map where the old one is known to be wrong. Where no node tells, the old one has to do: most of it
    /// is right.
    async fn refresh_if_stale(self: &Arc<Self>) -> RedisResult<()> {
        if self.state.load(Ordering::Acquire) == FRESH {
            return Ok(());
        }
        let refreshed = self.refresh().await;
        if self.map().is_empty() { refreshed } else { Ok(()) }
    }

    /// Asks for a new map, together with all others who do, unless the last one is young.
    async fn refresh(self: &Arc<Self>) -> RedisResult<()> {
        let refreshing = {
            let mut known = self.known();
            if let Some((at, outcome)) = &known.asked
                && at.elapsed() < YOUNG
                && self.state.load(Ordering::Acquire) != WRONG
            {
                return outcome.clone();
            }
            // A task that ended with its runtime leaves its error there.
            known.refreshing.take_if(|refreshing| refreshing.peek().is_some());
            let begin = || {
                let cluster = Arc::clone(self);
                let task = tokio::spawn(async move {
                    let asked = cluster.ask().await;
                    let mut known = cluster.known();
                    known.refreshing = None;
                    let outcome = asked.map(|map| known.map = Arc::new(map));
                    known.asked = Some((Instant::now(), outcome.clone()));
                    outcome
                });
                let ended = |_| Err((ErrorKind::Client, "the runtime has ended").into());
                async move { task.await.unwrap_or_else(ended) }.boxed().shared()
            };
            known.refreshing.get_or_insert_with(begin).clone()
        };
        refreshing.await
    }

    /// Asks nodes for the map, all at once; the first answer counts.
    async fn ask(&self) -> RedisResult<NodeMap> {
        // Before anything is asked: an error that comes later may be about the map that is told now.
        self.state.store(FRESH, Ordering::Release);
        let map = self.map();
        let seed = &self.seeds[0];
        let mut nodes: Vec<_> = map.nodes().collect();
        nodes.sort_by_key(|(_, node)| !node.is_connected());
        let known = nodes.into_iter().take(MOST_ASKED).map(|(address, _)| address);
        let known = known.collect::<Vec<_>>();
        let seeds = self.seeds.iter().map(|seed| &seed.address);
        let seeds = seeds.filter(|seed| !known.contains(seed)).collect::<Vec<_>>();
        let mut asked: FuturesUnordered<_> = known
            .into_iter()
            .chain(seeds)
            .map(|address| async {
                let node = map.node(address, seed);
                let mut question = cmd("CLUSTER");
                let answer = timeout(ASK_TIMEOUT, node.run(question.arg("SLOTS"))).await;
                let answer = answer.unwrap_or_else(|_| Err((ErrorKind::Io, "the node did not answer").into()))?;
                match ranges(answer, address) {
                    Ok(ranges) if ranges.is_empty() => Err(unserved()),
                    Ok(ranges) => Ok(map.replacing(ranges, seed)),
                    Err(Unexpected(what)) => Err(RedisError::from((
                        ErrorKind::UnexpectedReturnType,
                        "CLUSTER SLOTS",
                        format!("expected {what}"),
                    ))),
                }
            })
            .collect();
        let mut failure = RedisError::from((ErrorKind::InvalidClientConfig, "the URL names no node of the cluster"));
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(map) => return Ok(map),
                Err(error) => failure = error,
            }
        }
        self.suspect();
        Err(failure)
    }
}

fn unserved() -> RedisError {
    RedisError::from((
        ErrorKind::ClusterConnectionNotFound,
        "no node of the cluster serves this key's slot",
    ))
}

/// The answers to the commands of a transaction, from what `MULTI`, each of them and `EXEC` were answered.
fn of_transaction(
    begun: RedisResult<Value>,
    queued: Vec<RedisResult<Value>>,
    ended: RedisResult<Value>,
) -> Vec<RedisResult<Value>> {
    let length = queued.len();
    let refused = match (begun, ended) {
        // There was none, so each command was done, or refused, by itself.
        (Err(error), _) if !error.is_io_error() => return queued,
        (_, Ok(Value::Array(answers))) if answers.len() == length => {
            let each = |answer| match answer {
                Value::ServerError(error) => Err(error.into()),
                answer => Ok(answer),
            };
            return answers.into_iter().map(each).collect();
        }
        (Err(error), _) | (_, Err(error)) => error,
        (_, Ok(_)) => (
            ErrorKind::UnexpectedReturnType,
            "EXEC",
            "expected one answer for each command".to_owned(),
        )
            .into(),
    };
    // `EXEC` says that a command was refused, and the command's own answer says why.
    let reason = queued.into_iter().find_map(Result::err).unwrap_or(refused);
    vec![Err(reason); length]
}

async fn run_asking(node: &Arc<Reconnecting>, command: &Cmd) -> RedisResult<Value> {
    let mut pipeline = pipe();
    pipeline.cmd("ASKING").add_command(command.clone());
    let lost = || Err((ErrorKind::Client, "a command of a pipeline was not answered").into());
    node.run_all(&pipeline).await?.pop().unwrap_or_else(lost)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// How many nodes were asked for the map that do not answer.
    #[derive(Debug, Default)]
    struct Asked(AtomicUsize);

    impl Asked {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// Serves a connection; `answer` says what follows a question for the map, and when. Nothing: there is no answer.
    async fn serve(mut socket: TcpStream, answer: impl AsyncFn() -> String) {
        let mut received = vec![0; 4096];
        while let Ok(length @ 1..) = socket.read(&mut received).await {
            let text = String::from_utf8_lossy(&received[..length]).into_owned();
            let reply = match text.contains("SLOTS") {
                true => answer().await,
                false => "+PONG\r\n".to_owned(),
            };
            if socket.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// A node that lets itself be asked, and does not answer.
    async fn silent(asked: &Arc<Asked>) -> u16 {
        let (listener, port) = listener().await;
        let asked = Arc::clone(asked);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let asked = Arc::clone(&asked);
                tokio::spawn(serve(socket, async move || {
                    asked.0.fetch_add(1, Ordering::SeqCst);
                    String::new()
                }));
            }
        });
        port
    }

    /// A node that tells these nodes, once so many others were asked.
    async fn telling(asked: &Arc<Asked>, wanted: &Arc<AtomicUsize>, others: &[u16]) -> u16 {
        let (listener, port) = listener().await;
        let nodes = others.iter().chain([&port]);
        let slots = nodes.zip(0..).map(|(port, slot)| {
            let last = if slot == others.len() { 16_383 } else { slot };
            format!("*3\r\n:{slot}\r\n:{last}\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n")
        });
        let map = format!("*{}\r\n{}", others.len() + 1, slots.collect::<String>());
        let (asked, wanted) = (Arc::clone(asked), Arc::clone(wanted));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (asked, wanted, map) = (Arc::clone(&asked), Arc::clone(&wanted), map.clone());
                tokio::spawn(serve(socket, async move || {
                    while asked.count() < wanted.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    map.clone()
                }));
            }
        });
        port
    }

    fn endpoint(port: u16) -> Endpoint {
        Endpoint {
            address: Address::Tcp("127.0.0.1".to_owned(), port),
            tls: None,
            user: None,
            password: None,
            db: 0,
        }
    }

    /// Asked one after the other, the node that answers would not answer before its time is over: it waits for the others.
    #[tokio::test]
    async fn nodes_that_do_not_answer_are_asked_at_once_and_not_all_of_them() {
        let (asked, wanted) = (Arc::new(Asked::default()), Arc::new(AtomicUsize::new(0)));
        let (mut seeds, mut others) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            seeds.push(silent(&asked).await);
        }
        for _ in 0..60 {
            others.push(silent(&asked).await);
        }
        let answers = telling(&asked, &wanted, &others).await;
        let cluster = Cluster::new(
            std::iter::once(&answers)
                .chain(&seeds)
                .map(|port| endpoint(*port))
                .collect(),
        );
        // Of the nodes that are known after the first time only some; and those of the URL, which are not kept for that. The
        // node that answers is one of either.
        for others in [0, MOST_ASKED, MOST_ASKED] {
            let (most, expected) = (seeds.len() + others, seeds.len() + others.saturating_sub(1));
            let before = asked.count();
            let mut attempts = 0;
            loop {
                attempts += 1;
                assert!(attempts < 20, "it is not found that a node answers");
                wanted.store(asked.count() + expected, Ordering::SeqCst);
                cluster.state.store(WRONG, Ordering::SeqCst);
                match cluster.refresh().await {
                    Ok(()) => break,
                    // On a machine that has other things to do it may take too long.
                    Err(error) => assert!(error.is_io_error(), "{error}"),
                }
            }
            let count = asked.count() - before;
            assert!(
                (expected..=attempts * most).contains(&count),
                "{count} in {attempts} attempts"
            );
            assert_eq!(cluster.map().nodes().count(), 61);
        }
    }
}
