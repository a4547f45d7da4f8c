//! Runs the contenders of a case in turn, round after round, each in a process of its own.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use rustix::{process::Pid, thread::CpuSet};
use streamer_test_servers::{Options, RedisServer};

use crate::{
    case::{Case, Contender, Pinned, Reading, Step, Work},
    cases,
    report::{self, Results},
};

/// What the caller asked for.
pub(crate) struct Wanted {
    pub(crate) name: Option<String>,
    pub(crate) only: Option<String>,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// Whether what is measured goes into the documents although not everything is.
    pub(crate) write: bool,
}

impl Wanted {
    fn cases(&self) -> Vec<Case> {
        let mut cases = cases::all();
        if let Some(name) = &self.name {
            cases.retain(|case| case.name.contains(name));
        }
        if let Some(only) = &self.only {
            for case in &mut cases {
                case.contenders
                    .retain(|one| one.name.contains(only) || one.name == "raw");
            }
        }
        cases
    }
}

/// Prints what there is.
pub(crate) fn list() -> Result<()> {
    for case in cases::all() {
        let contenders = case.contenders.iter().map(|one| one.name).collect::<Vec<_>>();
        println!("{}: {}\n    {}", case.name, case.title, contenders.join("; "));
    }
    Ok(())
}

/// Runs the wanted cases and prints each; writes the documents when all cases run in full. A run that fails leaves a gap.
pub(crate) fn run(wanted: &Wanted) -> Result<()> {
    let cases = wanted.cases();
    ensure!(
        !cases.is_empty(),
        "there is no such case; `cargo xtask bench --list` names them"
    );
    let server = Options::default().tls().start();
    let place = tempdir()?;
    let everything = wanted.name.is_none() && wanted.only.is_none() && !wanted.quick;
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for case in cases {
        eprintln!("{} …", case.name);
        let mut results = Results::new(&case);
        for round in 1..=wanted.rounds {
            for (index, contender) in case.contenders.iter().enumerate() {
                let scale = if wanted.quick { 0.1 } else { 1.0 };
                // In whole thousands, so that everybody's batches come out even.
                let amount = (case.amount as f64 * contender.share * scale / 1000.0).ceil().max(1.0) * 1000.0;
                let amount = (amount as u64).min(case.amount);
                let reading = one(&server, &case, contender, amount, place.path()).unwrap_or_else(|error| {
                    let failure = format!("{}: {} in round {round}: {error:#}", case.name, contender.name);
                    eprintln!("{failure}");
                    failures.push(failure);
                    Reading::default()
                });
                results.add(index, reading);
            }
        }
        println!("{}", report::text(&results));
        all.push(results);
        if everything {
            // After each case: who stops it has what was measured until then.
            report::write(&all, &server)?;
        }
    }
    ensure!(
        failures.is_empty(),
        "{} runs failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
    if wanted.write && !everything {
        report::write_into(all, &server)?;
    }
    Ok(())
}

pub(crate) fn tempdir() -> Result<tempfile::TempDir> {
    tempfile::tempdir().context("make a directory for files")
}

/// One run of one contender.
fn one(server: &RedisServer, case: &Case, contender: &Contender, amount: u64, place: &Path) -> Result<Reading> {
    let mut run = prepared(server, case, contender, amount, place)?;
    let unpin = Unpin::after(server, contender.pinned)?;
    let output = run.stdout(Stdio::piped()).stderr(Stdio::inherit()).output();
    drop(unpin);
    let output = output.context("start the run")?;
    ensure!(output.status.success(), "the run failed ({})", output.status);
    let last = output
        .stdout
        .split(|byte| *byte == b'\n')
        .rfind(|line| !line.is_empty());
    serde_json::from_slice(last.unwrap_or_default()).context("read what the run printed")
}

/// Brings the server and the directory into the state that a run begins with, and gives the command for the run.
pub(crate) fn prepared(
    server: &RedisServer,
    case: &Case,
    contender: &Contender,
    amount: u64,
    place: &Path,
) -> Result<Command> {
    for entry in std::fs::read_dir(place)? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(&path)?
        } else {
            std::fs::remove_file(&path)?
        }
    }
    let work = |step| {
        Work::new(case, contender, step, server, amount)
            .in_directory(place)
            .command()
    };
    let prepared = work(Step::Prepare)?.status().context("start the preparation")?;
    ensure!(prepared.success(), "the preparation failed ({prepared})");
    work(Step::Run)
}

/// Gives all processors back to the server and to the processes that are started later.
struct Unpin(Vec<(Option<Pid>, CpuSet)>);

impl Unpin {
    /// Pins the server and, by way of this process, the process that is started next.
    fn after(server: &RedisServer, pinned: Option<Pinned>) -> Result<Self> {
        let Some(Pinned { server: at, contender }) = pinned else {
            return Ok(Self(Vec::new()));
        };
        let info = server.command(&["INFO", "server"]);
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:"));
        let pid = pid
            .and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?))
            .context("the server's process ID")?;
        let mut before = Vec::new();
        for (process, processor) in [(Some(pid), at), (None, contender)] {
            before.push((process, rustix::thread::sched_getaffinity(process)?));
            let mut only = CpuSet::new();
            only.set(processor);
            rustix::thread::sched_setaffinity(process, &only).context("pin a process to a processor")?;
        }
        Ok(Self(before))
    }
}

impl Drop for Unpin {
    fn drop(&mut self) {
        for (process, processors) in &self.0 {
            if let Err(error) = rustix::thread::sched_setaffinity(*process, processors) {
                eprintln!("could not give processors back: {error}");
            }
        }
    }
}
