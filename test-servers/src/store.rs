//! A store of its own for each test, of every kind that applications use, and what an operator can do to it.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _, params};
use tempfile::TempDir;

use crate::{Options, Proxy, RedisCluster, RedisServer, SentinelSetup, User};

/// A round trip to a server that is not on the same machine.
const ROUND_TRIP: Duration = Duration::from_millis(5);

/// What kind of store it is, and how it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server, plain TCP on the same machine.
    Redis,
    /// One server with TLS: a private authority, and clients show a certificate.
    Tls,
    /// A Redis Cluster of three masters.
    Cluster,
    /// One server at the end of a network with a round trip of 5 ms.
    Distant,
    /// A master with a replica, which a Sentinel leads to.
    Sentinel,
    /// A SQLite file.
    Embedded,
}

/// Names the kind of servers that suites run on which otherwise run on a plain one.
pub(crate) const VARIABLE: &str = "STREAMER_TEST_TOPOLOGY";

/// A plain server, whose connections are made in another runtime: see [`crate::connected`].
pub(crate) const RUNTIMES: &str = "runtimes";

impl Topology {
    /// The kind of servers that suites run on which run on one kind: a plain one, or what `STREAMER_TEST_TOPOLOGY` names
    /// (`tls`, `cluster`, `distant`, `sentinel`; with `runtimes` a plain one, to which [`crate::connected`] connects in another
    /// runtime).
    #[must_use]
    pub fn of_servers() -> Self {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) | Ok(RUNTIMES) => Self::Redis,
            Ok("tls") => Self::Tls,
            Ok("cluster") => Self::Cluster,
            Ok("distant") => Self::Distant,
            Ok("sentinel") => Self::Sentinel,
            Ok(other) => panic!("{VARIABLE} names no kind of servers: {other}"),
        }
    }
}

/// An empty store. Servers are used again by later tests of the same process, unless a test could have harmed them.
#[derive(Debug)]
pub struct Store {
    topology: Topology,
    url: String,
    parts: Option<Parts>,
    /// Whether its servers have the users of [`Options::documented_users`].
    has_users: bool,
    spoilt: bool,
}

/// What a store consists of.
#[derive(Debug)]
enum Parts {
    Server(RedisServer),
    Distant(RedisServer, Proxy),
    Cluster(RedisCluster),
    Sentinel(Box<SentinelSetup>),
    File(TempDir),
}

/// Servers that wait for the next test.
static POOL: Mutex<Vec<(Topology, Parts)>> = Mutex::new(Vec::new());

/// An entry that a group has not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The entry's ID.
    pub id: String,
    /// The consumer that has it.
    pub consumer: String,
    /// How often it was delivered.
    pub count: u32,
}

impl Store {
    /// An empty store of this kind.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        let used = || {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            let at = pool.iter().position(|(kind, _)| *kind == topology)?;
            Some(pool.swap_remove(at).1)
        };
        let used = std::iter::from_fn(used).find(Parts::clean);
        let with_users = || Options::default().documented_users();
        let parts = used.unwrap_or_else(|| match topology {
            Topology::Redis => Parts::Server(with_users().start()),
            Topology::Tls => Parts::Server(with_users().tls().line("tls-auth-clients yes").start()),
            Topology::Cluster => Parts::Cluster(RedisCluster::start()),
            Topology::Distant => {
                let server = with_users().start();
                let proxy = Proxy::to(server.port());
                Parts::Distant(server, proxy)
            }
            Topology::Sentinel => Parts::Sentinel(Box::new(SentinelSetup::start_with_users(1))),
            Topology::Embedded => Parts::File(TempDir::new().unwrap()),
        });
        Self::of(topology, parts)
    }

    /// A store on a server that was started with these options.
    #[must_use]
    pub fn with_options(options: Options) -> Self {
        let mut store = Self::of(Topology::Redis, Parts::Server(options.start()));
        (store.has_users, store.spoilt) = (false, true);
        store
    }

    fn of(topology: Topology, parts: Parts) -> Self {
        let url = match &parts {
            Parts::Server(server) if topology == Topology::Tls => {
                let (cert, key) = (server.file("cert.pem"), server.file("key.pem"));
                format!("{}&cert={}&key={}", server.url(), cert.display(), key.display())
            }
            Parts::Server(server) => server.url(),
            Parts::Distant(_, proxy) => {
                proxy.resume();
                proxy.set_rate(None);
                proxy.set_round_trip(ROUND_TRIP);
                format!("redis://127.0.0.1:{}", proxy.port())
            }
            Parts::Cluster(cluster) => cluster.url(),
            Parts::Sentinel(setup) => setup.url(),
            Parts::File(folder) => format!("sqlite://{}", folder.path().join("store.db").display()),
        };
        Self {
            topology,
            url,
            parts: Some(parts),
            has_users: topology != Topology::Embedded,
            spoilt: topology == Topology::Embedded,
        }
    }

    /// What kind it is.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Its URL, for the default user.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its URL, for a user with exactly the documented permissions; for the default user where options of its own were given.
    #[must_use]
    pub fn url_of(&self, user: User) -> String {
        match self.has_users {
            true => user.url(&self.url),
            false => self.url.clone(),
        }
    }

    fn parts(&self) -> &Parts {
        self.parts.as_ref().unwrap()
    }

    /// The server, where there is one. Whoever asks may stop it: no other test gets it.
    pub fn server(&mut self) -> Option<&mut RedisServer> {
        self.spoilt = true;
        match self.parts.as_mut().unwrap() {
            Parts::Server(server) | Parts::Distant(server, _) => Some(server),
            Parts::Sentinel(setup) => Some(&mut setup.master),
            Parts::Cluster(_) | Parts::File(_) => None,
        }
    }

    /// The cluster, where it is one. Whoever asks may harm it: no other test gets it.
    pub fn cluster(&mut self) -> Option<&mut RedisCluster> {
        self.spoilt = true;
        match self.parts.as_mut().unwrap() {
            Parts::Cluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    /// The network, where there is one.
    #[must_use]
    pub fn network(&self) -> Option<&Proxy> {
        match self.parts() {
            Parts::Distant(_, proxy) => Some(proxy),
            _ => None,
        }
    }

    /// The database file, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        match self.parts() {
            Parts::File(folder) => Some(folder.path().join("store.db")),
            _ => None,
        }
    }

    /// Every server of it.
    #[must_use]
    pub fn servers(&self) -> Vec<&RedisServer> {
        self.parts().servers()
    }

    /// Runs a command of Redis at the server that has its key, which is the second word. See [`RedisServer::command`].
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> String {
        let servers = self.servers();
        let answer = servers[0].command(arguments);
        match answer.strip_prefix("-MOVED ").and_then(|rest| rest.rsplit(':').next()) {
            Some(port) => {
                let port = port.trim();
                let owner = servers.iter().find(|server| server.port().to_string() == port);
                owner.unwrap().command(arguments)
            }
            None => answer,
        }
    }

    /// Runs a command that must not be refused.
    fn done(&self, arguments: &[&str]) -> String {
        let answer = self.command(arguments);
        assert!(!answer.starts_with('-'), "{arguments:?}: {answer}");
        answer
    }

    fn sql(&self) -> Option<Connection> {
        let connection = Connection::open(self.file()?).unwrap();
        connection.busy_timeout(Duration::from_secs(20)).unwrap();
        Some(connection)
    }

    /// What a group has not settled on a stream, by ID; nothing where there is no such group.
    #[must_use]
    pub fn pending(&self, stream: &str, group: &str) -> Vec<Pending> {
        if let Some(sql) = self.sql() {
            let mut statement = sql
                .prepare(
                    "SELECT streamer_pending.id, streamer_consumers.name, deliveries FROM streamer_pending
                     JOIN streamer_consumers ON streamer_consumers.id = consumer
                     WHERE streamer_pending.group_id = (SELECT streamer_groups.id FROM streamer_groups JOIN streamer_keys ON streamer_keys.id = streamer_groups.stream
                                               WHERE streamer_keys.name = ? AND streamer_groups.name = ?)
                     ORDER BY streamer_pending.id",
                )
                .unwrap();
            let rows = statement.query_map(params![stream.as_bytes(), group], |row| {
                Ok(Pending {
                    id: id(&row.get::<_, Vec<u8>>(0)?),
                    consumer: row.get(1)?,
                    count: row.get(2)?,
                })
            });
            return rows.unwrap().map(Result::unwrap).collect();
        }
        let answer = self.command(&["XPENDING", stream, group, "-", "+", "1000000"]);
        if answer.starts_with("-NOGROUP") {
            return Vec::new();
        }
        let lines = answer.lines().collect::<Vec<_>>();
        let pending = lines.chunks_exact(4).map(|line| Pending {
            id: line[0].to_owned(),
            consumer: line[1].to_owned(),
            count: line[3].parse().unwrap(),
        });
        pending.collect()
    }

    /// The consumers of a group, each with the number of its pending entries, by name.
    #[must_use]
    pub fn consumers(&self, stream: &str, group: &str) -> Vec<(String, u32)> {
        let mut consumers: Vec<(String, u32)> = if let Some(sql) = self.sql() {
            let mut statement = sql
                .prepare(
                    "SELECT name, (SELECT count(*) FROM streamer_pending WHERE consumer = streamer_consumers.id) FROM streamer_consumers
                     WHERE group_id = (SELECT streamer_groups.id FROM streamer_groups JOIN streamer_keys ON streamer_keys.id = streamer_groups.stream
                                       WHERE streamer_keys.name = ? AND streamer_groups.name = ?)",
                )
                .unwrap();
            let rows = statement.query_map(params![stream.as_bytes(), group], |row| Ok((row.get(0)?, row.get(1)?)));
            rows.unwrap().map(Result::unwrap).collect()
        } else {
            let answer = self.command(&["XINFO", "CONSUMERS", stream, group]);
            if answer.starts_with('-') {
                return Vec::new();
            }
            let (mut consumers, mut name) = (Vec::new(), None);
            let lines = answer.lines().collect::<Vec<_>>();
            for pair in lines.chunks_exact(2) {
                match (pair[0], &mut name) {
                    ("name", name) => *name = Some(pair[1].to_owned()),
                    ("pending", name) => consumers.push((name.take().unwrap(), pair[1].parse().unwrap())),
                    _ => {}
                }
            }
            consumers
        };
        consumers.sort();
        consumers
    }

    /// Removes a group with all that it knows.
    pub fn destroy_group(&self, stream: &str, group: &str) {
        let Some(sql) = self.sql() else {
            assert_eq!(self.done(&["XGROUP", "DESTROY", stream, group]), "1");
            return;
        };
        let group: i64 = sql
            .query_row(
                "SELECT streamer_groups.id FROM streamer_groups JOIN streamer_keys ON streamer_keys.id = stream WHERE streamer_keys.name = ? AND streamer_groups.name = ?",
                params![stream.as_bytes(), group],
                |row| row.get(0),
            )
            .unwrap();
        sql.execute_batch(&format!(
            "BEGIN IMMEDIATE; DELETE FROM streamer_pending WHERE group_id = {group};
             DELETE FROM streamer_consumers WHERE group_id = {group}; DELETE FROM streamer_groups WHERE id = {group}; COMMIT"
        ))
        .unwrap();
    }

    /// Makes a consumer, as a process that dies at once leaves it.
    pub fn create_consumer(&self, stream: &str, group: &str, consumer: &str) {
        let Some(sql) = self.sql() else {
            let _ = self.done(&["XGROUP", "CREATECONSUMER", stream, group, consumer]);
            return;
        };
        let made = sql.execute(
            "INSERT INTO streamer_consumers (group_id, name, seen_ms)
             SELECT streamer_groups.id, ?3, unixepoch() * 1000 FROM streamer_groups JOIN streamer_keys ON streamer_keys.id = stream
             WHERE streamer_keys.name = ?1 AND streamer_groups.name = ?2",
            params![stream.as_bytes(), group, consumer],
        );
        assert_eq!(made.unwrap(), 1);
    }

    /// Removes a consumer with what is pending with it.
    pub fn delete_consumer(&self, stream: &str, group: &str, consumer: &str) {
        let Some(sql) = self.sql() else {
            let _ = self.done(&["XGROUP", "DELCONSUMER", stream, group, consumer]);
            return;
        };
        let consumer: i64 = sql
            .query_row(
                "SELECT streamer_consumers.id FROM streamer_consumers JOIN streamer_groups ON streamer_groups.id = group_id JOIN streamer_keys ON streamer_keys.id = stream
                 WHERE streamer_keys.name = ? AND streamer_groups.name = ? AND streamer_consumers.name = ?",
                params![stream.as_bytes(), group, consumer],
                |row| row.get(0),
            )
            .unwrap();
        sql.execute_batch(&format!(
            "BEGIN IMMEDIATE; DELETE FROM streamer_pending WHERE consumer = {consumer};
             DELETE FROM streamer_consumers WHERE id = {consumer}; COMMIT"
        ))
        .unwrap();
    }

    /// Removes every entry of a stream; groups keep what is pending.
    pub fn trim(&self, stream: &str) {
        let Some(sql) = self.sql() else {
            let _ = self.done(&["XTRIM", stream, "MAXLEN", "0"]);
            return;
        };
        let key: Option<i64> = sql
            .query_row(
                "SELECT id FROM streamer_keys WHERE name = ?",
                [stream.as_bytes()],
                |row| row.get(0),
            )
            .optional()
            .unwrap();
        let key = key.unwrap();
        sql.execute_batch(&format!(
            "BEGIN IMMEDIATE; DELETE FROM streamer_entries WHERE stream = {key};
             UPDATE streamer_streams SET length = 0, max_deleted_id = unhex(printf('%016x%016x', last_ms, last_seq))
             WHERE stream = {key}; COMMIT"
        ))
        .unwrap();
    }

    /// Puts something at a key that is no stream.
    pub fn occupy(&self, key: &str) {
        let Some(sql) = self.sql() else {
            assert_eq!(self.done(&["SET", key, "1"]), "OK");
            return;
        };
        sql.execute("INSERT INTO streamer_keys (name, kind) VALUES (?, 1)", [key.as_bytes()])
            .unwrap();
    }

    /// Removes what [`Store::occupy`] put there.
    pub fn vacate(&self, key: &str) {
        let Some(sql) = self.sql() else {
            assert_eq!(self.done(&["DEL", key]), "1");
            return;
        };
        sql.execute(
            "DELETE FROM streamer_keys WHERE name = ? AND kind = 1",
            [key.as_bytes()],
        )
        .unwrap();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let parts = self.parts.take().unwrap();
        // What a test that failed left behind is anybody's guess.
        if !self.spoilt && !std::thread::panicking() {
            let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
            pool.push((self.topology, parts));
        }
    }
}

impl Parts {
    fn servers(&self) -> Vec<&RedisServer> {
        match self {
            Self::Server(server) | Self::Distant(server, _) => vec![server],
            Self::Cluster(cluster) => cluster.nodes().iter().collect(),
            Self::Sentinel(setup) => vec![&setup.master],
            Self::File(_) => Vec::new(),
        }
    }

    /// Empties it, as soon as whoever used it is gone; `false` when somebody stays.
    fn clean(&self) -> bool {
        if let Self::Distant(_, proxy) = self {
            proxy.resume();
            proxy.set_rate(None);
            proxy.set_round_trip(Duration::ZERO);
        }
        let until = Instant::now() + Duration::from_secs(5);
        self.servers().into_iter().all(|server| {
            // Our own connection is one of them.
            let alone = || {
                let clients = server.command(&["CLIENT", "LIST", "TYPE", "normal"]);
                let others = clients.lines().filter(|client| !client.contains(" name=sentinel-"));
                others.count() <= 1
            };
            while !alone() {
                if Instant::now() > until {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            [
                &["CONFIG", "SET", "maxmemory", "0"][..],
                &["FLUSHALL"],
                &["CONFIG", "RESETSTAT"],
            ]
            .iter()
            .all(|command| server.command(command) == "OK")
        })
    }
}

/// An ID as it is kept in the file.
fn id(bytes: &[u8]) -> String {
    let half = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().unwrap());
    format!("{}-{}", half(&bytes[..8]), half(&bytes[8..]))
}
