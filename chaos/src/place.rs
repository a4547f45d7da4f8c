//! The store, of each topology.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use streamer_test_servers::{Options, Proxy, RedisCluster, RedisServer, SentinelSetup};

/// What kind of store it is, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Topology {
    /// One server, whose log is flushed at each write
    Redis,
    /// The same with TLS
    Tls,
    /// The same at the end of a network with a round trip of 5 ms
    Distant,
    /// A Redis Cluster of three masters and three replicas
    Cluster,
    /// A master, a replica and three Sentinels
    Sentinel,
    /// A SQLite file that all processes share
    Embedded,
}

impl Topology {
    pub(crate) const ALL: [Self; 6] = [
        Self::Redis,
        Self::Tls,
        Self::Distant,
        Self::Cluster,
        Self::Sentinel,
        Self::Embedded,
    ];

    /// Those that are one server behind a network.
    pub(crate) const SINGLE: &[Self] = &[Self::Redis, Self::Tls, Self::Distant];
    /// Those that have servers.
    pub(crate) const SERVERS: &[Self] = &[Self::Redis, Self::Tls, Self::Distant, Self::Cluster, Self::Sentinel];
}

/// The store itself.
pub(crate) struct Place {
    pub(crate) topology: Topology,
    pub(crate) url: String,
    pub(crate) parts: Parts,
}

pub(crate) enum Parts {
    Single(RedisServer, Proxy),
    Cluster(RedisCluster),
    Sentinel(SentinelSetup),
    File(PathBuf),
}

/// The user that applications are on single servers; its password may change. Faults are made as the default user.
pub(crate) const USER: &str = "app";
pub(crate) const PASSWORD: &str = "secret";

impl Place {
    pub(crate) fn new(topology: Topology, folder: &Path) -> Self {
        let single = |options: Options| {
            let user = format!("{USER} on >{PASSWORD} ~* &* +@all");
            let server = options.append_only().user(&user).start();
            let tls = topology == Topology::Tls;
            let proxy = Proxy::to(if tls { server.tls_port() } else { server.port() });
            let host = format!("{USER}:{PASSWORD}@127.0.0.1:{}", proxy.port());
            let url = match tls {
                true => format!("rediss://{host}?ca={}", server.file("ca.pem").display()),
                false => format!("redis://{host}"),
            };
            (url, Parts::Single(server, proxy))
        };
        let (url, parts) = match topology {
            Topology::Redis => single(Options::default()),
            Topology::Tls => single(Options::default().tls()),
            Topology::Distant => {
                let (url, parts) = single(Options::default());
                if let Parts::Single(_, proxy) = &parts {
                    proxy.set_round_trip(std::time::Duration::from_millis(5));
                }
                (url, parts)
            }
            Topology::Cluster => {
                let cluster = RedisCluster::start_with_replicas();
                (cluster.url(), Parts::Cluster(cluster))
            }
            Topology::Sentinel => {
                let setup = SentinelSetup::start_append_only(3);
                (setup.url(), Parts::Sentinel(setup))
            }
            Topology::Embedded => {
                let file = folder.join("store.db");
                (format!("sqlite://{}", file.display()), Parts::File(file))
            }
        };
        Self { topology, url, parts }
    }

    /// The servers that keep streams, those that are away too.
    pub(crate) fn servers(&self) -> Vec<&RedisServer> {
        match &self.parts {
            Parts::Single(server, _) => vec![server],
            Parts::Cluster(cluster) => cluster.nodes().iter().collect(),
            Parts::Sentinel(setup) => vec![&setup.master, &setup.replica],
            Parts::File(_) => Vec::new(),
        }
    }

    /// The same, to stop one.
    pub(crate) fn server_mut(&mut self, index: usize) -> &mut RedisServer {
        match &mut self.parts {
            Parts::Single(server, _) => server,
            Parts::Cluster(cluster) => &mut cluster.nodes_mut()[index],
            Parts::Sentinel(setup) => match index {
                0 => &mut setup.master,
                _ => &mut setup.replica,
            },
            Parts::File(_) => unreachable!("a file has no servers"),
        }
    }

    /// Those that are masters now, and up.
    pub(crate) fn masters(&self) -> Vec<usize> {
        let servers = self.servers().into_iter().enumerate();
        let masters = servers.filter(|(_, server)| server.is_up() && role(server) == "master");
        let mut masters = masters.map(|(index, _)| index).collect::<Vec<_>>();
        // A master without slots is one that nobody needs.
        if let Parts::Cluster(cluster) = &self.parts {
            masters.retain(|index| {
                let nodes = cluster.nodes()[*index].try_command(&["CLUSTER", "NODES"]);
                let nodes = nodes.unwrap_or_default();
                let own = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
                own.split(' ').count() > 8
            });
        }
        masters
    }

    /// Masters with a replica that is in step with them.
    pub(crate) fn masters_with_replica(&self) -> Vec<usize> {
        let servers = self.servers();
        let mut masters = self.masters();
        masters.retain(|index| {
            let info = servers[*index]
                .try_command(&["INFO", "replication"])
                .unwrap_or_default();
            info.contains("state=online")
        });
        masters
    }

    pub(crate) fn network(&self) -> Option<&Proxy> {
        match &self.parts {
            Parts::Single(_, proxy) => Some(proxy),
            _ => None,
        }
    }

    /// Runs a command about a key, which is the second word or the third, at the server that has it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<String> {
        let servers = self.servers();
        for index in self.masters() {
            let answer = servers[index].try_command(arguments)?;
            if !answer.starts_with("-MOVED") && !answer.starts_with("-READONLY") {
                ensure!(
                    !answer.starts_with("-ASK") && !answer.starts_with("-CLUSTERDOWN"),
                    "{arguments:?}: {answer}"
                );
                return Ok(answer);
            }
        }
        bail!("no master answers {arguments:?}")
    }

    pub(crate) fn file(&self) -> Result<&Path> {
        match &self.parts {
            Parts::File(path) => Ok(path),
            _ => bail!("this store is no file"),
        }
    }
}

/// `master` or `slave`, or nothing when it does not answer.
pub(crate) fn role(server: &RedisServer) -> String {
    let answer = server.try_command(&["ROLE"]).unwrap_or_default();
    answer.lines().next().unwrap_or_default().to_owned()
}
