//! A master, a replica, and Sentinels that watch them.

use std::time::{Duration, Instant};

use crate::{Options, RedisServer, wait_until};

/// What the Sentinels call the master.
const NAME: &str = "events";
/// After how long a fail-over that nobody announces is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// A master with a replica that takes its place when the Sentinels find it dead.
#[derive(Debug)]
pub struct SentinelSetup {
    /// The server that is master at the start.
    pub master: RedisServer,
    /// The server that is replica at the start.
    pub replica: RedisServer,
    sentinels: Vec<RedisServer>,
    tls: bool,
}

/// After how long without an answer a Sentinel takes the master for dead. The last line of its kind counts.
fn down_after(silence: Duration) -> String {
    format!("sentinel down-after-milliseconds {NAME} {}", silence.as_millis())
}

impl SentinelSetup {
    /// Starts all and waits until each Sentinel knows the replica and the other Sentinels.
    #[must_use]
    pub fn start(sentinels: usize) -> Self {
        Self::with(sentinels, |_, sentinel| sentinel, false)
    }

    /// The same with TLS everywhere.
    #[must_use]
    pub fn start_tls(sentinels: usize) -> Self {
        Self::with(sentinels, |_, sentinel| sentinel, true)
    }

    /// The same with Sentinels whose options are changed.
    #[must_use]
    pub fn start_with(sentinels: usize, options: impl Fn(usize, Options) -> Options) -> Self {
        Self::with(sentinels, options, false)
    }

    /// The same where the master and the replica have the users of [`Options::documented_users`], for tests in which nothing
    /// fails: a master that does not answer for a while, on a busy machine, stays the master.
    #[must_use]
    pub fn start_with_users(sentinels: usize) -> Self {
        let data = Options::default().documented_users();
        let patient = |_, sentinel: Options| sentinel.line(down_after(Duration::from_mins(10)));
        Self::of(sentinels, patient, &data, false)
    }

    /// The same where the master and the replica log everything at once, and find it again when they start again.
    #[must_use]
    pub fn start_append_only(sentinels: usize) -> Self {
        let data = Options::default().append_only();
        Self::of(sentinels, |_, sentinel| sentinel, &data, false)
    }

    fn with(sentinels: usize, options: impl Fn(usize, Options) -> Options, tls: bool) -> Self {
        Self::of(sentinels, options, &Options::default(), tls)
    }

    fn of(sentinels: usize, options: impl Fn(usize, Options) -> Options, data: &Options, tls: bool) -> Self {
        let with_tls = |options: Options| match tls {
            true => options.line("tls-replication yes"),
            false => options,
        };
        let base = || with_tls(data.clone());
        let master = if tls { base().tls().start() } else { base().start() };
        let beside = |options: Options| if tls { options.tls_as(&master) } else { options };
        let replica = beside(base()).replica_of(&master).start();
        let quorum = sentinels / 2 + 1;
        let port = if tls { master.tls_port() } else { master.port() };
        let start = |index| {
            let watching = beside(with_tls(Options::default()))
                .sentinel()
                .line(format!("sentinel monitor {NAME} 127.0.0.1 {port} {quorum}"))
                .line(down_after(Duration::from_millis(500)))
                .line(format!("sentinel failover-timeout {NAME} 5000"));
            options(index, watching).start()
        };
        let sentinels: Vec<RedisServer> = (0..sentinels).map(start).collect();
        let setup = Self {
            master,
            replica,
            sentinels,
            tls,
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

    /// `redis-sentinel://host:port,…/name`, with TLS `rediss-sentinel://…?ca=…`.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|node| format!("127.0.0.1:{}", self.port_of(node)))
            .collect();
        let hosts = hosts.join(",");
        match self.tls {
            true => format!(
                "rediss-sentinel://{hosts}/{NAME}?ca={}",
                self.master.file("ca.pem").display()
            ),
            false => format!("redis-sentinel://{hosts}/{NAME}"),
        }
    }

    fn port_of(&self, server: &RedisServer) -> u16 {
        if self.tls { server.tls_port() } else { server.port() }
    }

    /// The Sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[RedisServer] {
        &self.sentinels
    }

    /// The same, to stop them.
    pub fn sentinels_mut(&mut self) -> &mut [RedisServer] {
        &mut self.sentinels
    }

    /// Waits until a Sentinel names the replica as the master, after [`SentinelSetup::fail_over`].
    pub fn wait_for_announcement(&self) {
        let port = self.port_of(&self.replica);
        let mut asked = Instant::now();
        wait_until("a Sentinel announces the new master", || {
            self.ask_again(port, &mut asked);
            self.sentinels.iter().any(|sentinel| names(sentinel, port))
        });
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
        let mut asked = Instant::now();
        wait_until("the Sentinels agree on the new master", || {
            self.ask_again(port, &mut asked);
            self.sentinels.iter().all(|sentinel| names(sentinel, port))
        });
    }

    /// On a busy machine Sentinels give a fail-over up. One that is under way refuses another.
    fn ask_again(&self, port: u16, asked: &mut Instant) {
        if asked.elapsed() > ASK_AGAIN && !self.sentinels.iter().any(|sentinel| names(sentinel, port)) {
            self.sentinels[0].command(&["SENTINEL", "FAILOVER", NAME]);
            *asked = Instant::now();
        }
    }
}

/// Whether a Sentinel names this port as the master's.
fn names(sentinel: &RedisServer, port: u16) -> bool {
    let address = sentinel.command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
    address.lines().last() == Some(&*port.to_string())
}
