//! A folder with a store of its own in which the binary is run.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use streamer_test_servers::{RedisServer, Store, Topology, User};
use tempfile::TempDir;

/// Nothing here takes so long; a test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) url: String,
    /// The server of the store, where it is one.
    pub(crate) redis: Option<RedisServer>,
    /// The servers of the store, where nobody needs them otherwise; they end with it.
    _servers: Option<Store>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        Self {
            folder,
            url,
            redis: None,
            _servers: None,
        }
    }

    pub(crate) fn on_redis() -> Self {
        let redis = RedisServer::start();
        Self {
            folder: TempDir::new().unwrap(),
            url: redis.url(),
            redis: Some(redis),
            _servers: None,
        }
    }

    /// On a plain Redis, or on servers of the kind that `STREAMER_TEST_TOPOLOGY` names.
    pub(crate) fn on_servers() -> Self {
        Self::on_servers_of(Topology::of_servers())
    }

    pub(crate) fn on_cluster() -> Self {
        Self::on_servers_of(Topology::Cluster)
    }

    /// As a user with exactly the documented permissions.
    fn on_servers_of(topology: Topology) -> Self {
        let servers = Store::new(topology);
        Self {
            folder: TempDir::new().unwrap(),
            url: servers.url_of(User::Operator),
            redis: None,
            _servers: Some(servers),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> &Self {
        fs::write(self.path(name), text).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A shell script that can be run.
    pub(crate) fn script(&self, name: &str, text: &str) -> &Self {
        let written = format!("{name}.text");
        self.write(&written, &format!("#!/bin/sh\n{text}\n"));
        copy_program(&self.path(&written), &self.path(name));
        fs::remove_file(self.path(&written)).unwrap();
        may(&self.path(name), 0o755);
        self
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_streamer"));
        // The environment of whoever runs the tests must not change what they see.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["STREAMER_", "OTEL_"].iter().any(|ours| name.starts_with(ours)) {
                command.env_remove(name);
            }
        }
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("STREAMER_URL", &self.url)
            .stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        end(self.command(arguments))
    }

    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &str) -> Ended {
        self.write("stdin", input);
        let mut command = self.command(arguments);
        command.stdin(fs::File::open(self.path("stdin")).unwrap());
        end(command)
    }

    /// Runs a command on a terminal, where `typed` is typed. What it prints is all in `stdout`, with what was typed.
    pub(crate) fn run_on_a_terminal(&self, arguments: &[&str], typed: &str) -> Ended {
        const TERMINAL: &str = "import os, pty, sys\n\
            pid, terminal = pty.fork()\n\
            if pid == 0: os.execv(sys.argv[2], sys.argv[2:])\n\
            os.write(terminal, sys.argv[1].encode())\n\
            while True:\n    \
                try: data = os.read(terminal, 65536)\n    \
                except OSError: break\n    \
                if not data: break\n    \
                sys.stdout.buffer.write(data)\n\
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n";
        let inner = self.command(arguments);
        let mut command = Command::new("python3");
        command.args(["-c", TERMINAL, typed]).arg(inner.get_program());
        command.args(inner.get_args()).current_dir(self.folder.path());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        end(command)
    }

    /// Runs a command as a user who may read the folder of the store and change nothing in it.
    pub(crate) fn run_without_the_right_to_write(&self, arguments: &[&str]) -> Ended {
        let (command, _programs) = self.command_without_the_right_to_write(arguments);
        let ended = end(command);
        self.give_the_right_to_write();
        ended
    }

    /// Such a command, and where its program lies. The folder is closed until somebody gives the right to write back.
    pub(crate) fn command_without_the_right_to_write(&self, arguments: &[&str]) -> (Command, TempDir) {
        use std::os::unix::{fs::MetadataExt as _, process::CommandExt as _};
        // Where anybody can run it.
        let programs = TempDir::new().unwrap();
        may(programs.path(), 0o755);
        let program = programs.path().join("streamer");
        copy_program(Path::new(env!("CARGO_BIN_EXE_streamer")), &program);
        for file in fs::read_dir(self.folder.path()).unwrap() {
            may(&file.unwrap().path(), 0o444);
        }
        may(self.folder.path(), 0o555);
        let usual = self.command(arguments);
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path());
        for (name, value) in usual.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Root may write everything, so somebody else has to try.
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(65_534).gid(65_534);
        }
        (command, programs)
    }

    pub(crate) fn give_the_right_to_write(&self) {
        may(self.folder.path(), 0o755);
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    }

    pub(crate) fn emit(&self, name: &str, payload: &str) -> String {
        self.ok(&["emit", name, payload]).trim().to_owned()
    }

    /// Listens to everything there is until nothing comes any more.
    pub(crate) fn listen_all(&self, more: &[&str]) -> Ended {
        let arguments = [&["listen", "--all", "--group", "g", "--listen-timeout", "500"], more].concat();
        let ended = self.run(&arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    }

    /// How many messages the group has not settled.
    pub(crate) fn drained(&self, event: &str) -> bool {
        // Whoever listens in the group now gets what is left; nothing must be.
        self.ok(&[
            "listen",
            event,
            "--group",
            "g",
            "--reclaim",
            "50",
            "--listen-timeout",
            "300",
        ])
        .is_empty()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }
}

/// Copies in a process of its own. What another thread of this one starts at that moment would have the copy open for writing,
/// and such a program cannot be run.
fn copy_program(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

pub(crate) fn may(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn end(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A run that goes on. Dropping it kills it.
pub(crate) struct Running {
    pub(crate) child: Child,
    stdout: mpsc::Receiver<String>,
    stderr: Option<thread::JoinHandle<String>>,
    seen: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let mut errors = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        Self {
            child,
            stdout,
            stderr: Some(stderr),
            seen: String::new(),
        }
    }

    /// Waits for a line of the output that holds `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            match self
                .stdout
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.seen.push_str(&line);
                    self.seen.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => {
                    let _ = self.child.kill();
                    let stderr = self.stderr.take().and_then(|stderr| stderr.join().ok());
                    let stderr = stderr.unwrap_or_default();
                    panic!("no line with {text:?} ({error}); so far:\n{}\nand\n{stderr}", self.seen)
                }
            }
        }
    }

    /// A line, if one has come.
    pub(crate) fn try_line(&mut self) -> Option<String> {
        self.stdout.try_recv().ok()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let until = Instant::now() + PATIENCE;
        let status = wait_until(|| self.child.try_wait().unwrap());
        while let Ok(line) = self
            .stdout
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Ended {
            code: status.code(),
            stdout: std::mem::take(&mut self.seen),
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(output: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Waits until something is there.
pub(crate) fn wait_until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "it did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process lives.
pub(crate) fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.trim()).join("stat")).unwrap_or_default();
    // One that ended and was not yet waited for is dead all the same.
    !stat.is_empty() && !stat.contains(") Z ")
}

/// A named pipe by which a program of a test can be held up.
pub(crate) fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Lets a program go on that waits at a named pipe.
pub(crate) fn open_gate(path: &Path) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
}

/// What changes from run to run, made the same.
pub(crate) fn snapshot(text: &str, check: impl FnOnce(&str)) {
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        snapshot_path => "snapshots",
        filters => vec![
            (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
            (r"\b\d{13}-\d+", "ID"),
            (r"\bg-[0-9A-Za-z]{16}", "CONSUMER"),
            (r"/[^ '|]*/\.tmp[0-9A-Za-z]+", "FOLDER"),
            (r"[ ]+\|\n", " |\n"),
            (r"-{5,}", "-----"),
            (r"/[^ ]*/streamer-demo-[0-9A-Za-z]+", "FOLDER"),
            (r"[^ ]*/debug/streamer|[^ ]*/release/streamer", "streamer"),
            (r"[Pp]rocess \d+", "process N"),
            (r#""(took|waited)_ms":[0-9.]+"#, "\"${1}_ms\":N"),
            (r" +\d+/s", " N/s"),
            (r"\d+\.\d\d s", "N s"),
        ],
    }, { check(text) });
}
