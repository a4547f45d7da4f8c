//! One server.

use std::{
    collections::HashSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

use tempfile::TempDir;

use crate::{certificates, client, user::User, wait_until};

/// How a server is started. Without any: no persistence, no password, plain TCP.
#[derive(Clone, Debug, Default)]
pub struct Options {
    lines: Vec<String>,
    tls: bool,
    /// Where the certificates are, if not made for this server alone.
    certificates: Option<PathBuf>,
    self_signed: bool,
    unix_socket: bool,
    sentinel: bool,
}

impl Options {
    /// A line of its configuration file, such as `maxmemory-policy allkeys-lru`.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Keeps a log that survives [`RedisServer::kill9`]: `appendfsync always`.
    #[must_use]
    pub fn append_only(self) -> Self {
        self.line("appendonly yes").line("appendfsync always")
    }

    /// An ACL user, such as `app on >secret ~* &* +@all`.
    #[must_use]
    pub fn user(self, rules: &str) -> Self {
        self.line(format!("user {rules}"))
    }

    /// Users with exactly the permissions that the guide to production names, beside the default user.
    #[must_use]
    pub fn documented_users(self) -> Self {
        let in_cluster = self.is_cluster_node();
        User::ALL
            .into_iter()
            .fold(self, |options, user| options.user(&user.rules(in_cluster)))
    }

    fn is_cluster_node(&self) -> bool {
        self.lines.iter().any(|line| line.starts_with("cluster-enabled"))
    }

    /// TLS with a certificate that is its own authority, as `openssl req -x509` makes them.
    #[must_use]
    pub fn self_signed_tls(mut self) -> Self {
        self.self_signed = true;
        self.tls()
    }

    /// Serves TLS; [`RedisServer::url`] is then a `rediss://` URL. Clients need not show a certificate.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The same with another server's certificates.
    #[must_use]
    pub fn tls_as(mut self, other: &RedisServer) -> Self {
        self.certificates = Some(other.directory.clone());
        self.tls()
    }

    /// Lets tests run `DEBUG`, which servers before Redis 7.0 always do.
    #[must_use]
    pub fn debug_commands(self) -> Self {
        if is_7_0() {
            self.line("enable-debug-command yes")
        } else {
            self
        }
    }

    /// Serves a Unix socket too.
    #[must_use]
    pub fn unix_socket(mut self) -> Self {
        self.unix_socket = true;
        self
    }

    /// A node of a cluster, which still has to meet the others.
    #[must_use]
    pub fn cluster_node(self) -> Self {
        self.line("cluster-enabled yes").line("cluster-node-timeout 2000")
    }

    /// A replica of another server. It is ready when it has the master's data.
    #[must_use]
    pub fn replica_of(self, master: &RedisServer) -> Self {
        let port = if master.tls { master.tls_port } else { master.port };
        self.line(format!("replicaof 127.0.0.1 {port}"))
    }

    pub(crate) fn sentinel(mut self) -> Self {
        self.sentinel = true;
        self
    }

    /// Starts the server and waits until it answers.
    #[must_use]
    pub fn start(self) -> RedisServer {
        let directory = TempDir::new().unwrap();
        match &self.certificates {
            Some(other) => {
                for name in ["ca.pem", "cert.pem", "key.pem"] {
                    fs::copy(other.join(name), directory.path().join(name)).unwrap();
                }
            }
            None if self.tls && self.self_signed => certificates::write_self_signed(directory.path()),
            None if self.tls => certificates::write(directory.path()),
            None => {}
        }
        // Between choosing a port and using it another process may take it.
        for _ in 0..10 {
            let plain = free_port();
            let ports = Ports {
                plain,
                tls: free_port(),
                bus: if is_7_0() { free_port() } else { fixed_bus(plain) },
            };
            let mut server = RedisServer {
                port: ports.plain,
                tls_port: ports.tls,
                sentinel: self.sentinel,
                tls: self.tls,
                directory: directory.path().to_owned(),
                child: None,
                _removed_last: None,
            };
            fs::write(server.configuration(), self.configuration(directory.path(), &ports)).unwrap();
            if server.launch() {
                server._removed_last = Some(directory);
                return server;
            }
        }
        let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
        panic!("no Redis server would start; its log:\n{log}");
    }

    fn configuration(&self, directory: &Path, ports: &Ports) -> String {
        let directory = directory.display();
        let mut lines = vec![
            format!("port {}", ports.plain),
            "bind 127.0.0.1".to_owned(),
            format!("dir {directory}"),
            format!("logfile {directory}/log"),
        ];
        if !self.sentinel {
            lines.push("save \"\"".to_owned());
            // Whoever follows a fail-over should not wait for it.
            lines.push("repl-diskless-sync-delay 0".to_owned());
        }
        if self.is_cluster_node() && is_7_0() {
            lines.push(format!("cluster-port {}", ports.bus));
        }
        if self.tls {
            lines.push(format!("tls-port {}", ports.tls));
            for (name, file) in [
                ("tls-ca-cert-file", "ca"),
                ("tls-cert-file", "cert"),
                ("tls-key-file", "key"),
            ] {
                lines.push(format!("{name} {directory}/{file}.pem"));
            }
            lines.push("tls-auth-clients optional".to_owned());
        }
        if self.unix_socket {
            lines.push(format!("unixsocket {directory}/redis.sock"));
        }
        lines.extend(self.lines.iter().cloned());
        lines.join("\n") + "\n"
    }
}

/// The server that the tests run on.
fn binary() -> String {
    std::env::var("STREAMER_TEST_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned())
}

/// Whether the server that the tests run on is Redis 7.0 or newer, or Valkey, and not Redis 6.2, which is the floor.
#[must_use]
pub fn is_7_0() -> bool {
    static IS: LazyLock<bool> = LazyLock::new(|| {
        let version = Command::new(binary()).arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        !version.unwrap_or_default().contains("v=6.")
    });
    *IS
}

/// The port of the cluster bus where it cannot be chosen, as on Redis 6.2.
pub(crate) fn fixed_bus(port: u16) -> u16 {
    port.saturating_add(10_000)
}

struct Ports {
    plain: u16,
    tls: u16,
    bus: u16,
}

/// A running server; killed, with all it stored, when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    tls_port: u16,
    tls: bool,
    sentinel: bool,
    directory: PathBuf,
    child: Option<(Child, Watchdog)>,
    _removed_last: Option<TempDir>,
}

/// Kills the server and removes its directory when this process ends without dropping it: because it was killed, or
/// because the server is in a `static`. It waits for the end of its input, which the system closes in any case.
#[derive(Debug)]
pub(crate) struct Watchdog(Child);

impl Watchdog {
    /// `signal` ends the server.
    pub(crate) fn watch(server: &Child, directory: &Path, signal: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "read _; kill \"$3\" \"$1\"; rm -rf \"$2\"", "sh"]);
        command.arg(server.id().to_string()).arg(directory).arg(signal);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Before its input ends: the directory must outlive a server that is only stopped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl RedisServer {
    /// A server without persistence, password or TLS.
    #[must_use]
    pub fn start() -> Self {
        Options::default().start()
    }

    /// Its URL for database 0: `redis://127.0.0.1:port`, with TLS `rediss://127.0.0.1:port?ca=…`.
    #[must_use]
    pub fn url(&self) -> String {
        if self.tls {
            return format!(
                "rediss://127.0.0.1:{}?ca={}",
                self.tls_port,
                self.file("ca.pem").display()
            );
        }
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The URL of its Unix socket, where [`Options::unix_socket`] asked for one.
    #[must_use]
    pub fn unix_url(&self) -> String {
        format!("unix://{}", self.file("redis.sock").display())
    }

    /// Its port without TLS.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its port with TLS.
    #[must_use]
    pub fn tls_port(&self) -> u16 {
        self.tls_port
    }

    /// A file in its directory. With TLS: `ca.pem`, `cert.pem`, `key.pem`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Runs a command as the default user. Arrays come as one line for each item; an error begins with `-`.
    pub fn command(&self, arguments: &[&str]) -> String {
        client::command(self.port, arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// The same, where the server may be away.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or gives no answer within ten seconds.
    pub fn try_command(&self, arguments: &[&str]) -> std::io::Result<String> {
        client::command(self.port, arguments)
    }

    /// Whether its process runs, also when it is frozen.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.child.is_some()
    }

    /// Stops the server in order, as an operator would.
    pub fn stop(&mut self) {
        // It closes the connection instead of an answer.
        let _ = client::command(self.port, &["SHUTDOWN"]);
        self.reap();
    }

    /// Kills the server without any warning.
    pub fn kill9(&mut self) {
        if let Some((child, _)) = &mut self.child {
            let _ = child.kill();
        }
        self.reap();
    }

    /// Freezes the server (`SIGSTOP`): its connections stay, and nothing answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let (child, _) = self.child.as_ref().unwrap();
        assert!(
            Command::new("kill")
                .arg(signal)
                .arg(child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
    }

    /// Starts it again on the same port and directory. What it persisted is there again.
    pub fn restart(&mut self) {
        self.kill9();
        assert!(self.launch(), "the server would not start again on port {}", self.port);
    }

    fn reap(&mut self) {
        if let Some((mut child, watchdog)) = self.child.take() {
            drop(watchdog);
            let _ = child.wait();
        }
    }

    fn configuration(&self) -> PathBuf {
        self.file("redis.conf")
    }

    /// Starts the process and waits until it answers; `false` when it ended instead.
    fn launch(&mut self) -> bool {
        let binary = binary();
        let mut command = Command::new(&binary);
        command
            .arg(self.configuration())
            // Its log tells the time.
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.sentinel {
            command.arg("--sentinel");
        }
        let mut child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "could not start '{binary}': {error}; install Redis 7 (Debian: apt-get install redis-server), or name \
                 the binary in STREAMER_TEST_REDIS_SERVER"
            )
        });
        let watchdog = Watchdog::watch(&child, &self.directory, "-KILL");
        let mut ended = false;
        let port = self.port;
        wait_until("the server answers", || {
            ended = child.try_wait().unwrap().is_some();
            ended || is_ready(port, child.id())
        });
        self.child = Some((child, watchdog));
        if ended {
            self.reap();
        }
        !ended
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// Whether this process answers on the port, and not a server of another test that took the port before it could.
fn is_ready(port: u16, process: u32) -> bool {
    let answers = client::command(port, &["PING"]).is_ok_and(|pong| pong == "PONG");
    let server = client::command(port, &["INFO", "server"]).unwrap_or_default();
    let is_this = server.lines().any(|line| line == format!("process_id:{process}"));
    answers && is_this && {
        let replication = client::command(port, &["INFO", "replication"]).unwrap_or_default();
        !replication.contains("master_link_status:down")
    }
}

/// A port that nobody uses now, and that this process did not give out before.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // A node of a cluster may need the port of its bus too.
        if !is_7_0() && TcpListener::bind(("127.0.0.1", fixed_bus(port))).is_err() {
            continue;
        }
        if given.get_or_insert_with(HashSet::new).insert(port) {
            return port;
        }
    }
}
