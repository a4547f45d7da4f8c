//! What is started for a listener, and the check, before anything is read, that it can be.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use streamer::ListenerError;
use tokio::process::Command;

use super::group::{Groups, Process};

/// A program with how to start it.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: String,
    /// The program and its arguments; one command line for `sh -c` when `shell`.
    pub(crate) command: Vec<String>,
    pub(crate) shell: bool,
    pub(crate) cwd: PathBuf,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) groups: Groups,
}

impl Program {
    /// Finds out whether the program can be started, without starting it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.cwd.is_dir() {
            return Err(format!(
                "its working directory {} is not a directory",
                self.cwd.display()
            ));
        }
        if self.shell {
            return Ok(());
        }
        let Some(program) = self.command.first() else {
            return Err("it names no program".to_owned());
        };
        if program.contains('/') {
            // Without the `.` that the folder of the configuration begins with.
            let path: PathBuf = self.cwd.join(program).components().collect();
            return if executable(&path) {
                Ok(())
            } else if path.exists() {
                Err(format!(
                    "the program {} is not executable; run chmod +x on it",
                    path.display()
                ))
            } else {
                Err(format!("the program {} does not exist", path.display()))
            };
        }
        let own = self
            .env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.into());
        let path = own.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        if std::env::split_paths(&path).any(|folder| executable(&folder.join(program))) {
            return Ok(());
        }
        Err(format!(
            "the program {program} is not on the PATH; for one beside the configuration write ./{program}, for a \
             shell command line set shell = true"
        ))
    }

    /// The failure of a program that could not be started. Its arguments are not quoted: they may hold secrets.
    pub(super) fn cannot_start(&self, error: &io::Error) -> ListenerError {
        let program = match self.shell {
            true => "/bin/sh",
            false => self.command.first().map_or("", String::as_str),
        };
        ListenerError::new(format!("the program {program} could not be started: {error}"))
    }

    /// Starts the program with all three standard streams piped, in a process group of its own: the Ctrl-C that asks us to
    /// stop must not hit a program that is at work on a message.
    pub(super) fn start(&self) -> io::Result<Process> {
        let mut command = if self.shell {
            let mut command = Command::new("/bin/sh");
            command.arg("-c").args(&self.command);
            command
        } else {
            let program = self.command.first().map_or(OsStr::new(""), OsStr::new);
            let relative = program.to_string_lossy().contains('/');
            // With a relative program, which directory it is relative to is not defined when another one is set.
            let program = if relative {
                std::path::absolute(self.cwd.join(program))?
            } else {
                program.into()
            };
            let mut command = Command::new(program);
            command.args(self.command.iter().skip(1));
            command
        };
        command
            .current_dir(&self.cwd)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // It ends in good order; where the runtime is gone first, it must not stay.
            .kill_on_drop(true);
        self.groups.start(&mut command)
    }
}

#[cfg(unix)]
fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn executable(path: &Path) -> bool {
    path.is_file() || path.with_extension("exe").is_file()
}
