//! The checks that every change must pass.

use std::{
    io::{IsTerminal, stdin},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};

use crate::{
    bench, book,
    cargo::{self, EVERYTHING},
    object_servers, prerequisites, tools,
    watched::{self, Said},
};

/// Each engine without the other one, as `--features` has it.
const ENGINES: [&str; 2] = ["redis", "embedded"];

const TARGET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");

/// Installs what the tests need, and checks everything but the tests.
pub(crate) fn installed_and_checked() -> Result<()> {
    let install = || prerequisites::install().and_then(|()| object_servers::install());
    if stdin().is_terminal() {
        // The one who sits there may be asked for a password.
        install()?;
        lints()?;
    } else {
        // What comes from the network comes while the processors compile.
        thread::scope(|scope| {
            let tell = |error: &_| crate::complain(&format!("error, the lints go on: {error:#}\n"));
            let installing = scope.spawn(move || install().inspect_err(tell));
            let lints = lints();
            let installed = installing.join().map_err(|_| anyhow!("the installation panicked"))?;
            installed.and(lints)
        })?;
    }
    dependencies_and_documents()
}

/// Formatting and lints, of the benchmark too.
pub(crate) fn lints() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    cargo(
        &[
            &["clippy"],
            &EVERYTHING[..],
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
    // The program of the README's first command, which `left_out` builds: the code that stands in for what it leaves out.
    let smallest = [
        "clippy",
        "-p",
        "streamer-cli",
        "--no-default-features",
        "--lib",
        "--bins",
    ];
    cargo(&[&smallest[..], &["--", "--deny", "warnings"]].concat(), &[])?;
    left_out()?;
    cargo(&["fmt", "--manifest-path", bench::MANIFEST, "--check"], &[])?;
    cargo(
        &[
            &["clippy", "--manifest-path", bench::MANIFEST][..],
            // Some of what it depends on is in that folder by now.
            &["--target-dir", TARGET],
            &["--locked", "--all-targets", "--", "--deny", "warnings"],
        ]
        .concat(),
        &[],
    )
}

/// Dependencies, and documentation.
pub(crate) fn dependencies_and_documents() -> Result<()> {
    dependencies()?;
    // With the examples, and so with what the tests depend on: without, Cargo would check the dependencies again, with other features.
    // Of the programs all but `streamer`, whose pages would take the place of the library's.
    let documented = ["--no-deps", "--lib", "--examples", "--bin", "*[!r]"];
    cargo(
        &[&["doc"], &EVERYTHING[..], &documented].concat(),
        &[("RUSTDOCFLAGS", "--deny warnings")],
    )?;
    book::build()
}

/// The program as the first command of the README builds it: without warnings, and it names what it was built without.
fn left_out() -> Result<()> {
    const PROGRAM: [&str; 6] = ["run", "--quiet", "-p", "streamer-cli", "--no-default-features", "--"];
    for (arguments, expected) in [
        (&["dashboard"][..], "build it with the cargo feature `dashboard`"),
        (
            &["status", "--url", "redis://127.0.0.1"],
            "build it with the cargo feature `redis`",
        ),
    ] {
        let line = [&PROGRAM[..], arguments].concat();
        let Said { status, stderr, .. } = say(&line, &[])?;
        // 2 is a mistake of the one who runs it; a program that cannot be built ends Cargo with 101.
        ensure!(
            status.code() == Some(2) && stderr.contains(expected) && !stderr.contains("warning:"),
            "`cargo {}` had to end with exit code 2, {expected:?} and no warning ({status})",
            line.join(" ")
        );
    }
    Ok(())
}

/// Licences and sources of dependencies, and which of them may not be there, by `deny.toml`. Versions of one crate beside each other
/// are only warnings, which are not printed.
fn dependencies() -> Result<()> {
    const ARGUMENTS: [&str; 7] = [
        "--log-level",
        "error",
        "--locked",
        "check",
        "licenses",
        "bans",
        "sources",
    ];
    let Some(deny) = tools::DENY.find()? else {
        return Ok(());
    };
    crate::print(&format!("$ cargo deny {}\n", ARGUMENTS.join(" ")));
    let mut command = Command::new(deny);
    command.args(ARGUMENTS);
    let status = watched::run(command)
        .context("could not run cargo-deny to its end")?
        .status;
    ensure!(status.success(), "`cargo deny check` failed ({status})");
    Ok(())
}

/// Every test, and every example in the documentation.
pub(crate) fn test() -> Result<()> {
    tests(&[&["test"], &EVERYTHING[..], &["--no-fail-fast"]].concat())?;
    full_device()
}

/// More failures than this are no accident.
const SECOND_CHANCES: usize = 3;

/// Runs tests. They start servers, processes and browsers, all at once, and a machine may be too slow for one of them: up to
/// [`SECOND_CHANCES`] tests that fail run once more, alone, and are named as unsteady when they pass. Nothing else has a
/// second chance: not a test program that does not compile or that crashes, and not a test that fails twice.
fn tests(arguments: &[&str]) -> Result<()> {
    let line = format!("cargo {}", arguments.join(" "));
    let said = say(arguments, &[])?;
    if said.status.success() {
        return Ok(());
    }
    let failed = failed_tests(&said.stdout);
    let is_whole =
        !said.stderr.contains("could not compile") && !said.stderr.contains("process didn't exit successfully");
    ensure!(
        is_whole && (1..=SECOND_CHANCES).contains(&failed.len()),
        "`{line}` failed ({})",
        said.status
    );
    let names = failed.join(", ");
    crate::print(&format!("\nFailed, and is run once more, alone: {names}\n"));
    // The same arguments, so that Cargo builds nothing again; all other test programs find nothing to run.
    let alone = ["--", "--exact", "--test-threads=1"];
    let again = say(&[arguments, &alone, &failed[..]].concat(), &[])?;
    let has_passed = |name: &&str| again.stdout.contains(&format!("test {name} ... ok"));
    ensure!(
        again.status.success() && failed.iter().all(has_passed),
        "`{line}` failed, and failed again: {names}"
    );
    crate::print(&format!("\nUNSTEADY: passed only when it ran alone: {names}\n"));
    Ok(())
}

/// The names below the last `failures:` of each test program.
fn failed_tests(stdout: &str) -> Vec<&str> {
    let mut failed = Vec::new();
    for (at, _) in stdout.match_indices("\nfailures:\n    ") {
        let names = stdout[at..].lines().skip(2).map_while(|line| line.strip_prefix("    "));
        failed.extend(names);
    }
    failed
}

/// A device without space is a file system of its own.
fn full_device() -> Result<()> {
    if !may_mount() {
        crate::print("The tests of a full device are left out: this user may not mount a file system.\n");
        return Ok(());
    }
    let full_device = ["--test", "embedded", "--", "--ignored", "full::"];
    cargo(&[&["test"], &EVERYTHING[..], &full_device].concat(), &[])
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

pub(crate) fn cargo(arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let status = say(arguments, environment)?.status;
    ensure!(status.success(), "`cargo {}` failed ({status})", arguments.join(" "));
    Ok(())
}

fn say(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Said> {
    let line = format!("cargo {}", arguments.join(" "));
    crate::print(&format!("$ {line}\n"));
    let mut command = cargo::command();
    command.args(arguments).envs(environment.iter().copied());
    watched::run(command).with_context(|| format!("could not run `{line}` to its end"))
}

#[cfg(test)]
mod tests {
    use super::failed_tests;

    #[test]
    fn what_failed_is_read_from_what_cargo_prints() {
        let stdout = "\
running 2 tests
test yes ... ok
test m::no ... FAILED

failures:

---- m::no stdout ----
    a line of its own

failures:
    m::no
    other::no

test result: FAILED. 1 passed; 2 failed

running 1 test
test third ... FAILED

failures:

---- third stdout ----

failures:
    third

test result: FAILED. 0 passed; 1 failed
";
        assert_eq!(failed_tests(stdout), ["m::no", "other::no", "third"]);
        assert!(failed_tests("test yes ... ok\n\ntest result: ok. 1 passed\n").is_empty());
    }
}
