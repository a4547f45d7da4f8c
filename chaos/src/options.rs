//! The command line.

use clap::Parser;

use crate::place::Topology;

/// Makes faults by a schedule, and compares what producers were told is written with what was handled.
///
/// The exit code is 1 when anything is lost, handled twice although nothing interrupted it, emitted twice in spite of its
/// key, still pending at the end, or when a process ended by itself.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask chaos")]
pub(crate) struct Options {
    /// How long faults are made, in minutes; a run takes about a minute more
    #[arg(long, default_value_t = 3.0)]
    pub(crate) minutes: f64,
    /// What the schedule follows from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Where; all of them one after the other if it is not given
    #[arg(long, value_enum)]
    topology: Vec<Topology>,
    /// Makes only these faults, again and again
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) fault: Vec<String>,
    /// Makes all but these faults
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) without: Vec<String>,
    /// Names the faults, and where each is made
    #[arg(long)]
    pub(crate) list: bool,
    /// Keeps the logs of all processes and servers, also when nothing is lost
    #[arg(long)]
    pub(crate) keep: bool,
}

impl Options {
    pub(crate) fn topologies(&self) -> Vec<Topology> {
        match self.topology.is_empty() {
            true => Topology::ALL.to_vec(),
            false => self.topology.clone(),
        }
    }
}
