//! Faults by schedule. Producers, consumers in groups, retriers, archivers and relays are processes of their own that use
//! the library as applications do; servers are real. At the end, what was acknowledged to producers is compared with what
//! was handled. Run it as `cargo xtask chaos`; `--help` names the options, `--list` the faults.
//!
//! # Layout
//!
//! - `soak`: a long run without faults, in which nothing may grow; `child/keeper` empties the streams in it. `plot`: what it
//!   measured, as a picture.
//! - `options`: the command line. `run`: one run, from the servers to the report; `schedule`: which fault comes when.
//! - `child/`: what the processes do: `producer`, `consumer`, `retrier`, `archiver`, `relay`. `crew`: starts, kills,
//!   freezes and watches them.
//! - `place`: the store, of each topology. `faults/`: what is done to it and to the processes.
//! - `own_fail_overs`: those that no fault made. `ledger`: the files in which the processes write what they did. `verdict`: what follows from them.
//! - `clock`: one clock for all processes, which no fault touches.

mod child;
mod clock;
mod crew;
mod faults;
mod ledger;
mod options;
mod own_fail_overs;
mod place;
mod plot;
mod run;
mod schedule;
mod soak;
mod verdict;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // Before anything else: it is this same program.
    if let Some(assignment) = child::assignment() {
        return child::main(&assignment);
    }
    if std::env::args().nth(1).as_deref() == Some("soak") {
        return soak::main();
    }
    let options = options::Options::parse();
    if options.list {
        faults::print_list();
        return ExitCode::SUCCESS;
    }
    let mut code = ExitCode::SUCCESS;
    for topology in options.topologies() {
        match run::run(&options, topology) {
            Ok(true) => {}
            Ok(false) => code = ExitCode::FAILURE,
            Err(error) => {
                say!("error: {error:#}");
                return ExitCode::from(2);
            }
        }
    }
    code
}

/// Prints a line of the report.
macro_rules! say {
    ($($argument:tt)*) => {{
        #[allow(clippy::print_stdout, reason = "the program's own output")]
        {
            println!($($argument)*);
        }
    }};
}
pub(crate) use say;
