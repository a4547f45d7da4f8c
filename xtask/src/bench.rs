//! The benchmark, which is a workspace of its own.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::{cargo, prerequisites};

/// The manifest of the benchmark's workspace.
pub(crate) const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/Cargo.toml");

/// Builds the benchmark, runs it with these arguments, and ends as it ends.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let given = |names: &[&str]| arguments.iter().any(|argument| names.contains(&argument.as_str()));
    if !given(&["--help", "-h", "--list"]) {
        prerequisites::ask_for_bench(given(&["--check", "--record"]))?;
    }
    let mut run = cargo::command();
    run.args(["run", "--release", "--locked", "--manifest-path", MANIFEST, "--"]);
    instead_of_this(run.args(arguments)).context("could not start cargo")
}

/// Becomes the program, so that signals reach it and its end is this one's.
#[cfg(unix)]
fn instead_of_this(command: &mut Command) -> Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(command).into())
}

#[cfg(not(unix))]
fn instead_of_this(command: &mut Command) -> Result<ExitCode> {
    let success = command.status()?.success();
    Ok(if success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
