//! Measures what Streamer costs beside the bare server and beside its peers: `cargo xtask bench`.
//!
//! # Layout
//!
//! - `case`: what a case is; `cases/`: all of them, one file for each kind of work.
//! - `raw`: plain sockets and commands encoded beforehand, the limit of the machine; `bare`: tokio's, the limit of
//!   asynchronous programs.
//! - `message`: the one message that everybody emits and handles.
//! - `peers/`: other libraries under the same work.
//! - `run`: runs contenders in turn, each in a process of its own; `report`: what is printed and written.
//! - `costs`: instructions and allocations of one message, compared with a record.

mod bare;
mod case;
mod cases;
mod costs;
mod message;
mod peers;
mod raw;
mod report;
mod run;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::case::Work;

/// Measures what Streamer costs beside the bare server and beside its peers.
///
/// Every contender of a case runs in a process of its own, in turn, for several rounds, and is compared with the bare
/// server within the same round.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// Only cases whose name contains this.
    name: Option<String>,
    /// A tenth of the work and two rounds: shows that everything runs, not how fast. Writes no documents.
    #[arg(long)]
    quick: bool,
    /// Only contenders whose name contains this, and `raw`. Writes no documents.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How often each contender runs.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Writes the measured cases into docs/benchmarks.md and leaves the others there as they are. Without a name all are
    /// measured and written.
    #[arg(long, conflicts_with_all = ["quick", "only", "rounds"])]
    write: bool,
    /// Names the cases and their contenders.
    #[arg(long)]
    list: bool,
    /// Counts what one message costs in instructions and allocations, with Valgrind, and fails when that is more than
    /// the record in benches/costs.json allows.
    #[arg(long, conflicts_with_all = ["quick", "only", "rounds", "write", "list"])]
    check: bool,
    /// Counts the same and rewrites the record.
    #[arg(long, conflicts_with_all = ["name", "quick", "only", "rounds", "write", "list", "check"])]
    record: bool,
}

#[derive(Subcommand)]
enum Inner {
    /// One run of one contender, in a process of its own.
    #[command(hide = true)]
    Work(Work),
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.inner {
        Some(Inner::Work(work)) => work.perform()?,
        None if arguments.list => run::list()?,
        None if arguments.check => {
            if !costs::check(arguments.name.as_deref())? {
                return Ok(ExitCode::FAILURE);
            }
        }
        None if arguments.record => costs::record()?,
        None => run::run(&run::Wanted {
            name: arguments.name,
            only: arguments.only,
            quick: arguments.quick,
            rounds: arguments.rounds.unwrap_or(if arguments.quick { 2 } else { 5 }),
            write: arguments.write,
        })?,
    }
    Ok(ExitCode::SUCCESS)
}
