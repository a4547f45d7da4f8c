//! Three masters that share the slots.

use crate::{Options, RedisServer, server::fixed_bus, wait_until};

const NODES: u16 = 3;
const SLOTS: u16 = 16_384;

/// A Redis Cluster of three masters without replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    tls: bool,
}

impl RedisCluster {
    /// Starts the nodes, shares the slots among them, and waits until each says that the cluster is well.
    #[must_use]
    pub fn start() -> Self {
        Self::of(
            (0..NODES).map(|_| Options::default().cluster_node().start()).collect(),
            false,
        )
    }

    /// The same over TLS, also between the nodes.
    #[must_use]
    pub fn start_tls() -> Self {
        let node = || Options::default().cluster_node().line("tls-cluster yes");
        let first = node().tls().start();
        let others: Vec<RedisServer> = (1..NODES).map(|_| node().tls_as(&first).start()).collect();
        Self::of(std::iter::once(first).chain(others).collect(), true)
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
        let port = if tls { nodes[0].tls_port() } else { nodes[0].port() };
        let bus = nodes[0].command(&["CONFIG", "GET", "cluster-port"]);
        let bus = match bus.lines().last() {
            Some(bus) if !bus.is_empty() => bus.to_owned(),
            _ => fixed_bus(port).to_string(),
        };
        for node in &nodes[1..] {
            assert_eq!(
                node.command(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus]),
                "OK"
            );
        }
        let cluster = Self { nodes, tls };
        cluster.wait_until_well();
        cluster
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

    /// Its nodes; the first serves the lowest slots.
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
        let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]);
        for key in keys.lines() {
            let moved = from.command(&["MIGRATE", "127.0.0.1", &to.port().to_string(), key, "0", "5000"]);
            assert_eq!(moved, "OK");
        }
        for node in [to, from] {
            assert_eq!(node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]), "OK");
        }
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
