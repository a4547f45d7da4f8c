//! Servers that speak the protocols of object stores, for the archives that live in one.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    server::{Watchdog, free_port},
    wait_until,
};

/// Where `cargo xtask test` puts the servers.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/object-servers");

/// A running server of its own; killed, with all it stored, when dropped.
#[derive(Debug)]
pub struct ObjectServer {
    kind: Kind,
    port: u16,
    child: Option<(Child, Watchdog)>,
    _directory: TempDir,
    buckets: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    S3,
    Azure,
    Google,
}

/// The account that Azurite has from the start, and what its public key signed: that whoever shows it may make containers.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const MAY_MAKE_CONTAINERS: &str = "sv=2019-12-12&ss=b&srt=sco&sp=rwdlac&se=2099-01-01T00:00:00Z\
    &sig=YKAtmJudHaH98kax9IHOYkiCF9veHhGg4TBHNwluLXo%3D";

impl ObjectServer {
    /// A server with the protocol of Amazon S3: that of `moto`.
    #[must_use]
    pub fn s3() -> Self {
        Self::start(Kind::S3)
    }

    /// A server with the protocol of Azure's Blob Storage: Azurite.
    #[must_use]
    pub fn azure() -> Self {
        Self::start(Kind::Azure)
    }

    /// A server for the client of Google Cloud Storage. Its XML interface is that of S3, so `moto` answers it: objects and
    /// lists, but neither Google's tokens nor its condition that an object is new.
    #[must_use]
    pub fn google() -> Self {
        Self::start(Kind::Google)
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of an archive in a new, empty bucket.
    #[must_use]
    pub fn new_bucket(&self) -> String {
        let name = format!("test{}", self.buckets.fetch_add(1, Ordering::Relaxed));
        let (target, scheme) = match self.kind {
            Kind::S3 => (format!("/{name}"), "s3"),
            Kind::Google => (format!("/{name}"), "gs"),
            Kind::Azure => (
                format!("/{ACCOUNT}/{name}?restype=container&{MAY_MAKE_CONTAINERS}"),
                "az",
            ),
        };
        let answer = self.request("PUT", &target).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        format!("{scheme}://{name}/an archive")
    }

    /// The settings of a client that reaches it through `port`, by the names of their environment variables.
    #[must_use]
    pub fn settings(&self, port: u16) -> Vec<(&'static str, String)> {
        let endpoint = format!("http://127.0.0.1:{port}");
        match self.kind {
            Kind::S3 => vec![
                ("AWS_ENDPOINT_URL", endpoint),
                ("AWS_ALLOW_HTTP", "true".into()),
                ("AWS_REGION", "us-east-1".into()),
                ("AWS_ACCESS_KEY_ID", "a-key".into()),
                ("AWS_SECRET_ACCESS_KEY", "Hunter2".into()),
            ],
            Kind::Google => vec![("GOOGLE_BASE_URL", endpoint), ("GOOGLE_BEARER_TOKEN", "Hunter2".into())],
            Kind::Azure => vec![
                ("AZURE_STORAGE_ENDPOINT", format!("{endpoint}/{ACCOUNT}")),
                ("AZURE_ALLOW_HTTP", "true".into()),
                ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.into()),
                ("AZURE_STORAGE_ACCOUNT_KEY", KEY.into()),
            ],
        }
    }

    fn start(kind: Kind) -> Self {
        let logs = TempDir::new().unwrap();
        let log = logs.path().join("log");
        // Between choosing a port and using it another process may take it.
        for _ in 0..10 {
            let directory = TempDir::new().unwrap();
            let port = free_port();
            let mut command = kind.command(port);
            let output = fs::File::create(&log).unwrap();
            command.current_dir(directory.path()).stdin(Stdio::null());
            command.stdout(output.try_clone().unwrap()).stderr(output);
            let child = command.spawn();
            let mut child = child.unwrap_or_else(|error| panic!("could not start {command:?}: {error}; {INSTALL}"));
            let watchdog = Watchdog::watch(&child, directory.path(), "-KILL");
            let mut server = Self {
                kind,
                port,
                child: None,
                _directory: directory,
                buckets: AtomicU32::new(0),
            };
            let mut ended = false;
            wait_until("the object server answers", || {
                ended = child.try_wait().unwrap().is_some();
                ended || server.is_ready()
            });
            server.child = Some((child, watchdog));
            if !ended {
                return server;
            }
        }
        panic!(
            "no object server would start; {INSTALL}; its log:\n{}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// Whether it is this kind of server that answers, and not one that took the port.
    fn is_ready(&self) -> bool {
        let (target, sign) = match self.kind {
            Kind::S3 | Kind::Google => ("/moto-api/data.json", "HTTP/1.1 200"),
            Kind::Azure => ("/", "Azurite"),
        };
        self.request("GET", target).is_ok_and(|answer| answer.contains(sign))
    }

    /// What it answers, head and body.
    fn request(&self, method: &str, target: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let port = self.port;
        let head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
        // moto looks there for the service that is meant.
        let login = "Authorization: AWS4-HMAC-SHA256 Credential=a-key/20260101/us-east-1/s3/aws4_request, \
                     SignedHeaders=host, Signature=0\r\n";
        let login = if self.kind == Kind::Azure { "" } else { login };
        stream.write_all(format!("{head}{login}Content-Length: 0\r\n\r\n").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for ObjectServer {
    fn drop(&mut self) {
        if let Some((mut child, watchdog)) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            drop(watchdog);
        }
    }
}

const INSTALL: &str = "`cargo xtask test` installs it";

impl Kind {
    fn command(self, port: u16) -> Command {
        let folder = PathBuf::from(FOLDER);
        match self {
            Self::S3 | Self::Google => {
                let mut command = Command::new("python3");
                command.args(["-m", "moto.server", "--host", "127.0.0.1"]);
                command.arg("--port").arg(port.to_string());
                command.env("PYTHONPATH", folder.join("moto"));
                command
            }
            Self::Azure => {
                let mut command = Command::new("node");
                command.arg(folder.join("azurite/node_modules/azurite/dist/src/blob/main.js"));
                command.args(["--blobHost", "127.0.0.1", "--silent", "--disableTelemetry"]);
                command.args(["--skipApiVersionCheck", "--inMemoryPersistence"]);
                command.arg("--blobPort").arg(port.to_string());
                command
            }
        }
    }
}
