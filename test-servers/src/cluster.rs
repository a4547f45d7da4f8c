//! Three masters that share the slots, with a replica each where one is asked for.

use crate::{Options, RedisServer, server::fixed_bus, wait_until};

const NODES: u16 = 3;
const SLOTS: u16 = 16_384;

/// A Redis Cluster of three masters.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    tls: bool,
}

impl RedisCluster {
    /// Starts the nodes, shares the slots among them, and waits until each says that the cluster is well.
    #[must_use]
    pub fn start() -> Self {
        let node = || Options::default().cluster_node().documented_users();
        Self::of((0..NODES).map(|_| node().start()).collect(), false)
    }

    /// The same over TLS, also between the nodes.
    #[must_use]
    pub fn start_tls() -> Self {
        let node = || Options::default().cluster_node().line("tls-cluster yes");
        let first = node().tls().start();
        let others: Vec<RedisServer> = (1..NODES).map(|_| node().tls_as(&first).start()).collect();
        Self::of(std::iter::once(first).chain(others).collect(), true)
    }

    /// Three masters and a replica of each. Everything is logged at once, and slots that nobody serves hold up no others.
    #[must_use]
    pub fn start_with_replicas() -> Self {
        let node = || Options::default().cluster_node().append_only();
        let node = || node().line("cluster-require-full-coverage no").start();
        let mut cluster = Self::of((0..NODES).map(|_| node()).collect(), false);
        let masters = cluster.nodes.iter().map(|node| node.command(&["CLUSTER", "MYID"]));
        for master in masters.collect::<Vec<_>>() {
            let replica = node();
            cluster.meet(&replica);
            wait_until("the replica's master is known to it", || {
                replica.command(&["CLUSTER", "REPLICATE", &master]) == "OK"
            });
            cluster.nodes.push(replica);
        }
        cluster.wait_until_well();
        let in_sync = |node: &RedisServer| node.command(&["INFO", "replication"]).contains("state=online");
        wait_until("each master has its replica", || {
            cluster.nodes[..usize::from(NODES)].iter().all(in_sync)
        });
        cluster
    }

    fn of(nodes: Vec<RedisServer>, tls: bool) -> Self {
        for (index, node) in (0..NODES).zip(&nodes) {
            let share = |index: u16| (u32::from(SLOTS) * u32::from(index) / u32::from(NODES)) as u16;
            let slots: Vec<String> = (share(index)..share(index + 1)).map(|slot| slot.to_string()).collect();
            let mut command = vec!["CLUSTER", "ADDSLOTS"];
            command.extend(slots.iter().map(String::as_str));
            assert_eq!(node.command(&command), "OK");
            assert_eq!(
                node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]),
                "OK"
            );
        }
        let cluster = Self { nodes, tls };
        for node in &cluster.nodes[1..] {
            cluster.meet(node);
        }
        cluster.wait_until_well();
        cluster
    }

    /// Has a node meet the first.
    fn meet(&self, node: &RedisServer) {
        let first = &self.nodes[0];
        let port = if self.tls { first.tls_port() } else { first.port() };
        let bus = first.command(&["CONFIG", "GET", "cluster-port"]);
        let bus = match bus.lines().last() {
            Some(bus) if !bus.is_empty() => bus.to_owned(),
            _ => fixed_bus(port).to_string(),
        };
        let met = node.command(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus]);
        assert_eq!(met, "OK");
    }

    /// `redis-cluster://host:port,host:port,host:port`, with TLS `rediss-cluster://…?ca=…`.
    #[must_use]
    pub fn url(&self) -> String {
        let port = |node: &RedisServer| if self.tls { node.tls_port() } else { node.port() };
        let hosts: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", port(node)))
            .collect();
        let hosts = hosts.join(",");
        match self.tls {
            true => format!("rediss-cluster://{hosts}?ca={}", self.nodes[0].file("ca.pem").display()),
            false => format!("redis-cluster://{hosts}"),
        }
    }

    /// Its nodes; the first serves the lowest slots. Replicas come after the three masters, in their order.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// The same, to stop them.
    pub fn nodes_mut(&mut self) -> &mut [RedisServer] {
        &mut self.nodes
    }

    /// Gives a slot, with the keys in it, from one node to another, as `redis-cli --cluster reshard` does.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let (from_id, to_id) = (from.command(&["CLUSTER", "MYID"]), to.command(&["CLUSTER", "MYID"]));
        assert_eq!(to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]), "OK");
        assert_eq!(from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]), "OK");
        let mut late = 0;
        loop {
            let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
            if keys.is_empty() {
                break;
            }
            for key in keys.lines() {
                let port = to.port().to_string();
                let moved = from.command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000", "REPLACE"]);
                // On a busy machine the other node may be late. The key is here still, and perhaps there, too.
                if moved.starts_with("-IOERR") && late < 10 {
                    late += 1;
                    continue;
                }
                // Some keys expire, or are removed by whoever uses them.
                assert!(["OK", "NOKEY"].contains(&&*moved), "{key}: {moved}");
            }
        }
        for node in [to, from] {
            assert_eq!(node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]), "OK");
        }
        // The old owner learns by gossip with which epoch. If it took the slot back before, its own epoch might be too low for
        // that, and each of them would refer to the other.
        wait_until("the old owner of the slot knows the new one", || {
            let info = to.command(&["CLUSTER", "INFO"]);
            let epoch = info.lines().find_map(|line| line.strip_prefix("cluster_my_epoch:"));
            let nodes = from.command(&["CLUSTER", "NODES"]);
            let owner = nodes.lines().find(|line| line.starts_with(&to_id));
            owner.and_then(|line| line.split(' ').nth(6)) == epoch.map(str::trim)
        });
    }

    fn wait_until_well(&self) {
        wait_until("the cluster is well", || {
            self.nodes.iter().all(|node| {
                let info = node.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            })
        });
    }
}
