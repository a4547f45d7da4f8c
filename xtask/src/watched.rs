//! A command that is ended when it stands still: a test that waits for ever fails, and the tests that were running are the
//! last lines of the output.

use std::{
    io::{Read, Write, stderr, stdout},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// The longest time without output: compiling one crate, or a test with many processes, takes a few minutes.
const SILENCE: Duration = Duration::from_mins(15);

/// What a command said.
pub(crate) struct Said {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the command with its output on ours, and ends it after [`SILENCE`].
pub(crate) fn run(mut command: Command) -> Result<Said> {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let last_output = Arc::new(Mutex::new(Instant::now()));
    let from_stdout = child.stdout.take().context("no standard output")?;
    let from_stderr = child.stderr.take().context("no standard error")?;
    let copies = [
        copy(from_stdout, stdout(), &last_output),
        copy(from_stderr, stderr(), &last_output),
    ];
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if last_output.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > SILENCE {
            end(&mut child);
            bail!("no output for {} minutes, so it was ended", SILENCE.as_secs() / 60);
        }
        thread::sleep(Duration::from_millis(200));
    };
    // A panic of a copy is on standard error already.
    let [stdout, stderr] = copies.map(|copy| copy.join().unwrap_or_default());
    Ok(Said {
        status,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

fn copy(
    mut from: impl Read + Send + 'static,
    mut to: impl Write + Send + 'static,
    last_output: &Arc<Mutex<Instant>>,
) -> thread::JoinHandle<Vec<u8>> {
    let last_output = Arc::clone(last_output);
    thread::spawn(move || {
        let mut copied = Vec::new();
        let mut buffer = [0; 8192];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            *last_output.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            copied.extend_from_slice(&buffer[..length]);
            if to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_err() {
                break;
            }
        }
        copied
    })
}

/// Cargo, and the test program that it waits for.
fn end(child: &mut Child) {
    let parent = child.id().to_string();
    let _ = Command::new("pkill").args(["-KILL", "-P", &parent]).status();
    let _ = child.kill();
    let _ = child.wait();
}
