//! The checks that every change must pass.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::{bench, cargo, watched};

/// What brings a client library of its own, which nothing else compiles.
const CLIENTS: [&str; 4] = [
    "-p",
    "streamer-events",
    "--features",
    "archive-postgres,archive-mysql,archive-s3,archive-gcs,archive-azure,outbox-postgres,outbox-mysql,outbox-sqlite,outbox-rusqlite",
];

/// Each engine without the other one, as `--features` has it.
const ENGINES: [&str; 2] = ["redis", "embedded"];

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
            &CLIENTS[..],
            &["--all-targets", "--", "--deny", "warnings"],
        ]
        .concat(),
        &[],
    )?;
    for engine in ENGINES {
        let alone = [
            "clippy",
            "-p",
            "streamer-events",
            "--lib",
            "--no-default-features",
            "--features",
            engine,
        ];
        cargo(&[&alone[..], &["--", "--deny", "warnings"]].concat(), &[])?;
    }
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
    let drivers = ["--test", "archive", "--", "drivers::", "object_services::", "postgres"];
    cargo(&[&["test"], &CLIENTS[..], &drivers].concat(), &[])?;
    cargo(&[&["test"], &CLIENTS[..], &["--test", "outbox"]].concat(), &[])?;
    full_device()
}

/// A device without space is a file system of its own.
fn full_device() -> Result<()> {
    if !may_mount() {
        crate::print("The tests of a full device are left out: this user may not mount a file system.\n");
        return Ok(());
    }
    let full_device = ["test", "-p", "streamer-events", "--test", "embedded"];
    cargo(&[&full_device[..], &["--", "--ignored", "full::"]].concat(), &[])
}

/// Whether a file system can be mounted: root may, except in most containers.
fn may_mount() -> bool {
    const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/mounted");
    let done = |command: &str, arguments: &[&str]| {
        let mut command = Command::new(command);
        let command = command.args(arguments).arg(FOLDER).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    std::fs::create_dir_all(FOLDER).is_ok() && done("mount", &["-t", "tmpfs", "tmpfs"]) && done("umount", &[])
}

fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    crate::print(&format!("$ {line}\n"));
    let mut command = cargo::command();
    command.args(arguments).envs(environment.iter().copied());
    let status = watched::status(command).with_context(|| format!("could not run `{line}` to its end"))?;
    ensure!(status.success(), "`{line}` failed ({status})");
    Ok(())
}
