//! Faults by a schedule, and long runs without any.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::{cargo, prerequisites};

/// Builds the program, runs it with these arguments, and ends as it ends.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    if !arguments
        .iter()
        .any(|argument| ["--help", "-h", "--list"].contains(&argument.as_str()))
    {
        prerequisites::install()?;
    }
    let mut run = cargo::command();
    run.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "streamer-chaos",
        "--features",
        "relay",
    ]);
    if arguments.first().is_some_and(|argument| argument == "soak") {
        // What is measured is what users have.
        run.arg("--release");
    }
    run.arg("--");
    cargo::instead_of_this(run.args(arguments)).context("could not start cargo")
}
