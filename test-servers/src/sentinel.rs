//! A master, a replica, and Sentinels that watch them.

use crate::{Options, RedisServer, wait_until};

/// What the Sentinels call the master.
const NAME: &str = "events";

/// A master with a replica that takes its place when the Sentinels find it dead.
#[derive(Debug)]
pub struct SentinelSetup {
    /// The server that is master at the start.
    pub master: RedisServer,
    /// The server that is replica at the start.
    pub replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl SentinelSetup {
    /// Starts all and waits until each Sentinel knows the replica and the other Sentinels.
    #[must_use]
    pub fn start(sentinels: usize) -> Self {
        let master = RedisServer::start();
        let replica = Options::default().replica_of(&master).start();
        let quorum = sentinels / 2 + 1;
        let start = |_| {
            Options::default()
                .sentinel()
                .line(format!("sentinel monitor {NAME} 127.0.0.1 {} {quorum}", master.port()))
                .line(format!("sentinel down-after-milliseconds {NAME} 500"))
                .line(format!("sentinel failover-timeout {NAME} 5000"))
                .start()
        };
        let sentinels: Vec<RedisServer> = (0..sentinels).map(start).collect();
        let setup = Self {
            master,
            replica,
            sentinels,
        };
        wait_until("the Sentinels know each other and the replica", || {
            setup.sentinels.iter().all(|sentinel| {
                let known = sentinel.command(&["SENTINEL", "MASTER", NAME]);
                let lines: Vec<&str> = known.lines().collect();
                let value = |name| {
                    lines
                        .iter()
                        .position(|line| *line == name)
                        .and_then(|at| lines.get(at + 1).copied())
                };
                let others = (setup.sentinels.len() - 1).to_string();
                value("num-slaves") == Some("1") && value("num-other-sentinels") == Some(&*others)
            })
        });
        setup
    }

    /// `redis-sentinel://host:port,…/name`
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        format!("redis-sentinel://{}/{NAME}", hosts.join(","))
    }

    /// Has the Sentinels make the replica the master although the master is well.
    pub fn fail_over(&self) {
        // Refused as long as they do not hold the replica for fit.
        wait_until("a fail-over begins", || {
            self.sentinels[0].command(&["SENTINEL", "FAILOVER", NAME]) == "OK"
        });
    }

    /// Waits until every Sentinel names this server's port as the master's.
    pub fn wait_for_master(&self, port: u16) {
        let port = port.to_string();
        wait_until("the Sentinels agree on the new master", || {
            self.sentinels.iter().all(|sentinel| {
                let address = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
                address.lines().last() == Some(&*port)
            })
        });
    }
}
