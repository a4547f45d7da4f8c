//! Cargo, as it would be called by hand.

use std::{
    io::{IsTerminal, stdin},
    process::{Command, ExitCode},
};

use anyhow::Result;

/// How many tests of a program run at once.
const TEST_THREADS: &str = "RUST_TEST_THREADS";

/// Every member of the workspace, with each cargo feature that brings a library of its own. One choice for nearly all commands:
/// with another one Cargo builds the dependencies again, which takes minutes.
pub(crate) const EVERYTHING: [&str; 3] = [
    "--workspace",
    "--features",
    "streamer-events/archive-postgres,streamer-events/archive-mysql,streamer-events/archive-s3,streamer-events/archive-gcs,\
     streamer-events/archive-azure,streamer-events/outbox-rusqlite,streamer-cli/otlp",
];

/// Cargo, without what the one that runs this program says of `xtask`: build scripts watch that, and with it they and
/// all that depends on them would be built anew whenever one goes from `cargo xtask` to `cargo` and back.
pub(crate) fn command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    // A check on a fresh clone builds nothing a second time: what a second build would start from is gigabytes that nobody
    // reads, and a small disk was full of them.
    let nobody_builds_again = std::env::var_os("CI").is_some() || !stdin().is_terminal();
    if nobody_builds_again && std::env::var_os("CARGO_INCREMENTAL").is_none() {
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    // Tests mostly wait, for servers, processes and time-outs: more of them run at once than there are processors.
    if std::env::var_os(TEST_THREADS).is_none() {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        cargo.env(TEST_THREADS, (2 * processors).to_string());
    }
    cargo
}

/// Becomes the program, so that signals reach it and its end is this one's.
#[cfg(unix)]
pub(crate) fn instead_of_this(command: &mut Command) -> Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(command).into())
}

#[cfg(not(unix))]
pub(crate) fn instead_of_this(command: &mut Command) -> Result<ExitCode> {
    let success = command.status()?.success();
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
