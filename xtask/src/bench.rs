//! The benchmark, which is a workspace of its own.

use std::process::ExitCode;

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
    cargo::instead_of_this(run.args(arguments)).context("could not start cargo")
}
