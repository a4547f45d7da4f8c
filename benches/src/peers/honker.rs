//! honker, a queue and a stream in an application's SQLite file. It needs another libsqlite3-sys than Streamer, and a program can
//! have only one: so it is a program of its own, `benches/honker`.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::case::{Job, Reading};

pub(crate) const NAME: &str = "honker 0.5";

const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/honker");

/// Builds it.
pub(crate) fn built(_: &Job) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(format!("{PACKAGE}/Cargo.toml"))
        .args(["--target-dir", &format!("{PACKAGE}/target")])
        .stdout(Stdio::null())
        .status()
        .context("build benches/honker")?;
    ensure!(built.success(), "benches/honker could not be built");
    Ok(())
}

/// Builds it and makes a backlog.
pub(crate) fn backlog(job: &Job) -> Result<()> {
    built(job)?;
    run(job, "backlog", &[]).map(drop)
}

/// Does one kind of work, and gives what it printed.
pub(crate) fn run(job: &Job, work: &str, more: &[&str]) -> Result<Reading> {
    let output = Command::new(format!("{PACKAGE}/target/release/streamer-bench-honker"))
        .arg(work)
        .arg(job.directory.join("honker.db"))
        .arg(job.amount.to_string())
        .args(more)
        .stderr(Stdio::inherit())
        .output()
        .context("start benches/honker")?;
    ensure!(output.status.success(), "honker could not do it");
    let mut reading = Reading::default();
    for line in String::from_utf8(output.stdout)?.lines() {
        let (name, value) = line.split_once(' ').context("a line without a value")?;
        reading = reading.with(name, value.parse()?);
    }
    Ok(reading)
}
