//! A Redis Cluster: which node serves which stream, and what to do when that changes.
//!
//! The redis crate's own cluster connection repeats commands after a broken connection, and whole pipelines when one
//! command of it was redirected: each would store entries twice. Here only what a node has refused (`MOVED`, `ASK`) is
//! sent again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use redis::{
    Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value, cmd,
    pipe,
};

use super::{
    reconnecting::{Reconnecting, Source},
    reply::{self, Decoded, Unexpected},
};
use crate::entry::StreamName;

const SLOTS: u16 = 16_384;
/// How often one command follows redirections. Two are ordinary while a slot migrates.
const REDIRECTIONS: usize = 5;

/// Connections to the nodes of a cluster and the map of what each serves.
pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    nodes: Mutex<HashMap<Node, Arc<Reconnecting>>>,
    served: Mutex<Arc<[Range]>>,
    /// Set when an answer showed that the map is wrong. The next command asks for a new one.
    stale: AtomicBool,
    refreshing: tokio::sync::Mutex<()>,
}

/// Host and port.
type Node = (String, u16);

/// Slots that one node serves.
struct Range {
    first: u16,
    last: u16,
    node: Node,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<ConnectionInfo>) -> Arc<Self> {
        Arc::new(Self {
            seeds,
            nodes: Mutex::default(),
            served: Mutex::new(Arc::from([])),
            stale: AtomicBool::new(true),
            refreshing: tokio::sync::Mutex::default(),
        })
    }

    /// Runs a command on the node that serves `key`.
    pub(super) async fn run(&self, key: &[u8], command: &Cmd) -> RedisResult<Value> {
        let mut link = self.link(key).await?;
        let mut asking = false;
        for _ in 0..REDIRECTIONS {
            let answer = if asking {
                run_asking(&link, command).await
            } else {
                link.run(command).await
            };
            let Err(error) = answer else { return answer };
            let Some(node) = self.check_outdated(&error) else {
                return Err(error);
            };
            asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
            link = self.node(&node);
        }
        Err((
            ErrorKind::ClusterConnectionNotFound,
            "the cluster's nodes refer to each other without end",
        )
            .into())
    }

    /// Runs commands, one pipeline for each node, and gives the answers in the order of the commands.
    pub(super) async fn run_all(&self, commands: &[(StreamName, Cmd)]) -> Vec<RedisResult<Value>> {
        let mut by_node: Vec<(Arc<Reconnecting>, Vec<usize>)> = Vec::new();
        let mut answers: Vec<Option<RedisResult<Value>>> = commands.iter().map(|_| None).collect();
        for (index, (key, _)) in commands.iter().enumerate() {
            match self.link(key.as_bytes()).await {
                Err(error) => answers[index] = Some(Err(error)),
                Ok(link) => match by_node.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &link)) {
                    Some((_, indexes)) => indexes.push(index),
                    None => by_node.push((link, vec![index])),
                },
            }
        }
        let pipelines = by_node.iter().map(|(link, indexes)| async move {
            let mut pipeline = Pipeline::with_capacity(indexes.len());
            for index in indexes {
                pipeline.add_command(commands[*index].1.clone());
            }
            link.run_all(&pipeline).await
        });
        let all = futures_util::future::join_all(pipelines).await;
        for ((_, indexes), outcome) in by_node.iter().zip(all) {
            let outcome = outcome.unwrap_or_else(|error| indexes.iter().map(|_| Err(error.clone())).collect());
            for (index, answer) in indexes.iter().zip(outcome) {
                answers[*index] = Some(answer);
            }
        }
        let mut in_order = Vec::with_capacity(commands.len());
        for ((key, command), answer) in commands.iter().zip(answers) {
            let lost = || Err((ErrorKind::Client, "a command of a pipeline was not answered").into());
            in_order.push(match answer.unwrap_or_else(lost) {
                // Redirected means not executed. One after another keeps the order within a stream.
                Err(error) if self.check_outdated(&error).is_some() => self.run(key.as_bytes(), command).await,
                answer => answer,
            });
        }
        in_order
    }

    /// The shared connection to the node that serves `key`.
    pub(super) async fn link(&self, key: &[u8]) -> RedisResult<Arc<Reconnecting>> {
        if self.stale.load(Ordering::Acquire) {
            self.refresh().await?;
        }
        let slot = slot(key);
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let range = served.iter().find(|range| (range.first..=range.last).contains(&slot));
        range.map(|range| self.node(&range.node)).ok_or_else(|| {
            self.stale.store(true, Ordering::Release);
            (
                ErrorKind::ClusterConnectionNotFound,
                "no node of the cluster serves this key's slot",
            )
                .into()
        })
    }

    /// Learns from an error what the map lacks. Gives the node to go to, when the error names one.
    fn check_outdated(&self, error: &RedisError) -> Option<Node> {
        use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly};
        let outdated = match error.kind() {
            ErrorKind::Io | ErrorKind::Server(Moved | ReadOnly | ClusterDown | MasterDown) => true,
            ErrorKind::Server(Ask) => false,
            _ => return None,
        };
        if outdated {
            self.stale.store(true, Ordering::Release);
        }
        let (host, port) = error.redirect_node()?.0.rsplit_once(':')?;
        // Without a host it is the one that was asked: the new map will tell.
        let known = !host.is_empty() && host != "?";
        known.then(|| Some((host.to_owned(), port.parse().ok()?))).flatten()
    }

    /// Has the next command ask for a new map.
    pub(super) fn suspect(&self) {
        self.stale.store(true, Ordering::Release);
    }

    fn node(&self, node: &Node) -> Arc<Reconnecting> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let link = nodes.entry(node.clone()).or_insert_with(|| {
            let seed = &self.seeds[0];
            let (host, port) = node.clone();
            let address = match seed.addr() {
                ConnectionAddr::TcpTls {
                    insecure, tls_params, ..
                } => ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: *insecure,
                    tls_params: tls_params.clone(),
                },
                _ => ConnectionAddr::Tcp(host, port),
            };
            Reconnecting::new(Source::Server(seed.clone().set_addr(address)))
        });
        link.clone()
    }

    /// Asks the nodes, those given in the URL at last, for the map, until one answers.
    async fn refresh(&self) -> RedisResult<()> {
        let _one_at_a_time = self.refreshing.lock().await;
        if !self.stale.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut candidates: Vec<Node> = self
            .nodes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect();
        candidates.extend(self.seeds.iter().filter_map(|seed| match seed.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
            _ => None,
        }));
        let mut failure = RedisError::from((ErrorKind::InvalidClientConfig, "the URL names no node of the cluster"));
        for node in candidates {
            let answer = self.node(&node).run(cmd("CLUSTER").arg("SLOTS")).await;
            match answer.map(|answer| ranges(answer, &node.0)) {
                Ok(Ok(ranges)) if !ranges.is_empty() => {
                    // Cleared before the map is in place would let another use the old one; after, an error that
                    // comes meanwhile is lost, and comes again with the next command.
                    *self.served.lock().unwrap_or_else(PoisonError::into_inner) = ranges.into();
                    self.stale.store(false, Ordering::Release);
                    return Ok(());
                }
                Ok(Ok(_)) => failure = (ErrorKind::ClusterConnectionNotFound, "no slot is served").into(),
                Ok(Err(Unexpected(what))) => {
                    failure = (
                        ErrorKind::UnexpectedReturnType,
                        "CLUSTER SLOTS",
                        format!("expected {what}"),
                    )
                        .into();
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

async fn run_asking(link: &Arc<Reconnecting>, command: &Cmd) -> RedisResult<Value> {
    let mut pipeline = pipe();
    pipeline.cmd("ASKING").add_command(command.clone());
    let lost = || Err((ErrorKind::Client, "a command of a pipeline was not answered").into());
    link.run_all(&pipeline).await?.pop().unwrap_or_else(lost)
}

/// The masters in the answer to `CLUSTER SLOTS`. A node without a name is the one that was asked.
fn ranges(answer: Value, asked: &str) -> Decoded<Vec<Range>> {
    let one = |item| {
        let mut item = reply::array(item)?.into_iter();
        let mut next = || item.next().ok_or(Unexpected("two slots and a node"));
        let slot = |value| {
            let number = reply::number(value)?;
            u16::try_from(number)
                .ok()
                .filter(|slot| *slot < SLOTS)
                .ok_or(Unexpected("a slot"))
        };
        let (first, last) = (slot(next()?)?, slot(next()?)?);
        let mut node = reply::array(next()?)?.into_iter();
        let (host, port) = (node.next().unwrap_or_default(), node.next().unwrap_or_default());
        let host = if host == Value::Nil {
            String::new()
        } else {
            reply::text(host)?
        };
        let host = if host.is_empty() || host == "?" {
            asked.to_owned()
        } else {
            host
        };
        let port = u16::try_from(reply::number(port)?).map_err(|_| Unexpected("a port"))?;
        Ok(Range {
            first,
            last,
            node: (host, port),
        })
    };
    reply::array(answer)?.into_iter().map(one).collect()
}

/// The slot of a key, by the [cluster specification](https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/):
/// CRC16 (XMODEM) of the first `{…}` that is not empty, else of the whole key.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        let crc = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(crc, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
    }
}
