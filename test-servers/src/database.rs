//! SQL servers, for the archives that live in one.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

use crate::{
    server::{Watchdog, free_port},
    wait_until,
};

/// A running SQL server of its own; killed, with all it stored, when dropped.
#[derive(Debug)]
pub struct DatabaseServer {
    kind: Kind,
    port: u16,
    child: Option<(Child, Watchdog)>,
    directory: TempDir,
    databases: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Postgres,
    Maria,
}

impl DatabaseServer {
    /// A PostgreSQL server (Debian: `postgresql`).
    #[must_use]
    pub fn postgres() -> Self {
        Self::start(Kind::Postgres)
    }

    /// A MariaDB server, which speaks MySQL's protocol (Debian: `mariadb-server`).
    #[must_use]
    pub fn maria() -> Self {
        Self::start(Kind::Maria)
    }

    /// The URL of a new, empty database.
    #[must_use]
    pub fn new_database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let statement = format!("CREATE DATABASE {name}");
        assert!(self.client(&statement).status().unwrap().success(), "{statement}");
        match self.kind {
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{}/{name}", self.port),
            Kind::Maria => format!("mysql://root@127.0.0.1:{}/{name}", self.port),
        }
    }

    fn start(kind: Kind) -> Self {
        let mut directory = TempDir::new().unwrap();
        let data = directory.path().join("data");
        let user = user(kind);
        if let Some(user) = &user {
            // Neither server runs as root.
            chown(directory.path(), Some(user.id), None).unwrap();
        }
        let log = directory.path().join("log");
        let socket = directory.path().join("socket");
        let mut initialize = match kind {
            Kind::Postgres => {
                let mut command = run_as(user.as_ref(), &program("initdb"));
                command.args([
                    "--no-sync",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--auth=trust",
                    "--username=postgres",
                ]);
                command.arg("--pgdata").arg(&data);
                command
            }
            Kind::Maria => {
                let mut command = run_as(user.as_ref(), &program("mariadb-install-db"));
                command.args([
                    "--no-defaults",
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                ]);
                command.arg(option("--datadir=", &data));
                command
            }
        };
        let made = initialize.current_dir(directory.path()).stdin(Stdio::null()).output();
        let made = made.unwrap_or_else(|error| panic!("could not start {initialize:?}: {error}; {}", package(kind)));
        assert!(made.status.success(), "{initialize:?}: {made:?}");
        // Between choosing a port and using it another process may take it.
        for _ in 0..10 {
            let mut server = Self {
                kind,
                port: free_port(),
                child: None,
                directory,
                databases: AtomicU32::new(0),
            };
            let mut command = match kind {
                Kind::Postgres => {
                    let mut command = run_as(user.as_ref(), &program("postgres"));
                    command
                        .arg("-D")
                        .arg(&data)
                        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
                    command
                        .arg("-c")
                        .arg(option("unix_socket_directories=", server.directory.path()));
                    command.arg("-p").arg(server.port.to_string());
                    command
                }
                Kind::Maria => {
                    let mut command = run_as(user.as_ref(), &program("mariadbd"));
                    command.args(["--no-defaults", "--bind-address=127.0.0.1"]);
                    command.arg(format!("--port={}", server.port));
                    command
                        .arg(option("--datadir=", &data))
                        .arg(option("--socket=", &socket));
                    command
                }
            };
            command.current_dir(server.directory.path()).stdin(Stdio::null());
            let output = fs::File::create(&log).unwrap();
            command.stdout(output.try_clone().unwrap()).stderr(output);
            let mut child = command.spawn().unwrap();
            let watchdog = Watchdog::watch(&child, server.directory.path(), kind.stop_signal());
            let mut ended = false;
            wait_until("the database answers", || {
                ended = child.try_wait().unwrap().is_some();
                ended || server.client("SELECT 1").status().unwrap().success()
            });
            server.child = Some((child, watchdog));
            if !ended {
                return server;
            }
            server.reap();
            directory = std::mem::replace(&mut server.directory, TempDir::new().unwrap());
        }
        panic!(
            "no database server would start; its log:\n{}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// The server's own client, with a statement.
    fn client(&self, statement: &str) -> Command {
        let port = self.port.to_string();
        let mut command = match self.kind {
            Kind::Postgres => {
                let mut command = Command::new(program("psql"));
                command.args([
                    "--no-psqlrc",
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port,
                    "-U",
                    "postgres",
                    "-d",
                    "postgres",
                    "-c",
                ]);
                command
            }
            Kind::Maria => {
                let mut command = Command::new(program("mariadb"));
                command.args(["--no-defaults", "-h", "127.0.0.1", "-P", &port, "-u", "root", "-e"]);
                command
            }
        };
        command
            .arg(statement)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    fn reap(&mut self) {
        if let Some((mut child, watchdog)) = self.child.take() {
            let _ = Command::new("kill")
                .arg(self.kind.stop_signal())
                .arg(child.id().to_string())
                .status();
            let _ = child.wait();
            drop(watchdog);
        }
    }
}

impl Drop for DatabaseServer {
    fn drop(&mut self) {
        self.reap();
    }
}

impl Kind {
    /// At once. `kill -9` would leave PostgreSQL's shared memory behind.
    fn stop_signal(self) -> &'static str {
        match self {
            Self::Postgres => "-QUIT",
            Self::Maria => "-KILL",
        }
    }
}

fn package(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "install PostgreSQL (Debian: apt-get install postgresql)",
        Kind::Maria => "install MariaDB (Debian: apt-get install mariadb-server)",
    }
}

/// Who the server runs as when we are root.
struct User {
    name: &'static str,
    id: u32,
}

fn user(kind: Kind) -> Option<User> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    root.then(|| {
        let name = match kind {
            Kind::Postgres => "postgres",
            Kind::Maria => "mysql",
        };
        let id = Command::new("id").args(["-u", name]).output().unwrap();
        let id = String::from_utf8_lossy(&id.stdout).trim().parse();
        let id = id.unwrap_or_else(|_| panic!("there is no user '{name}' to run as; {}", package(kind)));
        User { name, id }
    })
}

/// A command, as another user if there is one. The process is the program's own: nothing stands between.
fn run_as(user: Option<&User>, program: &Path) -> Command {
    match user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={}", user.name))
                .args(["--clear-groups", "--"])
                .arg(program);
            command
        }
    }
}

/// Where a program is. Debian keeps those of PostgreSQL beside the `PATH`, and other servers' where only root looks.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    let mut folders = versions.chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.find(|folder| folder.join(name).exists());
    found.map_or_else(|| name.into(), |folder| folder.join(name))
}

fn option(name: &str, path: &Path) -> String {
    format!("{name}{}", path.display())
}
