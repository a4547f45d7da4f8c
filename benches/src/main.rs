//! Measures what Streamer costs beside the bare server and beside its peers: `cargo xtask bench`.
//!
//! # Layout
//!
//! - `case`: what a case is; `cases/`: all of them, one file for each kind of work.
//! - `raw`: plain sockets and commands encoded beforehand, the limit of the machine.
//! - `message`: the one message that everybody emits and handles.
//! - `peers/`: other libraries under the same work.
//! - `run`: runs contenders in turn, each in a process of its own; `report`: what is printed and written.

mod case;
mod cases;
mod message;
mod peers;
mod raw;
mod report;
mod run;

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
    /// Names the cases and their contenders.
    #[arg(long)]
    list: bool,
}

#[derive(Subcommand)]
enum Inner {
    /// One run of one contender, in a process of its own.
    #[command(hide = true)]
    Work(Work),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.inner {
        Some(Inner::Work(work)) => work.perform(),
        None if arguments.list => run::list(),
        None => run::run(&run::Wanted {
            name: arguments.name,
            only: arguments.only,
            quick: arguments.quick,
            rounds: arguments.rounds.unwrap_or(if arguments.quick { 2 } else { 5 }),
        }),
    }
}
