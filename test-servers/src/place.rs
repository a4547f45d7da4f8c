//! A store on one of the two engines, and processes of the test program that use it and note what they do.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::RedisServer;

/// A store, and a folder for files.
#[derive(Debug)]
pub struct Place {
    url: String,
    folder: TempDir,
    server: Option<RedisServer>,
}

impl Place {
    /// A store on a Redis server of its own.
    #[must_use]
    pub fn redis() -> Self {
        let server = RedisServer::start();
        Self {
            url: server.url(),
            folder: TempDir::new().unwrap(),
            server: Some(server),
        }
    }

    /// A store in a file of its own.
    #[must_use]
    pub fn embedded() -> Self {
        let folder = TempDir::new().unwrap();
        Self {
            url: format!("sqlite://{}", folder.path().join("store.db").display()),
            folder,
            server: None,
        }
    }

    /// The URL of the store.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server of the store, where there is one.
    #[must_use]
    pub fn server(&self) -> Option<&RedisServer> {
        self.server.as_ref()
    }

    /// A file in the folder. The store of the embedded engine is `store.db`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where processes note what they do.
    #[must_use]
    pub fn notes(&self) -> PathBuf {
        self.file("notes")
    }

    /// The whole lines of the notes. A line that was cut off, because its process was killed, is none.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.notes()).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        whole.map(ToOwned::to_owned).collect()
    }

    /// Runs this ignored test of the test program in a process of its own. It finds `kind` in `CHILD`, the URL of the store in
    /// `STORE`, and the path of the notes in `NOTES`.
    #[must_use]
    pub fn command(&self, test: &str, kind: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--ignored", "--nocapture"]);
        command
            .env("CHILD", kind)
            .env("STORE", &self.url)
            .env("NOTES", self.notes());
        command.stdin(Stdio::null());
        command
    }

    /// Starts the test `child` of the test program: see [`Place::command`].
    #[must_use]
    pub fn start_child(&self, kind: &str) -> ChildProcess {
        let mut command = self.command("child", kind);
        ChildProcess(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

/// A process that does not outlive its test.
#[derive(Debug)]
pub struct ChildProcess(Child);

impl ChildProcess {
    /// Kills it without any warning.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits until it ends, and tells whether it succeeded.
    #[must_use]
    pub fn succeeds(mut self) -> bool {
        self.0.wait().unwrap().success()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
