//! The checks that every change must pass.

use anyhow::{Context, Result, ensure};

use crate::{bench, cargo};

/// What brings a client library of its own, which nothing else compiles.
const DATABASES: [&str; 4] = [
    "-p",
    "streamer-events",
    "--features",
    "archive-postgres,archive-mysql,archive-object,outbox-postgres,outbox-mysql,outbox-sqlite,outbox-rusqlite",
];

/// Formatting and lints, of the benchmark too, and documentation.
pub(crate) fn check() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(
        &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"],
        &[],
    )?;
    cargo(
        &[
            &["clippy"],
            &DATABASES[..],
            &["--all-targets", "--", "--deny", "warnings"],
        ]
        .concat(),
        &[],
    )?;
    cargo(&["fmt", "--manifest-path", bench::MANIFEST, "--check"], &[])?;
    cargo(
        &[
            &["clippy", "--manifest-path", bench::MANIFEST],
            &["--locked", "--all-targets", "--", "--deny", "warnings"][..],
        ]
        .concat(),
        &[],
    )?;
    cargo(
        &["doc", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "--deny warnings")],
    )
}

/// Every test, and every example in the documentation.
pub(crate) fn test() -> Result<()> {
    cargo(&["test", "--workspace", "--no-fail-fast"], &[])?;
    let drivers = ["--test", "archive", "--", "drivers::", "postgres"];
    cargo(&[&["test"], &DATABASES[..], &drivers].concat(), &[])?;
    cargo(&[&["test"], &DATABASES[..], &["--test", "outbox"]].concat(), &[])
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    crate::print(&format!("$ {line}\n"));
    let status = cargo::command()
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("could not start `{line}`"))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}
