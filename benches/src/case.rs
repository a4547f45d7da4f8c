//! What a case is: work that several contenders do, each in a process of its own.

use std::{collections::BTreeMap, future::Future, process::Command};

use anyhow::{Context, Result};
use clap::Args;
use rustix::{io::Errno, process::Signal};
use serde::{Deserialize, Serialize};
use streamer_test_servers::RedisServer;

use crate::{cases, raw};

/// Messages (or whatever the case counts) a second.
pub(crate) const RATE: &str = "per_second";
/// The largest resident memory of the contender's process, in MB.
pub(crate) const RESIDENT: &str = "resident_mb";

/// Work that several contenders do.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// A heading.
    pub(crate) title: &'static str,
    /// What exactly is done, for readers of the report.
    pub(crate) about: &'static str,
    /// What is shown of each reading: the first is what ratios are made of.
    pub(crate) metrics: &'static [&'static str],
    /// How much work a full run does: messages, mostly.
    pub(crate) amount: u64,
    pub(crate) contenders: Vec<Contender>,
    pub(crate) targets: Vec<Target>,
}

/// One that does the work.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// The server's and the contender's processors, where that matters.
    pub(crate) pinned: Option<Pinned>,
    /// A part of the amount, for those who would take minutes.
    pub(crate) share: f64,
    /// Brings the server into the state that the work begins with; in another process, and not timed.
    pub(crate) prepare: fn(&Job) -> Result<()>,
    /// Does the work.
    pub(crate) run: fn(&Job) -> Result<Reading>,
}

impl Contender {
    pub(crate) fn new(name: &'static str, run: fn(&Job) -> Result<Reading>) -> Self {
        Self {
            name,
            pinned: None,
            share: 1.0,
            prepare: cases::empty_server,
            run,
        }
    }

    pub(crate) fn prepared(self, prepare: fn(&Job) -> Result<()>) -> Self {
        Self { prepare, ..self }
    }

    pub(crate) fn share(self, share: f64) -> Self {
        Self { share, ..self }
    }

    pub(crate) fn pinned(self, pinned: Pinned) -> Self {
        Self {
            pinned: Some(pinned),
            ..self
        }
    }
}

/// Which processor each side may use.
#[derive(Clone, Copy)]
pub(crate) struct Pinned {
    pub(crate) server: usize,
    pub(crate) contender: usize,
}

/// What a median of ratios within a round should be.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) contender: &'static str,
    /// The contender of the same case that it is compared with; none for an absolute bound.
    pub(crate) against: Option<&'static str>,
    pub(crate) metric: &'static str,
    pub(crate) bound: Bound,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn at_least(ratio: f64, contender: &'static str, against: &'static str) -> Self {
        Self {
            contender,
            against: Some(against),
            metric: RATE,
            bound: Bound::AtLeast(ratio),
        }
    }

    pub(crate) fn at_most(ratio: f64, metric: &'static str, contender: &'static str, against: &'static str) -> Self {
        Self {
            contender,
            against: Some(against),
            metric,
            bound: Bound::AtMost(ratio),
        }
    }

    /// Every emit and listen case stays below this.
    pub(crate) fn resident_below(mb: f64, contender: &'static str) -> Self {
        Self {
            contender,
            against: None,
            metric: RESIDENT,
            bound: Bound::AtMost(mb),
        }
    }
}

/// What one run gave: numbers by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reading(pub(crate) BTreeMap<String, f64>);

impl Reading {
    pub(crate) fn rate(amount: u64, took: std::time::Duration) -> Self {
        Self::default().with(RATE, amount as f64 / took.as_secs_f64())
    }

    pub(crate) fn with(mut self, metric: &str, value: f64) -> Self {
        self.0.insert(metric.to_owned(), value);
        self
    }

    pub(crate) fn get(&self, metric: &str) -> Option<f64> {
        self.0.get(metric).copied()
    }
}

/// One run, or the preparation for one.
#[derive(Args, Clone, Debug)]
pub(crate) struct Work {
    case: String,
    contender: String,
    #[arg(value_enum)]
    step: Step,
    /// The server.
    #[arg(long)]
    url: String,
    /// The same server with TLS.
    #[arg(long)]
    tls_url: String,
    /// How much work.
    #[arg(long)]
    amount: u64,
    /// A directory for files.
    #[arg(long)]
    directory: std::path::PathBuf,
    /// What a process that a run starts has to do.
    #[arg(long)]
    role: Option<String>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Step {
    Prepare,
    Run,
}

/// What a run is given.
pub(crate) struct Job {
    pub(crate) url: String,
    /// The same server with TLS: `rediss://…?ca=…`.
    pub(crate) tls_url: String,
    /// How much work: messages, mostly.
    pub(crate) amount: u64,
    /// A directory for files, emptied before each preparation.
    pub(crate) directory: std::path::PathBuf,
    /// Which part this process has, where a run has several processes.
    pub(crate) role: Option<String>,
    work: Work,
}

impl Work {
    pub(crate) fn new(case: &Case, contender: &Contender, step: Step, server: &RedisServer, amount: u64) -> Self {
        Self {
            case: case.name.to_owned(),
            contender: contender.name.to_owned(),
            step,
            url: format!("redis://127.0.0.1:{}", server.port()),
            tls_url: server.url(),
            amount,
            directory: std::path::PathBuf::new(),
            role: None,
        }
    }

    pub(crate) fn in_directory(self, directory: &std::path::Path) -> Self {
        Self {
            directory: directory.to_owned(),
            ..self
        }
    }

    /// The command that performs this in a process of its own.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        let step = match self.step {
            Step::Prepare => "prepare",
            Step::Run => "run",
        };
        command.args(["work", &self.case, &self.contender, step, "--url", &self.url]);
        command.args(["--tls-url", &self.tls_url]);
        command.args(["--amount", &self.amount.to_string()]);
        command.arg("--directory").arg(&self.directory);
        if let Some(role) = &self.role {
            command.args(["--role", role]);
        }
        Ok(command)
    }

    /// Does it in this process and prints the reading.
    pub(crate) fn perform(self) -> Result<()> {
        let case = cases::all().into_iter().find(|case| case.name == self.case);
        let case = case.with_context(|| format!("there is no case {}", self.case))?;
        let contender = case.contenders.iter().find(|one| one.name == self.contender);
        let contender = contender.with_context(|| format!("{} has no contender {}", case.name, self.contender))?;
        let job = Job {
            url: self.url.clone(),
            tls_url: self.tls_url.clone(),
            amount: self.amount,
            directory: self.directory.clone(),
            role: self.role.clone(),
            work: self.clone(),
        };
        match self.step {
            Step::Prepare => (contender.prepare)(&job),
            Step::Run => {
                a_service_of_its_own()?;
                let mut reading = (contender.run)(&job)?;
                // A peer that is a program of its own has told its own.
                if reading.get(RESIDENT).is_none() {
                    reading = reading.with(RESIDENT, resident_mb()?);
                }
                println!("{}", serde_json::to_string(&reading)?);
                Ok(())
            }
        }
    }
}

impl Job {
    /// Runs on a runtime with one thread, in a task of its own as an application's work is.
    pub(crate) fn on_one_thread<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async { tokio::spawn(work).await? })
    }

    /// Runs on a runtime with two threads, in a task of its own, too.
    pub(crate) fn on_two_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async { tokio::spawn(work).await? })
    }

    /// The command for another process of this run.
    pub(crate) fn other_process(&self, role: &str) -> Result<Command> {
        let mut work = self.work.clone();
        work.role = Some(role.to_owned());
        work.command()
    }

    /// A plain connection to the server.
    pub(crate) fn raw(&self) -> Result<raw::Connection> {
        raw::Connection::open(&self.url)
    }

    /// The same with TLS.
    pub(crate) fn raw_tls(&self) -> Result<raw::Connection> {
        raw::Connection::open_tls(&self.tls_url)
    }
}

/// Puts this process into a session of its own, as services are, and the server too. Linux shares processor time between
/// sessions, not between threads: within one, a program with two threads would get twice as much as its server.
fn a_service_of_its_own() -> Result<()> {
    // Nobody at a terminal can end it any more, so it ends with the one who started it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context("ask to end with the benchmark")?;
    match rustix::process::setsid() {
        // Who is the first of a session already cannot begin another.
        Ok(_) | Err(Errno::PERM) => Ok(()),
        Err(error) => Err(error).context("begin a session"),
    }
}

/// The largest resident memory of this process so far.
fn resident_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("ask how much memory was used")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kb.context("the system does not say how much memory was used")? / 1024.0)
}
